"""The state database: an SQLite file of mode 0600, or any database that SQLAlchemy knows, with short time limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

#: Seconds that a connection waits for another process's write.
BUSY_SECONDS: Final = 0.25


def open_engine(location: str | Path) -> sa.Engine:
    """Return an engine that hides parameters, so that no exception carries them.

    Parameters
    ----------
    location
        Path of an SQLite file (made with mode 0600), or an SQLAlchemy URL (SQLite or PostgreSQL).

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError, ImportError
        If the URL is none, or its driver is not installed.
    """
    text = str(location)
    url = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)
    arguments: dict[str, object] = {}
    options: dict[str, object] = {}
    if url.get_backend_name() == "sqlite":
        arguments = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        if url.database and url.database != ":memory:":
            _make_private_file(Path(url.database))
        else:
            # A database in memory belongs to its connection: threads have to share one.
            options = {"poolclass": StaticPool}
    elif url.get_backend_name() == "postgresql":
        arguments = {"connect_timeout": int(BUSY_SECONDS) + 1}
    return sa.create_engine(url, connect_args=arguments, hide_parameters=True, pool_pre_ping=True, **options)


def _make_private_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Made before SQLite opens it: SQLite would use the process's umask.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)
