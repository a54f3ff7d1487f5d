"""Makes the session's own Python environment in its home, then becomes the program that is named after
``--``.

A program of its own (``python -I overlay.py``, standard library only) that runs inside the sandbox, as the
person: what the person may put in the home (links that lead elsewhere) can only hurt themselves. The shared
environment is read-only; the overlay is a small virtual environment on top, first in ``PATH``, that sees all
the shared packages and takes new ones: ``pip install`` and ``uv pip install`` land on the session's disk and
are there again after a restart.

JupyterLab itself runs from the shared environment, so that no package of the person keeps the session from
starting; kernels and terminals use the overlay.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

OVERLAY = ".local/share/sardonyx/python"
#: Raised when the overlay is made differently: older ones are repaired.
_VERSION = 2
_MARK = "sardonyx.json"
_PTH = "_sardonyx.pth"
_PROGRAMS = ("pip", "pip3")


def make_overlay(home: Path, environment: Path, *, skeleton: Path = Path("/etc/skel")) -> Path:
    """Make the overlay of `environment` in `home`, or repair it if it was made for another one; return its
    path.

    Takes some 10 ms; 1 ms if there is nothing to do.

    Raises
    ------
    OSError
        If the disk is full, or something else than a folder stands in the way.
    """
    (home / "work").mkdir(exist_ok=True)
    _copy_skeleton(skeleton, home)
    overlay = home / OVERLAY
    python = environment / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    mark = {"version": _VERSION, "environment": str(environment), "python": _base(python), "in": str(overlay)}
    if _read_mark(overlay) == mark:
        return overlay
    packages = overlay / "lib" / version / "site-packages"
    for folder in (packages, overlay / "bin", overlay / "share/jupyter/kernels/python3"):
        folder.mkdir(parents=True, exist_ok=True)
    shared = environment / "lib" / version / "site-packages"
    # addsitedir, not the bare path: the shared environment's own .pth files count too.
    _write(packages / _PTH, f"import site; site.addsitedir({str(shared)!r})\n")
    for name in ("python", "python3", version):
        _link(overlay / "bin" / name, _base(python) if name == "python" else "python")
    for name in _PROGRAMS:
        target = overlay / "bin" / name
        _write(target, f"#!{overlay}/bin/python\n" + _PIP)
        target.chmod(0o755)
    home_of_python = Path(_base(python)).parent
    _write(
        overlay / "pyvenv.cfg",
        f"home = {home_of_python}\ninclude-system-site-packages = false\n"
        f"version = {'.'.join(map(str, sys.version_info[:3]))}\nprompt = sardonyx\n",
    )
    _write(overlay / "share/jupyter/kernels/python3/kernel.json", json.dumps(_kernel(overlay), indent=1))
    # Last: an overlay that was not finished is made again.
    _write(overlay / _MARK, json.dumps(mark))
    return overlay


_PIP = "import sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"


def _kernel(overlay: Path) -> Mapping[str, object]:
    program = [str(overlay / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    return {
        "argv": program,
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        # JupyterLab then offers no debugger. Debugpy would listen on the loopback that all sessions share, and lets
        # whoever connects there run code in the kernel.
        "metadata": {"debugger": False},
    }


def _base(python: Path) -> str:
    """Return the interpreter behind a virtual environment's ``bin/python``, as its ``pyvenv.cfg`` names the
    folder."""
    with contextlib.suppress(OSError):
        for line in (python.parent.parent / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            candidate = Path(value.strip(), f"python{sys.version_info.major}.{sys.version_info.minor}")
            if key.strip() == "home" and candidate.exists():
                return str(candidate)
    return os.path.realpath(python)


def _read_mark(overlay: Path) -> object:
    try:
        return json.loads((overlay / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _link(path: Path, leads_to: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(leads_to)
    temporary.replace(path)


def _copy_skeleton(skeleton: Path, home: Path) -> None:
    """Give a new home the files that the system gives new accounts (``.bashrc``, ``.profile``)."""
    mark = home / ".local/share/sardonyx"
    if mark.exists() or not skeleton.is_dir():
        return
    for source in skeleton.iterdir():
        target = home / source.name
        if source.is_file() and not target.exists():
            shutil.copyfile(source, target)


def main(arguments: list[str]) -> None:
    """Make the overlay for ``arguments[0]``, then run what comes after ``--``, whatever became of the
    overlay."""
    environment, separator, *program = arguments
    if separator != "--" or not program:
        raise SystemExit("usage: overlay.py ENVIRONMENT -- PROGRAM [ARGUMENT ...]")
    try:
        make_overlay(Path.home(), Path(environment))
    except OSError as error:
        print(f"The session's own Python environment cannot be made: {error}", file=sys.stderr, flush=True)  # noqa: T201
    os.execvpe(program[0], program, os.environ)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
