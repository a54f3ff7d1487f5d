"""Runs one session on this machine: the server, the agent beside it, and whatever they start.

A program of its own (``python -I runner.py``, standard library only) that outlives the hub: a hub that is
restarted finds its sessions again. Its specification comes as JSON on standard input, never on the command
line, because it holds tokens. It

- is a session leader and child subreaper, so that everything the session starts stays within its reach,
- starts the agent again, with growing pauses, when it dies,
- copies the output of both into a log of bounded size,
- on SIGTERM ends the server gently and after ``grace`` seconds by force; on SIGINT by force at once,
- at the end kills every descendant, removes the control groups, and leaves ``exit.json``.

Once all is started it writes one line of JSON to standard output: ``{"started": true}`` or ``{"error":
"..."}``. With ``confirm`` in the specification, standard input stays open until the hub has noted the session, which it
says by one more line; if it ends without, the hub died, nobody knows of the session, and it is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
#: Seconds; an agent that lived at least this long is started again without a pause.
_AGENT_STEADY = 60.0
_AGENT_MAX_PAUSE = 60.0
_KILL_WITHIN = 10.0
LOCK_NAME = "lock"
EXIT_NAME = "exit.json"
RUNNER_NAME = "runner.json"


def start_time(pid: int) -> int | None:
    """Return when a process started (clock ticks since boot), or ``None`` if it is gone or a zombie.

    With it a process is told from a later one that got the same number; see proc(5), ``/proc/pid/stat``.
    """
    fields = stat_fields(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return int(fields[19])


def stat_fields(pid: int | str) -> list[str] | None:
    """Return the fields of proc_pid_stat(5) from ``state`` on; ``None`` if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, parentheses and blanks included.
    return text.rpartition(")")[2].split()


def descendants(pid: int) -> list[int]:
    """Return all living processes below `pid`, children before grandchildren."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208  (Path.iterdir costs twice as much for thousands of names)
        if entry.isdigit():
            fields = stat_fields(entry)
            if fields is not None and fields[0] not in "ZX":
                children.setdefault(int(fields[1]), []).append(int(entry))
    found = list(children.get(pid, ()))
    for child in found:
        found.extend(children.get(child, ()))
    return found


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def inner_process(pid: int) -> int:
    """Return the program that a chain of bubblewrap processes was started for; `pid` itself if it is none.

    bwrap forwards no signal, and when it ends, its program is killed without a word.
    """
    while _name_of(pid) == "bwrap":
        below = [child for child in descendants(pid) if _parent_of(child) == pid]
        if not below:
            break
        pid = below[0]
    return pid


def _parent_of(pid: int) -> int:
    fields = stat_fields(pid)
    return int(fields[1]) if fields else 0


class Log:
    """A file of bounded size (mode 0600); the part before it is kept as ``.1``."""

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._open()
        if self._size > limit // 2:
            self._rotate()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        os.close(self._fd)
        os.replace(self._path, self._path + ".1")  # noqa: PTH105
        self._open()

    def write(self, data: bytes) -> None:
        """Append; what a full disk does not take is dropped: a session must not die of its log."""
        with contextlib.suppress(OSError):
            if self._size + len(data) > self._limit:
                self._rotate()
            self._size += os.write(self._fd, data)

    def say(self, text: str) -> None:
        """Append a line of the runner's own."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self.write(f"[{stamp} session runner] {text}\n".encode())


def _child(program: Mapping[str, Any], output: int, limits: Mapping[str, Any], parent: int) -> NoReturn:
    """Become `program`; only called in a fresh child."""
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for directory in limits.get("cgroups", ()):
        Path(directory, "cgroup.procs").write_text("0", encoding="ascii")
    if limits.get("cpus"):
        os.sched_setaffinity(0, limits["cpus"])
    if limits.get("oom_score_adj") is not None:
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(limits["oom_score_adj"]), encoding="ascii")
    os.umask(program.get("umask", 0o022))
    os.chdir(program["cwd"])
    os.execvpe(program["argv"][0], program["argv"], dict(program["env"]))  # noqa: S606


