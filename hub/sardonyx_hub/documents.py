"""Small JSON documents that the hub keeps: who accepted the terms, quotas, the announcement, warnings, keep-alives.

All of them are in memory, so that a page or a launch reads them without I/O; a write goes to the state database
first, in a thread, one after the other.
"""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from .database import open_engine

Statement = TypeVar("Statement", sa.Update, sa.Delete)
Kind = Literal["terms", "announcement", "quota", "keepalive", "warning", "ending", "credential"]

#: Longest document, as JSON in UTF-8.
MAX_BYTES: Final = 64 * 1024
#: Longest key: a person's and a session's name, and what is put between and before them.
MAX_KEY: Final = 600

_metadata = sa.MetaData()
_documents = sa.Table(
    "documents",
    _metadata,
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(MAX_KEY), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("updated_at", sa.DateTime, nullable=False),
)

#: How often a write that met another process's is tried again.
_ATTEMPTS = 8
#: Seconds that a caller waits for the database; a write that was begun goes on.
_WRITE_SECONDS = 5.0


class DocumentError(RuntimeError):
    """A document could not be kept; the message is for the log and for an administrator."""


class DocumentStore:
    """Documents by kind and key.

    Parameters
    ----------
    location
        Path of an SQLite file, or an SQLAlchemy URL; the handle registry's.
    write_seconds
        How long a caller waits for a write.

    Raises
    ------
    DocumentError
        If the documents cannot be read.

    Notes
    -----
    One hub process uses the documents at a time: another one's writes are seen at the next start only.
    """

    def __init__(self, location: str | Path, *, write_seconds: float = _WRITE_SECONDS) -> None:
        self._write_seconds = write_seconds
        self._cache: dict[str, dict[str, dict[str, Any]]] = {}
        self._revisions: dict[str, int] = {}
        self._waiting = 0
        # One thread: writes reach the database in the order in which they were asked for.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sardonyx-documents")
        try:
            self._engine = open_engine(location)
            with suppress(
                OperationalError, IntegrityError
            ):  # two processes that start at once both find no table
                _metadata.create_all(self._engine)
            self._load()
        except (SQLAlchemyError, ImportError, OSError) as error:
            raise DocumentError(f"The documents cannot be read: {type(error).__name__}.") from None

    def _load(self) -> None:
        with self._engine.connect() as connection:
            for row in connection.execute(sa.select(_documents.c.kind, _documents.c.key, _documents.c.value)):
                with suppress(ValueError):  # what was damaged by hand is as if it were not there
                    value = json.loads(row.value)
                    if isinstance(value, dict):
                        self._cache.setdefault(row.kind, {})[row.key] = value

    def get(self, kind: Kind, key: str) -> dict[str, Any] | None:
        """Return a copy of a document, or ``None``."""
        return copy.deepcopy(self._cache.get(kind, {}).get(key))

    def items(self, kind: Kind, prefix: str = "") -> dict[str, dict[str, Any]]:
        """Return copies of the documents of a kind whose keys begin with `prefix`, by key.

        Only these are copied: each page asks for the messages of its person, and others may have thousands.
        """
        known = self._cache.get(kind, {})
        return {key: copy.deepcopy(value) for key, value in known.items() if key.startswith(prefix)}

    def revision(self, kind: Kind) -> int:
        """Return a number that another one takes the place of at each write of that kind: for what is made of them."""
        return self._revisions.get(kind, 0)

    async def put(self, kind: Kind, key: str, value: dict[str, Any]) -> None:
        """Write a document; when this returns, it is in the database.

        Raises
        ------
        ValueError
            If the key or the document is too long, or the document is no JSON.
        DocumentError
            If the database does not take it in time.
        """
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        if not key or len(key) > MAX_KEY:
            raise ValueError(f"The key of a document has 1 to {MAX_KEY} characters.")
        if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise ValueError(f"A document has at most {MAX_BYTES} bytes.")
        await self._write(partial(self._put, kind, key, text))

    async def delete(self, kind: Kind, key: str) -> None:
        """Delete a document; one that is not there is deleted already.

        Raises
        ------
        DocumentError
            If the database does not answer in time.
        """
        if key in self._cache.get(kind, {}) or self._waiting:
            await self._write(partial(self._delete, kind, key))

    async def forget_person(self, name: str) -> None:
        """Delete what is kept about a person who is no more: another one of that name inherits none of it.

        Raises
        ------
        DocumentError
            If the database does not answer in time.
        """
        keys: list[tuple[Kind, str]] = [("quota", f"user:{name}"), ("warning", name)]
        kinds: tuple[Kind, ...] = ("keepalive", "warning", "ending")
        for kind in kinds:
            keys += [(kind, key) for key in self._cache.get(kind, {}) if key.startswith(f"{name}/")]
        for kind, key in keys:
            await self.delete(kind, key)

    async def ping(self) -> None:
        """Ask the database for nothing, to see whether it answers.

        Raises
        ------
        DocumentError
            If it does not, in time.
        """
        await self._write(self._select_one)

    def close(self) -> None:
        """Write what waits and close the connections."""
        self._writer.shutdown()
        self._engine.dispose()

    async def _write(self, write: Callable[[], None]) -> None:
        future = asyncio.get_running_loop().run_in_executor(self._writer, write)
        self._waiting += 1
        future.add_done_callback(self._written)
        try:
            # Shielded: a write that was begun ends, whoever still waits for it.
            async with asyncio.timeout(self._write_seconds):
                await asyncio.shield(future)
        except TimeoutError:
            raise DocumentError("The state database does not answer in time.") from None

    def _written(self, future: asyncio.Future[None]) -> None:
        self._waiting -= 1
        # Looked at here, as whoever asked for it may have gone.
        if not future.cancelled():
            future.exception()

    def _put(self, kind: str, key: str, text: str) -> None:
        def change(connection: sa.Connection) -> None:
            now = datetime.now(UTC).replace(tzinfo=None)
            found = connection.execute(
                _where(_documents.update(), kind, key).values(value=text, updated_at=now)
            )
            if not found.rowcount:
                row = {"kind": kind, "key": key, "value": text, "updated_at": now}
                connection.execute(_documents.insert().values(row))

        self._change(change)
        self._cache[kind] = {**self._cache.get(kind, {}), key: json.loads(text)}
        self._revisions[kind] = self._revisions.get(kind, 0) + 1

    def _delete(self, kind: str, key: str) -> None:
        self._change(lambda connection: connection.execute(_where(_documents.delete(), kind, key)))
        self._cache[kind] = {name: value for name, value in self._cache.get(kind, {}).items() if name != key}
        self._revisions[kind] = self._revisions.get(kind, 0) + 1

    def _select_one(self) -> None:
        self._change(lambda connection: connection.execute(sa.select(sa.literal(1))))

    def _change(self, change: Callable[[sa.Connection], object]) -> None:
        """Do `change` in a transaction; again if another process held the database."""
        problem = ""
        for attempt in range(_ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    change(connection)
            except (IntegrityError, OperationalError) as error:
                problem = type(error).__name__
                time.sleep(0.02 * attempt)
            except SQLAlchemyError as error:
                problem = type(error).__name__
                break
            else:
                return
        raise DocumentError(f"The state database could not be written: {problem}.")


def _where(statement: Statement, kind: str, key: str) -> Statement:
    return statement.where(_documents.c.kind == kind, _documents.c.key == key)
