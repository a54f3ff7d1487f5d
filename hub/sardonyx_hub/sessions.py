"""A person's sessions as pages and the API show them, and the events that tell open pages of a change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from jupyterhub.spawner import SpawnException

from sardonyx_spawner.catalogue import Catalogue, Service

from .documents import DocumentError
from .history import Key, Launches

if TYPE_CHECKING:
    from .datalab import Datalab

State = Literal["starting", "running", "stopping", "stopped", "failed"]
log = logging.getLogger("sardonyx")

#: Seconds in which several changes of a session are told as one.
_TOGETHER: Final = 0.1


def describe(datalab: Datalab, user: Any, spawner: Any, catalogue: Catalogue | None = None) -> dict[str, Any]:
    """Return one session as JSON data, without anything secret.

    Parameters
    ----------
    user
        JupyterHub's User.
    spawner
        One of what `user.all_spawners()` yields: a spawner, or the row of one that does not run.
    catalogue
        Where the service is looked up; default: the one that was used last.
    """
    row = getattr(spawner, "orm_spawner", None) or spawner
    live = user.spawners.get(row.name)
    state = state_of(live)
    service_id, options = _chosen(live, row)
    service = _service(user, live, service_id, catalogue or datalab.sessions.catalogue)
    key = (user.name, row.name)
    # The default session has no name of its own.
    shown = row.display_name if row.display_name and row.display_name != row.name else ""
    ending = datalab.sessions.ending(key) if state in ("stopped", "failed") else None
    return {
        "user": user.name,
        "name": row.name,
        "display_name": shown,
        "service": _describe_service(service_id, service),
        "state": "failed" if ending and ending["reason"] in _CRASHED else state,
        "url": user.server_url(row.name) if state == "running" else None,
        "progress": _progress(live) if state == "starting" else None,
        "error": _error(live) if state == "failed" else None,
        "started": _iso(row.started) if state in ("starting", "running", "stopping") else None,
        "last_activity": _iso(row.last_activity),
        "resources": _resources(options, service),
        "warnings": _warnings(live) if state in ("starting", "running") else [],
        "ended": ending,
        **datalab.idle.describe(live if state == "running" else None),
        "links": _links(datalab, user, row.name),
    }


_CRASHED: Final = frozenset({"exited", "out-of-memory", "unknown"})


def state_of(spawner: Any) -> State:
    """Return the state of a session from JupyterHub's flags; ``None``: one that nobody has looked at since the start.

    Examples
    --------
    >>> state_of(None)
    'stopped'
    """
    if spawner is None:
        return "stopped"
    if spawner.pending in ("spawn", "stop"):
        return "starting" if spawner.pending == "spawn" else "stopping"
    if spawner.ready or spawner.pending == "check":
        return "running"
    future = spawner._spawn_future
    failed = (
        future is not None and future.done() and not future.cancelled() and future.exception() is not None
    )
    return "failed" if failed else "stopped"


def was_used(spawner: Any) -> bool:
    """Return whether a session is one for the person: JupyterHub has a default one for everybody from the beginning."""
    row = getattr(spawner, "orm_spawner", None) or spawner
    return bool(row.name or row.last_activity or row.started or getattr(spawner, "active", False))


def _chosen(live: Any, row: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the service's id and the launch options: of the launch, or what was asked for the last time."""
    options = getattr(live, "launch_options", None)
    asked = row.user_options or {}
    service = getattr(getattr(live, "service", None), "id", "") or (row.state or {}).get("service", "")
    raw = asked.get("options")
    return (
        str(service or asked.get("service") or asked.get("profile") or ""),
        options.to_dict() if options is not None else raw if isinstance(raw, Mapping) else {},
    )


def _service(user: Any, live: Any, service_id: str, catalogue: Catalogue | None) -> Service | None:
    """Return the service of a session; launch options without one are for the person's default service."""
    known: Service | None = getattr(live, "service", None)
    if known is not None or catalogue is None:
        return known
    if service_id:
        return catalogue.get(service_id)
    return catalogue.default_for(frozenset(group.name for group in user.groups))


