"""Loopback ports of the embedded parts: chosen once, kept, and chosen anew when another program has taken them."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.files import write_private

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class SeaweedPorts:
    """Every port that ``weed server`` opens."""

    s3: int
    s3_https: int
    s3_grpc: int
    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int

    @classmethod
    def free(cls) -> SeaweedPorts:
        """Return ports that nothing listens on now."""
        return cls(*free_ports(len(fields(cls))))


@dataclass(frozen=True)
class Ports:
    """All ports but the public one (``PORT``), which the operator chooses."""

    hub: int
    proxy_api: int
    vault: int
    vault_cluster: int
    seaweedfs: SeaweedPorts

    @classmethod
    def free(cls, *, avoid: Iterable[int] = ()) -> Ports:
        """Return ports that nothing listens on now and that are not in `avoid`."""
        hub, proxy_api, vault, vault_cluster, *rest = free_ports(4 + len(fields(SeaweedPorts)), avoid=avoid)
        return cls(hub, proxy_api, vault, vault_cluster, SeaweedPorts(*rest))

    @classmethod
    def keep(cls, path: Path, *, avoid: Iterable[int] = ()) -> Ports:
        """Return the ports kept in `path`; choose and write new ones where it has none or one of them is taken.

        One that is taken changes them all: the parts name each other by port, and a mixture helps nobody.
        """
        avoid = frozenset(avoid)
        try:
            data = json.loads(path.read_text())
            ports = cls(**{**data, "seaweedfs": SeaweedPorts(**data["seaweedfs"])})
        except (OSError, ValueError, TypeError, KeyError):
            ports = None
        if ports is None or any(number in avoid or not is_free(number) for number in ports.numbers()):
            ports = cls.free(avoid=avoid)
            write_private(path, json.dumps(asdict(ports), indent=1) + "\n")
        return ports

    def numbers(self) -> list[int]:
        """Return every port number."""
        return [self.hub, self.proxy_api, self.vault, self.vault_cluster, *asdict(self.seaweedfs).values()]


def is_free(port: int) -> bool:
    """Return whether `port` can be bound on loopback now."""
    return _bind_error(port) is None


def free_ports(count: int, *, avoid: Iterable[int] = ()) -> list[int]:
    """Return `count` different free loopback ports, held together until all are known."""
    avoid = frozenset(avoid)
    held: list[socket.socket] = []
    chosen: list[int] = []
    try:
        while len(chosen) < count:
            listener = socket.socket()
            held.append(listener)
            listener.bind((LOOPBACK, 0))
            port = int(listener.getsockname()[1])
            if port not in avoid:
                chosen.append(port)
    finally:
        for listener in held:
            listener.close()
    return chosen


def require_port(port: int) -> None:
    """Check that the public port can be bound.

    Raises
    ------
    StartError
        If another program has it, or this user may not bind it.
    """
    error = _bind_error(port)
    if error is None:
        return
    if error.errno == errno.EADDRINUSE:
        raise StartError(
            "port",
            f"port {port} is already in use on {LOOPBACK}",
            "end the program that uses it, or set PORT",
        )
    raise StartError("port", f"port {port} cannot be opened ({error.strerror})", "set PORT to another number")


def _bind_error(port: int) -> OSError | None:
    with socket.socket() as listener:
        # As servers do: a connection of a minute ago must not make the port look taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen(1)
        except OverflowError:
            return OSError(errno.EINVAL, "not a port number")
        except OSError as error:
            return error
    return None
