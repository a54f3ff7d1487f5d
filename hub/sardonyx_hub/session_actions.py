"""What is done to sessions: start, stop, restart, rename, delete. JupyterHub does the work; its refusals become words.

Functions take the handler that serves the request: launching and stopping are methods of JupyterHub's handlers. None of
them checks scopes; that is the handler's, and was done before.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

from jupyterhub.slugs import is_valid_display_name, normalise_unicode
from jupyterhub.spawner import SpawnException
from jupyterhub.utils import maybe_future
from tornado import web

from sardonyx_spawner.errors import LaunchOptionsError, OptionProblem
from sardonyx_spawner.launch_errors import options_error

from .disk import is_full
from .quotas import check as check_quota

log = logging.getLogger("sardonyx")

#: Seconds that a start may take to give up when it is interrupted.
_CANCEL_SECONDS: Final = 40.0
#: Seconds that a request waits for a session to stop; it goes on stopping after that.
_STOP_SECONDS: Final = 10.0
#: Seconds that a restart waits for the stop.
_RESTART_SECONDS: Final = 60.0
#: Seconds in which a launch is refused if it is refused at once.
_REFUSAL_SECONDS: Final = 1.5
_MAX_NAME: Final = 255


class SessionRefusedError(Exception):
    """A session does not do that now.

    Parameters
    ----------
    code
        Last part of the message key: ``services.refused.CODE``.
    status
        The answer's HTTP status.
    message
        Words that were written for people; ``None``: the message of `code`.
    """

    def __init__(self, code: str, status: int = 409, message: str | None = None, **params: object) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.message = message
        self.params = params


def session_of(user: Any, name: str) -> Any:
    """Return the spawner of a session that exists. Makes none for other names, unlike ``user.spawners[name]``.

    Raises
    ------
    SessionRefusedError
        404.
    """
    if name not in user.orm_spawners:
        raise SessionRefusedError("unknown", 404)
    return user.spawners[name]


async def start(handler: Any, user: Any, name: str) -> None:
    """Launch a session that is stopped again, with the options it had. Returns when it is under way.

    Raises
    ------
    SessionRefusedError
        If it runs or stops, there is no room on the disk, or its launch is refused.
    """
    spawner = session_of(user, name)
    if spawner.pending == "spawn":
        return
    if spawner.active:
        raise SessionRefusedError("stopping" if spawner.pending == "stop" else "running")
    if is_full(handler.settings["sardonyx"].disk):
        raise SessionRefusedError("disk_full", 507)
    # A task: JupyterHub waits ten seconds for the start, a person should not.
    launch = asyncio.ensure_future(handler.spawn_single_user(user, name))
    launch.add_done_callback(_consume)
    await asyncio.wait([launch], timeout=_REFUSAL_SECONDS)
    if launch.done() and not launch.cancelled() and launch.exception() is not None:
        raise refusal_of(launch.exception()) from launch.exception()


def _consume(task: asyncio.Future[Any]) -> None:
    """Take the error of a launch that failed after the request was answered: JupyterHub has logged and kept it."""
    if not task.cancelled():
        task.exception()


def refusal_of(error: BaseException | None) -> SessionRefusedError:
    """Return what to tell a person about an error of JupyterHub's ``spawn_single_user``."""
    found = getattr(error, "problems", None) or getattr(getattr(error, "__cause__", None), "problems", None)
    if isinstance(error, SpawnException):
        code = "options" if found and isinstance(found[0], OptionProblem) else "launch"
        return SessionRefusedError(code, error.status_code, str(error.message or ""))
    if isinstance(error, web.HTTPError):
        if error.status_code == 429:
            return SessionRefusedError("busy", 429)
        if error.status_code == 403:
            return SessionRefusedError("signed_out", 403)
        if error.status_code == 400:
            return SessionRefusedError("invalid", 400)
    if isinstance(error, RuntimeError):  # "alice:run1 pending spawn": somebody was faster
        return SessionRefusedError("pending")
    log.error("A launch failed", exc_info=error)
    return SessionRefusedError("failed", 500)


async def stop(handler: Any, user: Any, name: str) -> bool:
    """Stop a session, also one that starts. Return whether it has stopped; if not, it still stops.

    Raises
    ------
    SessionRefusedError
        If it is being renamed, or there is none.
    """
    spawner = session_of(user, name)
    if spawner.pending == "stop":
        return await _stopped(spawner, _STOP_SECONDS)
    if spawner.pending == "spawn":
        return await cancel_start(spawner)
    if spawner.pending:
        raise SessionRefusedError("pending")
    if spawner.ready:
        await handler.stop_single_user(user, name)
    return not spawner.pending


