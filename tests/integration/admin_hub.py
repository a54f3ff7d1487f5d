"""People, an administrator and a real JupyterHub with the admin panel, for the modules that test it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import form_hub
import httpx
import pytest_asyncio
from form_hub import signed_in
from jupyterhub import orm, roles
from jupyterhub.app import JupyterHub

app = form_hub.app
API = "/hub/api/datalab/v1"
FRENCH = {"Accept-Language": "fr"}


@dataclass
class Browser:
    """Somebody who is signed in, with what a script of ours sends."""

    name: str
    client: httpx.AsyncClient
    xsrf: str

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"X-XSRFToken": self.xsrf, **FRENCH}
        return await self.client.request(method, f"{API}/{path}", json=body, headers=headers)

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def page(self, path: str) -> str:
        answer = await self.client.get(f"/hub/datalab/{path}", headers=FRENCH)
        assert answer.status_code == 200, answer.text
        return answer.text


@dataclass
class Hub:
    """The hub, its people and its datalab."""

    app: JupyterHub
    admin: Browser
    alice: Browser
    bob: Browser

    @property
    def datalab(self) -> Any:
        return self.app.tornado_application.settings["sardonyx"]

    def user(self, name: str) -> Any:
        return self.app.users[name]

    async def launch(self, name: str, session: str, **options: Any) -> httpx.Response:
        """Launch as the REST API does; wait until it runs or was refused."""
        browser = {"alice": self.alice, "bob": self.bob}[name]
        body = {"service": "python", "options": options}
        path = f"/hub/api/users/{name}/servers/{session}"
        answer = await browser.client.post(path, json=body, headers={"X-XSRFToken": browser.xsrf})
        await self.settle(name)
        return answer

    async def settle(self, name: str) -> None:
        async with asyncio.timeout(20):
            while any(spawner.pending for spawner in self.user(name).spawners.values()):
                await asyncio.sleep(0.02)

    def running(self, name: str) -> set[str]:
        return {session for session, spawner in self.user(name).spawners.items() if spawner.ready}

    def events(self) -> list[dict[str, Any]]:
        datalab = self.datalab
        assert datalab.audit.flush()
        file = Path(str(datalab.handles._engine.url.database)).parent / "audit.jsonl"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def administered(self) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["__schema__"].endswith(":administered")]


async def open_browser(client: httpx.AsyncClient, name: str) -> Browser:
    assert (await client.get("/hub/datalab/account/profile")).status_code == 200
    return Browser(name, client, client.cookies["_xsrf"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(app: JupyterHub) -> AsyncIterator[Hub]:
    settings = app.tornado_application.settings
    app.config.QuietSpawner.quota_hook = settings["sardonyx"].quotas.check
    app.config.QuietSpawner.state_hook = settings["sardonyx"].sessions.changed
    settings["named_server_limit_per_user"] = 0
    async with (
        signed_in(app, "admin") as admin,
        signed_in(app, "alice") as alice,
        signed_in(app, "bob") as bob,
    ):
        team = orm.Group(name="team")
        team.users = [app.users["alice"].orm_user]
        app.db.add(team)
        app.db.commit()
        yield Hub(
            app,
            await open_browser(admin, "admin"),
            await open_browser(alice, "alice"),
            await open_browser(bob, "bob"),
        )


@pytest_asyncio.fixture(loop_scope="module")
async def hub(people: Hub) -> AsyncIterator[Hub]:
    """The hub, left without sessions, quotas, announcement, messages and roles."""
    yield people
    for name in ("alice", "bob"):
        await people.settle(name)
        for session in people.running(name):
            await people.user(name).stop(session)
        for role in list(people.user(name).orm_user.roles):
            if role.name.startswith("test"):
                roles.strip_role(people.app.db, people.user(name).orm_user, role.name)
    documents = people.datalab.documents
    for kind in ("quota", "announcement", "warning"):
        for key in documents.items(kind):
            await documents.delete(kind, key)


def give(hub: Hub, name: str, *scopes: str) -> None:
    """Give a person a role with `scopes`."""
    role = f"test-{len(scopes)}-{abs(hash(scopes))}"
    if orm.Role.find(hub.app.db, role) is None:
        roles.create_role(hub.app.db, {"name": role, "scopes": list(scopes), "description": "test"})
    roles.grant_role(hub.app.db, hub.user(name).orm_user, role)
