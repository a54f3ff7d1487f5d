"""A real JupyterHub in the test's own process: its database in memory, no proxy in front of it, sessions that answer.

It starts in two to three seconds, most of them imports: what needs no other server is tested with it and not with a whole
``sardonyx run``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from jupyterhub.app import JupyterHub
from jupyterhub.proxy import Proxy
from stack import free_port
from traitlets.config import Config


class NoProxy(Proxy):
    """Nothing goes through a proxy: who asks, asks the hub itself."""

    should_start = False

    async def add_route(self, routespec: str, target: str, data: object) -> None: ...

    async def delete_route(self, routespec: str) -> None: ...

    async def get_all_routes(self) -> dict[str, Any]:
        return {}


@contextlib.asynccontextmanager
async def answering_page() -> AsyncIterator[int]:
    """Answer every request with 200, as a session that is up does; give the loopback port."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
    writer.close()


async def make_hub(config: Config, **settings: Any) -> JupyterHub:
    """Return a hub that is initialized and does not run yet.

    Parameters
    ----------
    config
        Its configuration; what it does not say of the class JupyterHub is filled in: free loopback ports, a database in
        memory, :class:`NoProxy`.
    settings
        Tornado settings, such as ``sardonyx=datalab``. They do not go through the configuration: traitlets copies that deeply.
    """
    ours = {
        "bind_url": f"http://127.0.0.1:{free_port()}",
        "hub_bind_url": f"http://127.0.0.1:{free_port()}",
        "db_url": "sqlite:///:memory:",
        "cookie_secret": b"0" * 32,
        "proxy_class": NoProxy,
        "log_level": logging.WARNING,
    }
    given = config.JupyterHub
    given.update({name: value for name, value in ours.items() if name not in given})
    JupyterHub.clear_instance()
    app = JupyterHub.instance(config=config)
    app.init_signal = lambda: None
    app.tornado_settings = {**app.tornado_settings, **settings}
    await app.initialize([])
    return app


@contextlib.asynccontextmanager
async def running(app: JupyterHub) -> AsyncIterator[JupyterHub]:
    """Run a hub of :func:`make_hub` while the block runs; afterwards end its sessions and it."""
    await app.start()
    try:
        yield app
    finally:
        for user in list(app.users.values()):
            for spawner in list(user.spawners.values()):
                if spawner.active:
                    with contextlib.suppress(Exception):
                        await user.stop(spawner.name)
        app.http_server.stop()
        for callback in app._periodic_callbacks.values():
            callback.stop()
        JupyterHub.clear_instance()
