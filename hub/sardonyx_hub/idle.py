"""Stops sessions that nobody uses, by the rule of their service, with a warning before it and a way to say no.

The rules at the top are pure. :class:`IdleKeeper` looks at the sessions that run; what it counts with is in JupyterHub's
database (last activity) and in our documents (keep-alive), so that a restart of the hub changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sardonyx_spawner.catalogue import Service
from sardonyx_spawner.idle_stop import NEVER, IdleStop, parse_duration

from .documents import DocumentError
from .history import Key
from .session_probe import Activity, look_into

if TYPE_CHECKING:
    from .datalab import Datalab

log = logging.getLogger("sardonyx")

#: Seconds between two looks at the sessions that run.
LOOK_EVERY: Final = 20.0
#: Sessions that are asked at the same time what goes on in them.
_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Rule:
    """After how long without activity a session is stopped, and how long before that its owner is warned."""

    after: timedelta
    warn: timedelta


def make_rule(idle_stop: IdleStop | None) -> Rule | None:
    """Return the rule that a catalogue or the configuration describes; ``None``: never."""
    if idle_stop is None or idle_stop.after == NEVER:
        return None
    return Rule(parse_duration(idle_stop.after), parse_duration(idle_stop.warn))


def rule_for(service: Service | None, default: Rule | None) -> Rule | None:
    """Return the rule for sessions of a service: its own, or the operator's for all."""
    if service is None or service.idle_stop is None:
        return default
    return make_rule(service.idle_stop)


@dataclass(frozen=True)
class Plan:
    """When a session is stopped if nothing happens to it until then."""

    warn_at: datetime
    stop_at: datetime


def make_plan(rule: Rule, active_at: datetime, kept_until: datetime | None) -> Plan:
    """Return when a session that was last active at `active_at` is stopped.

    Examples
    --------
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> make_plan(Rule(timedelta(hours=4), timedelta(minutes=15)), noon, None).stop_at.hour
    16
    """
    stop_at = active_at + rule.after
    if kept_until is not None:
        stop_at = max(stop_at, kept_until)
    return Plan(stop_at - rule.warn, stop_at)


@dataclass(frozen=True)
class _Warning:
    """When somebody was warned (seconds of a clock that only grows), and for when."""

    clock: float
    stop_at: datetime


class KeepAliveError(ValueError):
    """A session cannot be kept alive for so long; the message says for how long it can."""


