"""Handles: the names by which backends know people and projects.

A user name never reaches a backend raw: in an S3 policy a person called ``*`` reads everybody's data. A
handle is a valid S3 bucket name, Kubernetes name, path segment and ``RoleSessionName`` all at once, and no
two people ever share one.

:func:`make_handle` is pure and says which handle a name wants; :class:`HandleRegistry` remembers who got
which.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from ..database import open_engine

#: Shape of every handle: 3 to 63 of ``a-z0-9-``, no dash at an end.
HANDLE_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)

#: Names that mean something to a part of the system or to a person who reads an address.
RESERVED_NAMES: Final = frozenset(
    {"default", "root", "system", "shared", "public", "anonymous", "sardonyx", "datalab", "hub", "personal"}
)

#: Prefixes that are not people's: projects, ourselves, Kubernetes, and those that S3 forbids in bucket names
#: (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
RESERVED_PREFIXES: Final = ("project-", "sardonyx-", "datalab-", "kube-", "sthree-", "amzn-s3-demo-")

#: Suffixes that S3 forbids; those with two dashes are excluded by the rule against ``--``.
RESERVED_SUFFIXES: Final = ("-s3alias",)

PROJECT_PREFIX: Final = "project-"

#: The tail of a handle that was made from a hash. A name of this shape is not safe as it is: it could be
#: another's handle.
_MADE = re.compile(r".*-x[a-z2-7]{10}")
_HASH_LENGTH = 10
_SLUG_LENGTH = 40


def is_handle(text: str) -> bool:
    """Return whether `text` has the shape of a handle; nothing else may be signed into a token or put into a
    path.
    """
    return HANDLE_PATTERN.fullmatch(text) is not None and "--" not in text


def _is_safe(name: str, reserved: Collection[str]) -> bool:
    return (
        is_handle(name)
        and name not in reserved
        and name not in RESERVED_NAMES
        and not name.startswith(RESERVED_PREFIXES)
        and not name.endswith(RESERVED_SUFFIXES)
        and _MADE.fullmatch(name) is None
    )


def _slug(name: str, length: int) -> str:
    """Return what of `name` fits a handle, perhaps nothing; for people who read a list of buckets, not for
    uniqueness.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:length].rstrip("-")
    # A prefix that S3 or we reserve stays reserved in a made handle too.
    return "u-" + slug if slug.startswith(RESERVED_PREFIXES) else slug or "user"


