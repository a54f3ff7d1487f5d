"""Session environments: virtual environments built once from a lock file and shared, read-only, by all
sessions.

An environment lives in ``<cache>/environments/<name>-<digest>``; the digest covers the lock file and the
interpreter, so that another lock or another Python makes another environment and sessions that run keep
theirs. Virtual environments cannot be moved, so each is built at its final place, and the file ``.complete``
in it, written last, says that it is whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

#: Lock files that ship with this package.
LOCKS = Path(__file__).parent / "environments"
COMPLETE = ".complete"
#: Seconds; the largest environment is 1.2 GB, which a slow line takes minutes for.
BUILD_LIMIT = 1800.0
_POLL = 0.2
_SAY_EVERY = 10.0
_SHOWN = 300
_TIED = Path(__file__).with_name("launch.py")

Say = Callable[[str], None]


class BuildError(RuntimeError):
    """Something that is built once could not be; the message is one line: what, why, and what to do."""


def default_cache_root() -> Path:
    """Return the folder of what is built once: ``SARDONYX_CACHE``, else ``sardonyx`` in the person's cache
    folder.
    """
    chosen = os.environ.get("SARDONYX_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser().resolve() / "sardonyx"


def environment_path(name: str, lock: Path, cache_root: Path) -> Path:
    """Return where the environment `name` of the lock file `lock` is or will be."""
    what = hashlib.sha256(lock.read_bytes())
    what.update(f"{sys.version}|{sys.base_prefix}|{platform.machine()}".encode())
    return cache_root / "environments" / f"{name}-{what.hexdigest()[:16]}"


def is_complete(path: Path) -> bool:
    """Return whether the environment at `path` is whole and its interpreter still there."""
    return (path / COMPLETE).is_file() and (path / "bin" / "python").exists()


def ensure_environment(name: str, lock: Path, cache_root: Path, log: Say) -> Path:
    """Return the environment of a lock file, building it first if it is not there.

    Blocking: run it in a thread. Several callers, in this or other processes, build it once; the others
    wait. What uv prints goes to ``<cache>/environments/<name>-<digest>.log``.

    Parameters
    ----------
    name
        The catalogue's name of the environment, such as ``jupyter-python``.
    lock
        Requirements with exact versions and hashes.
    cache_root
        See :func:`default_cache_root`.
    log
        Called with short sentences about the progress.

    Raises
    ------
    BuildError
        If it could not be built: no disk space, no package registry, a hash that does not match, more than
        ``BUILD_LIMIT`` seconds.
    """
    path = environment_path(name, lock, cache_root)
    if is_complete(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with only_one(path.with_suffix(".lock"), f"the environment {name}", log):
            if not is_complete(path):
                _build(name, lock, path, log)
    except OSError as error:
        raise BuildError(_os_problem(f"the environment {name}", path, error)) from error
    return path


def _build(name: str, lock: Path, path: Path, log: Say) -> None:
    started = time.monotonic()
    log(f"building the environment {name} (once; a few minutes with an empty cache)")
    if path.exists():  # left by a build that was interrupted: nothing without the stamp is in use
        shutil.rmtree(path)
    uv = [sys.executable, "-m", "uv"]
    install = [*uv, "pip", "install", "--python", str(path / "bin" / "python"), "--require-hashes"]
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    environment |= {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    deadline = started + BUILD_LIMIT
    with path.with_suffix(".log").open("w", encoding="utf-8") as output:
        for step in (
            [*uv, "venv", "--quiet", "--python", sys.executable, str(path)],
            # compiled now, because sessions cannot write into it; the lock is all that is wanted (requirements/overrides.txt)
            [*install, "--no-deps", "--no-build", "--compile-bytecode", "--requirements", str(lock)],
        ):
            run_tied(
                step, environment, path.parent, output, deadline=deadline, what=f"the environment {name}"
            )
    (path / COMPLETE).write_text(f"{time.time():.0f}\n", encoding="utf-8")
    log(f"the environment {name} is ready ({time.monotonic() - started:.0f} s)")


def run_tied(
    command: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    output: IO[str],
    *,
    deadline: float,
    what: str,
    on_wait: Callable[[], None] | None = None,
) -> None:
    """Run `command` until `deadline` (of the monotonic clock) with its output in the file `output`; it never
    outlives us.

    `on_wait` is called a few times a second meanwhile.

    Raises
    ------
    BuildError
        If the command fails or takes too long; the message ends with the last thing that it printed.
    """
    tied = [sys.executable, "-I", "-S", str(_TIED), str(os.getpid()), *command]
    with subprocess.Popen(
        tied,
        env=dict(environment),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise BuildError(f"{what} was not built in time; see {output.name}, then start again")
                if on_wait is not None:
                    on_wait()
                time.sleep(_POLL)
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode:
        raise BuildError(_why(what, Path(output.name), process.returncode))


def _why(what: str, output: Path, code: int) -> str:
    """Return one line that tells why a build failed, from the end of what it printed."""
    lines = [
        line.strip(" ×│╰─▶├•") for line in output.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    told = [line for line in lines if line]
    text = " ".join(told)
    if "No space left on device" in text or "os error 28" in text:
        return f"{what} could not be built: no space left on {output.parent}; make room, then start again"
    if "os error 122" in text or "Disk quota exceeded" in text:
        return f"{what} could not be built: your disk quota is used up; make room, then start again"
    last = "; ".join(told[-2:])[-_SHOWN:] if told else f"it ended with code {code}"
    return f"{what} could not be built: {last} (all of it in {output})"


def _os_problem(what: str, path: Path, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{what} could not be built: no space left on {path.parent}; make room, then start again"
    return f"{what} could not be built: {error.strerror or error} ({error.filename or path})"


@contextmanager
def only_one(lock: Path, what: str, log: Say, *, limit: float = BUILD_LIMIT) -> Iterator[None]:
    """Hold the file `lock` alone; wait, and say so, while another process holds it. It is released when the
    process ends.

    Raises
    ------
    BuildError
        If another process still holds it after `limit` seconds.
    """
    with lock.open("a") as file:
        deadline = time.monotonic() + limit
        say_at = 0.0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                now = time.monotonic()
                if now > deadline:
                    raise BuildError(
                        f"{what} is still being built by another process (it holds {lock})"
                    ) from error
                if now > say_at:
                    log(f"another process builds {what}; waiting for it")
                    say_at = now + _SAY_EVERY
                time.sleep(_POLL)
        yield
