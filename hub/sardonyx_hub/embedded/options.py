"""What an operator chooses for one run, and what is checked of it before anything starts."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sardonyx_hub.credentials.s3_policy import SharedBucket
from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.files import write_private
from sardonyx_hub.embedded.settings import DEFAULT_SHARED_BUCKETS

#: A start needs this much room in the home: databases, logs, the first volumes.
NEEDED_BYTES = 512 << 20
MINIMUM_TTL = 10
MAXIMUM_TTL = 43_200


@dataclass(frozen=True)
class RunOptions:
    """What an operator chooses for one run.

    Parameters
    ----------
    home, port, ttl
        ``SARDONYX_HOME``, ``PORT``, ``SARDONYX_CREDENTIAL_TTL`` (seconds).
    password
        Of the demo accounts; empty: the one kept in the home, or a random one.
    shared_buckets
        Buckets that several people use.
    environments
        Session environments by name that exist already; those of the catalogue that are missing here are built.
    build_mc
        Whether the ``mc`` command is built in the background.
    catalogue_file, config_file
        The operator's catalogue and ``sardonyx_config.py``, if any.
    debug
        Whether hub and proxy log at debug level.
    """

    home: Path
    port: int = 8000
    ttl: int = 3600
    password: str = field(default="", repr=False)
    shared_buckets: tuple[SharedBucket, ...] = DEFAULT_SHARED_BUCKETS
    environments: Mapping[str, Path] = field(default_factory=dict)
    build_mc: bool = True
    catalogue_file: Path | None = None
    config_file: Path | None = None
    debug: bool = False

    def check(self) -> None:
        """Check what can be checked without touching anything.

        Raises
        ------
        StartError
            If a choice is out of range, or the disk is (nearly) full.
        """
        if not 1 <= self.port <= 65535:
            raise StartError("port", f"{self.port} is no port number", "set PORT to one from 1 to 65535")
        if not MINIMUM_TTL <= self.ttl <= MAXIMUM_TTL:
            raise StartError(
                "life of credentials",
                f"{self.ttl} s is out of range",
                f"set SARDONYX_CREDENTIAL_TTL to {MINIMUM_TTL} to {MAXIMUM_TTL} seconds",
            )
        if self.catalogue_file is not None and not self.catalogue_file.is_file():
            raise StartError("catalogue", f"{self.catalogue_file} does not exist", "correct its path")
        require_space(self.home)


def require_space(path: Path, needed: int = NEEDED_BYTES) -> None:
    """Check that the disk of `path` (which need not exist yet) has `needed` bytes free.

    Raises
    ------
    StartError
        If it has less.
    """
    free = free_bytes(path)
    if free < needed:
        raise disk_full(path, free)


def free_bytes(path: Path) -> int:
    """Return the free bytes on the disk of `path` or of its nearest folder that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def disk_full(path: Path, free: int) -> StartError:
    """Return the error that says so."""
    return StartError(
        "disk",
        f"only {free >> 20} MB are free for {path}",
        f"free at least {NEEDED_BYTES >> 20} MB, or set SARDONYX_HOME to a folder on another disk",
    )


def keep_password(path: Path, chosen: str) -> bool:
    """Write the demo password to `path` (0600): `chosen`, else the one kept there, else a random one.

    Returns
    -------
    bool
        Whether it may be shown: one that the operator chose need not be repeated.
    """
    if chosen:
        write_private(path, chosen + "\n")
        return False
    try:
        kept = path.read_text().strip()
    except OSError:
        kept = ""
    if kept:
        path.chmod(0o600)
    else:
        # Letters that cannot be mistaken for one another: it is typed from a terminal.
        alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
        write_private(path, "".join(secrets.choice(alphabet) for _ in range(16)) + "\n")
    return True