def _describe_service(service_id: str, service: Service | None) -> dict[str, Any]:
    if service is None:
        return {
            "id": service_id,
            "name": {"en": service_id, "fr": ""},
            "icon": "",
            "readme": False,
            "links": [],
        }
    return {
        "id": service.id,
        "name": service.name.model_dump(),
        "icon": service.icon,
        "readme": service.readme is not None,
        "links": [{"name": link.name.model_dump(), "url": link.url} for link in service.links],
    }


def _resources(options: Mapping[str, Any], service: Service | None) -> dict[str, dict[str, str | None]]:
    """Return what was asked for: kind -> ``guaranteed`` and ``limit``, as quantities of Kubernetes."""
    asked = options.get("resources")
    asked = asked if isinstance(asked, Mapping) else {}
    found: dict[str, dict[str, str | None]] = {}
    for kind in ("cpu", "memory"):
        ours = getattr(service.resources, kind) if service is not None else None
        found[kind] = {}
        for name, section in (("guaranteed", "requests"), ("limit", "limits")):
            part = asked.get(section)
            chosen = part.get(kind) if isinstance(part, Mapping) else None
            default = getattr(ours, name, None)
            found[kind][name] = str(chosen) if chosen else default.default if default is not None else None
    return found


def _progress(live: Any) -> dict[str, Any]:
    events = getattr(getattr(live, "launch_progress", None), "events", None)
    last = events[-1] if events else {"progress": 0, "message": ""}
    return {"percent": last["progress"], "message": last["message"]}


def _warnings(live: Any) -> list[str]:
    """Return the warnings of the launch; a hub that was restarted meanwhile has forgotten them."""
    steps = getattr(getattr(live, "launch_progress", None), "steps", ())
    return [step.text.removeprefix("⚠ ") for step in steps if step.state == "warning"]


def _error(live: Any) -> str:
    """Return why the last launch failed, in words that were written for people; empty if there are none."""
    error = live._spawn_future.exception()
    return str(error.message or "") if isinstance(error, SpawnException) else ""


def _links(datalab: Datalab, user: Any, name: str) -> dict[str, str]:
    if not datalab.home.monitoring_url:
        return {}
    handle = datalab.handles.handle_for(user.name)
    # The namespace of a session's pod comes with sessions on Kubernetes.
    return {
        "monitoring": datalab.home.monitoring_url_of(user=user.name, handle=handle, session=name or "default")
    }


def _iso(time: datetime | None) -> str | None:
    """Return a time of JupyterHub's database (UTC, without saying so) in ISO 8601."""
    return time.replace(tzinfo=UTC).isoformat() if time is not None else None


