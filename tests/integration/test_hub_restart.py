"""A hub that stops, dies and comes back, and a user name that passes to another person; with a real OpenBao."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx
import hvac
import pytest
from credential_backends import served
from hub import answering_page, make_hub
from hvac.exceptions import Forbidden, VaultError
from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from jupyterhub.spawner import Spawner
from stack import free_port
from traitlets.config import Config

from sardonyx_hub import datalab as datalab_module
from sardonyx_hub.config import configure
from sardonyx_hub.credentials.model import Grant, Subject
from sardonyx_hub.credentials.vault import VaultConfig, VaultSource
from sardonyx_hub.datalab import Datalab
from sardonyx_hub.embedded.openbao import MOUNT, REVOKE_ROLE, OpenBao
from sardonyx_hub.embedded.ports import free_ports
from sardonyx_hub.identity.issuer import Issuer
from sardonyx_spawner.mixin import DatalabSpawnerMixin

CATALOGUE = """
services:
  - id: lab
    name: Lab
    default: true
    local: {}
    vault_token: {allowed: true}
"""
API = "/hub/api/datalab/v1"
WITH_TOKEN = {"service": "lab", "options": {"vault": {"token": True}}}


class Provider(Authenticator):
    """An identity provider that believes everybody: the password is the person's identifier."""

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any]:
        return {"name": data["username"], "auth_state": {"oauth_user": {"sub": data["password"]}}}


class PageSpawner(DatalabSpawnerMixin, Spawner):  # type: ignore[misc]
    """Sessions that are one page for all and outlive the hub."""

    page_port = 0
    running: ClassVar[set[tuple[str, str]]] = set()
    deleted: ClassVar[list[str]] = []
    seconds = 0.0
    sessions_are_local = True

    async def start(self) -> tuple[str, int]:
        self.running.add((self.user.name, self.name))
        await asyncio.sleep(self.seconds)
        return "127.0.0.1", self.page_port

    async def stop(self, now: bool = False) -> None:
        self.running.discard((self.user.name, self.name))

    async def poll(self) -> int | None:
        return None if (self.user.name, self.name) in self.running else 0

    async def delete_forever(self) -> None:
        await super().delete_forever()
        self.deleted.append(self.name)


