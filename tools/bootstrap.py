"""Installs what a target of the Makefile needs into ./.venv and ./node_modules, from the lock files.

``python3 tools/bootstrap.py runtime|dev``: standard library only, because nothing else is there yet. Each
part leaves a stamp with the digest of what it was installed from, written last: a second start does nothing,
an interrupted one does the part again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
NODE_MODULES = ROOT / "node_modules"
UI = ROOT / "hub" / "ui"
UI_BUILT = ROOT / "hub" / "sardonyx_hub" / "pages" / "static" / "ui"
UV_LOCK = ROOT / "requirements" / "uv.lock"
LOCKS = {"runtime": ROOT / "requirements" / "runtime.lock", "dev": ROOT / "requirements" / "dev.lock"}
WORKSPACE = [ROOT, ROOT / "hub", ROOT / "spawner", ROOT / "spawner" / "session"]
NEEDS_PYTHON = (3, 11)
NEEDS_NODE = 20
#: Seconds for one step; a slow line takes minutes for the first one.
STEP_LIMIT = 1800


class BootstrapError(Exception):
    """Ends the installation; the message is one line that says what is wrong and what to do."""


def say(message: str) -> None:
    """Tell the person at the terminal what happens."""
    sys.stderr.write(f"sardonyx: {message}\n")


def check_tools() -> None:
    """Refuse, in one line, a machine on which the installation cannot work."""
    if sys.version_info < NEEDS_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise BootstrapError(
            f"Python {found} is too old: 3.11 or newer is needed (`make PYTHON=python3.12 run`)"
        )
    if not sys.platform.startswith("linux"):
        raise BootstrapError(f"only Linux is supported, this is {sys.platform}")
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            raise BootstrapError(
                f"{command} is not installed: Node.js {NEEDS_NODE} or newer with npm is needed"
            )
    version = ["node", "--version"]
    answer = subprocess.run(version, capture_output=True, text=True, timeout=60, check=False).stdout
    match = re.match(r"v(\d+)\.", answer)
    if match is None or int(match[1]) < NEEDS_NODE:
        raise BootstrapError(
            f"Node.js {answer.strip() or '(no answer)'} is too old: {NEEDS_NODE} or newer is needed"
        )


def digest(paths: Sequence[Path], *more: str) -> str:
    """Return a digest of the contents of files and of some words."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    total.update("|".join(more).encode())
    return total.hexdigest()


def read_stamp(path: Path) -> str:
    """Return what a stamp says, or nothing."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def run(command: Sequence[str | Path], what: str) -> None:
    """Run one step with its output kept back unless it fails; it ends when we are told to end."""
    environment = {key: os.environ[key] for key in os.environ.keys() - {"VIRTUAL_ENV", "PYTHONPATH"}}
    environment |= {
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=STEP_LIMIT)
    except subprocess.TimeoutExpired as error:
        raise BootstrapError(
            f"{what} took more than {STEP_LIMIT} s: is the package registry reachable?"
        ) from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        sys.stderr.write(output)
        if "No space left on device" in output or "ENOSPC" in output:
            raise BootstrapError(f"{what} failed: no space left on the disk; make room, then run it again")
        raise BootstrapError(f"{what} failed (its output stands above)")


def make_venv() -> None:
    """Make ./.venv with uv in it, by whichever installer this machine's Python has."""
    stamp = VENV / ".sardonyx-uv"
    wanted = digest([UV_LOCK], sys.version, sys.base_prefix)
    if read_stamp(stamp) == wanted and PYTHON.exists():
        return
    say("making .venv")
    requirements: list[str | Path] = ["install", "--quiet", "--require-hashes", "-r", UV_LOCK]
    if importlib.util.find_spec("ensurepip"):
        run([sys.executable, "-m", "venv", "--clear", VENV], "making .venv")
        run([PYTHON, "-m", "pip", *requirements], "installing uv")
    elif importlib.util.find_spec("pip"):
        run([sys.executable, "-m", "venv", "--clear", "--without-pip", VENV], "making .venv")
        run([sys.executable, "-m", "pip", "--python", PYTHON, *requirements], "installing uv")
    elif shutil.which("uv"):
        run([sys.executable, "-m", "venv", "--clear", "--without-pip", VENV], "making .venv")
        run(["uv", "pip", "--python", PYTHON, *requirements], "installing uv")
    else:
        raise BootstrapError("this Python has no pip to begin with: sudo apt-get install python3-venv")
    stamp.write_text(wanted, encoding="utf-8")


