"""One hub with everything that the datalab mounts, on a real OpenBao, for the tests of all its routes and pages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import pytest_asyncio
from hub import answering_page, make_hub, running
from jupyterhub import orm
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.spawner import Spawner
from stack import free_port
from traitlets.config import Config

from sardonyx_hub.api.ratelimit import Limit, RateLimit
from sardonyx_hub.config import configure
from sardonyx_hub.datalab import Datalab
from sardonyx_hub.embedded.openbao import OpenBao
from sardonyx_hub.embedded.ports import free_ports
from sardonyx_spawner.mixin import DatalabSpawnerMixin

API = "/hub/api/datalab/v1"
#: Who has something of everything that a route can name.
OWNER = "alice"
CATALOGUE = """
services:
  - {id: lab, name: {en: Lab, fr: Labo}, default: true, local: {}}
"""


class PageSpawner(DatalabSpawnerMixin, Spawner):  # type: ignore[misc]
    """A session that is one page for all."""

    page_port = 0
    running: ClassVar[set[tuple[str, str]]] = set()
    sessions_are_local = True

    async def start(self) -> tuple[str, int]:
        self.running.add((self.user.name, self.name))
        return "127.0.0.1", self.page_port

    async def stop(self, now: bool = False) -> None:
        self.running.discard((self.user.name, self.name))

    async def poll(self) -> int | None:
        return None if (self.user.name, self.name) in self.running else 0


@dataclass
class Lab:
    """The running hub, and what is in it."""

    app: Any
    datalab: Datalab
    url: str
    #: Argument of a path -> a value of :data:`OWNER`'s that is there.
    known: dict[str, str]
    #: The cookies of people who have signed in.
    signed_in: dict[str, httpx.Cookies] = field(default_factory=dict)

    def token(self, name: str, *scopes: str) -> str:
        """Make a token of a person, with all that they may do or with `scopes`."""
        user = self.app.users[name]
        return str(user.new_api_token(scopes=list(scopes))) if scopes else str(user.new_api_token())

    @contextlib.asynccontextmanager
    async def client(self, token: str = "") -> AsyncIterator[httpx.AsyncClient]:
        """Give a program's client; without a token it is nobody's."""
        headers = {"Authorization": f"token {token}"} if token else {}
        async with httpx.AsyncClient(
            base_url=self.url, headers=headers, trust_env=False, timeout=30
        ) as found:
            yield found

    @contextlib.asynccontextmanager
    async def browser(self, name: str) -> AsyncIterator[httpx.AsyncClient]:
        """Sign in as a browser does, once a person."""
        async with self.client() as client:
            if name in self.signed_in:
                client.cookies.update(self.signed_in[name])
                yield client
                return
            await client.get("/hub/login")
            form = {"username": name, "password": "x", "_xsrf": client.cookies["_xsrf"]}
            assert (await client.post("/hub/login", data=form)).status_code == 302
            await client.get("/hub/datalab/services")
            self.signed_in[name] = httpx.Cookies(client.cookies)
            yield client

    async def launch(self, name: str, server: str) -> None:
        """Have a session run."""
        await self.app.users[name].spawn(server, options={"service": "lab"})


@pytest.fixture(scope="session")
def hub_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory, hub_port: int) -> Iterator[OpenBao]:
    port, cluster_port = free_ports(2)
    issuer = f"http://127.0.0.1:{hub_port}/hub/datalab/oidc"
    server = OpenBao(
        tmp_path_factory.mktemp("bao"),
        port,
        cluster_port=cluster_port,
        issuer_url=issuer,
        jwks_url=f"{issuer}/jwks",
    )
    server.start()
    yield server
    server.stop()


def configuration(folder: Path, bao: OpenBao, port: int) -> tuple[Config, Datalab]:
    c = Config()
    c.Sardonyx.update(
        state_dir=str(folder), issuer_url=f"http://127.0.0.1:{port}/hub/datalab/oidc", vault_url=bao.address
    )
    c.JupyterHub.update(
        authenticator_class=DummyAuthenticator,
        spawner_class=PageSpawner,
        hub_bind_url=f"http://127.0.0.1:{port}",
        log_level="ERROR",
    )
    c.Authenticator.update(allow_all=True, admin_users={"admin"})
    limits = RateLimit({kind: Limit(100_000, 1000.0) for kind in ("read", "refresh", "write")})
    datalab = configure(c, rate_limit=limits)
    c.DatalabSpawnerMixin.catalogue = CATALOGUE
    return c, datalab


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub(tmp_path_factory: pytest.TempPathFactory, bao: OpenBao, hub_port: int) -> AsyncIterator[Lab]:
    """The hub of all tests; alice has something of everything, bob has nothing, admin administers."""
    c, datalab = configuration(tmp_path_factory.mktemp("hub"), bao, hub_port)
    async with answering_page() as PageSpawner.page_port, running(await make_hub(c, sardonyx=datalab)) as app:
        lab = Lab(app, datalab, f"http://127.0.0.1:{hub_port}", {})
        for name in (OWNER, "bob", "admin"):
            async with lab.browser(name):
                pass
        staff = orm.Group(name="staff")
        app.db.add(staff)
        app.db.commit()
        async with lab.client(lab.token(OWNER)) as client:
            await client.put(f"{API}/git-accounts/git.example.org", json={"username": "a", "token": "t"})
            await client.put(f"{API}/secrets/known/one", json={"values": {"KEY": "value"}})
            saved = await client.post(f"{API}/saved-configurations", json={"name": "Mine", "service": "lab"})
            token = await client.post(f"{API}/vault-tokens")
        async with lab.client(lab.token("admin")) as client:
            message = await client.post(f"{API}/admin/people/{OWNER}/messages", json={"text": "Hello"})
        for answer in (saved, token, message):
            assert answer.status_code == 201, answer.text
        await lab.launch(OWNER, "run-1")
        lab.known |= {
            "host": "git.example.org",
            "path": "known%2Fone",
            "session": "run-1",
            "id_": saved.json()["id"],
            "identifier": token.json()["id"],
            "number": message.json()["id"],
            "name": OWNER,
            "group": "staff",
        }
        yield lab
        await datalab.broker.close(1)
    await asyncio.to_thread(datalab.documents.close)
