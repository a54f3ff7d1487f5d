"""What belongs to a session and must end with it: kept at hand, ended behind, tried again for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial

from .backend import Backend
from .errors import SourceError
from .model import SourceName
from .source import CredentialSource, SourceValue

log = logging.getLogger("sardonyx.credentials")

#: Seconds before each try to end a credential; after the last one its own end is waited for.
_PAUSES = (0.0, 1.0, 5.0, 20.0)
#: A session's tokens that live side by side (an old one may be in use until its agent asks again); the oldest
#: ends.
_LIVE_PER_SESSION = 8
_SWEEP_EVERY = 500


class Endings:
    """Tracks the credentials of each session and ends them.

    Endings have threads of their own: those of the launches may all be waiting for a backend that hangs.

    Parameters
    ----------
    sources
        Those whose `per_session` is true are used.
    clock
        Returns the present, with time zone.
    """

    def __init__(self, sources: Iterable[CredentialSource], clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._live: dict[str, list[tuple[CredentialSource, SourceValue]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tracked = 0
        self._backends: dict[SourceName, Backend] = {
            source.name: Backend(source.name, source.label, workers=2, queue=1000)
            for source in sources
            if source.per_session
        }

    def track(self, session: str, source: CredentialSource, value: SourceValue) -> None:
        """Remember that `value` ends with `session`."""
        live = self._live.setdefault(session, [])
        live.append((source, value))
        while len(live) > _LIVE_PER_SESSION:
            self._end_behind(*live.pop(0))
        self._tracked += 1
        if self._tracked % _SWEEP_EVERY == 0:
            self._sweep()

    def end_session(self, session: str) -> None:
        """Begin to end everything that is tracked for `session`."""
        for source, value in self._live.pop(session, ()):
            self._end_behind(source, value)

    async def settle(self, seconds: float) -> None:
        """Wait until everything begun is done, or `seconds`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def close(self) -> None:
        """Give up what is not done."""
        for task in self._tasks:
            task.cancel()
        for backend in self._backends.values():
            backend.close()

    def _end_behind(self, source: CredentialSource, value: SourceValue) -> None:
        task = asyncio.create_task(self._end(source, value))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, source: CredentialSource, value: SourceValue) -> None:
        backend = self._backends[source.name]
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            if value.expiration <= self._clock():
                return
            try:
                await backend.run(partial(source.end, value), seconds=source.timeout)
            except SourceError as error:
                failure = error
                if not error.transport and error.code != "circuit-open":
                    break
            else:
                return
        log.warning(
            "A credential of %s could not be ended and lives until %s: %s",
            source.label,
            value.expiration.isoformat(timespec="seconds"),
            failure.message,
        )

    def _sweep(self) -> None:
        """Forget what has expired by itself."""
        now = self._clock()
        for session in list(self._live):
            left = [pair for pair in self._live[session] if pair[1].expiration > now]
            if left:
                self._live[session] = left
            else:
                del self._live[session]
