"""A real JupyterHub in this process, for the tests of the launch form: real handlers, sessions that only answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from api_hub import SCOPES, CountingS3Source, ListHandler, MemoryStore, make_datalab
from html_form import Html
from hub import answering_page, make_hub, running
from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.spawner import Spawner
from traitlets.config import Config

from sardonyx_hub.config import CUSTOM_SCOPES
from sardonyx_hub.handlers import datalab_handlers
from sardonyx_hub.pages import TEMPLATE_PATHS
from sardonyx_hub.pages.shell import template_vars
from sardonyx_spawner.mixin import DatalabSpawnerMixin

CATALOGUE = """
services:
  - id: python
    name: {en: Python lab, fr: Labo Python}
    default: true
    category: {en: Notebooks, fr: Carnets}
    image:
      versions:
        - {id: "3.12", image: example.org/lab:3.12, default: true}
        - {id: "3.11", image: example.org/lab:3.11}
      custom: {enabled: true, allow: ['example\\\\.org/.*']}
    resources:
      cpu: {limit: {default: 1, max: 4}}
      memory: {guaranteed: {default: 1Gi, max: 4Gi}, limit: {default: 2Gi, max: 8Gi}}
      extended: [{resource: nvidia.com/gpu, name: GPU, max: 2}]
  - id: r
    name: R lab
    category: {en: Statistics, fr: Statistiques}
  - id: hidden
    name: Hidden
    groups: [nobody]
"""


@dataclass
class Sessions:
    """What the spawner did, and how it is to behave."""

    port: int = 0
    started: list[str] = field(default_factory=list)
    failure: Exception | None = None
    #: Seconds that reading the catalogue takes: requests at once then meet in the middle.
    delay: float = 0
    #: What the hub has logged.
    log: list[str] = field(default_factory=list)
    store: MemoryStore = field(default_factory=MemoryStore)
    #: File of the hub's database.
    database: Path = Path()


SESSIONS = Sessions()


class QuietSpawner(DatalabSpawnerMixin, Spawner):  # type: ignore[misc]
    """The datalab's mixin over a session that is nothing but an answering port."""

    running = False

    async def get_catalogue(self) -> Any:
        await asyncio.sleep(SESSIONS.delay)
        return await super().get_catalogue()

    async def start(self) -> tuple[str, int]:
        SESSIONS.started.append(self.name)
        if SESSIONS.failure is not None:
            raise SESSIONS.failure
        self.running = True
        return "127.0.0.1", SESSIONS.port

    async def stop(self, now: bool = False) -> None:
        self.running = False

    async def poll(self) -> int | None:
        return None if self.running else 0


class PageAuthenticator(DummyAuthenticator):  # type: ignore[misc]
    """Mounts the pages, as the datalab's own authenticators do."""

    def get_handlers(self, app: Any) -> list[tuple[Any, ...]]:
        return [*datalab_handlers(), *super().get_handlers(app)]


