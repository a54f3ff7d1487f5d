"""One run at a time in a home, and an end to it that nothing escapes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import IO

from sardonyx_hub.embedded import guard
from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.files import private_directory

_GUARD = str(Path(guard.__file__))


class Instance:
    """The lock on a home, the mark of this run and the guard that watches over it.

    Parameters
    ----------
    home
        ``SARDONYX_HOME``.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        #: Value of the variable :data:`~sardonyx_hub.embedded.guard.VARIABLE` of every process of this run.
        self.identifier = secrets.token_hex(16)
        self._lock: IO[str] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None

    def acquire(self) -> None:
        """Lock the home, end what an earlier run left behind, start the guard.

        Raises
        ------
        StartError
            If another run has the home, or it cannot be written.
        """
        try:
            private_directory(self.home)
            lock = os.fdopen(os.open(self.home / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
        except OSError as error:
            raise StartError(
                "home",
                f"{self.home} cannot be used ({error.strerror})",
                "set SARDONYX_HOME to another folder",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _read(lock).get("pid", "unknown")
            lock.close()
            raise StartError(
                "home",
                f"Sardonyx already runs in {self.home} (process {owner})",
                "stop it first, or set SARDONYX_HOME to another folder",
            ) from error
        self._lock = lock
        earlier = _read(lock).get("id")
        if isinstance(earlier, str):
            guard.end_marked(earlier)
        self.watch()
        self._write({"pid": os.getpid(), "id": self.identifier})

    def watch(self) -> None:
        """Start the guard if none runs."""
        if self._guard is not None and self._guard.poll() is None:
            return
        if self._pipe is not None:
            os.close(self._pipe)
        reading, self._pipe = os.pipe()
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", _GUARD, self.identifier, str(reading)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name != "SARDONYX_DEMO_PASSWORD"},
                pass_fds=[reading],
                # Out of reach of Ctrl-C; without the mark, which it would find in itself.
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise StartError(
                "guard", f"cannot be started ({error.strerror})", "see `sardonyx doctor`"
            ) from error
        finally:
            os.close(reading)

    def release(self) -> None:
        """End what is left of this run, the guard, and the lock."""
        guard.end_marked(self.identifier, grace=1.0)
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._guard is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(5)
            self._guard = None
        if self._lock is not None:
            self._write({})
            self._lock.close()
            self._lock = None

    def _write(self, data: dict[str, object]) -> None:
        if self._lock is None:
            return
        with contextlib.suppress(OSError):  # a full disk; the lock itself is what counts
            self._lock.seek(0)
            self._lock.truncate()
            self._lock.write(json.dumps(data))
            self._lock.flush()


def _read(lock: IO[str]) -> dict[str, object]:
    try:
        lock.seek(0)
        data = json.loads(lock.read() or "{}")
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
