"""Asks a running session what goes on in it: a kernel that computes, a command in a terminal, the last activity.

JupyterHub is told of activity every five minutes, and activity is what a kernel *says*: one that computes all night says
nothing. So the server of the session is asked itself, over the REST API of jupyter-server, right before its idle session
would be stopped, and the spawner is asked for commands that run in terminals.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tornado.httpclient import AsyncHTTPClient, HTTPRequest

log = logging.getLogger("sardonyx")

_SECONDS: Final = 5.0
#: What a server may answer; it is the session's owner who decides what that is.
_MAX_BYTES: Final = 1_000_000


@dataclass(frozen=True)
class Activity:
    """What a session says about itself.

    Parameters
    ----------
    last
        Its last activity; None if it does not know.
    busy
        Whether something computes in it now.
    """

    last: datetime | None
    busy: bool


async def look_into(spawner: Any) -> Activity | None:
    """Return what a session says; ``None`` if it does not answer, which is no sign of use."""
    status, kernels, command = await asyncio.gather(
        _ask(spawner, "api/status"), _ask(spawner, "api/kernels"), _runs_command(spawner)
    )
    if status is None and kernels is None and not command:
        return None
    last = _time(status.get("last_activity")) if isinstance(status, dict) else None
    return Activity(last, command or computes(kernels))


def computes(kernels: Any) -> bool:
    """Return whether one of the kernels in the answer of ``GET /api/kernels`` is busy.

    Examples
    --------
    >>> computes([{"execution_state": "idle"}, {"execution_state": "busy"}])
    True
    """
    return isinstance(kernels, list) and any(
        isinstance(kernel, dict) and kernel.get("execution_state") == "busy" for kernel in kernels
    )


async def _runs_command(spawner: Any) -> bool:
    ask = getattr(spawner, "runs_command", None)
    try:
        async with asyncio.timeout(_SECONDS):
            return bool(await ask()) if ask is not None else False
    except Exception as error:
        log.warning("The commands in %s cannot be seen: %s", spawner._log_name, type(error).__name__)
        return False


async def _ask(spawner: Any, path: str) -> Any:
    server = spawner.server
    if server is None:
        return None
    parts: list[bytes] = []

    def collect(part: bytes) -> None:
        if sum(map(len, parts)) + len(part) > _MAX_BYTES:
            raise ValueError("the answer is too long")
        parts.append(part)

    request = HTTPRequest(
        f"{server.url.rstrip('/')}/{path}?no_track_activity=1",
        # The session's own token, which is good for the session.
        headers={"Authorization": f"token {spawner.api_token}", "Accept": "application/json"},
        connect_timeout=_SECONDS,
        request_timeout=_SECONDS,
        follow_redirects=False,
        streaming_callback=collect,
    )
    try:
        await AsyncHTTPClient().fetch(request)
        return json.loads(b"".join(parts))
    except Exception as error:
        # Also what is no Jupyter server; what an error says may have the request in it.
        log.info("%s does not say what goes on in it (%s): %s", spawner._log_name, path, type(error).__name__)
        return None


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
