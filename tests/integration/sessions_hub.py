"""A real JupyterHub in this process whose sessions do what a test tells them: start slowly, die, say that they compute."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from api_hub import CountingS3Source, MemoryStore, make_datalab
from hub import make_hub, running
from jupyterhub.app import JupyterHub
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.spawner import Spawner
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from traitlets.config import Config

from sardonyx_hub.api.routes import PREFIX
from sardonyx_hub.auth import wrap_authenticator
from sardonyx_hub.config import CUSTOM_SCOPES, SERVER_SCOPES
from sardonyx_hub.datalab import Datalab
from sardonyx_hub.idle import Rule
from sardonyx_hub.pages import TEMPLATE_PATHS
from sardonyx_hub.pages.shell import template_vars
from sardonyx_spawner.mixin import DatalabSpawnerMixin
from sardonyx_spawner.session_looks import DiskSize, LogPart, Usage

CATALOGUE = """
services:
  - id: lab
    name: {en: Lab, fr: Labo}
    icon: jupyter.svg
    readme: {en: "Read **me** <b>x</b>", fr: "Lisez **moi** <b>x</b>"}
    resources:
      cpu: {limit: {default: 2, max: 4}}
      memory: {limit: {default: 2Gi, max: 4Gi}}
    local: {}
"""
MARK = "MARK-4711"


@dataclass
class Control:
    """How sessions behave, and what was done to them."""

    port: int = 0
    #: Sessions start once this is set.
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    #: Seconds that a start takes to give up when it is cancelled.
    giving_up: float = 0.0
    kernels: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    options: list[Any] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Be as at the beginning."""
        self.gate.set()
        self.failure, self.giving_up = None, 0.0
        self.kernels, self.tokens, self.options, self.forgotten = [], [], [], []


CONTROL = Control()


class ObedientSpawner(DatalabSpawnerMixin, Spawner):  # type: ignore[misc]
    """The datalab's mixin over a session that is an answering port."""

    sessions_are_local = True
    running = False

    async def start(self) -> tuple[str, int]:
        CONTROL.options.append(self.user_options)
        self.report("clone", "running", "git.example.org/x")
        try:
            await CONTROL.gate.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(CONTROL.giving_up)
            raise
        if CONTROL.failure is not None:
            raise CONTROL.failure
        self.report("init", "warning", "exit code 3 <i>")
        self.running = True
        return "127.0.0.1", CONTROL.port

    async def stop(self, now: bool = False) -> None:
        self.running = False

    async def poll(self) -> int | None:
        return None if self.running else 0 if not self.exit_reason else self.exit_code

    def die(self, reason: str, code: int) -> None:
        """End by itself."""
        self.running, self.exit_reason, self.exit_code = False, reason, code

    async def delete_forever(self) -> None:
        CONTROL.forgotten.append(self.name)

    async def read_log(self, after: int | None = None) -> LogPart:
        return LogPart("a line <b>\n"[after or 0 :], after or 0, 11, False)

    async def usage(self) -> Usage:
        return Usage(0.5, 1_073_741_824, 4)

    async def disk_size(self) -> DiskSize:
        return DiskSize(1_610_612_736, 12, False)


class _Session(web.RequestHandler):
    """Answers like jupyter-server."""

    def get(self) -> None:
        CONTROL.tokens.append(self.request.headers.get("Authorization", ""))
        if self.request.path.endswith("/api/kernels"):
            self.finish(json.dumps(CONTROL.kernels))
        else:
            self.finish({"last_activity": "2020-01-01T00:00:00Z"})


@dataclass
class Hub:
    """The running hub."""

    app: JupyterHub
    datalab: Datalab

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{urlsplit(self.app.hub.bind_url).port}"

    @contextlib.asynccontextmanager
    async def signed_in(self, name: str, **headers: str) -> AsyncIterator[Person]:
        """Sign in as a browser does."""
        async with httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=30, trust_env=False
        ) as client:
            await client.get("/hub/login")
            form = {"username": name, "password": "pass", "_xsrf": client.cookies["_xsrf"]}
            assert (await client.post("/hub/login", data=form)).status_code == 302
            await client.get("/hub/datalab/services")
            yield Person(name, self, client)


