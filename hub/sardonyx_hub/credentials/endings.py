"""What belongs to a session and must end with it: kept at hand, ended behind, tried again for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from .backend import Backend
from .ending_notes import EndingNotes, Note
from .errors import SourceError
from .model import SourceName
from .source import CredentialSource, MarkedSource, SourceValue

log = logging.getLogger("sardonyx.credentials")

#: Seconds before each try to end a credential; after the last one its own end is waited for.
_PAUSES = (0.0, 1.0, 5.0, 20.0)
#: A session's tokens that live side by side (an old one may be in use until its agent asks again); the oldest
#: ends.
_LIVE_PER_SESSION = 8
_SWEEP_EVERY = 500


@dataclass(frozen=True)
class _Ending:
    """One credential that is to end: how, and when it ends by itself. `mark` is what notes call it."""

    session: str
    source: CredentialSource
    call: Callable[[], None]
    until: datetime
    mark: str


class Endings:
    """Tracks the credentials of each session and ends them.

    Endings have threads of their own: those of the launches may all be waiting for a backend that hangs.

    Parameters
    ----------
    sources
        Those whose `per_session` is true are used.
    clock
        Returns the present, with time zone.
    notes
        Where is written what has to end, for a hub that is restarted; None: nowhere.
    """

    def __init__(
        self,
        sources: Iterable[CredentialSource],
        clock: Callable[[], datetime],
        notes: EndingNotes | None = None,
    ) -> None:
        self._clock = clock
        self._notes = notes
        self._sources = {source.name: source for source in sources if source.per_session}
        self._live: dict[str, list[tuple[CredentialSource, SourceValue]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._undone: list[_Ending] = []
        self._tracked = 0
        self._backends: dict[SourceName, Backend] = {
            name: Backend(name, source.label, workers=2, queue=1000) for name, source in self._sources.items()
        }

    def track(self, session: str, source: CredentialSource, value: SourceValue) -> None:
        """Remember that `value` ends with `session`."""
        live = self._live.setdefault(session, [])
        live.append((source, value))
        mark = _mark(source, value)
        if mark and self._notes is not None:
            self._notes.add(session, Note(source.name, mark, value.expiration))
        while len(live) > _LIVE_PER_SESSION:
            self._end_behind(self._held(session, *live.pop(0)))
        self._tracked += 1
        if self._tracked % _SWEEP_EVERY == 0:
            self._sweep()

    def end_session(self, session: str) -> None:
        """Begin to end everything that is tracked for `session`, also what was written down before a restart."""
        endings = [self._held(session, *pair) for pair in self._live.pop(session, ())]
        held = {ending.mark for ending in endings}
        for note in self._notes.of(session) if self._notes is not None else ():
            source = self._sources.get(note.source)
            if note.mark not in held and isinstance(source, MarkedSource):
                call = partial(source.end_marked, note.mark)
                endings.append(_Ending(session, source, call, note.until, note.mark))
        for ending in endings:
            self._end_behind(ending)

    def sessions(self) -> set[str]:
        """Return the sessions that have something which has to end."""
        noted = self._notes.sessions() if self._notes is not None else ()
        return {*self._live, *noted}

    async def settle(self, seconds: float) -> None:
        """Wait until everything begun is done, or `seconds`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        if self._notes is not None:
            await self._notes.settle(seconds)

    async def close(self, seconds: float = 2.0) -> None:
        """Try once more, within `seconds`, what is not done (a hub that stops cancels it), and take no further request."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        last = [asyncio.create_task(self._end_once(ending, seconds)) for ending in self._undone]
        self._undone = []
        await asyncio.gather(*last, return_exceptions=True)
        if self._notes is not None:
            await self._notes.settle(seconds)
        for backend in self._backends.values():
            backend.close()

    def _held(self, session: str, source: CredentialSource, value: SourceValue) -> _Ending:
        return _Ending(session, source, partial(source.end, value), value.expiration, _mark(source, value))

    def _end_behind(self, ending: _Ending) -> None:
        task = asyncio.create_task(self._end(ending))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, ending))

    def _ended(self, ending: _Ending, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._undone.append(ending)

    async def _end(self, ending: _Ending) -> None:
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            if ending.until <= self._clock():
                return
            try:
                await self._end_once(ending, ending.source.timeout)
            except SourceError as error:
                failure = error
                if not error.transport and error.code != "circuit-open":
                    break
            else:
                return
        log.warning(
            "A credential of %s could not be ended and lives until %s: %s",
            ending.source.label,
            ending.until.isoformat(timespec="seconds"),
            failure.message,
        )

    async def _end_once(self, ending: _Ending, seconds: float) -> None:
        await self._backends[ending.source.name].run(ending.call, seconds=seconds)
        if ending.mark and self._notes is not None:
            self._notes.remove(ending.session, ending.mark)

    def _sweep(self) -> None:
        """Forget what has expired by itself."""
        now = self._clock()
        for session in list(self._live):
            left = [pair for pair in self._live[session] if pair[1].expiration > now]
            if left:
                self._live[session] = left
            else:
                del self._live[session]


def _mark(source: CredentialSource, value: SourceValue) -> str:
    return source.mark(value) if isinstance(source, MarkedSource) else ""