def install_python(profile: str) -> None:
    """Install the lock file of a profile and the workspace's own packages, these editable."""
    manifests = [path / "pyproject.toml" for path in WORKSPACE]
    wanted = {name: digest([lock, *manifests], str(ROOT)) for name, lock in LOCKS.items()}
    stamps = {name: VENV / f".sardonyx-{name}" for name in LOCKS}
    # "dev" holds everything of "runtime" in the same versions
    if any(read_stamp(stamps[name]) == wanted[name] for name in {profile, "dev"}):
        return
    say("installing Python packages (once; a minute or two with an empty cache)")
    for stamp in stamps.values():
        stamp.unlink(missing_ok=True)
    uv: list[str | Path] = [PYTHON, "-m", "uv", "pip"]
    exact: list[str | Path] = ["--quiet", "--python", PYTHON]
    # compiled now, on all processors: else the hub's first start does it, and every start where Python is told not to write
    options = ["--require-hashes", "--compile-bytecode"]
    run([*uv, "sync", *exact, *options, UV_LOCK, LOCKS[profile]], "installing packages")
    own: list[str | Path] = [word for path in WORKSPACE for word in ("--editable", path)]
    run([*uv, "install", *exact, "--no-deps", "--no-build-isolation", *own], "installing the workspace")
    stamps[profile].write_text(wanted[profile], encoding="utf-8")


def install_node(profile: str) -> None:
    """Install the npm packages of package-lock.json; what only checks and tests need for "dev" alone."""
    stamp = NODE_MODULES / ".sardonyx"
    wanted = digest([ROOT / "package.json", UI / "package.json", ROOT / "package-lock.json"])
    # "dev" holds everything of "runtime"
    if read_stamp(stamp) in {f"{wanted} {profile}", f"{wanted} dev"}:
        return
    say("installing Node packages (once)")
    less = ["--omit=dev"] if profile == "runtime" else []
    run(["npm", "ci", *less, "--no-audit", "--no-fund", "--loglevel=error"], "installing Node packages")
    stamp.write_text(f"{wanted} {profile}", encoding="utf-8")


def build_pages() -> None:
    """Build the scripts of the hub's pages with Vite, if their sources changed."""
    sources = sorted(
        path for path in UI.rglob("*") if path.is_file() and "node_modules" not in path.relative_to(UI).parts
    )
    names = [str(path.relative_to(UI)) for path in sources]
    # Vite empties the folder first, the stamp with it: a build by hand counts as none
    stamp = UI_BUILT / ".sardonyx"
    wanted = digest([*sources, ROOT / "package-lock.json"], *names)
    if read_stamp(stamp) == wanted:
        return
    say("building the pages' scripts")
    run(["npm", "run", "--silent", "build", "-w", "hub/ui"], "building the pages' scripts")
    stamp.write_text(wanted, encoding="utf-8")


def end(number: int, frame: object) -> None:
    """Let SIGTERM unwind like Ctrl-C, so that the running step is ended too."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold this file's lock: `make run` and `make test` at once install one after the other."""
    with Path(__file__).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another installation in this folder")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Install one profile; 0 when everything is there."""
    profile = sys.argv[1] if len(sys.argv) == 2 else ""
    if profile not in LOCKS:
        say("usage: bootstrap.py runtime|dev")
        return 2
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    try:
        check_tools()
        with alone():
            make_venv()
            install_python(profile)
            install_node(profile)
            build_pages()
    except BootstrapError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.strerror}: {error.filename}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; run it again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
