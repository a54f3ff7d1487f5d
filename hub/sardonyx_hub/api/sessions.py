"""``/hub/api/datalab/v1/sessions``: a person's sessions, and what can be done to them.

The default session, which has no name in JupyterHub, is ``-`` in paths. ``?user=NAME`` asks for another person's, with the
scopes that JupyterHub asks for: ``read:servers``, ``start:servers``, ``delete:servers``; ``access:servers`` too for a log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

from .. import session_actions as actions
from ..documents import DocumentError
from ..idle import KeepAliveError
from ..pages.language import language_of
from ..pages.messages import PageMessages
from ..session_actions import SessionRefusedError
from ..sessions import describe, was_used
from .base import ApiError, DatalabHandler, not_found
from .validation import InvalidRequestError

#: The default session in paths: no name that JupyterHub allows.
DEFAULT_NAME: Final = "-"
_ACTION_SCOPES: Final = {
    "start": ("start:servers",),
    "stop": ("delete:servers",),
    "restart": ("start:servers", "delete:servers"),
    "keep-alive": ("start:servers",),
}
_LOOK_SECONDS: Final = 10.0
_MAX_OFFSET: Final = 2**50


def path_name(server_name: str) -> str:
    """Return what a session is called in paths."""
    return server_name or DEFAULT_NAME


def server_name_of(path: str) -> str:
    """Return JupyterHub's name of the session that a path names."""
    return "" if path == DEFAULT_NAME else path


class _SessionsHandler(DatalabHandler):
    """What the handlers of sessions share."""

    def owner(self) -> Any:
        """Return the person whose sessions are asked for.

        Raises
        ------
        ApiError
            404 if there is none, or it is not for who asks to know.
        """
        name = self.get_query_argument("user", self.person)
        if name == self.person:
            return self.current_user
        readable = self.get_scope_filter("read:servers")
        user = self.find_user(name)
        if user is None or not readable(user.orm_user, "user"):
            not_found("There is no such person.")
        return user

    def require(self, row: Any, names: Collection[str]) -> None:
        """Check that the request may do something to a session.

        Raises
        ------
        ApiError
            403.
        """
        for name in names:
            if not self.get_scope_filter(name)(row, "server"):
                raise ApiError(403, f"The request has no scope {name} for this session.", code="forbidden")

    def find(self, path: str, names: Collection[str]) -> tuple[Any, str]:
        """Return the owner and the name of the session that a path names.

        Raises
        ------
        ApiError
            403 without the scopes, 404 if there is none.
        """
        if not all(name in self.parsed_scopes for name in names):
            raise ApiError(403, f"The request has no scope {' and '.join(names)}.", code="forbidden")
        user, name = self.owner(), server_name_of(path)
        row = user.orm_spawners.get(name)
        if row is None:
            not_found("There is no such session.")
        self.require(row, names)
        if not was_used(user.spawners.get(name) or row):
            not_found("There is no such session.")
        return user, name

    async def described(self, user: Any, name: str) -> dict[str, Any]:
        """Return the description of a session."""
        await self.datalab.sessions.refresh_catalogue(user)
        return describe(self.datalab, user, user.orm_spawners[name])

    def refuse(self, refusal: SessionRefusedError) -> ApiError:
        """Return the answer to what a session does not do now."""
        text = PageMessages(language_of(self)).translate(f"services.refused.{refusal.code}", **refusal.params)
        message = refusal.message or text
        return ApiError(refusal.status, message, code=refusal.code.replace("_", "-"))


class SessionsHandler(_SessionsHandler):
    """All sessions of a person: those that run, and those that are stopped with their disks."""

    async def get(self) -> None:
        """Send ``{"version": 1, "sessions": [...]}``."""
        self.limit("read")
        if "read:servers" not in self.parsed_scopes:
            raise ApiError(403, "The request has no scope read:servers.", code="forbidden")
        user, may = self.owner(), self.get_scope_filter("read:servers")
        found = await self.datalab.sessions.list(user)
        rows = user.orm_spawners
        self.finish({"version": 1, "sessions": [one for one in found if may(rows[one["name"]], "server")]})


class SessionHandler(_SessionsHandler):
    """One session."""

    async def get(self, path: str) -> None:
        """Send its description."""
        self.limit("read")
        self.finish(await self.described(*self.find(path, ("read:servers",))))

    async def patch(self, path: str) -> None:
        """Give it another name to be shown: ``{"display_name": text}``; send its description."""
        self.limit("write")
        user, name = self.find(path, ("start:servers",))
        data = self.json_object()
        shown = data.get("display_name")
        if set(data) != {"display_name"} or not isinstance(shown, str):
            raise InvalidRequestError(
                'The body is {"display_name": text}; an empty text takes the name away.'
            )
        try:
            actions.rename(self, user, name, shown)
        except SessionRefusedError as refusal:
            raise self.refuse(refusal) from None
        self.finish(await self.described(user, name))

    async def delete(self, path: str) -> None:
        """Delete a stopped session with its disk, for ever."""
        self.limit("write")
        user, name = self.find(path, ("delete:servers",))
        try:
            await actions.delete(self, user, name)
        except SessionRefusedError as refusal:
            raise self.refuse(refusal) from None
        self.set_status(204)
        self.finish()