class IdleKeeper:
    """Warns and stops.

    Parameters
    ----------
    datalab
        Whose sessions; its documents keep what people asked for.
    default
        The operator's rule.
    keep_alive_hours
        What people may choose from; empty: they cannot keep a session alive.
    now, clock
        Time of day in UTC, and seconds that only grow: the warning time is measured by these, so that a clock that is
        set forward stops nobody without a warning.
    probe
        Asks a session what goes on in it.
    """

    def __init__(
        self,
        datalab: Datalab,
        default: Rule | None = None,
        keep_alive_hours: tuple[int, ...] = (4, 12, 24),
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        probe: Callable[[Any], Awaitable[Activity | None]] = look_into,
    ) -> None:
        self._datalab = datalab
        self.default = default
        self.keep_alive_hours = keep_alive_hours
        self._now, self._clock, self._probe = now, clock, probe
        self._warned: dict[Key, _Warning] = {}
        self._seen: dict[Key, datetime] = {}
        self._task: asyncio.Task[None] | None = None

    # What people see and do --------------------------------------------------------------------------------------

    def describe(self, spawner: Any) -> dict[str, Any]:
        """Return what the description of a session says about this; ``None`` is one that does not run."""
        plan = self.plan(spawner) if spawner is not None else None
        if plan is None:
            return {"idle_stop_at": None, "idle_warning": False, "kept_until": None, "keep_alive_hours": []}
        kept, warned = self._kept_until(_key(spawner)), self._warned.get(_key(spawner))
        stop_at = plan.stop_at if warned is None else max(plan.stop_at, warned.stop_at)
        return {
            "idle_stop_at": stop_at.isoformat(),
            "idle_warning": warned is not None,
            "kept_until": kept.isoformat() if kept is not None and kept > self._now() else None,
            "keep_alive_hours": list(self.keep_alive_hours),
        }

    def plan(self, spawner: Any) -> Plan | None:
        """Return when a session that runs is stopped; ``None`` if no rule is for it."""
        rule = rule_for(self._service(spawner), self.default)
        return make_plan(rule, self._active_at(spawner), self._kept_until(_key(spawner))) if rule else None

    async def keep_alive(self, spawner: Any, hours: int) -> datetime:
        """Let a session run for `hours` from now, whatever happens in it; return until when.

        Raises
        ------
        KeepAliveError
            If it is not one of the hours that the operator allows.
        DocumentError
            If that cannot be kept.
        """
        if hours not in self.keep_alive_hours:
            allowed = ", ".join(map(str, self.keep_alive_hours)) or "nothing"
            raise KeepAliveError(f"'hours' is one of: {allowed}.")
        key, until = _key(spawner), self._now() + timedelta(hours=hours)
        await self._datalab.documents.put(
            "keepalive", "/".join(key), {"until": until.isoformat(timespec="seconds")}
        )
        self._warned.pop(key, None)
        self._datalab.sessions.changed(spawner)
        return until

    def forget(self, key: Key) -> None:
        """Forget a session that does not run any more; the next launch begins anew."""
        self._warned.pop(key, None)
        self._seen.pop(key, None)
        if self._datalab.documents.get("keepalive", "/".join(key)) is not None:
            self._datalab.sessions.run(self._datalab.documents.delete("keepalive", "/".join(key)))

    def _kept_until(self, key: Key) -> datetime | None:
        kept = self._datalab.documents.get("keepalive", "/".join(key))
        try:
            return datetime.fromisoformat(kept["until"]) if kept else None
        except (KeyError, TypeError, ValueError):
            return None

    def _active_at(self, spawner: Any) -> datetime:
        row = spawner.orm_spawner
        known = [time.replace(tzinfo=UTC) for time in (row.last_activity, row.started) if time is not None]
        seen = self._seen.get(_key(spawner))
        # A session that nothing is known of is active now.
        return max([*known, *([seen] if seen else [])], default=self._now())

    def _service(self, spawner: Any) -> Service | None:
        service: Service | None = getattr(spawner, "service", None)
        catalogue = self._datalab.sessions.catalogue
        if service is not None or catalogue is None:
            return service
        return catalogue.get(str((spawner.orm_spawner.state or {}).get("service", "")))

    # Looking -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Look at the sessions from now on, on the event loop that runs."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.look()
            except Exception:
                log.exception("The look at idle sessions failed; the next is in %s s", LOOK_EVERY)

    async def look(self) -> None:
        """Look at all sessions that run: warn about those that are idle, stop those that stay so."""
        running = [spawner for spawner in self._datalab.sessions.active.values() if spawner.ready]
        if running:
            await self._datalab.sessions.refresh_catalogue(running[0].user)
        places = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._look_safely(spawner, places) for spawner in running))

    async def _look_safely(self, spawner: Any, places: asyncio.Semaphore) -> None:
        """Look at one session: one that answers nothing, or nonsense, keeps no other from being looked at."""
        async with places:
            try:
                if spawner.ready:
                    await self._look_at(spawner)
            except Exception:
                log.exception("The look at the session %s of %s failed", spawner.name, spawner.user.name)

    async def _look_at(self, spawner: Any) -> None:
        key, plan = _key(spawner), self.plan(spawner)
        if plan is None or self._now() < plan.warn_at:
            if self._warned.pop(key, None) is not None:
                self._datalab.sessions.changed(spawner)
            return
        # JupyterHub learns of activity every five minutes; and a kernel that computes all night tells nothing at all.
        activity = await self._probe(spawner)
        if activity is not None:
            # What a session says is the session's to say: no time to come, from which nothing can be counted.
            found = self._now() if activity.busy else activity.last and min(activity.last, self._now())
            self._seen[key] = max(filter(None, (found, self._seen.get(key))), default=self._now())
            plan = self.plan(spawner)
            if plan is None or self._now() < plan.warn_at:
                if self._warned.pop(key, None) is not None:
                    self._datalab.sessions.changed(spawner)
                return
        await self._warn_or_stop(spawner, plan)

    async def _warn_or_stop(self, spawner: Any, plan: Plan) -> None:
        key, rule = _key(spawner), rule_for(self._service(spawner), self.default)
        warned = self._warned.get(key)
        if warned is None:
            self._warn(spawner, plan)
        elif (
            rule is not None
            and self._now() >= plan.stop_at
            and self._clock() - warned.clock >= rule.warn.total_seconds()
        ):
            await self._stop(spawner)

    def _warn(self, spawner: Any, plan: Plan) -> None:
        key = _key(spawner)
        stop_at = max(plan.stop_at, self._now() + self._warning_time(spawner))
        self._warned[key] = _Warning(self._clock(), stop_at)
        log.info(
            "The session %s of %s is idle and will be stopped at %s",
            key[1] or "default",
            key[0],
            stop_at,
        )
        data = {
            "kind": "idle",
            "user": key[0],
            "name": key[1],
            "title": title_of(spawner),
            "stop_at": stop_at.isoformat(),
        }
        self._datalab.live.publish(key[0], "warning", data)
        self._datalab.sessions.changed(spawner)

    def _warning_time(self, spawner: Any) -> timedelta:
        rule = rule_for(self._service(spawner), self.default)
        return rule.warn if rule is not None else timedelta(0)

    async def _stop(self, spawner: Any) -> None:
        from .session_actions import stop_now

        key, since = _key(spawner), self._active_at(spawner)
        log.info("Stopping the session %s of %s: idle since %s", key[1] or "default", key[0], since)
        try:
            await self._datalab.sessions.ended(spawner, "idle", since=since.isoformat(timespec="seconds"))
        except DocumentError as error:
            log.error("Why %s of %s was stopped could not be kept: %s", key[1] or "default", key[0], error)
        plan = self.plan(spawner)
        if not spawner.ready or plan is None or self._now() < plan.stop_at:
            # Stopped, used or kept alive while that was written.
            self._datalab.sessions.forget_ending(key)
            return
        await stop_now(spawner)


def title_of(spawner: Any) -> str:
    """Return what a person calls a session; its service's name or its own where it has no other."""
    row = spawner.orm_spawner
    service = getattr(spawner, "service", None)
    given = row.display_name if row.display_name and row.display_name != row.name else ""
    return given or row.name or (str(service.name) if service is not None else "")


def _key(spawner: Any) -> Key:
    return spawner.user.name, spawner.name


def rule_from_settings(settings: Mapping[str, str]) -> Rule | None:
    """Return the operator's rule for all services.

    Parameters
    ----------
    settings
        ``after`` and ``warn``, as in a catalogue.

    Raises
    ------
    ValueError
        If one of them is no duration.
    """
    return make_rule(IdleStop.model_validate(dict(settings))) if settings.get("after") else None
