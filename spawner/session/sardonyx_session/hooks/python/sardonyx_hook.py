"""Keeps ``os.environ`` of a running Python equal to what the session's agent last wrote.

Imported by ``sitecustomize`` in every Python of a session, so: built-in modules only, nothing printed,
nothing raised. A thread looks at the generation file once a second; IPython does so before each cell too. A
variable is only set when its value changed since the generation that this process knows, and not when the
process has put another value there itself.
"""

import _thread
import os
import sys
import time

_KEYS = (b"AWS_ACCESS_KEY_ID", b"AWS_SECRET_ACCESS_KEY", b"AWS_SESSION_TOKEN", b"AWS_CREDENTIAL_EXPIRATION")
_MARKER = b"SARDONYX_ACCESS_KEY_ID"
_KNOWN = b"SARDONYX_GENERATION"
_INTERVAL = 1.0

_run = ""
_seen = None  # type: object  # identity of the generation file at the last look
_given = {}  # type: dict[bytes, bytes]  # what this process was started with or got from here
_lock = _thread.allocate_lock()
_quit = _thread.allocate_lock()
_alive = False
_shell = None  # type: object  # the IPython shell that calls us before each cell


def start() -> None:
    """Bring the environment up to date, and keep it so. Does nothing outside a session."""
    global _run, _given  # noqa: PLW0603
    _run = os.environ.get("SARDONYX_RUN", "")
    if not _run or os.name != "posix":
        return
    _given = os.environb.copy()
    sync()
    _start_thread()
    os.register_at_fork(before=_before_fork, after_in_parent=_start_thread, after_in_child=_after_fork)


def sync(*_arguments: object) -> bool:
    """Take over what changed since the last call; return whether anything was read. Never raises."""
    global _seen  # noqa: PLW0603
    try:
        info = os.stat(_run + "/generation")
        seen = (info.st_mtime_ns, info.st_ino)
        if seen == _seen:
            return False
        if not _lock.acquire(True, 1.0):
            return False
        try:
            number = _known()
            if _seen is None and _number(_read("generation")) == number:
                _seen = seen  # a new process whose parent was up to date: nothing to read
                return False
            _apply(_read("env.nul").split(b"\0"), number)
            _seen = seen
        finally:
            _lock.release()
    except Exception:
        return False
    return True


def _known() -> int:
    return _number(os.environb.get(_KNOWN, b"0"))


def _number(text: bytes) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else 0


def _read(name: str) -> bytes:
    fd = os.open(_run + "/" + name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while True:
            part = os.read(fd, 1048576)
            if not part:
                return data
            data += part
    finally:
        os.close(fd)


def _apply(records: "list[bytes]", known: int) -> None:
    environ = os.environb
    marker = environ.get(_MARKER)
    # An access key that is not ours, or none although we gave one, is the choice of whoever started this
    # process.
    own_keys = environ.get(_KEYS[0]) != marker
    for record in records[1:-1]:
        changed, _, pair = record.partition(b" ")
        name, _, value = pair.partition(b"=")
        if own_keys and (name in _KEYS or name == _MARKER):
            continue
        current = environ.get(name)
        if _number(changed) <= known or current != _given.get(name):
            continue
        _given[name] = value
        if current != value:
            environ[name] = value  # in the file's order: the expiration comes last
    environ[_KNOWN] = records[0]


def _watch() -> None:
    while not _quit.acquire(True, _INTERVAL):
        sync()
        _hook_ipython()


def _hook_ipython() -> None:
    """Have IPython call :func:`sync` before each cell; without it the first cell after a renewal could be a
    second early."""
    global _shell  # noqa: PLW0603
    try:
        module = sys.modules.get("IPython.core.interactiveshell")
        shell = module and getattr(module.InteractiveShell, "_instance", None)
        if shell and shell is not _shell and hasattr(shell, "events"):
            shell.events.register("pre_run_cell", sync)
            _shell = shell
    except Exception:
        pass


def _start_thread() -> None:
    global _alive  # noqa: PLW0603
    try:
        if not _alive:
            _alive = True
            _thread.start_new_thread(_thread_main, ())
    except Exception:
        _alive = False


def _thread_main() -> None:
    global _alive  # noqa: PLW0603
    try:
        _watch()
    except BaseException:
        pass
    finally:
        _alive = False


def _before_fork() -> None:
    """End the thread: Python 3.12 and later warn about a fork beside a thread.

    Python 3.13.0 counts threads after the parent's hooks have run, and so still warns where warnings are shown.
    """
    if sys.version_info < (3, 12) or not _alive:
        return
    try:
        tasks = _tasks()
        _quit.release()  # the thread takes it and ends
        for _ in range(200):
            if not _alive and _tasks() < tasks:
                return
            time.sleep(0.0001)
        if _alive:
            _quit.acquire(False)  # it is busy: let it live, the warning is the lesser evil
    except Exception:
        pass


def _tasks() -> int:
    return os.stat("/proc/self/task").st_nlink


def _after_fork() -> None:
    global _alive, _lock, _quit  # noqa: PLW0603
    _lock = _thread.allocate_lock()
    _quit = _thread.allocate_lock()
    _quit.acquire()
    _alive = False
    sync()
    _start_thread()


_quit.acquire()