class SessionActionHandler(_SessionsHandler):
    """``start``, ``stop``, ``restart``, ``keep-alive``."""

    async def post(self, path: str, action: str) -> None:
        """Do it; send the description, with 202 while it is under way."""
        self.limit("write")
        user, name = self.find(path, _ACTION_SCOPES[action])
        try:
            await self._act(action, user, name)
        except SessionRefusedError as refusal:
            raise self.refuse(refusal) from None
        except asyncio.CancelledError:
            # The launch that this request waits for was interrupted by another one.
            raise ApiError(409, "The session was stopped meanwhile.", code="stopped") from None
        found = await self.described(user, name)
        self.set_status(202 if found["state"] in ("starting", "stopping") else 200)
        self.finish(found)

    async def _act(self, action: str, user: Any, name: str) -> None:
        if action == "start":
            await actions.start(self, user, name)
        elif action == "stop":
            await actions.stop(self, user, name)
            await self._note_who(user, name)
        elif action == "restart":
            await actions.restart(self, user, name)
        else:
            await self._keep_alive(user, name)

    async def _note_who(self, user: Any, name: str) -> None:
        """Tell people that somebody else has stopped their session."""
        if user.name != self.person:
            try:
                await self.datalab.sessions.ended(user.spawners[name], "administrator")
            except DocumentError as error:
                # It was stopped all the same.
                self.log.error("Who stopped %s of %s could not be kept: %s", name, user.name, error)

    async def _keep_alive(self, user: Any, name: str) -> None:
        data = self.json_object()
        hours = data.get("hours")
        if set(data) != {"hours"} or not isinstance(hours, int) or isinstance(hours, bool):
            raise InvalidRequestError('The body is {"hours": number}.')
        spawner = user.spawners[name]
        if not spawner.ready:
            raise SessionRefusedError("stopped")
        try:
            await self.datalab.idle.keep_alive(spawner, hours)
        except KeepAliveError as error:
            raise InvalidRequestError(str(error)) from None
        except DocumentError:
            raise ApiError(
                503, "That cannot be kept now: the state database does not answer.", code="unreachable"
            ) from None


class SessionLogsHandler(_SessionsHandler):
    """The log of a session's server."""

    async def get(self, path: str) -> None:
        """Send ``{"text", "start", "end", "more"}``: what was logged after the byte ``?after=``, or the end of the log."""
        self.limit("read")
        user, name = self.find(path, ("read:servers", "access:servers"))
        after = self._offset()
        spawner = user.spawners[name]
        read = getattr(spawner, "read_log", None)
        if read is None:
            raise ApiError(501, "Sessions of this datalab have their logs elsewhere.", code="not-here")
        part = await _in_time(read(after))
        self.finish({"text": part.text, "start": part.start, "end": part.end, "more": part.more})

    def _offset(self) -> int | None:
        text = self.get_query_argument("after", "")
        if not text:
            return None
        # Long numbers are no matter of int(), which refuses them with an error of its own.
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < _MAX_OFFSET):
            raise InvalidRequestError("'after' is a number of bytes.")
        return int(text)


class SessionEventsHandler(_SessionsHandler):
    """What happened to a session: its last launch step by step, and since."""

    async def get(self, path: str) -> None:
        """Send ``{"events": [{"at", "step", "state", "text"}]}``, oldest first."""
        self.limit("read")
        user, name = self.find(path, ("read:servers",))
        self.finish({"events": self.datalab.sessions.launches.events((user.name, name))})


class SessionUsageHandler(_SessionsHandler):
    """What a session uses of its machine; measured now, and only when somebody asks."""

    async def get(self, path: str) -> None:
        """Send ``{"cpu": cores, "memory": bytes, "processes": n}``; nulls if it does not run or cannot be seen."""
        self.limit("read")
        user, name = self.find(path, ("read:servers",))
        spawner = user.spawners[name]
        ask = getattr(spawner, "usage", None)
        used = await _in_time(ask()) if ask is not None and spawner.ready else None
        self.finish({kind: getattr(used, kind, None) for kind in ("cpu", "memory", "processes")})


async def _in_time(work: Any) -> Any:
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await work
    except TimeoutError:
        raise ApiError(503, "The session cannot be looked at now.", code="slow") from None
