"""The processes of a session on this machine, seen from the hub: start the runner, find it again, end it.

Everything here blocks: call it outside the event loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .runner import EXIT_NAME, RUNNER_NAME, descendants, start_time

_RUNNER = Path(__file__).with_name("runner.py")
_START_SECONDS = 20.0
_LISTEN = "0A"
#: Names the session in the environment of its processes, so that what escaped its runner can be found.
MARK = "SARDONYX_RUN_ID"
#: Set by ``sardonyx run`` for all that it starts; its guard finds runners by it.
SUPERVISOR = "SARDONYX_SUPERVISOR"


class RunnerError(Exception):
    """The runner did not start the session; the message says why."""


@dataclass(frozen=True)
class Identity:
    """A process, told from a later one that got the same number, also after a restart of the machine."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Return the identity of a living process; ``None`` if there is none."""
        started = start_time(pid)
        return None if started is None else cls(pid, started, boot_id())

    @property
    def alive(self) -> bool:
        """Whether that process still runs."""
        return self.boot == boot_id() and start_time(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)


@dataclass
class Runner:
    """A started runner.

    Parameters
    ----------
    identity
        The process.
    run_id
        Value of :data:`MARK` in the environment of everything that it started.
    process
        Its handle if this hub started it, to be reaped; a hub that was restarted has none.
    """

    identity: Identity
    run_id: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def alive(self) -> bool:
        """Whether it still runs; reaps it if not."""
        if self.process is not None:
            return self.process.poll() is None
        return self.identity.alive

    def confirm(self) -> None:
        """Tell it that the session is noted and goes on without this hub; a spec with ``confirm`` asks for that."""
        pipe = self.process.stdin if self.process is not None else None
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(OSError), pipe:
                pipe.write(b"noted\n")


def boot_id() -> str:
    """Return what names this boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def launch(spec: Mapping[str, Any], run_id: str, environ: Mapping[str, str]) -> Runner:
    """Start a runner with `spec` and wait until it has started its session.

    Parameters
    ----------
    environ
        The runner's own environment; its session's is in `spec`.

    Raises
    ------
    RunnerError
        If it could not; nothing is left of it then.
    """
    own = {**environ, MARK: run_id}
    if os.environ.get(SUPERVISOR):
        own[SUPERVISOR] = os.environ[SUPERVISOR]
    process = subprocess.Popen(
        [sys.executable, "-I", str(_RUNNER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=own,
        cwd="/",
        start_new_session=True,
    )
    identity = Identity.of(process.pid)
    try:
        _hand_over(process, spec)
    except BaseException:
        process.kill()
        process.wait()
        _close(process)
        kill_marked(run_id)
        raise
    if identity is None:
        raise RunnerError("the runner ended at once")
    return Runner(identity, run_id, process)


def _hand_over(process: subprocess.Popen[bytes], spec: Mapping[str, Any]) -> None:
    if process.stdin is None or process.stdout is None:
        raise RunnerError("the runner has no pipes")
    with process.stdout as answers:
        try:
            process.stdin.write(json.dumps(spec).encode() + b"\n")
            process.stdin.flush()
            if not spec.get("confirm"):
                process.stdin.close()
        except BrokenPipeError:
            raise RunnerError("the runner ended at once") from None
        ready, _, _ = select.select([answers], [], [], _START_SECONDS)
        line = answers.readline() if ready else b""
    try:
        answer = json.loads(line)
    except ValueError:
        raise RunnerError("the runner gave no answer") from None
    if not answer.get("started"):
        raise RunnerError(str(answer.get("error", "unknown")))


def left_behind(state: Path) -> Identity | None:
    """Return the runner of a session that a hub started and could not note any more; ``None`` if there is
    none."""
    try:
        found = json.loads((state / RUNNER_NAME).read_text(encoding="utf-8"))
        identity = Identity.of(int(found["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return identity if identity is not None and identity.started == found.get("start_time") else None


def exit_of(state: Path) -> tuple[int, str]:
    """Return the exit code and the reason of a session that ended; ``(1, "unknown")`` if its runner left
    none."""
    try:
        found = json.loads((state / EXIT_NAME).read_text(encoding="utf-8"))
        return int(found["code"]), str(found["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return 1, "unknown"


def end(runner: Runner, *, grace: float, now: bool = False) -> None:
    """End a session: its runner is asked to; after `grace` and some seconds more everything of it is
    killed."""
    runner.identity.signal(signal.SIGINT if now else signal.SIGTERM)
    deadline = time.monotonic() + (5.0 if now else grace + 8.0)
    while runner.alive and time.monotonic() < deadline:
        time.sleep(0.05)
    if runner.alive:
        below = descendants(runner.identity.pid)
        runner.identity.signal(signal.SIGKILL)
        for pid in below:
            _kill(pid)
    if runner.process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            runner.process.wait(timeout=5)
        _close(runner.process)
    kill_marked(runner.run_id)


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe to a runner that has ended."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def kill_marked(run_id: str) -> None:
    """Kill what carries the mark of a session, whoever its parent is now; gives up after 5 s."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        found = list(_marked(run_id))
        if not found:
            return
        for pid in found:
            _kill(pid)
        time.sleep(0.05)


def _marked(run_id: str) -> Iterable[int]:
    mark = f"{MARK}={run_id}".encode()
    for entry in os.listdir("/proc"):  # noqa: PTH208  (Path.iterdir costs twice as much for thousands of names)
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    yield int(entry)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


PortState = Literal["free", "ours", "taken"]


def port_state(port: int, runner: Runner) -> PortState:
    """Return who listens on a port of the loopback address: nobody, the session, or somebody else."""
    sockets = set(_listening(port))
    if not sockets:
        return "free"
    held, all_seen = _sockets_of(descendants(runner.identity.pid))
    # What cannot be looked into may hold it: a hub without rights over its sessions has to believe them.
    return "ours" if sockets <= held or not all_seen else "taken"


def _listening(port: int) -> Iterable[str]:
    """Yield the inodes of the sockets that listen on `port`; see proc_net_tcp in the kernel's
    documentation."""
    wanted = f":{port:04X}"
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(wanted) and fields[3] == _LISTEN:
                    yield fields[9]


def _sockets_of(pids: Iterable[int]) -> tuple[set[str], bool]:
    """Return the inodes of the sockets that processes hold, and whether all of them could be looked into."""
    found: set[str] = set()
    all_seen = True
    for pid in pids:
        try:
            entries = list(Path(f"/proc/{pid}/fd").iterdir())
        except FileNotFoundError:
            continue
        except OSError:
            all_seen = False
            continue
        for entry in entries:
            with contextlib.suppress(OSError):
                target = os.readlink(entry)  # noqa: PTH115  (text such as socket:[123], not a path)
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found, all_seen
