"""The hub's REST API for the command line: a token, time limits, and errors in words."""

from __future__ import annotations

import json
import locale
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpx

#: Seconds to connect, and for one answer.
_CONNECT, _ANSWER = 10.0, 60.0
#: Seconds between two signs of life of a progress stream; the hub sends one every few seconds.
_PROGRESS = 120.0
_LONGEST_TOKEN_FILE = 4096


class HubError(Exception):
    """What went wrong, for people. `code` is the exit code: 1 refused, 2 wrong use, 3 the hub cannot be reached."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def read_token(token_file: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the API token: from a file, else from ``SARDONYX_TOKEN``. Never from the command line, which others see.

    Raises
    ------
    HubError
        If there is none.
    """
    text = environ.get("SARDONYX_TOKEN", "")
    if token_file:
        try:
            text = Path(token_file).expanduser().read_text(encoding="utf-8")[:_LONGEST_TOKEN_FILE]
        except (OSError, UnicodeDecodeError) as error:
            raise HubError(f"--token-file {token_file} cannot be read ({type(error).__name__})", 2) from None
    token = text.strip()
    if not token:
        raise HubError("no API token: put one into SARDONYX_TOKEN, or name its file with --token-file", 2)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise HubError("the API token holds characters that no token has", 2)
    return token


def hub_address(url: str) -> str:
    """Return the address of the hub with a slash at its end; the address of a page of it means it too.

    Examples
    --------
    >>> hub_address("https://lab.example.org"), hub_address("https://example.org/lab/hub/spawn")
    ('https://lab.example.org/hub/', 'https://example.org/lab/hub/')

    Raises
    ------
    HubError
        If it is none.
    """
    split = urlsplit(url.strip())
    if split.scheme not in ("http", "https") or not split.hostname:
        message = f"{url!r} is no address of a datalab: name it with --url or SARDONYX_URL, https://..."
        raise HubError(message, 2)
    before, hub, _ = f"{split.path.rstrip('/')}/".partition("/hub/")
    path = f"{before}/hub/" if hub else f"{split.path.rstrip('/')}/hub/"
    return f"{split.scheme}://{split.netloc}{path}"


class HubClient:
    """Asks a hub as the owner of a token.

    Parameters
    ----------
    transport
        Replaces the network, in tests.
    """

    def __init__(self, url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        self.hub = hub_address(url)
        language = (locale.getlocale()[0] or "en")[:2]
        self._client = httpx.Client(
            base_url=f"{self.hub}api/",
            headers={"Authorization": f"token {token}", "Accept-Language": f"{language},en;q=0.5"},
            timeout=httpx.Timeout(_ANSWER, connect=_CONNECT),
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the REST API; return the JSON of the answer, None if there is none.

        Raises
        ------
        HubError
            With what the hub said, field by field where it names fields.
        """
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if answer.is_success:
            return _json(answer.text)
        raise self._refused(answer.status_code, _json(answer.text))

    def person(self) -> dict[str, Any]:
        """Return the owner of the token with all sessions."""
        me = self.ask("GET", "user")
        if not isinstance(me, dict) or me.get("kind") != "user":
            raise HubError("the token belongs to no person; make one in Account > API tokens", 2)
        found = self.ask("GET", f"users/{quote(me['name'], safe='')}?include_stopped_servers=1")
        return dict(found)

    def progress(self, user: str, server: str) -> Iterator[dict[str, Any]]:
        """Yield what the hub tells of a launch until it has come up or failed.

        Raises
        ------
        HubError
            If the stream ends before that.
        """
        timeout = httpx.Timeout(_ANSWER, connect=_CONNECT, read=_PROGRESS)
        try:
            with self._client.stream(
                "GET", f"{server_path(user, server)}/progress", timeout=timeout
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise self._refused(answer.status_code, _json(answer.text))
                for line in answer.iter_lines():
                    event = _json(line.removeprefix("data:")) if line.startswith("data:") else None
                    if isinstance(event, dict):
                        yield event
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def page(self, path: str) -> str:
        """Return the full address of a path on the hub's host."""
        return urljoin(self.hub, path)

    def _unreachable(self, error: httpx.HTTPError) -> HubError:
        slow = isinstance(error, httpx.TimeoutException)
        what = "did not answer in time" if slow else f"cannot be reached ({type(error).__name__})"
        return HubError(f"{self.hub} {what}", 3)

    def _refused(self, status: int, body: Any) -> HubError:
        told = body if isinstance(body, dict) else {}
        problems = told.get("problems")
        lines = [
            f"{one.get('field') or 'options'}: {one.get('message', '')}"
            for one in (problems if isinstance(problems, list) else [])
            if isinstance(one, dict)
        ]
        if lines:
            return HubError("the launch options are not right\n" + "\n".join(f"  {line}" for line in lines))
        said = str(told.get("message") or f"answer {status}")
        if status in (401, 403):
            return HubError(f"the token is not accepted or may not do this: {said}")
        return HubError(said, 3 if status >= 502 else 1)


def server_path(user: str, server: str) -> str:
    """Return the path of a session in JupyterHub's REST API."""
    person = quote(user, safe="")
    return f"users/{person}/servers/{quote(server, safe='')}" if server else f"users/{person}/server"


def _json(text: str) -> Any:
    with suppress(ValueError):
        return json.loads(text)
    return None
