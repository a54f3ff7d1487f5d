"""Asks the hub for the credentials document. One request, no redirect followed, everything limited in time
and size."""

from __future__ import annotations

import email.utils
import http.client
import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional
from urllib.parse import urlsplit

#: Seconds for one step on the network, and for all of a request: the hub itself gives slow backends several
#: seconds.
STEP_TIMEOUT = 20.0
TOTAL_TIMEOUT = 30.0
MAX_ANSWER = 4 * 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """A document, and what the hub's clock showed (``Date``, seconds since 1970) when it was sent."""

    document: Mapping[str, Any] = field(repr=False)
    date: Optional[float]


class FetchError(Exception):
    """The hub gave no document.

    Attributes
    ----------
    code
        ``unreachable``, ``timeout``, ``denied``, ``rate-limited``, ``invalid`` or ``http-NNN``.
    retry_after
        Seconds that the hub asked to wait, or ``None``.
    """

    def __init__(self, code: str, message: str, retry_after: Optional[float] = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class HubClient:
    """Fetches the document.

    Parameters
    ----------
    url
        Full URL of the credentials endpoint, ``http`` or ``https``.
    read_token
        Called before each request, so that a token replaced in its file is used at once.
    ca_file
        Trusted besides the system's authorities when `url` is ``https``.

    Raises
    ------
    ValueError
        If `url` is no http(s) URL.
    """

    def __init__(self, url: str, read_token: Callable[[], str], ca_file: Optional[str] = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("SARDONYX_CREDENTIALS_URL is not an http(s) URL")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path or "/"
        self._query = parts.query
        self._read_token = read_token
        self._ca_file = ca_file

    def fetch(self, refresh: bool = False) -> Answer:
        """Return the document; with `refresh`, credentials made anew.

        Raises
        ------
        FetchError
            If there is none. The message says why in words and holds neither token nor body.
        """
        deadline = time.monotonic() + TOTAL_TIMEOUT
        try:
            connection = self._connect()
            try:
                connection.request("GET", self._target(refresh), headers=self._headers())
                response = connection.getresponse()
                body = _read(response, deadline)
            finally:
                connection.close()
        except TimeoutError as error:
            raise FetchError("timeout", "the hub did not answer in time") from error
        except ssl.SSLError as error:
            raise FetchError("unreachable", f"no secure connection to the hub: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            if type(error).__name__ == "timeout":  # socket.timeout, another class before Python 3.10
                raise FetchError("timeout", "the hub did not answer in time") from error
            text = getattr(error, "strerror", None) or type(error).__name__
            raise FetchError("unreachable", f"the hub could not be reached: {text}") from error
        return _interpret(response, body)

    def _connect(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=STEP_TIMEOUT)
        context = ssl.create_default_context()
        if self._ca_file:
            context.load_verify_locations(self._ca_file)
        return http.client.HTTPSConnection(self._host, self._port, timeout=STEP_TIMEOUT, context=context)

    def _target(self, refresh: bool) -> str:
        query = [part for part in (self._query, "refresh=1" if refresh else "") if part]
        return self._path + ("?" + "&".join(query) if query else "")

    def _headers(self) -> dict[str, str]:
        token = self._read_token()
        if not token or any(ord(character) < 33 or ord(character) > 126 for character in token):
            raise FetchError("denied", "this session has no usable token for the hub")
        return {"Authorization": "token " + token, "Accept": "application/json", "Connection": "close"}


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    data = bytearray()
    while True:
        chunk = response.read1(65536)
        if not chunk:
            return bytes(data)
        data += chunk
        if len(data) > MAX_ANSWER:
            raise FetchError("invalid", "the hub's answer is too large")
        if time.monotonic() > deadline:
            raise FetchError("timeout", "the hub did not finish its answer in time")


def _interpret(response: http.client.HTTPResponse, body: bytes) -> Answer:
    date = _http_date(response.getheader("Date"))
    if response.status == 200:
        try:
            document = json.loads(body)
        except ValueError as error:
            raise FetchError("invalid", "the hub's answer is not JSON") from error
        return Answer(document, date)
    retry_after = _retry_after(response.getheader("Retry-After"), date)
    if response.status in (401, 403):
        raise FetchError(
            "denied", f"the hub refuses this session's token (HTTP {response.status})", retry_after
        )
    if response.status == 429:
        raise FetchError("rate-limited", "the hub was asked too often", retry_after or 5.0)
    raise FetchError(f"http-{response.status}", f"the hub answered HTTP {response.status}", retry_after)


def _http_date(text: Optional[str]) -> Optional[float]:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (TypeError, ValueError, OverflowError):
        return None


def _retry_after(text: Optional[str], date: Optional[float]) -> Optional[float]:
    """Return ``Retry-After`` (RFC 9110, 10.2.3) in seconds; a moment is counted from the answer's own
    ``Date``."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    moment = _http_date(text)
    return None if moment is None else max(0.0, moment - (time.time() if date is None else date))