@dataclass
class Person:
    """Somebody with a browser."""

    name: str
    hub: Hub
    client: httpx.AsyncClient

    @property
    def user(self) -> Any:
        return self.hub.app.users[self.name]

    async def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call our API as a page does."""
        headers = {"X-XSRFToken": self.client.cookies["_xsrf"], **options.pop("headers", {})}
        return await self.client.request(method, f"/hub{PREFIX}/{path}", headers=headers, **options)

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """Post a form of a page."""
        data = {"_xsrf": self.client.cookies["_xsrf"], **fields}
        return await self.client.post(f"/hub/datalab/services/{path}", data=data)

    async def page(self, path: str = "", **headers: str) -> str:
        """Open My services or a page below it."""
        answer = await self.client.get(f"/hub/datalab/services{path}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def launch(self, name: str, **options: Any) -> None:
        """Launch a session through JupyterHub's API."""
        path = f"/hub/api/users/{self.name}/servers/{name}" if name else f"/hub/api/users/{self.name}/server"
        body = {"service": "lab", "options": options}
        headers = {"X-XSRFToken": self.client.cookies["_xsrf"]}
        answer = await self.client.post(path, json=body, headers=headers)
        assert answer.status_code in (201, 202), answer.text

    async def state(self, name: str) -> str:
        """Return the state of a session."""
        return str((await self.api("GET", f"sessions/{name}")).json().get("state", "none"))

    async def until(self, name: str, state: str) -> dict[str, Any]:
        """Wait until a session is in a state; return its description."""
        async with asyncio.timeout(20):
            while await self.state(name) != state:
                await asyncio.sleep(0.05)
        return dict((await self.api("GET", f"sessions/{name}")).json())

    async def clean(self) -> None:
        """Stop and delete all sessions."""
        CONTROL.gate.set()
        for name in list(self.user.orm_spawners):
            spawner = self.user.spawners[name]
            async with asyncio.timeout(20):
                while spawner.pending:
                    await asyncio.sleep(0.05)
            if spawner.active:
                await self.user.stop(name)
            row = self.user.orm_spawners[name]
            row.user_options, row.state, row.last_activity = {}, {}, None
            self.user.spawners.pop(name, None)
            if name:
                self.hub.app.db.delete(row)
        self.hub.app.db.commit()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    """A running hub for the tests of one module."""
    # An event belongs to the loop that first waited for it; each module has a loop of its own.
    CONTROL.gate = asyncio.Event()
    folder = tmp_path_factory.mktemp("sessions")
    datalab = make_datalab(folder, MemoryStore(), CountingS3Source(), "http://127.0.0.1/hub")
    config = Config()
    config.JupyterHub.update(
        spawner_class=ObedientSpawner,
        authenticator_class=wrap_authenticator(DummyAuthenticator, datalab),
        template_paths=list(TEMPLATE_PATHS),
        template_vars=template_vars(),
        allow_named_servers=True,
        custom_scopes=CUSTOM_SCOPES,
        extra_user_scopes={f"{scope}!user" for scope in CUSTOM_SCOPES},
        load_roles=[{"name": "server", "scopes": SERVER_SCOPES}],
    )
    config.DummyAuthenticator.update(allow_all=True, admin_users={"admin"})
    config.ObedientSpawner.update(catalogue=CATALOGUE, poll_interval=1)
    sockets = bind_sockets(0, "127.0.0.1")
    CONTROL.port = sockets[0].getsockname()[1]
    server = HTTPServer(web.Application([(r".*", _Session)]))
    server.add_sockets(sockets)
    app = await make_hub(config, sardonyx=datalab)
    # Not through the configuration: traitlets copies that deeply.
    app.config.ObedientSpawner.state_hook = datalab.sessions.changed
    app.config.ObedientSpawner.end_hook = datalab.end_session
    app.config.ObedientSpawner.handle_hook = datalab.handle_of_spawner
    app.users.settings["config"] = app.config
    async with running(app):
        yield Hub(app, datalab)
    server.stop()
    datalab.live.close()
    await datalab.broker.close(1)
    datalab.documents.close()
    datalab.audit.close()


@pytest_asyncio.fixture(loop_scope="module")
async def alice(hub: Hub) -> AsyncIterator[Person]:
    """Alice in her browser, without a session."""
    CONTROL.reset()
    hub.datalab.idle.default = None
    async with hub.signed_in("alice", **{"Accept-Language": "fr"}) as person:
        yield person
        await person.clean()


def idle_rule(hub: Hub, rule: Rule | None) -> None:
    """Set the operator's rule."""
    hub.datalab.idle.default = rule


class Stream:
    """The live events that a page gets."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.ended = False

    async def follow(self, client: httpx.AsyncClient, path: str = "live", **headers: str) -> None:
        """Read until the stream ends."""
        async with client.stream("GET", f"/hub{PREFIX}/{path}", headers=headers, timeout=None) as answer:
            assert answer.status_code == 200
            event = ""
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.append((event, json.loads(line.removeprefix("data: "))))
        self.ended = True

    async def until(self, wanted: Callable[[str, dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for an event; return its data."""
        async with asyncio.timeout(20):
            while True:
                for event, data in self.events:
                    if wanted(event, data):
                        return data
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def open_page(person: Person, path: str = "live") -> AsyncIterator[Stream]:
    """Follow the live events as an open page does."""
    stream = Stream()
    task = asyncio.create_task(stream.follow(person.client, path, **{"Sec-Fetch-Site": "same-origin"}))
    await stream.until(lambda event, _: event == "hello")
    try:
        yield stream
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
            await task