def _hash(name: str, salt: str) -> str:
    # surrogatepass: a name is whatever an authenticator returned, and a handle must come out of every one of
    # them.
    digest = hashlib.sha256(f"sardonyx-handle\0{salt}\0{name}".encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(digest).decode("ascii").lower()[:_HASH_LENGTH]


def make_handle(name: str, *, reserved: Collection[str] = (), salt: str = "") -> str:
    """Return the handle that `name` wants.

    Parameters
    ----------
    name
        A user name as the authenticator gave it: any text.
    reserved
        Names that are taken from the start, beside :data:`RESERVED_NAMES`: the shared buckets of the
        configuration.
    salt
        Anything but the empty string asks for another handle for the same name: the safe form is no longer
        taken as it is. A person deleted and made again is given one.

    Returns
    -------
    str
        `name` itself if it is safe and not reserved, else a readable slug, ``-x`` and 50 bits of SHA-256.

    Examples
    --------
    >>> make_handle("alice")
    'alice'
    >>> make_handle("bob*") != make_handle("bob?")
    True
    """
    if not salt and _is_safe(name, reserved):
        return name
    return f"{_slug(name, _SLUG_LENGTH)}-x{_hash(name, salt)}"


def make_project_handle(name: str) -> str:
    """Return the handle of the project (JupyterHub group) `name`: ``project-`` and what :func:`make_handle`
    makes of it.

    No person's handle starts with ``project-``.
    """
    if is_handle(name) and len(name) <= 55 and _MADE.fullmatch(name) is None:
        return PROJECT_PREFIX + name
    return f"{PROJECT_PREFIX}{_slug(name, _SLUG_LENGTH)}-x{_hash(name, 'project')}"


class HandleError(RuntimeError):
    """A handle could not be given; the message names the person and what stands in the way."""


_metadata = sa.MetaData()
_handles = sa.Table(
    "handles",
    _metadata,
    sa.Column("handle", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, index=True),
    # The name again while its person lives, NULL after: the unique constraint lets one living person have a
    # name, on every database, even when two hubs insert at the same moment.
    sa.Column("live_name", sa.String(255), nullable=True, unique=True),
    sa.Column("subject", sa.String(255), nullable=True),
    sa.Column("created_at", sa.DateTime, nullable=False),
    sa.Column("retired_at", sa.DateTime, nullable=True),
)


@dataclass(frozen=True)
class _Entry:
    handle: str
    subject: str | None
    read_at: float


#: How often a request that met another process's write is tried again.
_ATTEMPTS = 8


class HandleRegistry:
    """Who has which handle, for ever.

    A handle that was given once is never given to anyone else: not after its person is deleted, not to a
    person who comes with the same name and another identity.

    Parameters
    ----------
    location
        Path of an SQLite file (made with mode 0600), or an SQLAlchemy URL (SQLite or PostgreSQL).
    reserved
        Names that no person may have as a handle: the shared buckets of the configuration.
    cache_seconds
        How long an answer is believed without asking the database again. Another hub process sees a change
        that late.
    monotonic
        Clock of the cache, for tests.

    Raises
    ------
    HandleError
        If a name in `reserved` is the handle of somebody already: that person's bucket would become a shared
        one.

    Notes
    -----
    *If the registry is lost* (and not restored from a backup), people with safe names, and all others, get
    the handle again that :func:`make_handle` computes, so living people keep their buckets and secrets as
    long as they were the first of their name. Not recovered: that a person was deleted and made again, or
    that a name passed to another `subject`. Those later people had a salted handle; they would be given the
    first person's handle and see that person's data. So after such a loss, restore the backup, or check the
    people whose bucket ends in ``-x`` and a hash before letting them in.
    """

    def __init__(
        self,
        location: str | Path,
        reserved: Collection[str] = (),
        *,
        cache_seconds: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reserved = frozenset(reserved)
        self._cache: dict[str, _Entry] = {}
        self._cache_seconds = cache_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._engine = _engine(location)
        with suppress(OperationalError):  # two processes that start at once both find no table
            _metadata.create_all(self._engine)
        try:
            taken = sorted(name for name in self.reserved if self._holder(name) is not None)
        except SQLAlchemyError as error:
            problem = type(error).__name__
            raise HandleError(f"The database of handles does not answer: {problem}.") from None
        if taken:
            raise HandleError(
                f"Reserved names are handles of people already: {', '.join(taken)}. "
                "Choose other names for these shared buckets."
            )

    def handle_for(self, name: str, subject: str | None = None) -> str:
        """Return the handle of the person called `name`, giving one at the first call.

        Parameters
        ----------
        name
            The JupyterHub user name.
        subject
            Who the identity provider says the person is (``sub``), if it says so. Bound at the first call
            that has one; the same name with another subject is another person: the old handle is retired and
            a new one given. ``None`` asks for whoever has the name now.

        Raises
        ------
        HandleError
            If the name has more than 255 characters or the database does not answer.
        """
        if len(name) > 255 or len(subject or "") > 255:
            raise HandleError("A user name and its subject have at most 255 characters.")
        cached = self._cached(name)
        if cached is not None and subject in (None, cached.subject):
            return cached.handle
        with self._lock:
            for attempt in range(_ATTEMPTS):
                try:
                    handle = self._settle(name, subject)
                except (IntegrityError, OperationalError):
                    # Another process was first or holds the file: what it wrote is there at the next look.
                    time.sleep(0.01 * attempt)
                else:
                    if handle is not None:
                        return handle
        known = self._cache.get(name)
        if known is not None and subject in (None, known.subject):
            # Whoever had the name half a minute ago: better than nobody who works.
            return known.handle
        raise HandleError(f"No handle could be given to {name!r}: the registry of handles does not answer.")

    def lookup(self, name: str) -> str | None:
        """Return the handle of the living person called `name`, or ``None``; never gives one."""
        cached = self._cached(name)
        if cached is not None:
            return cached.handle
        row = self._live(name)
        return None if row is None else self._remember(name, row.handle, row.subject)

    def is_successor(self, name: str, subject: str | None) -> bool:
        """Return whether `name` belongs to somebody whom the identity provider knows by another subject than `subject`.

        Then :meth:`handle_for` retires that person's handle.
        """
        row = self._live(name)
        if row is None or row.subject is None or subject is None:
            return False
        return bool(row.subject != subject)

    def lookup_many(self, names: Collection[str]) -> dict[str, str]:
        """Return the handles of those of `names` that have one, in one query; asks the database."""
        query = sa.select(_handles.c.live_name, _handles.c.handle).where(_handles.c.live_name.in_(names))
        with self._engine.connect() as connection:
            return {row.live_name: row.handle for row in connection.execute(query)}

    def name_of(self, handle: str, *, retired: bool = False) -> str | None:
        """Return who has `handle`, or ``None``; with `retired` also who had it: the name may be another's."""
        row = self._holder(handle)
        if row is None or (row.retired_at is not None and not retired):
            return None
        return str(row.name)

    def retire(self, name: str) -> None:
        """Take the handle of the person called `name` away for good; the next of that name gets another."""
        with self._lock, self._engine.begin() as connection:
            connection.execute(_retire(name))
        self._cache.pop(name, None)

    def close(self) -> None:
        """Close the connections to the database."""
        self._engine.dispose()

    def _cached(self, name: str) -> _Entry | None:
        entry = self._cache.get(name)
        return entry if entry and self._monotonic() - entry.read_at < self._cache_seconds else None

    def _remember(self, name: str, handle: str, subject: str | None) -> str:
        self._cache[name] = _Entry(handle, subject, self._monotonic())
        return handle

    def _live(self, name: str) -> sa.Row[str, str | None] | None:
        query = sa.select(_handles.c.handle, _handles.c.subject).where(_handles.c.live_name == name)
        with self._engine.connect() as connection:
            return connection.execute(query).first()

    def _holder(self, handle: str) -> sa.Row[str, datetime | None] | None:
        query = sa.select(_handles.c.name, _handles.c.retired_at).where(_handles.c.handle == handle)
        with self._engine.connect() as connection:
            return connection.execute(query).first()

    def _settle(self, name: str, subject: str | None) -> str | None:
        """Find, bind or give a handle once; ``None`` if another process changed the row in between."""
        row = self._live(name)
        if row is None:
            return self._give(name, subject, replace=False)
        if subject is None or row.subject == subject:
            return self._remember(name, row.handle, row.subject)
        if row.subject is not None:
            return self._give(name, subject, replace=True)
        bind = _handles.update().where(_handles.c.handle == row.handle, _handles.c.subject.is_(None))
        with self._engine.begin() as connection:
            bound = connection.execute(bind.values(subject=subject)).rowcount
        return self._remember(name, row.handle, subject) if bound else None

    def _give(self, name: str, subject: str | None, *, replace: bool) -> str | None:
        with self._engine.begin() as connection:
            if replace and not connection.execute(_retire(name)).rowcount:
                return None
            handle = self._free_handle(connection, name)
            values = {
                "handle": handle,
                "name": name,
                "live_name": name,
                "subject": subject,
                "created_at": _now(),
            }
            connection.execute(_handles.insert().values(values))
        return self._remember(name, handle, subject)

    def _free_handle(self, connection: sa.Connection, name: str) -> str:
        salt = 0
        while True:
            handle = make_handle(name, reserved=self.reserved, salt=str(salt) if salt else "")
            taken = connection.execute(
                sa.select(_handles.c.handle).where(_handles.c.handle == handle)
            ).first()
            if taken is None:
                return handle
            salt += 1


def _retire(name: str) -> sa.Update:
    return _handles.update().where(_handles.c.live_name == name).values(live_name=None, retired_at=_now())


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _engine(location: str | Path) -> sa.Engine:
    try:
        return open_engine(location)
    except (SQLAlchemyError, ImportError) as error:
        raise HandleError(f"The database of handles cannot be opened: {type(error).__name__}.") from None