@dataclass
class Hub:
    """A hub that runs, and its datalab."""

    app: Any
    datalab: Datalab
    url: str

    async def launch(self, name: str, server: str, options: dict[str, Any] | None = None) -> Any:
        user = self.app.users[name]
        await user.spawn(server, options=options or WITH_TOKEN)
        return user.spawners[server]

    @contextlib.asynccontextmanager
    async def browser(self, name: str, sub: str) -> AsyncIterator[httpx.AsyncClient]:
        """Sign in as a browser does."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30) as client:
            await client.get("/hub/login")
            form = {"username": name, "password": sub, "_xsrf": client.cookies["_xsrf"]}
            answer = await client.post("/hub/login", data=form)
            assert answer.status_code == 302, answer.text
            yield client

    async def stop(self) -> None:
        """Stop as JupyterHub does at SIGTERM, but for the event loop."""
        await self.app.cleanup()
        keeper = self.datalab._keeper
        assert keeper is not None
        others = {task for task in asyncio.all_tasks() if "sardonyx" in repr(task.get_coro())}
        for task in others | {keeper}:
            task.cancel()
        await asyncio.wait({keeper})


def xsrf(client: httpx.AsyncClient) -> dict[str, str]:
    return {"X-XSRFToken": client.cookies["_xsrf"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("restart")


@pytest.fixture(scope="module")
def issuer(folder: Path) -> Iterator[Issuer]:
    with served(folder / "state" / "keys") as serving:
        yield serving


@pytest.fixture(scope="module")
def bao(folder: Path, issuer: Issuer) -> Iterator[OpenBao]:
    port, cluster_port = free_ports(2)
    server = OpenBao(
        folder / "bao",
        port,
        cluster_port=cluster_port,
        issuer_url=issuer.url,
        jwks_url=f"{issuer.url}/jwks",
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def page() -> AsyncIterator[None]:
    PageSpawner.running, PageSpawner.deleted, PageSpawner.seconds = set(), [], 0.0
    async with answering_page() as PageSpawner.page_port:
        yield


@contextlib.asynccontextmanager
async def hub(database: Path, state: Path, bao: OpenBao, issuer: Issuer) -> AsyncIterator[Hub]:
    """Run a hub on `database`; it ends as if it were killed, and its sessions go on."""
    c = Config()
    c.Sardonyx.update(
        state_dir=str(state), issuer_url=issuer.url, vault_url=bao.address, vault_revoke_role=REVOKE_ROLE
    )
    c.Sardonyx.handles_url = f"sqlite:///{database.with_suffix('.handles')}"
    port = free_port()
    c.JupyterHub.update(
        authenticator_class=Provider,
        spawner_class=PageSpawner,
        db_url=f"sqlite:///{database}",
        hub_bind_url=f"http://127.0.0.1:{port}",
        cleanup_servers=False,
    )
    c.Authenticator.update(allow_all=True, admin_users={"admin"})
    datalab = configure(c)
    c.DatalabSpawnerMixin.catalogue = CATALOGUE
    app = await make_hub(c, sardonyx=datalab)
    await app.start()
    try:
        yield Hub(app, datalab, f"http://127.0.0.1:{port}")
    finally:
        app.http_server.stop()
        for callback in app._periodic_callbacks.values():
            callback.stop()
        JupyterHub.clear_instance()


def lives(bao: OpenBao, token: str) -> bool:
    client = hvac.Client(url=bao.address, timeout=10)
    client.token = token
    try:
        client.auth.token.lookup_self()
    except Forbidden:
        return False
    return True


async def dies(bao: OpenBao, token: str, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while await asyncio.to_thread(lives, bao, token):
            await asyncio.sleep(0.05)


async def token_of(hub: Hub, spawner: Any) -> str:
    grant = hub.datalab.grant_for(spawner)
    assert grant is not None
    credentials = await hub.datalab.credentials(hub.datalab.subject_for(spawner.user), grant)
    assert credentials.vault is not None, credentials.problems
    return credentials.vault.token


# The account that ends tokens ----------------------------------------------------------------------------------


def test_the_hubs_account_ends_tokens_and_may_do_nothing_else(bao: OpenBao, issuer: Issuer) -> None:
    config = VaultConfig(bao.address, revoke_role=REVOKE_ROLE)
    source = VaultSource(config, issuer)
    value = source.fetch(Subject("alice"), Grant("alice/a/1", vault_token=True))
    assert source.mark(value) == value.accessor != ""
    assert value.accessor not in repr(value)
    hub = source._client._login(Subject("sardonyx-hub"), REVOKE_ROLE, config.revoke_audience)
    client = hub.client
    client.token = hub.token
    for forbidden in (
        lambda: client.list("auth/token/accessors"),
        lambda: client.secrets.kv.v2.read_secret_version(
            "sardonyx-hub/x", mount_point=MOUNT, raise_on_deleted_version=True
        ),
        client.auth.token.create,
        lambda: client.auth.token.lookup_accessor(value.accessor),
        client.sys.list_policies,
    ):
        with pytest.raises(Forbidden):
            forbidden()
    source.end_marked(value.accessor)
    assert not lives(bao, value.token)
    source.end_marked(value.accessor)


@pytest.mark.parametrize(
    ("handle", "audience"), [("alice", "datalab-vault-revoke"), ("sardonyx-hub", "datalab-vault")]
)
def test_nobody_else_has_that_account(bao: OpenBao, issuer: Issuer, handle: str, audience: str) -> None:
    client = hvac.Client(url=bao.address, timeout=10)
    with pytest.raises(VaultError):
        client.auth.jwt.jwt_login(role=REVOKE_ROLE, jwt=issuer.token(Subject(handle), audience))


# Restarts ------------------------------------------------------------------------------------------------------


async def test_a_token_of_before_a_restart_ends_with_its_session(
    folder: Path, bao: OpenBao, issuer: Issuer, page: None
) -> None:
    database, state = folder / "one.sqlite", folder / "state"
    async with hub(database, state, bao, issuer) as first:
        async with first.browser("alice", "a-1"):
            spawner = await first.launch("alice", "")
            token = await token_of(first, spawner)
        await first.datalab.broker._endings.settle(5)
    for file in (database, database.with_suffix(".handles")):
        assert token.encode() not in file.read_bytes()
    async with hub(database, state, bao, issuer) as second:
        user = second.app.users["alice"]
        assert user.spawners[""].active
        later = await token_of(second, user.spawners[""])
        assert later != token
        assert lives(bao, token)
        await user.stop("")
        await dies(bao, token)
        await dies(bao, later)
        await second.datalab.broker.settle()
        assert second.datalab.documents.items("credential") == {}


async def test_a_token_of_a_session_that_nobody_knows_ends_after_the_start(
    folder: Path, bao: OpenBao, issuer: Issuer, page: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, state = folder / "two.sqlite", folder / "state"
    async with hub(database, state, bao, issuer) as first:
        async with first.browser("alice", "a-1"):
            known = await token_of(first, await first.launch("alice", "known"))
            async with first.browser("alice", "a-1") as client:
                own = (await client.post(f"{API}/vault-tokens", headers=xsrf(client))).json()["token"]
            lost = await token_of(first, await first.launch("alice", "lost"))
        await first.datalab.broker._endings.settle(5)
        row = first.app.users["alice"].orm_user.orm_spawners["lost"]
        first.app.db.delete(row)
        first.app.db.commit()
    monkeypatch.setattr(datalab_module, "_RESTORED_SECONDS", 0.5)
    async with hub(database, state, bao, issuer):
        await dies(bao, lost)
        assert lives(bao, known)
        assert lives(bao, own), "it belongs to no session"


async def test_a_hub_that_stops_ends_what_was_to_end_and_its_threads(
    folder: Path, bao: OpenBao, issuer: Issuer, page: None
) -> None:
    async with hub(folder / "three.sqlite", folder / "state", bao, issuer) as first:
        async with first.browser("alice", "a-1"):
            token = await token_of(first, await first.launch("alice", ""))
        await first.app.users["alice"].stop("")
        # At once, as at a shutdown with `cleanup_servers`: the end of the token has just begun.
        await first.stop()
        assert not lives(bao, token)
        for backend in first.datalab.broker._backends.values():
            with pytest.raises(RuntimeError):
                backend._executor.submit(print)


# Another person of the same name ---------------------------------------------------------------------------------


async def test_who_gets_the_name_gets_nothing_of_the_earlier_person(
    folder: Path, bao: OpenBao, issuer: Issuer, page: None
) -> None:
    async with hub(folder / "four.sqlite", folder / "state", bao, issuer) as lab:
        async with lab.browser("alice", "a-1") as earlier:
            assert (await earlier.get("/hub/api/user")).json()["name"] == "alice"
            user = lab.app.users["alice"]
            spawner = await lab.launch("alice", "run-1")
            vault_token, session_token = await token_of(lab, spawner), spawner.api_token
            user.get_or_create_spawner("stopped", "My old work", replace_failed=True)
            token = user.new_api_token()
            group = orm.Group(name="staff")
            lab.app.db.add(group)
            group.users.append(user.orm_user)
            lab.app.db.commit()
            before = lab.datalab.handles.lookup("alice")
            await lab.datalab.documents.put("ending", "alice/run-1", {"reason": "exited", "at": "2026-11-21"})
            lab.datalab.sessions.launches.note(("alice", "run-1"), "cloned", "Cloned a private repository")
            own = (await earlier.post(f"{API}/vault-tokens", headers=xsrf(earlier))).json()["token"]
            assert lives(bao, own)

            async with lab.browser("alice", "a-2") as later:
                me = (await later.get("/hub/api/user")).json()
                assert me["name"] == "alice"
                assert me["servers"] == {}
                assert me["groups"] == []
                # The earlier one's browser, programs and sessions are nobody.
                assert (await earlier.get("/hub/api/user")).status_code == 403
                for dead in (token, session_token):
                    headers = {"Authorization": f"token {dead}"}
                    answer = await earlier.get("/hub/api/user", headers=headers)
                    assert answer.status_code == 403
        assert PageSpawner.running == set()
        assert PageSpawner.deleted == [], "disks stay, below the earlier handle"
        await dies(bao, vault_token)
        await dies(bao, own)
        assert lab.datalab.sessions.launches.events(("alice", "run-1")) == []
        assert lab.datalab.documents.items("ending") == {}
        assert lab.datalab.handles.lookup("alice") not in (None, before)
        assert {row.name for row in lab.app.db.query(orm.Spawner)} <= {""}


async def test_a_session_that_is_starting_ends_too(
    folder: Path, bao: OpenBao, issuer: Issuer, page: None
) -> None:
    async with hub(folder / "five.sqlite", folder / "state", bao, issuer) as lab:
        async with lab.browser("alice", "a-1"):
            PageSpawner.seconds = 30.0
            launch = asyncio.create_task(lab.launch("alice", "slow"))
            while not PageSpawner.running:
                await asyncio.sleep(0.02)
            async with asyncio.timeout(10), lab.browser("alice", "a-2") as later:
                assert (await later.get("/hub/api/user")).json()["servers"] == {}
        assert PageSpawner.running == set()
        launch.cancel()
        with contextlib.suppress(BaseException):
            await launch


async def test_the_same_person_keeps_everything(
    folder: Path, bao: OpenBao, issuer: Issuer, page: None
) -> None:
    async with hub(folder / "six.sqlite", folder / "state", bao, issuer) as lab:
        async with lab.browser("alice", "a-1") as first:
            await lab.launch("alice", "run-1")
            async with lab.browser("alice", "a-1"):
                assert "run-1" in (await first.get("/hub/api/user")).json()["servers"]
        assert PageSpawner.running == {("alice", "run-1")}


async def test_a_deleted_persons_name_gets_no_new_handle(
    folder: Path, bao: OpenBao, issuer: Issuer, page: None
) -> None:
    async with hub(folder / "seven.sqlite", folder / "state", bao, issuer) as lab:
        async with lab.browser("bob", "b-1") as bob:
            own = (await bob.post(f"{API}/vault-tokens", headers=xsrf(bob))).json()["token"]
        lab.app.users["bob"].get_or_create_spawner("never", "never started", replace_failed=True)
        async with lab.browser("admin", "x") as client:
            token = lab.app.users["admin"].new_api_token(scopes=["admin:users"])
            headers = {"Authorization": f"token {token}"}
            answer = await client.delete("/hub/api/users/bob", headers=headers)
            assert answer.status_code == 204, answer.text
        assert "never" in PageSpawner.deleted
        assert lab.datalab.handles.lookup("bob") is None
        await dies(bao, own)
