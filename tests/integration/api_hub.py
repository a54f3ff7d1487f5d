"""A real JupyterHub in this process, with the JSON API and in-memory backends, for the tests of the API."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio
from hub import answering_page, make_hub, running
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.spawner import Spawner
from stack import DIRECT, free_port
from traitlets.config import Config

from sardonyx_hub.api.audit import Audit
from sardonyx_hub.api.ratelimit import Limit, RateLimit
from sardonyx_hub.api.routes import PREFIX, api_handlers
from sardonyx_hub.config import CUSTOM_SCOPES
from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.errors import SecretConflictError, SourceError
from sardonyx_hub.credentials.git import GitAccounts, GitSource
from sardonyx_hub.credentials.model import Grant, S3Credentials, Subject
from sardonyx_hub.credentials.secret_history import History, Version
from sardonyx_hub.credentials.secret_store import Mark, Secret, SecretStore
from sardonyx_hub.credentials.vault_client import VaultConfig
from sardonyx_hub.datalab import Datalab
from sardonyx_hub.documents import DocumentStore
from sardonyx_hub.identity.handlers import oidc_handlers
from sardonyx_hub.identity.handles import HandleRegistry
from sardonyx_hub.identity.issuer import Issuer
from sardonyx_hub.identity.keys import KeyRing
from sardonyx_hub.saved import SavedConfigurations
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
        super().__init__(VaultConfig("http://127.0.0.1:1"), cast("Any", None))
        self.kept: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.deleted: set[tuple[str, str, int]] = set()
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
        number = version or len(versions)
        if not 0 < number <= len(versions) or (subject.handle, path, number) in self.deleted:
            raise SourceError("vault", "missing", f"There is no secret {path}.")
        return Secret(versions[number - 1], number, "")

    def write_internal(
        self, subject: Subject, path: str, data: Mapping[str, Any], cas: int | None = None
    ) -> int:
        self._fail()
        versions = self.kept.setdefault((subject.handle, path), [])
        if cas is not None and cas != len(versions):
            raise SecretConflictError("vault", path)
        versions.append(dict(data))
        return len(versions)

    def history_internal(self, subject: Subject, path: str) -> History:
        self._fail()
        if (subject.handle, path) not in self.kept:
            raise SourceError("vault", "missing", f"There is no secret {path}.")
        numbers = range(len(self.kept[subject.handle, path]), 0, -1)
        deleted = {number for number in numbers if (subject.handle, path, number) in self.deleted}
        return History(
            len(numbers),
            tuple(Version(number, "", "then" if number in deleted else "") for number in numbers),
        )

    def mark_internal(self, subject: Subject, path: str, what: Mark, versions: list[int]) -> None:
        self._fail()
        marked = {(subject.handle, path, number) for number in versions}
        self.deleted = self.deleted - marked if what == "undelete" else self.deleted | marked

    def delete_internal(self, subject: Subject, path: str) -> None:
        self._fail()
        self.kept.pop((subject.handle, path), None)
        self.deleted = {one for one in self.deleted if one[:2] != (subject.handle, path)}

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
        return httpx.AsyncClient(base_url=f"{self.url}{PREFIX}", headers=headers, timeout=20, **DIRECT)

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


def make_datalab(folder: Path, store: MemoryStore, s3: CountingS3Source, url: str) -> Datalab:
    accounts = GitAccounts(store)
    sources: Any = {"s3": s3, "vault": MemoryVaultSource(), "git": GitSource(accounts)}
    return Datalab(
        handles=HandleRegistry(folder / "handles.sqlite"),
        issuer=Issuer(KeyRing(folder / "keys"), f"{url}/datalab/oidc"),
        broker=Broker(sources),
        audit=Audit(folder / "audit.jsonl"),
        documents=DocumentStore(folder / "handles.sqlite"),
        rate_limit=RateLimit({kind: Limit(1000, 100.0) for kind in ("read", "refresh", "write")}),
        secrets=store,
        git_accounts=accounts,
        saved=SavedConfigurations(store),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """A running hub for the tests of one module."""
    folder = tmp_path_factory.mktemp("hub")
    port = free_port()
    url = f"http://127.0.0.1:{port}/hub"
    store, s3 = MemoryStore(), CountingS3Source()
    datalab = make_datalab(folder, store, s3, url)
    session = ["users:activity!user", "access:servers!server", "custom:datalab:credentials!server"]
    config = Config()
    config.JupyterHub.update(
        hub_bind_url=f"http://127.0.0.1:{port}",
        spawner_class=PageSpawner,
        authenticator_class=Accounts,
        allow_named_servers=True,
        custom_scopes=CUSTOM_SCOPES,
        load_roles=[
            {"name": "user", "scopes": ["self", *(f"{scope}!user" for scope in SCOPES)]},
            {"name": "server", "scopes": session},
        ],
        services=[{"name": "watcher", "api_token": "watcher-token-0123456789"}],
        log_level=logging.DEBUG,
    )
    config.Accounts.update(allow_all=True)
    async with answering_page() as PageSpawner.page_port:
        app = await make_hub(config, sardonyx=datalab)
        async with running(app):
            lab = Lab(app, url, datalab, store, s3, folder / "audit.jsonl")
            app.log.addHandler(ListHandler(lab.log))
            yield lab
    await datalab.broker.close(1)
    datalab.documents.close()
    datalab.audit.close()


@pytest_asyncio.fixture(loop_scope="module")
async def lab(hub: Lab) -> Lab:
    """The module's hub, all its backends well again."""
    hub.store.failure = hub.s3.failure = None
    hub.datalab.broker._backends["vault"].breaker.succeeded()
    return hub


@asynccontextmanager
async def browser(lab: Lab, name: str) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """Sign in as a browser does; give a client with the cookies, and the XSRF token."""
    async with httpx.AsyncClient(base_url=lab.url, timeout=20, **DIRECT) as client:
        await client.get("/login")
        form = {"username": name, "password": "pass", "_xsrf": client.cookies["_xsrf"]}
        assert (await client.post("/login", data=form)).status_code == 302
        assert (await client.get("/home")).status_code == 200
        client.base_url = httpx.URL(f"{lab.url}{PREFIX}/")
        yield client, client.cookies["_xsrf"]
