"""Which credentials of which session still live, written down so that a hub that was restarted can end them.

What is written is marks: they name a credential and are good for nothing else. Never a token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from .model import SourceName

log = logging.getLogger("sardonyx.credentials")


@dataclass(frozen=True)
class Note:
    """One credential: its source, its mark, and when it ends by itself."""

    source: SourceName
    mark: str
    until: datetime

    def to_dict(self) -> dict[str, str]:
        """Return JSON data."""
        return {"source": self.source, "mark": self.mark, "until": self.until.astimezone(UTC).isoformat()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Note:
        """Return the note that :meth:`to_dict` made data of."""
        return cls(data["source"], data["mark"], datetime.fromisoformat(data["until"]))


class Documents(Protocol):
    """Where notes are kept (:class:`sardonyx_hub.documents.DocumentStore`)."""

    def items(self, kind: Any) -> dict[str, dict[str, Any]]: ...

    async def put(self, kind: Any, key: str, value: dict[str, Any]) -> None: ...

    async def delete(self, kind: Any, key: str) -> None: ...


class EndingNotes:
    """The notes of all sessions: in memory, and behind in the documents of kind ``credential``.

    A database that cannot be written costs a token of before a restart its early end; it is logged and holds nobody up.

    Parameters
    ----------
    documents
        Are read once, here. One document a session.
    clock
        Returns the present, with time zone. What has ended by itself is forgotten.
    """

    kind = "credential"

    def __init__(
        self, documents: Documents, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._notes: dict[str, tuple[Note, ...]] = {}
        self._changed: set[str] = set()
        self._writer: asyncio.Task[None] | None = None
        for session, document in documents.items(self.kind).items():
            try:
                self._notes[session] = tuple(Note.from_dict(data) for data in document["notes"])
            except (KeyError, TypeError, ValueError):
                log.warning(
                    "What was noted of the credentials of a session cannot be read; they end by themselves."
                )
            if not self.of(session):
                self._changed.add(session)

    def sessions(self) -> list[str]:
        """Return the sessions that have credentials which live."""
        return [session for session in self._notes if self.of(session)]

    def of(self, session: str) -> tuple[Note, ...]:
        """Return the notes of a session, without what has ended by itself."""
        now = self._clock()
        return tuple(note for note in self._notes.get(session, ()) if note.until > now)

    def add(self, session: str, note: Note) -> None:
        """Write down that a credential lives. Returns at once; call on the event loop."""
        if note not in self.of(session):
            self._keep(session, (*self.of(session), note))

    def remove(self, session: str, mark: str) -> None:
        """Strike out a credential that has ended."""
        known = self._notes.get(session, ())
        left = tuple(note for note in self.of(session) if note.mark != mark)
        if left != known:
            self._keep(session, left)

    async def settle(self, seconds: float) -> None:
        """Wait until all is written, or `seconds`."""
        self._begin_writing()
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=seconds)

    def _keep(self, session: str, notes: tuple[Note, ...]) -> None:
        if notes:
            self._notes[session] = notes
        else:
            self._notes.pop(session, None)
        self._changed.add(session)
        self._begin_writing()

    def _begin_writing(self) -> None:
        if self._changed and (self._writer is None or self._writer.done()):
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        # One writer: many changes of one session while the database is slow become one write.
        while self._changed:
            session = self._changed.pop()
            notes = self.of(session)
            try:
                if notes:
                    value = {"notes": [note.to_dict() for note in notes]}
                    await self._documents.put(self.kind, session, value)
                else:
                    await self._documents.delete(self.kind, session)
            except Exception as error:
                log.warning("The end of a session's credentials could not be noted: %s", type(error).__name__)
