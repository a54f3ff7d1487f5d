"""A real JupyterHub in this process, with the JSON API and in-memory backends, for the tests of the API."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from jupyterhub.app import JupyterHub
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from traitlets.config import Config

from sardonyx_hub.api.audit import Audit
from sardonyx_hub.api.ratelimit import Limit, RateLimit
from sardonyx_hub.api.routes import PREFIX, api_handlers
from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.errors import SecretConflictError, SourceError
from sardonyx_hub.credentials.git import GitAccounts, GitSource
from sardonyx_hub.credentials.model import Grant, S3Credentials, Subject
from sardonyx_hub.credentials.secret_store import Secret, SecretStore
from sardonyx_hub.datalab import Datalab
from sardonyx_hub.identity.handlers import oidc_handlers
from sardonyx_hub.identity.handles import HandleRegistry
from sardonyx_hub.identity.issuer import Issuer
from sardonyx_hub.identity.keys import KeyRing
from sardonyx_spawner.catalogue import Catalogue

SCOPES = ("custom:datalab:credentials", "custom:datalab:secrets", "custom:datalab:git")
#: In every secret value; must be in no log and no audit event.
MARK = "MARK-4711"
CATALOGUE = Catalogue.model_validate(
    {
        "services": [
            {"id": "jupyter-python", "name": {"en": "Jupyter"}, "local": {}},
            {"id": "hidden", "name": {"en": "Hidden"}, "groups": ["nobody"], "local": {}},
        ]
    }
)


class MemoryStore(SecretStore):
    """Keeps secrets in memory, below the checks that :class:`SecretStore` makes."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.failure: Exception | None = None

    def _names(self, subject: Subject, folder: str) -> list[str]:
        self._fail()
        prefix = f"{folder}/".lstrip("/")
        paths = [path for handle, path in self.kept if handle == subject.handle and path.startswith(prefix)]
        rests = [path.removeprefix(prefix) for path in paths]
        return sorted({rest.partition("/")[0] + ("/" if "/" in rest else "") for rest in rests})

    def read_internal(self, subject: Subject, path: str, version: int | None = None) -> Secret:
        self._fail()
        if (subject.handle, path) not in self.kept:
            raise SourceError("vault", "missing", f"There is no secret {path}.")
        versions = self.kept[subject.handle, path]
        return Secret(versions[-1], len(versions), "")

    def write_internal(
        self, subject: Subject, path: str, data: Mapping[str, Any], cas: int | None = None
    ) -> int:
        self._fail()
        versions = self.kept.setdefault((subject.handle, path), [])
        if cas is not None and cas != len(versions):
            raise SecretConflictError("vault", path)
        versions.append(dict(data))
        return len(versions)

    def delete_internal(self, subject: Subject, path: str) -> None:
        self._fail()
        self.kept.pop((subject.handle, path), None)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class MemoryVaultSource:
    """The broker's threads for the store; grants nothing by itself."""

    name, label, timeout, per_session = "vault", "Vault", 5.0, True

    def cache_key(self, subject: Subject, grant: Grant) -> Hashable | None:
        return None


class CountingS3Source:
    """Makes S3 keys that say how many were made before."""

    name, label, timeout, per_session = "s3", "S3", 5.0, False
    made = 0
    failure: SourceError | None = None

    def cache_key(self, subject: Subject, grant: Grant) -> Hashable | None:
        return None if grant.s3 == "none" else grant.s3

    def fetch(self, subject: Subject, grant: Grant) -> S3Credentials:
        if self.failure is not None:
            raise self.failure
        self.made += 1
        now = datetime.now(UTC)
        keys = (f"{subject.handle}-{grant.s3}-{self.made}", MARK, MARK)
        return S3Credentials(
            *keys, now, now + timedelta(hours=1), "https://s3.example", "r", True, subject.handle, grant.s3
        )


class NoProxy(Proxy):
    """A hub without a proxy: the tests ask the hub itself."""

    should_start = False

    async def add_route(self, routespec: str, target: str, data: object) -> None: ...

    async def delete_route(self, routespec: str) -> None: ...

    async def get_all_routes(self) -> dict[str, Any]:
        return {}


