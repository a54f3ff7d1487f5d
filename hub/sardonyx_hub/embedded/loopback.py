"""Requests to the parts on loopback, by the standard library.

The supervisor asks several times a second while it starts. An HTTP library would read the machine's certificate
authorities for each client (30 ms of processor time, for connections without TLS), and is a second to import.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What a part said."""

    status: int
    body: bytes = b""

    def json(self) -> Any:
        """Return its body as JSON.

        Raises
        ------
        ValueError
            If it is none.
        """
        return json.loads(self.body)


def ask(
    url: str,
    *,
    method: str = "GET",
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 2.0,
) -> Answer | None:
    """Ask a part, directly whatever proxy the environment names; return its answer, or None if there is none.

    Redirections are not followed.

    Parameters
    ----------
    url
        Of the part, ``http://127.0.0.1:PORT/PATH``.
    body
        Sent as JSON.
    timeout
        Seconds for the connection and for each reading.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    sent = dict(headers or {})
    if body is not None:
        sent["Content-Type"] = "application/json"
    try:
        connection.request(method, target, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
