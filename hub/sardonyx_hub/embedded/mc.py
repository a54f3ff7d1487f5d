"""The MinIO client `mc`, built once from its Go module and kept in the cache.

No package registry has it as a binary. ``python -m sardonyx_hub.embedded.mc`` builds it, with ``go`` from
``PATH`` if that is new enough, else with a toolchain from its own lock file. Until it is there, a stub of
the same name tells the person who calls it how far the build is, and, after a failure, why there is no `mc`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .environments import (
    LOCKS,
    BuildError,
    Say,
    default_cache_root,
    ensure_environment,
    only_one,
    run_tied,
)
from .files import write_private

MODULE = "github.com/minio/mc"
#: The newest version that the Go module mirror has (13 March 2025), and the Go that its go.mod asks for.
VERSION = "v0.0.0-20250313080218-cf909e1063a9"
NEEDS_GO = (1, 23)
#: Seconds; 82 s on two free cores, with the lowest priority and little memory much longer.
BUILD_LIMIT = 2400.0
_BEAT = 5.0

#: POSIX sh; the state file beside it holds "building START" or "failed REASON", and is touched while the
#: build lives.
_STUB = """#!/bin/sh
# sardonyx stub: replaced by the MinIO client once that is built
state="${0%/*}/mc.state"
now=$(date +%s)
read -r word rest <"$state" 2>/dev/null || word=none
if [ "$word" = failed ]; then
    echo "mc: the MinIO client could not be built: $rest" >&2
    echo "mc: it is tried again when the datalab is started again; aws s3 and rclone work meanwhile" >&2
elif [ "$word" = building ] && [ $((now - $(date -r "$state" +%s))) -lt 60 ]; then
    echo "mc: the MinIO client is being built in the background, for $((now - rest)) s now." >&2
    echo "mc: this takes two to five minutes, once; then this command works by itself" >&2
else
    echo "mc: the MinIO client is not built yet; the datalab builds it in the background when it starts" >&2
fi
exit 75
"""


def bin_directory(cache_root: Path) -> Path:
    """Return the folder that belongs in a session's ``PATH``; one per version, so that a new one never
    changes an old session.
    """
    return cache_root / "bin" / f"mc-{VERSION}"


def is_built(cache_root: Path) -> bool:
    """Return whether the real `mc`, not the stub, is in its folder."""
    return (bin_directory(cache_root) / ".complete").is_file()


def ensure_mc(cache_root: Path, log: Say) -> Path:
    """Return the folder with `mc`, which holds the stub until the client is built; never waits and starts
    nothing.

    When :func:`is_built` says no, start :func:`build_command` as a background process.
    """
    directory = bin_directory(cache_root)
    if not is_built(cache_root):
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / "mc").exists():
            write_private(directory / "mc", _STUB, mode=0o755)
        log("the MinIO client (mc) is built in the background, once; sessions can use it after that")
    return directory


def build_command(cache_root: Path) -> list[str]:
    """Return the command that builds `mc` and ends: 0 when it is there, 1 when it could not be built."""
    return [sys.executable, "-m", __name__, "--cache", str(cache_root)]


def build_mc(cache_root: Path, log: Say) -> Path:
    """Build `mc` if it is not there, and return it. Blocking; takes minutes.

    Raises
    ------
    BuildError
        If there is no toolchain, no module mirror or no disk space; the stub tells the same reason from then
        on.
    """
    directory = ensure_mc(cache_root, log)
    target = directory / "mc"
    with only_one(directory / "mc.lock", "mc", log, limit=BUILD_LIMIT):
        if is_built(cache_root):
            return target
        state = directory / "mc.state"
        write_private(state, f"building {time.time():.0f}\n", mode=0o644)
        try:
            _build(_go(cache_root, log), cache_root, directory, log)
        except (BuildError, OSError) as error:
            write_private(state, f"failed {_one_line(error)}\n", mode=0o644)
            if isinstance(error, BuildError):
                raise
            raise BuildError(f"mc could not be built: {_one_line(error)}") from error
    return target


def _go(cache_root: Path, log: Say) -> Path:
    """Return a Go command that is new enough: the machine's own, else one from the lock file."""
    found = shutil.which("go")
    if found and _go_version(Path(found)) >= NEEDS_GO:
        return Path(found)
    environment = ensure_environment("go-toolchain", LOCKS / "go-toolchain.lock", cache_root, log)
    return environment / "bin" / "go"


def _go_version(go: Path) -> tuple[int, ...]:
    try:
        run = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    match = re.fullmatch(r"go(\d+)\.(\d+).*", run.stdout.strip())
    return (int(match[1]), int(match[2])) if match else ()


def _build(go: Path, cache_root: Path, directory: Path, log: Say) -> None:
    started = time.monotonic()
    log(f"building mc {VERSION} with {go}")
    state = directory / "mc.state"
    beat = started

    def on_wait() -> None:
        nonlocal beat
        if time.monotonic() - beat > _BEAT:
            beat = time.monotonic()
            os.utime(state)

    # Sources and intermediate files are of no use afterwards: 2 GB go back to the disk, also when the build
    # is interrupted.
    with tempfile.TemporaryDirectory(prefix=".build-", dir=_swept(cache_root)) as work:
        environment = go_environment(Path(work))
        command = [str(go), "install", f"{MODULE}@{VERSION}"]
        with (directory / "mc.log").open("w", encoding="utf-8") as output:
            deadline = started + BUILD_LIMIT
            run_tied(command, environment, Path(work), output, deadline=deadline, what="mc", on_wait=on_wait)
        (Path(work) / "bin" / "mc").replace(directory / "mc")
    (directory / ".complete").write_text(f"{VERSION}\n", encoding="utf-8")
    state.unlink(missing_ok=True)
    log(f"mc is ready ({time.monotonic() - started:.0f} s)")


def _swept(cache_root: Path) -> Path:
    """Return the folder of builds, without what builds left that were killed (only one runs: the caller
    holds the lock).
    """
    builds = cache_root / "builds"
    builds.mkdir(parents=True, exist_ok=True)
    for left in builds.glob(".build-*"):
        shutil.rmtree(left, ignore_errors=True)
    return builds


def go_environment(work: Path) -> dict[str, str]:
    """Return the environment of the Go command: everything it writes is under `work`; mirror and checksum
    database as configured.
    """
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("GOOS", "GOARCH", "CGO_", "GO111"))
    }
    return environment | {
        "GOPATH": str(work / "go"),
        "GOMODCACHE": str(work / "go" / "pkg" / "mod"),
        "GOCACHE": str(work / "cache"),
        "GOBIN": str(work / "bin"),
        "GOTMPDIR": str(work),
        "GOFLAGS": "-trimpath -modcacherw",  # without -modcacherw the sources could not be removed
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Build `mc` with the lowest priority; what it does is told on standard error."""
    parser = argparse.ArgumentParser(prog="python -m sardonyx_hub.embedded.mc", description=main.__doc__)
    parser.add_argument(
        "--cache", type=Path, default=default_cache_root(), help="where it is kept (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    os.nice(19)
    try:
        build_mc(options.cache, _tell)
    except BuildError as error:
        _tell(str(error))
        return 1
    return 0


def _tell(message: str) -> None:
    sys.stderr.write(f"mc: {message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
