"""The catalogue as KubeSpawner's `profile_list`, and the check of chosen secrets, through a real hub."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from api_hub import ListHandler, MemoryStore, MemoryVaultSource
from hub import answering_page, make_hub, running
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.spawner import Spawner
from stack import free_port
from traitlets.config import Config

from sardonyx_hub.config import configure
from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import Subject
from sardonyx_spawner.mixin import DatalabSpawnerMixin

#: As in the z2jh documentation.
PROFILES = [
    {
        "display_name": "Minimal environment",
        "description": "To avoid too much bells and whistles.",
        "default": True,
    },
    {
        "display_name": "Spark environment",
        "slug": "spark",
        "kubespawner_override": {"image": "quay.io/jupyter/all-spark-notebook:2026-01-01", "mem_limit": "3G"},
    },
]


class PageSpawner(DatalabSpawnerMixin, Spawner):  # type: ignore[misc]
    """A session that is one page."""

    page_port = 0
    launched: ClassVar[list[str]] = []
    running = False

    async def start(self) -> tuple[str, int]:
        assert self.service is not None
        self.launched.append(self.service.id)
        self.running = True
        return "127.0.0.1", self.page_port

    async def stop(self, now: bool = False) -> None:
        self.running = False

    async def poll(self) -> int | None:
        return None if self.running else 0


class Lab:
    """A signed-in browser, and what the hub is made of."""

    def __init__(self, client: httpx.AsyncClient, datalab: Any, log: list[str]) -> None:
        self.client = client
        self.datalab = datalab
        self.log = log

    async def form(self) -> str:
        answer = await self.client.get("/hub/spawn")
        assert answer.status_code == 200, answer.text
        return answer.text

    async def post(self, **fields: Any) -> httpx.Response:
        data = {name.replace("__", "."): value for name, value in fields.items()}
        return await self.client.post("/hub/spawn", data={**data, "_xsrf": self.client.cookies["_xsrf"]})

    async def rest(self, **options: Any) -> httpx.Response:
        headers = {"X-XSRFToken": self.client.cookies["_xsrf"]}
        return await self.client.post("/hub/api/users/alice/server", json=options, headers=headers)


@contextlib.asynccontextmanager
async def lab(catalogue: Any, folder: Path) -> AsyncIterator[Lab]:
    c, port = Config(), free_port()
    c.Sardonyx.update(state_dir=str(folder), issuer_url="http://127.0.0.1:1/hub/datalab/oidc")
    c.JupyterHub.update(
        authenticator_class=DummyAuthenticator,
        spawner_class=PageSpawner,
        hub_bind_url=f"http://127.0.0.1:{port}",
    )
    c.Authenticator.allow_all = True
    store = MemoryStore()
    source: Any = MemoryVaultSource()
    datalab = configure(c, secrets=store, broker=Broker({"vault": source}))
    c.DatalabSpawnerMixin.catalogue = catalogue
    PageSpawner.launched.clear()
    async with answering_page() as PageSpawner.page_port, running(await make_hub(c, sardonyx=datalab)) as app:
        log: list[str] = []
        app.log.addHandler(ListHandler(log))
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20
        ) as client:
            await client.get("/hub/login")
            form = {"username": "alice", "password": "x", "_xsrf": client.cookies["_xsrf"]}
            assert (await client.post("/hub/login", data=form)).status_code == 302
            await client.get("/hub/spawn")
            yield Lab(client, datalab, log)


@pytest.mark.parametrize("as_dict", [False, True])
async def test_a_list_or_dict_of_profiles_is_the_catalogue(as_dict: bool, tmp_path: Path) -> None:
    profiles: Any = {str(number): profile for number, profile in enumerate(PROFILES)} if as_dict else PROFILES
    async with lab(profiles, tmp_path) as hub:
        page = await hub.form()
        assert "Minimal environment" in page
        assert "Spark environment" in page
        assert (await hub.post(service="spark")).status_code == 302
        assert PageSpawner.launched == ["spark"]


async def test_a_callable_is_asked_with_the_spawner_once_a_form(tmp_path: Path) -> None:
    asked: list[str] = []

    async def profiles(spawner: Any) -> list[dict[str, Any]]:
        asked.append(spawner.user.name)
        return [{"display_name": f"For {spawner.user.name}", "slug": f"turn-{len(asked)}"}, PROFILES[1]]

    async with lab(profiles, tmp_path) as hub:
        asked.clear()
        page = await hub.form()
        assert asked == ["alice"]
        assert "For alice" in page
        assert (await hub.rest(service="spark")).status_code == 201
        assert PageSpawner.launched == ["spark"]


@pytest.mark.parametrize(
    ("catalogue", "words"),
    [
        (
            [PROFILES[0], {"display_name": "Big", "slug": "big", "allowed_groups": ["x"]}],
            ["[1].allowed_groups", "'big'"],
        ),
        (
            {"b": {"display_name": "B"}, "a": {"display_name": "A", "slug": "not a slug"}},
            ["a.slug", "'not a slug'"],
        ),
        (lambda spawner: None, ["profile_list", "NoneType"]),
        (lambda spawner: 1 // 0, ["profile_list", "ZeroDivisionError"]),
        (3, ["profile_list"]),
    ],
)
async def test_what_is_wrong_is_told_to_the_operator(
    catalogue: Any, words: list[str], tmp_path: Path
) -> None:
    async with lab(catalogue, tmp_path) as hub:
        answer = await hub.client.get("/hub/spawn")
        assert answer.status_code == 500
        for word in words:
            assert any(word in line for line in hub.log)
            assert word not in answer.text
        assert (await hub.rest()).status_code == 500
        assert PageSpawner.launched == []


# Secrets -------------------------------------------------------------------------------------------------------

SECRETS = "services:\n  - {id: lab, name: Lab, default: true}\n"


async def test_a_secret_that_is_not_there_is_a_problem_beside_the_field(tmp_path: Path) -> None:
    async with lab(SECRETS, tmp_path) as hub:
        hub.datalab.secrets.write_internal(Subject("alice"), "api/known", {"KEY": "x"})
        fields = {"service": "lab", "vault__secret": ["api/known", "api/unknown"]}
        refused = await hub.post(**fields)
        assert refused.status_code == 422
        assert re.search(r"vault\.secret.*api/unknown", refused.text, re.DOTALL)
        again = await hub.rest(service="lab", options={"vault": {"secret": ["api/unknown"]}})
        assert again.status_code == 400
        assert "api/unknown" in again.text
        assert PageSpawner.launched == []
        assert (await hub.post(service="lab", vault__secret="api/known")).status_code == 302
        assert PageSpawner.launched == ["lab"]


@pytest.mark.parametrize("down", [True, False])
async def test_secrets_that_are_not_known_are_not_checked(
    down: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(SECRETS, tmp_path) as hub:
        if down:
            hub.datalab.secrets.failure = SourceError("vault", "unreachable", "Vault cannot be reached.")
        else:
            monkeypatch.setattr(hub.datalab.secrets, "listing", lambda subject: (["a"], False))
        assert (await hub.post(service="lab", vault__secret="api/unknown")).status_code == 302
        assert PageSpawner.launched == ["lab"]
