"""The loopback endpoint: AWS's container-credentials protocol, the agent's status, and a request to renew
now.

``GET /credentials`` answers SDKs (`AWS_CONTAINER_CREDENTIALS_FULL_URI`), ``GET /status`` and ``POST
/refresh`` are ours. Each needs the token of ``endpoint.token``: sessions of a local datalab share the
loopback interface.
"""

from __future__ import annotations

import hmac
import http.server
import socketserver
import threading
from typing import Any, Callable, Optional

from .render import to_json

_MAX_CONNECTIONS = 64


class Endpoint(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A server on 127.0.0.1.

    Parameters
    ----------
    token
        What the ``Authorization`` header must be, as it is.
    credentials
        Returns the answer's JSON, or ``None`` while there is nothing valid to hand out.
    status
        Returns the status document.
    refresh
        Called when a renewal is asked for; must return at once.
    port
        Tried first, so that an agent that was restarted is found where it was; a free one is taken if it is
        in use.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        token: str,
        credentials: Callable[[], Optional[bytes]],
        status: Callable[[], dict[str, Any]],
        refresh: Callable[[], None],
        port: int = 0,
    ) -> None:
        self.token = token.encode()
        self.credentials = credentials
        self.status = status
        self.refresh = refresh
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError:
            if not port:
                raise
            super().__init__(("127.0.0.1", 0), _Handler)
        self.port: int = self.server_address[1]
        self.hosts = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")}
        threading.Thread(target=self.serve_forever, name="sardonyx-endpoint", daemon=True).start()

    @property
    def url(self) -> str:
        """URL of the credentials."""
        return f"http://127.0.0.1:{self.port}/credentials"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, or drop it if there are too many."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hung up is no event, and a traceback could show a header."""


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = 5
    disable_nagle_algorithm = True  # with a single write below: no waiting for a delayed acknowledgement
    server: Endpoint

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: these are the person's own requests."""

    def do_GET(self) -> None:
        """Answer credentials or status."""
        if not self._allowed():
            return
        path = self.path.split("?", 1)[0]
        if path == "/credentials":
            answer = self.server.credentials()
            if answer is None:
                self._send(
                    503,
                    {"code": "Unavailable", "message": "there are no valid S3 credentials in this session"},
                )
            else:
                self._reply(200, answer)
        elif path == "/status":
            self._send(200, self.server.status())
        else:
            self._send(404, {"code": "NotFound", "message": "no such resource"})

    def do_POST(self) -> None:
        """Ask for a renewal; returns at once with the status from before it."""
        if not self._allowed():
            return
        if self.path.split("?", 1)[0] != "/refresh":
            self._send(404, {"code": "NotFound", "message": "no such resource"})
            return
        before = self.server.status()
        self.server.refresh()
        self._send(202, before)

    def _allowed(self) -> bool:
        # A page in the person's browser can reach loopback under a name of its own (DNS rebinding): hence the
        # Host check.
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            self._send(403, {"code": "Forbidden", "message": "wrong host"})
            return False
        given = self.headers.get("Authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self.server.token):
            self._send(
                401, {"code": "Unauthorized", "message": "the token of this endpoint is missing or wrong"}
            )
            return False
        return True

    def _send(self, status: int, value: dict[str, Any]) -> None:
        self._reply(status, to_json(value))

    def _reply(self, status: int, body: bytes) -> None:
        head = (
            f"HTTP/1.0 {status} {self.responses[status][0]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self.close_connection = True
        self.wfile.write(head.encode() + body)