def spawn(program: Mapping[str, Any], output: int, limits: Mapping[str, Any]) -> int:
    """Start `program` (``argv``, ``env``, ``cwd``) with its output going to `output`; return its number.

    Raises
    ------
    OSError
        If it cannot be started; the message says why and holds nothing of the environment.
    """
    parent = os.getpid()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_end)
            _child(program, output, limits, parent)
        except BaseException as error:
            os.write(write_end, (getattr(error, "strerror", None) or type(error).__name__).encode())
        finally:
            os._exit(127)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        problem = pipe.read().decode(errors="replace")
    if problem:
        os.waitpid(pid, 0)
        raise OSError(f"{program['argv'][0]} cannot be started: {problem}")
    return pid


class Runner:
    """One session: starts it, watches it, ends it."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec = spec
        self.state = Path(spec["state_directory"])
        self.log = Log(spec["log_file"], int(spec.get("log_bytes", 10_000_000)))
        self.server = 0
        self.agent = 0
        self.server_status: int | None = None
        self.stopping = False
        self.forced = False
        self._deadline: float | None = None
        self._agent_started = 0.0
        self._agent_pause = 1.0
        self._agent_due: float | None = None
        self._confirmation = -1
        self._selector = selectors.DefaultSelector()
        self._output_read, self._output = os.pipe()
        self._wake_read, self._wake = os.pipe()
        for end in (self._output_read, self._wake_read, self._wake):
            os.set_blocking(end, False)
        self._selector.register(self._output_read, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def await_confirmation(self, fd: int) -> None:
        """End the session if `fd` ends without a word: a hub that dies before it notes a session never ends it."""
        os.set_blocking(fd, False)
        self._confirmation = fd
        self._selector.register(fd, selectors.EVENT_READ)

    def lock(self) -> None:
        """Make sure that no other runner has this session.

        Raises
        ------
        OSError
            If one has.
        """
        self._lock = os.open(
            self.state / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError("this session already runs") from None

    def start(self) -> None:
        """Start agent and server.

        Raises
        ------
        OSError
            If one of them cannot be started; nothing runs then.
        """
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop(force=False))
        signal.signal(signal.SIGINT, lambda *_: self.stop(force=True))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._write(RUNNER_NAME, {"pid": os.getpid(), "start_time": start_time(os.getpid())})
        try:
            if self.spec.get("agent"):
                self._start_agent()
            self.server = spawn(self.spec["server"], self._output, self.spec.get("limits", {}))
        except OSError as error:
            self.log.say(str(error))
            self._kill_all()
            raise
        self.log.say(f"started, server is process {self.server}")

    def _start_agent(self) -> None:
        self._agent_due = None
        self._agent_started = time.monotonic()
        self.agent = spawn(self.spec["agent"], self._output, {})

    def stop(self, *, force: bool) -> None:
        """Begin to end the session: gently, or at once."""
        self.stopping = True
        self.forced = self.forced or force
        grace = 0.0 if self.forced else float(self.spec.get("grace", 10))
        deadline = time.monotonic() + grace
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        if self.server and not self.forced:
            _signal(inner_process(self.server), signal.SIGTERM)

    def run(self) -> int:
        """Watch until the server has ended; return its exit code (128 + n after signal n)."""
        while self.server_status is None:
            for key, _ in self._selector.select(self._timeout()):
                self._read(key.fd)
            self._reap()
            now = time.monotonic()
            if self._deadline is not None and now >= self._deadline:
                break
            if self._agent_due is not None and now >= self._agent_due and not self.stopping:
                try:
                    self._start_agent()
                except OSError as error:
                    self.log.say(str(error))
                    self._agent_ended()
        return self._finish()

    def _timeout(self) -> float | None:
        moments = [moment for moment in (self._deadline, self._agent_due) if moment is not None]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _read(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(fd, 65536)
            if fd == self._output_read:
                self.log.write(data)
            elif fd == self._confirmation:
                self._selector.unregister(fd)
                os.close(fd)
                if not data:
                    self.log.say("the hub ended before it noted the session")
                    self.stop(force=False)

    def _reaped(self) -> Iterator[tuple[int, int]]:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            yield pid, os.waitstatus_to_exitcode(status)

    def _reap(self) -> None:
        for pid, code in self._reaped():
            if pid == self.server:
                self.server_status = code
            elif pid == self.agent:
                self.log.say(f"the agent ended with code {code}")
                self._agent_ended()

    def _agent_ended(self) -> None:
        self.agent = 0
        if time.monotonic() - self._agent_started > _AGENT_STEADY:
            self._agent_pause = 1.0
        self._agent_due = time.monotonic() + self._agent_pause
        self._agent_pause = min(self._agent_pause * 2, _AGENT_MAX_PAUSE)

    def _finish(self) -> int:
        if self.agent:
            _signal(self.agent, signal.SIGTERM)
            self._wait_for_agent(2.0)
        out_of_memory = self._ran_out_of_memory()
        self._kill_all()
        self._read(self._output_read)
        self._remove_cgroups()
        status = -signal.SIGKILL if self.server_status is None else self.server_status
        code = 128 - status if status < 0 else status
        reason = "stopped" if self.stopping else "out-of-memory" if out_of_memory and code else "exited"
        self.log.say(f"ended: {reason}, code {code}")
        with contextlib.suppress(OSError):
            self._write(EXIT_NAME, {"code": code, "reason": reason, "time": time.time()})
            (self.state / RUNNER_NAME).unlink(missing_ok=True)
        return code

    def _wait_for_agent(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.agent and time.monotonic() < end:
            self._reap()
            time.sleep(0.02)

    def _kill_all(self) -> None:
        """Kill every descendant; orphans among them have come to us, their subreaper."""
        end = time.monotonic() + _KILL_WITHIN
        while time.monotonic() < end:
            left = set(descendants(os.getpid())) | self._in_cgroups()
            for pid in left:
                _signal(pid, signal.SIGKILL)
            self._reap()
            if not left:
                return
            time.sleep(0.02)

    def _cgroups(self) -> Sequence[str]:
        found: Sequence[str] = self.spec.get("limits", {}).get("cgroups", ())
        return found

    def _in_cgroups(self) -> set[int]:
        found: set[int] = set()
        for directory in self._cgroups():
            with contextlib.suppress(OSError, ValueError):
                found.update(map(int, Path(directory, "cgroup.procs").read_text(encoding="ascii").split()))
        return found

    def _ran_out_of_memory(self) -> bool:
        for directory in self._cgroups():
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    words = Path(directory, name).read_text(encoding="ascii").split()
                    counts = dict(zip(words[::2], words[1::2], strict=False))
                    if counts.get("oom_kill", "0") != "0":
                        return True
        return False

    def _remove_cgroups(self) -> None:
        for directory in self._cgroups():
            for _ in range(50):
                with contextlib.suppress(FileNotFoundError):
                    try:
                        Path(directory).rmdir()
                    except OSError:
                        # The kernel counts a killed process for a moment longer.
                        time.sleep(0.02)
                        continue
                break

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        temporary = self.state / f".{name}.new"
        temporary.unlink(missing_ok=True)
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w"
        ) as file:
            json.dump(content, file)
        temporary.replace(self.state / name)


def _answer(content: Mapping[str, Any]) -> None:
    """Tell the hub, if it still listens, and leave nothing that would keep its pipe open."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(content).encode() + b"\n")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def main() -> int:
    """Read the specification, run the session, return the server's exit code."""
    spec = json.loads(sys.stdin.readline())
    confirmation = os.dup(0) if spec.get("confirm") else -1
    with contextlib.suppress(PermissionError):
        os.setsid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        runner = Runner(spec)
        runner.lock()
        runner.start()
    except OSError as error:
        _answer({"error": str(error)})
        return 1
    _answer({"started": True})
    if confirmation >= 0:
        runner.await_confirmation(confirmation)
    return runner.run()


if __name__ == "__main__":
    sys.exit(main())
