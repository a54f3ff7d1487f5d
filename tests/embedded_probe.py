"""Looks at loopback ports as a stranger does."""

import contextlib
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path

import psutil

#: HTTP/2's preface with an empty SETTINGS frame (RFC 9113, section 3.4): what a gRPC client says first.
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def http1(path: str) -> bytes:
    """Return a plain request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


def answer(port: int, request: bytes, *, tls: ssl.SSLContext | None = None) -> bytes:
    """Return what a port answers to `request`; nothing if it hangs up or refuses TLS."""
    received = b""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        connection: socket.socket = stack.enter_context(
            socket.create_connection(("127.0.0.1", port), timeout=3)
        )
        connection.settimeout(1.5)
        if tls is not None:
            connection = stack.enter_context(tls.wrap_socket(connection, server_hostname="127.0.0.1"))
        connection.sendall(request)
        while len(received) < 65536 and (more := connection.recv(65536)):
            received += more
    return received


def stranger(*, http2: bool = False) -> ssl.SSLContext:
    """Return a client without a certificate that trusts anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if http2:
        context.set_alpn_protocols(["h2"])
    return context


def insider(certificate: Path, key: Path, *, http2: bool = False) -> ssl.SSLContext:
    """Return a client with a certificate."""
    context = stranger(http2=http2)
    context.load_cert_chain(certificate, key)
    return context


def speaks(port: int, *, paths: Iterable[str], certificate: tuple[Path, Path] | None = None) -> list[str]:
    """Return how `port` can be talked to: ``http PATH``, ``https PATH``, ``h2``, ``h2c``.

    A plain answer of a TLS port ("Client sent an HTTP request to an HTTPS server") is no talking.
    """
    found = []
    plain, plain2 = (
        (insider(*certificate), insider(*certificate, http2=True))
        if certificate
        else (stranger(), stranger(http2=True))
    )
    for path in paths:
        for name, tls in (("http", None), ("https", plain)):
            text = answer(port, http1(path), tls=tls)
            if text.startswith((b"HTTP/1.1 2", b"HTTP/1.1 3")):
                found.append(f"{name} {path}")
    for name, tls in (("h2c", None), ("h2", plain2)):
        # A SETTINGS frame in reply: type 4 in the fourth byte.
        text = answer(port, _HTTP2, tls=tls)
        if len(text) >= 9 and text[3] == 4 and not text.startswith(b"HTTP"):
            found.append(name)
    return found


def listening(pid: int) -> dict[int, str]:
    """Return the TCP ports that a process listens on, with the address of each."""
    return {
        connection.laddr.port: connection.laddr.ip
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