async def form_context(spawner: Any) -> Mapping[str, Any]:
    """Return what alice has."""
    return {"secrets": ["projet_patate", "<b>bold</b>"], "git_hosts": ["github.com"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[JupyterHub]:
    """A running hub for the tests of one module; its database is a file, which can be searched."""
    folder = tmp_path_factory.mktemp("form")
    SESSIONS.store, SESSIONS.database, SESSIONS.log = MemoryStore(), folder / "hub.sqlite", []
    datalab = make_datalab(folder, SESSIONS.store, CountingS3Source(), "http://127.0.0.1/hub")
    config = Config()
    config.JupyterHub.update(
        db_url=f"sqlite:///{SESSIONS.database}",
        spawner_class=QuietSpawner,
        authenticator_class=PageAuthenticator,
        template_paths=list(TEMPLATE_PATHS),
        template_vars=template_vars(),
        allow_named_servers=True,
        named_server_limit_per_user=2,
        custom_scopes=CUSTOM_SCOPES,
        load_roles=[{"name": "user", "scopes": ["self", *(f"{scope}!user" for scope in SCOPES)]}],
        log_level=logging.DEBUG,
    )
    config.PageAuthenticator.update(allow_all=True, admin_users={"admin"})
    config.QuietSpawner.update(catalogue=CATALOGUE)
    async with answering_page() as SESSIONS.port:
        hub = await make_hub(config, sardonyx=datalab)
        # Not through the configuration: traitlets copies that deeply.
        hub.config.QuietSpawner.form_context_hook = form_context
        hub.config.QuietSpawner.secret_values_hook = datalab.keep_session_values
        hub.config.QuietSpawner.secret_rename_hook = datalab.rename_session_values
        hub.users.settings["config"] = hub.config
        hub.log.addHandler(ListHandler(SESSIONS.log))
        async with running(hub):
            yield hub
    await datalab.broker.close(1)
    datalab.documents.close()
    datalab.audit.close()


@dataclass
class Person:
    """Somebody with a browser, and what the hub has of them."""

    name: str
    app: JupyterHub
    client: httpx.AsyncClient

    @property
    def user(self) -> Any:
        return self.app.users[self.name]

    @property
    def servers(self) -> set[str]:
        """Names of the servers in the hub's database."""
        rows = self.app.db.query(orm.Spawner).join(orm.User).filter(orm.User.name == self.name)
        return {row.name for row in rows}

    @property
    def active(self) -> set[str]:
        return {name for name, spawner in self.user.spawners.items() if spawner.active}

    async def open(self, path: str = "/hub/spawn", **headers: str) -> Html:
        response = await self.client.get(path, headers=headers)
        assert response.status_code == 200, response.text
        return Html(response.text)

    async def press(self, page: Html, **changes: str | Sequence[str]) -> httpx.Response:
        """Post the form of a page with some fields changed, as multipart like a browser."""
        fields = page.posted()
        for name, value in changes.items():
            fields[name.replace("__", ".")] = [value] if isinstance(value, str) else list(value)
        parts = [(name, (None, text)) for name, texts in fields.items() for text in texts]
        return await self.client.post(page.by_id("spawn_form").attributes["action"], files=parts)

    async def settle(self) -> None:
        """Wait until nothing is pending."""
        async with asyncio.timeout(20):
            while any(spawner.pending for spawner in self.user.spawners.values()):
                await asyncio.sleep(0.02)

    async def clean(self) -> None:
        """Stop and delete all of the person's servers."""
        await self.settle()
        for spawner in list(self.user.spawners.values()):
            if spawner.active:
                await self.user.stop(spawner.name)
        for name, row in list(self.user.orm_spawners.items()):
            if name:
                self.app.db.delete(row)
                self.user.spawners.pop(name, None)
        self.user.orm_spawners[""].user_options = None
        self.user.spawners.pop("", None)
        self.app.db.commit()


@pytest_asyncio.fixture(loop_scope="module")
async def alice(app: JupyterHub) -> AsyncIterator[Person]:
    async with signed_in(app, "alice") as client:
        person = Person("alice", app, client)
        SESSIONS.started.clear()
        yield person
        SESSIONS.failure = SESSIONS.store.failure = None
        SESSIONS.delay = 0
        hub_breaker(app).succeeded()
        app.tornado_application.settings["named_server_limit_per_user"] = 2
        app.tornado_application.settings["allow_named_servers"] = True
        await person.clean()


def hub_breaker(app: JupyterHub) -> Any:
    """Return the circuit breaker of the secret store."""
    return app.tornado_application.settings["sardonyx"].broker._backends["vault"].breaker


class signed_in:  # noqa: N801
    """A client with the cookies of a person."""

    def __init__(self, app: JupyterHub, name: str) -> None:
        port = urlsplit(app.hub.bind_url).port
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
        self.name = name

    async def __aenter__(self) -> httpx.AsyncClient:
        page = await self.client.get("/hub/login")
        token = page.cookies.get("_xsrf") or self.client.cookies["_xsrf"]
        data = {"username": self.name, "password": "pass", "_xsrf": token}
        response = await self.client.post("/hub/login", data=data)
        assert response.status_code == 302, response.text
        return self.client

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
