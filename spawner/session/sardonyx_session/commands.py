"""The commands for people in a session: ``status``, ``refresh``, ``exec``; and Git's ``git-credential``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import Any, Mapping, Optional, Sequence, TextIO

from .environment import session_environment, static_environment
from .messages import Messages
from .render import KEY_NAMES, is_loopback
from .rundir import run_path

REFRESH_SECONDS = 40.0


def read_status(run_dir: str) -> Optional[dict[str, Any]]:
    """Return the agent's status (``status.json``), or ``None`` if there is none."""
    try:
        with open(os.path.join(run_dir, "status.json"), "rb") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def describe_status(status: Optional[Mapping[str, Any]], tell: Messages) -> str:
    """Return a status in words; nothing in it is secret."""
    if status is None:
        return tell("status.none")
    lines = [tell("status." + str(status["state"]))]
    for name, source in status["sources"].items():
        state = tell("state." + source["state"])
        if source["valid_until"]:
            lines.append("  " + tell("status.source", name=name, state=state, until=source["valid_until"]))
        else:
            lines.append("  " + tell("status.source-endless", name=name, state=state))
        if source["last_error"]:
            lines.append("    " + str(source["last_error"]["message"]))
    if status["last_error"]:
        lines.append("  " + tell("status.hub", message=status["last_error"]["message"]))
    lines.append("  " + tell("status.next", moment=status["next_refresh"]))
    return "\n".join(lines)


def ask_refresh(run_dir: str) -> None:
    """Ask the agent to renew now, over its endpoint or, failing that, by a file. Returns at once.

    Raises
    ------
    OSError
        If neither way works.
    """
    import http.client

    try:
        with open(os.path.join(run_dir, "endpoint.json"), "rb") as file:
            port = int(json.load(file)["port"])
        with open(os.path.join(run_dir, "endpoint.token"), encoding="ascii") as file:
            token = file.read()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection):
            connection.request("POST", "/refresh", headers={"Authorization": token})
            if connection.getresponse().status == 202:
                return
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        pass
    with open(os.path.join(run_dir, "refresh.request"), "wb"):
        pass


def refresh(run_dir: str, tell: Messages, seconds: float = REFRESH_SECONDS) -> int:
    """Renew now and say how it went; return 0 if the hub answered, 1 otherwise."""
    before = read_status(run_dir) or {}
    try:
        ask_refresh(run_dir)
    except OSError:
        sys.stderr.write(tell("refresh.no-agent") + "\n")
        return 1
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = read_status(run_dir)
        if now is not None and now.get("attempts") != before.get("attempts"):
            sys.stdout.write(describe_status(now, tell) + "\n")
            return 1 if now.get("last_error") else 0
        time.sleep(0.1)
    sys.stderr.write(tell("refresh.no-agent") + "\n")
    return 1


def execute(command: Sequence[str], environ: Mapping[str, str], chain: bool, tell: Messages) -> int:
    """Become `command` with a fresh environment; returns only if it cannot be started.

    Parameters
    ----------
    chain
        Leave out the static keys, so that SDKs go on to the container endpoint and renew by themselves: for
        programs that run long and that no hook reaches (Go, Java, a mount by rclone).
    """
    run_dir = run_path(environ)
    environment = dict(environ)
    with contextlib.suppress(OSError):
        environment.update(session_environment(run_dir))
    environment.update(static_environment(run_dir, environment))
    if chain:
        for name in KEY_NAMES:
            environment.pop(name, None)
    try:
        os.execvpe(command[0], list(command), environment)
    except OSError as error:
        sys.stderr.write(tell("command.failed", command=command[0], reason=error.strerror) + "\n")
    return 127


def git_credential(action: str, run_dir: str, lines: TextIO) -> str:
    """Answer Git's credential protocol (gitcredentials(7)) from ``git.json``: ``get`` for our hosts only."""
    asked: dict[str, str] = {}
    for line in lines:
        key, found, value = line.rstrip("\n").partition("=")
        if not found:
            break
        asked[key] = value
    host = asked.get("host", "")
    protocol = asked.get("protocol")
    safe = protocol == "https" or (protocol == "http" and is_loopback(host))
    if action != "get" or not safe:
        return ""
    try:
        with open(os.path.join(run_dir, "git.json"), "rb") as file:
            accounts = json.load(file)["accounts"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    for account in accounts:
        user = account["username"] or "oauth2"
        if account["host"] == host and account["token"] and asked.get("username") in (None, user):
            return f"username={user}\npassword={account['token']}\n"
    return ""
