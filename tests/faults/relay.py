"""A reverse proxy on loopback, as operators have one before their S3 storage: it may be out of order for a while."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Relay:
    """Passes requests on as they are (a signature covers the host's name), or answers them with a page of its own.

    Attributes
    ----------
    target
        Gives the port behind it.
    answered
        How many answers of what is behind it were passed back.
    """

    def __init__(self) -> None:
        self.target: Callable[[], int] = lambda: 0
        self.answered = 0
        self._status = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextlib.contextmanager
    def out_of_order(self, status: int) -> Iterator[None]:
        """Answer every request with `status` while the block runs, as nginx and HAProxy do when they have no backend."""
        self._status = status
        try:
            yield
        finally:
            self._status = 0

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with contextlib.suppress(ConnectionError):  # who asked may have given up
                    if relay._status:
                        self._refuse(relay._status)
                    else:
                        self._pass_on(body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - the library's names

            def _refuse(self, status: int) -> None:
                page = (
                    f"<html><head><title>{status} {HTTPStatus(status).phrase}</title></head></html>".encode()
                )
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(page)

            def _pass_on(self, body: bytes) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", relay.target(), timeout=120)
                try:
                    connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        connection.putheader(name, value)
                    connection.endheaders(body)
                    answer = connection.getresponse()
                    content = answer.read()
                except (OSError, http.client.HTTPException):
                    self.close_connection = True  # nothing is behind it: hang up
                    return
                finally:
                    connection.close()
                relay.answered += 1
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {
                        "connection",
                        "transfer-encoding",
                        "content-length",
                        "date",
                        "server",
                    }:
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        return Handler