class Page(BaseHTTPRequestHandler):
    """What the hub meets when it looks whether a session has come up."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_args: object) -> None: ...


class PageSpawner(Spawner):
    """A session that is one page for all; ``user_options["grant"]`` is its grant."""

    page_port = 0
    grant: dict[str, Any] | None = None
    launch_options = None
    running = False

    async def start(self) -> tuple[str, int]:
        grant = self.user_options.get("grant", {})
        session = f"{self.user.name}/{self.name or 'default'}/0"
        self.grant = None if grant is None else {"session": session, **grant}
        self.running = True
        return "127.0.0.1", self.page_port

    async def stop(self, now: bool = False) -> None:
        self.running = False

    async def poll(self) -> int | None:
        return None if self.running else 0

    async def get_catalogue(self) -> Catalogue:
        return CATALOGUE


class Accounts(DummyAuthenticator):
    """Everybody who comes, and our handlers."""

    def get_handlers(self, app: Any) -> list[Any]:
        return [*oidc_handlers(), *api_handlers(), *super().get_handlers(app)]


@dataclass
class Lab:
    """A running hub and what its datalab is made of."""

    app: Any
    url: str
    datalab: Datalab
    store: MemoryStore
    s3: CountingS3Source
    audit_file: Path
    log: list[str] = field(default_factory=list)

    def user(self, name: str) -> Any:
        return self.app.users[name] if name in self.app.users else self._add(name)

    def _add(self, name: str) -> Any:
        from jupyterhub import orm, roles

        person = orm.User(name=name)
        self.app.db.add(person)
        self.app.db.commit()
        roles.assign_default_roles(self.app.db, entity=person)
        return self.app.users[person]

    def token(self, name: str, *scopes: str) -> str:
        """Make a token of a person; by default with all that people may do here."""
        return str(
            self.user(name).new_api_token(scopes=list(scopes or (f"{scope}!user" for scope in SCOPES)))
        )

    async def launch(self, name: str, server: str, **grant: Any) -> Any:
        """Launch a session; return its spawner."""
        user = self.user(name)
        await user.spawn(server, options={"grant": grant.get("grant", grant)})
        return user.spawners[server]

    def client(self, token: str = "") -> httpx.AsyncClient:
        headers = {"Authorization": f"token {token}"} if token else {}
        return httpx.AsyncClient(base_url=f"{self.url}{PREFIX}", headers=headers, trust_env=False, timeout=20)

    def events(self, request_id: str = "") -> list[dict[str, Any]]:
        assert self.datalab.audit.flush()
        lines = self.audit_file.read_text().splitlines() if self.audit_file.exists() else []
        return [json.loads(line) for line in lines]


class ListHandler(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.lines = lines
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(scope="module")
def page_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def make_datalab(folder: Path, store: MemoryStore, s3: CountingS3Source, url: str) -> Datalab:
    accounts = GitAccounts(store)
    sources: Any = {"s3": s3, "vault": MemoryVaultSource(), "git": GitSource(accounts)}
    return Datalab(
        handles=HandleRegistry(folder / "handles.sqlite"),
        issuer=Issuer(KeyRing(folder / "keys"), f"{url}/datalab/oidc"),
        broker=Broker(sources),
        audit=Audit(folder / "audit.jsonl"),
        rate_limit=RateLimit({kind: Limit(1000, 100.0) for kind in ("read", "refresh", "write")}),
        secrets=store,
        git_accounts=accounts,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory, page_port: int) -> AsyncIterator[Lab]:
    """A running hub for the tests of one module."""
    folder = tmp_path_factory.mktemp("hub")
    port = free_port()
    url = f"http://127.0.0.1:{port}/hub"
    store, s3 = MemoryStore(), CountingS3Source()
    datalab = make_datalab(folder, store, s3, url)
    PageSpawner.page_port = page_port
    config = Config()
    config.JupyterHub.update(
        bind_url=f"http://127.0.0.1:{free_port()}",
        hub_ip="127.0.0.1",
        hub_port=port,
        db_url="sqlite:///:memory:",
        cookie_secret=b"0" * 32,
        proxy_class=NoProxy,
        spawner_class=PageSpawner,
        authenticator_class=Accounts,
        allow_named_servers=True,
        custom_scopes={scope: {"description": scope} for scope in SCOPES},
        load_roles=[
            {"name": "user", "scopes": ["self", *(f"{scope}!user" for scope in SCOPES)]},
            {
                "name": "server",
                "scopes": [
                    "users:activity!user",
                    "access:servers!server",
                    "custom:datalab:credentials!server",
                ],
            },
        ],
        services=[{"name": "watcher", "api_token": "watcher-token-0123456789"}],
        log_level=logging.DEBUG,
    )
    config.Accounts.update(allow_all=True)
    JupyterHub.clear_instance()
    app = JupyterHub.instance(config=config)
    app.init_signal = lambda: None
    # Not through the configuration: traitlets copies that deeply.
    app.tornado_settings = {"sardonyx": datalab}
    await app.initialize([])
    await app.start()
    lab = Lab(app, url, datalab, store, s3, folder / "audit.jsonl")
    app.log.addHandler(ListHandler(lab.log))
    yield lab
    for user in list(app.users.values()):
        for spawner in list(user.spawners.values()):
            with suppress(Exception):
                await user.stop(spawner.name)
    app.http_server.stop()
    for callback in app._periodic_callbacks.values():
        callback.stop()
    await datalab.broker.close(1)
    datalab.audit.close()
    JupyterHub.clear_instance()


@pytest_asyncio.fixture(loop_scope="module")
async def lab(hub: Lab) -> Lab:
    """The module's hub, all its backends well again."""
    hub.store.failure = hub.s3.failure = None
    hub.datalab.broker._backends["vault"].breaker.succeeded()
    return hub


@asynccontextmanager
async def browser(lab: Lab, name: str) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """Sign in as a browser does; give a client with the cookies, and the XSRF token."""
    async with httpx.AsyncClient(base_url=lab.url, trust_env=False, timeout=20) as client:
        await client.get("/login")
        form = {"username": name, "password": "pass", "_xsrf": client.cookies["_xsrf"]}
        assert (await client.post("/login", data=form)).status_code == 302
        assert (await client.get("/home")).status_code == 200
        client.base_url = httpx.URL(f"{lab.url}{PREFIX}/")
        yield client, client.cookies["_xsrf"]