class Sessions:
    """The sessions of a hub: which ones are active, what happened to them, who is told.

    Attributes
    ----------
    launches
        What is remembered of the last launches.
    active
        Sessions that run, start or stop.
    catalogue
        The catalogue as it was last seen.
    """

    def __init__(self, datalab: Datalab) -> None:
        self._datalab = datalab
        self.launches = Launches()
        self.active: dict[Key, Any] = {}
        self.catalogue: Catalogue | None = None
        self._changed: dict[Key, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> Sessions:
        """Return the sessions themselves: traitlets copies the hook of each spawner, and there are one datalab's."""
        return self

    # Events ------------------------------------------------------------------------------------------------------

    def changed(self, spawner: Any) -> None:
        """Note that a session has changed (the spawner's `state_hook`); open pages are told in a moment."""
        if spawner.user is None:
            return
        key = (spawner.user.name, spawner.name)
        if not self._changed:
            asyncio.get_running_loop().call_later(_TOGETHER, self._tell)
        self._changed[key] = spawner

    def _tell(self) -> None:
        changed, self._changed = self._changed, {}
        for key, spawner in changed.items():
            try:
                self._tell_one(key, spawner)
            except Exception:
                # Such as a row that is deleted just now; the pages ask again when they are next told something.
                log.debug("The change of %s cannot be told", key, exc_info=True)

    def _tell_one(self, key: Key, spawner: Any) -> None:
        user, name = spawner.user, spawner.name
        # The one that counts now: a failed launch and a stop leave spawners behind.
        current = user.spawners.get(name)
        progress = getattr(current, "launch_progress", None)
        if progress is not None:
            self.launches.follow(key, progress)
        if current is not None and current.active:
            if key not in self.active and state_of(current) == "starting":
                self.forget_ending(key)
            self.active[key] = current
        elif self.active.pop(key, None) is not None:
            self._datalab.idle.forget(key)
        if self._datalab.live.watched(user.name):
            self.publish(user, name)

    def publish(self, user: Any, name: str) -> None:
        """Tell open pages what a session is like now."""
        row = user.orm_spawners.get(name)
        if row is None:
            self.gone(user.name, name)
        else:
            self._datalab.live.publish(user.name, "session", describe(self._datalab, user, row))

    def gone(self, user_name: str, name: str) -> None:
        """Tell open pages that a session was deleted."""
        data = {"user": user_name, "name": name, "state": "deleted"}
        self._datalab.live.publish(user_name, "session", data)

    # Endings -----------------------------------------------------------------------------------------------------

    def ending(self, key: Key) -> dict[str, Any] | None:
        """Return how a session that was not stopped by its owner ended: ``reason``, ``at`` and more."""
        return self._datalab.documents.get("ending", _document_key(key))

    async def ended(self, spawner: Any, reason: str, **more: Any) -> None:
        """Keep how a session ended, until it is launched again.

        Raises
        ------
        DocumentError
            If it cannot be kept.
        """
        value = {"reason": reason, "at": datetime.now(UTC).isoformat(timespec="seconds"), **more}
        await self._datalab.documents.put("ending", _document_key((spawner.user.name, spawner.name)), value)
        self.changed(spawner)

    def forget_ending(self, key: Key) -> None:
        """Forget how a session ended."""
        if self.ending(key) is not None:
            self.run(self._datalab.documents.delete("ending", _document_key(key)))

    def note_exit(self, spawner: Any) -> None:
        """Keep why a session ended by itself; called when it has, with the spawner that ran it."""
        reason = getattr(spawner, "exit_reason", "")
        if reason in _CRASHED:
            self.run(self.ended(spawner, reason, code=int(spawner.exit_code)))

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Write a document without waiting for it."""
        task = asyncio.get_running_loop().create_task(_logged(work))
        # The loop itself holds tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Lists -------------------------------------------------------------------------------------------------------

    async def list(self, user: Any) -> list[dict[str, Any]]:
        """Return all sessions of a person, those that run first, then by last activity."""
        await self.refresh_catalogue(user)
        found = [describe(self._datalab, user, one) for one in user.all_spawners() if was_used(one)]
        return _ordered(found)

    async def refresh_catalogue(self, user: Any) -> None:
        """Look at the catalogue again: names and icons of services come from it."""
        try:
            self.catalogue = await user.spawner.get_catalogue()
        except Exception as error:
            log.warning("Sessions are shown without the catalogue: %s", type(error).__name__)


def _ordered(sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those that run first, and of these and of the others those first that were used last."""
    by_name = sorted(sessions, key=lambda session: str(session["name"]))
    by_activity = sorted(by_name, key=lambda session: session["last_activity"] or "", reverse=True)
    return sorted(by_activity, key=lambda session: session["state"] in ("stopped", "failed"))


def _document_key(key: Key) -> str:
    return f"{key[0]}/{key[1]}"


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except DocumentError as error:
        log.error("A document could not be written: %s", error)