async def cancel_start(spawner: Any) -> bool:
    """Interrupt a start and clean up after it. Return whether that is done; if not, it goes on.

    JupyterHub itself waits one second for the start to give up and then answers 500.
    """
    ending = getattr(spawner, "_stop_future", None)
    if ending is None or ending.done():
        ending = asyncio.ensure_future(_cancel(spawner))
        spawner._stop_future = ending
        ending.add_done_callback(_consume)
    await asyncio.wait([ending], timeout=_STOP_SECONDS)
    return bool(ending.done())


async def _cancel(spawner: Any) -> None:
    launch = spawner._spawn_future
    if launch is not None and not launch.done():
        log.info("Interrupting the start of %s", spawner._log_name)
        launch.cancel()
        await asyncio.wait([launch], timeout=_CANCEL_SECONDS)
    await stop_now(spawner)


async def stop_now(spawner: Any) -> None:
    """Stop a session without a request: its start was interrupted, or it was idle."""
    user, name = spawner.user, spawner.name
    # Before anything is awaited, as JupyterHub does: nobody begins something else meanwhile.
    spawner._stop_pending = True
    try:
        with suppress(Exception):
            await user.settings["proxy"].delete_user(user, name)
        await user.stop(name)
    finally:
        spawner._stop_pending = False
        spawner._stop_future = None


async def _stopped(spawner: Any, seconds: float) -> bool:
    """Wait until a session that stops has stopped; return whether it has."""
    deadline = asyncio.get_running_loop().time() + seconds
    # JupyterHub has no event for it where a session ended by itself.
    while spawner.pending == "stop" and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return bool(spawner.pending != "stop")


async def restart(handler: Any, user: Any, name: str) -> None:
    """Stop a session and launch it again with the same options, on the same disk.

    Raises
    ------
    SessionRefusedError
        If the owner's quota has become too small for it, which is found out before it is stopped; if it does not stop in
        time, or its launch is refused.
    """
    spawner = session_of(user, name)
    if not spawner.active:
        raise SessionRefusedError("stopped")
    _stay_in_quota(handler.settings["sardonyx"], spawner)
    if not await stop(handler, user, name) and not await _stopped(spawner, _RESTART_SECONDS):
        raise SessionRefusedError("still_stopping", 503)
    await start(handler, user, name)


def _stay_in_quota(datalab: Any, spawner: Any) -> None:
    """Refuse a restart after which the session could not be launched again: a lowered quota stops nobody."""
    options = getattr(spawner, "launch_options", None)
    if options is None or getattr(spawner, "quota_hook", None) is None:
        return
    problems = check_quota(datalab.quotas.rules_for(spawner.user, exclude=spawner), options)
    if problems:
        error: Any = options_error(LaunchOptionsError(problems), spawner.messages)
        raise SessionRefusedError("options", error.status_code, str(error.message or ""))


def rename(handler: Any, user: Any, name: str, display_name: str) -> None:
    """Give a session another name to be shown; the one in its address stays. An empty one takes it away.

    Raises
    ------
    SessionRefusedError
        400 for a name that JupyterHub does not allow.
    """
    spawner = session_of(user, name)
    shown = normalise_unicode(display_name.strip())
    if shown and (len(shown) > _MAX_NAME or not is_valid_display_name(shown)):
        raise SessionRefusedError("display_name", 400)
    spawner.orm_spawner.display_name = shown or name
    handler.db.commit()
    handler.settings["sardonyx"].sessions.changed(spawner)


async def delete(handler: Any, user: Any, name: str) -> None:
    """Delete a session that is stopped: its disk and everything else of it.

    The default session is emptied: JupyterHub has one for everybody.

    Raises
    ------
    SessionRefusedError
        If it runs, or there is none.
    """
    datalab = handler.settings["sardonyx"]
    spawner = session_of(user, name)
    if spawner.active:
        raise SessionRefusedError("not_stopped")
    row = spawner.orm_spawner
    # Before anything is awaited: a launch that began meanwhile would run on a disk that goes, and be in no list.
    spawner._stop_pending = True
    try:
        await maybe_future(spawner.delete_forever())
    except Exception as error:
        # As in JupyterHub: what cannot be removed is the operator's to find, and not in the person's way.
        log.error(
            "Not all of %s could be deleted: %s", spawner._log_name, type(error).__name__, exc_info=True
        )
    finally:
        spawner._stop_pending = False
    if name:
        handler.db.delete(row)
    else:
        row.user_options, row.state, row.last_activity, row.started, row.display_name = {}, {}, None, None, ""
    user.spawners.pop(name, None)
    handler.db.commit()
    log.info(
        "The session %s of %s was deleted by %s", name or "default", user.name, handler.current_user.name
    )
    key = (user.name, name)
    datalab.sessions.forget_ending(key)
    datalab.sessions.launches.forget(key)
    datalab.sessions.gone(*key)
