"""Processes of the embedded parts: own process group, bounded private log, an end that is sure."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.files import private_directory

#: One log file; there are at most two of a part (the present one and ``.1``).
LOG_BYTES = 5 * 1024 * 1024
_LAUNCH = str(Path(__file__).with_name("launch.py"))


class BoundedLog:
    """A log file of mode 0600 that is set aside as ``NAME.1`` when it has reached :data:`LOG_BYTES`.

    A full disk must not end a part: what cannot be written is dropped.
    """

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self.path = path
        self._limit = limit
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Append `data`."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._file is None:
                private_directory(self.path.parent)
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                self._file = os.fdopen(descriptor, "ab", buffering=0)
            self._file.write(data)
            if self._file.tell() >= self._limit:
                self._file.close()
                self._file = None
                self.path.replace(self.path.with_name(self.path.name + ".1"))

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


class ManagedProcess:
    """One process of a part; can be started again after its end.

    It is the leader of its own process group and dies with the thread that started it (``PR_SET_PDEATHSIG`` counts
    threads), so start it from a thread that lives as long as it shall: the main one.

    Parameters
    ----------
    name
        What people call the part.
    command
        Program and arguments; no secret in them, ``ps`` shows them.
    log
        Where its output goes.
    environment
        Added to the present environment; ``None`` as a value removes a variable.
    directory, umask
        Working directory and file mode creation mask; inherited by default.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str | None] | None = None,
        directory: Path | None = None,
        umask: int = -1,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment or {})
        self.directory = directory
        self.umask = umask
        self.log = BoundedLog(log)
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._tail: deque[str] = deque(maxlen=50)

    @property
    def pid(self) -> int | None:
        """Process id, or ``None`` before the first start."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last run (negative: the signal), or ``None``."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start it.

        Raises
        ------
        StartError
            If the program is missing or may not be run.
        """
        environment: dict[str, str] = dict(os.environ)
        for key, value in self.environment.items():
            environment.pop(key, None)
            if value is not None:
                environment[key] = value
        self._tail.clear()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.directory,
                start_new_session=True,
                umask=self.umask,
            )
        except OSError as error:
            raise StartError(
                self.name, f"cannot be started ({error.strerror})", "see `sardonyx doctor`"
            ) from error
        self._pump = threading.Thread(
            target=self._copy_output, args=(self._process,), name=f"log-{self.name}", daemon=True
        )
        self._pump.start()

    def stop(self, grace: float = 5.0, *, sign: signal.Signals = signal.SIGTERM) -> None:
        """Send `sign`, wait at most `grace` seconds, then kill its process group. Does nothing to one that ended."""
        process = self._process
        if process is None:
            return
        if process.poll() is None and grace > 0:
            process.send_signal(sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace)
        # Also after a good end: a helper process of the part may be left in its group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if self._pump is not None:
            self._pump.join(1)
        self.log.close()

    def kill(self) -> None:
        """Send SIGKILL to its process group without waiting."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def tail(self, lines: int = 5) -> list[str]:
        """Return the last lines of its output in this run."""
        return list(self._tail)[-lines:]

    def _copy_output(self, process: subprocess.Popen[bytes]) -> None:
        stream = process.stdout
        if stream is None:
            return
        with stream:
            for line in iter(lambda: stream.readline(65536), b""):
                self.log.write(line)
                text = line.decode(errors="replace").strip()
                if text:
                    self._tail.append(text)


def wait_until(
    check: Callable[[], bool],
    *,
    name: str,
    process: ManagedProcess | None,
    timeout: float,
    interval: float = 0.05,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Call `check` until it returns true.

    Raises
    ------
    StartError
        If `process` ends, or `timeout` seconds pass.
    """
    deadline = time.monotonic() + timeout
    while not check():
        if cancelled():
            raise StartError(name, "the start was interrupted", "start again")
        if process is not None and not process.running:
            raise StartError(
                name,
                f"ended while starting (exit code {process.exit_code}){_said(process)}",
                f"see {process.log.path}",
            )
        if time.monotonic() > deadline:
            where = f"see {process.log.path}" if process is not None else "see the logs"
            said = _said(process) if process is not None else ""
            raise StartError(name, f"did not come up within {timeout:.0f} s{said}", where)
        time.sleep(interval)


def _said(process: ManagedProcess) -> str:
    """Return the last line of the log that names a trouble, if it is harmless to show."""
    for line in reversed(process.tail(20)):
        lowered = line.lower()
        if any(word in lowered for word in ("token", "secret", "key", "password", "authorization")):
            continue
        if any(
            word in lowered for word in ("error", "fail", "no space", "denied", "in use", "fatal", "cannot")
        ):
            return f': "{line[:200]}"'
    return ""
