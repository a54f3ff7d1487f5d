"""A value that a person marks secret in the launch form: in their secret store, and nowhere else that the hub writes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from form_hub import SESSIONS, Person, alice, app, signed_in
from html_form import Html

from sardonyx_hub.credentials.errors import SourceError

__all__ = ["alice", "app"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "cAnArY-57d1c0-secret"
DOWN = SourceError("vault", "unreachable", "Vault is sealed; an administrator must unseal it.")


def variable(name: str = "MY_TOKEN", value: str | None = CANARY) -> dict[str, Any]:
    return {"name": name, "secret": True, **({} if value is None else {"value": value})}


def options(*variables: dict[str, Any]) -> dict[str, Any]:
    return {"service": "r", "options": {"extraEnvVars": list(variables)}}


def kept(path: str = "default") -> dict[str, Any] | None:
    versions = SESSIONS.store.kept.get(("alice", f".datalab/sessions/{path}/env"))
    return versions[-1] if versions else None


def all_kept() -> list[dict[str, Any]]:
    """Return what is kept for alice's sessions, whatever they are called."""
    return [versions[-1] for versions in SESSIONS.store.kept.values() if versions]


def leaks() -> list[str]:
    """Return where the canary is: the hub's database file with its journal, and its log at debug level."""
    found = []
    for file in SESSIONS.database.parent.glob("hub.sqlite*"):
        if CANARY.encode() in file.read_bytes():
            found.append(file.name)
    return found + [line[:40] for line in SESSIONS.log if CANARY in line]


async def fill(alice: Person, path: str = "/hub/spawn?service=r", **changes: str) -> Any:
    row = {
        "extraEnvVars[0].name": "MY_TOKEN",
        "extraEnvVars[0].value": CANARY,
        "extraEnvVars[0].secret": "true",
    }
    return await alice.press(await alice.open(path), **{**row, **changes})


async def rest(alice: Person, method: str, server: str, body: Any) -> Any:
    """Ask JupyterHub's own REST API as a browser of alice's does."""
    path = f"/hub/api/users/alice/servers/{server}" if server else "/hub/api/users/alice/server"
    if not alice.client.cookies.get("_xsrf", path="/hub/"):
        await alice.client.get("/hub/spawn")
    headers = {"X-XSRFToken": alice.client.cookies.get("_xsrf", path="/hub/") or ""}
    given = {"content": body} if isinstance(body, bytes) else {"json": body}
    return await alice.client.request(method, path, headers=headers, **given)


@pytest.fixture(autouse=True)
def empty_store() -> None:
    SESSIONS.store.kept.clear()


class TestForm:
    """What the form does with it."""

    async def test_goes_to_the_store_and_the_hub_keeps_the_name_only(self, alice: Person) -> None:
        response = await fill(
            alice, **{"extraEnvVars[1].name": "PLAIN", "extraEnvVars[1].value": "kept-plain-7"}
        )
        assert response.status_code == 302
        await alice.settle()
        assert kept() == {"MY_TOKEN": CANARY}
        stored = alice.user.orm_spawners[""].user_options["options"]["extraEnvVars"]
        assert stored[:2] == [
            {"name": "MY_TOKEN", "secret": True},
            {"name": "PLAIN", "value": "kept-plain-7"},
        ]
        assert alice.user.spawner.grant["variables"] == ["MY_TOKEN"]
        assert CANARY not in str(alice.user.spawner.get_state())
        database = b"".join(file.read_bytes() for file in SESSIONS.database.parent.glob("hub.sqlite*"))
        assert b"kept-plain-7" in database, "the search would find a value that is there"
        assert leaks() == []

    async def test_later_form_says_kept_and_shows_nothing(self, alice: Person) -> None:
        await fill(alice, "/hub/spawn/alice/mine?service=r")
        await alice.settle()
        await alice.user.stop("mine")
        page = await alice.open("/hub/spawn/alice/mine")
        assert CANARY not in page.source
        value = page.control("extraEnvVars[0].value")
        assert (value.text.strip(), value.attributes["placeholder"]) == ("", "kept, type to replace")
        assert "A value is kept" in page.beside("extraEnvVars[0].value")
        assert "checked" in page.control("extraEnvVars[0].secret").attributes
        assert (await alice.press(page)).status_code == 302
        await alice.settle()
        assert kept("mine") == {"MY_TOKEN": CANARY}
        await alice.user.stop("mine")
        again = await alice.open("/hub/spawn/alice/mine")
        await alice.press(again, **{"extraEnvVars[0].value": "another"})
        await alice.settle()
        assert kept("mine") == {"MY_TOKEN": "another"}

    async def test_wrong_form_comes_back_without_it(self, alice: Person) -> None:
        response = await fill(alice, resources__limits__memory="x", git__branch="..")
        assert response.status_code == 422
        assert CANARY not in response.text
        page = Html(response.text)
        assert page.posted()["extraEnvVars[0].name"] == ["MY_TOKEN"]
        assert page.posted()["extraEnvVars[0].secret"] == ["true"]
        assert "type it once more" in page.beside("extraEnvVars[0].value")
        assert (kept(), leaks()) == (None, [])

    @pytest.mark.parametrize(
        ("changes", "field", "text"),
        [
            ({"extraEnvVars[0].value": ""}, "value", "Type the value"),
            ({"extraEnvVars[0].name": ""}, "name", "letters"),
            ({"extraEnvVars[0].name": "LD_PRELOAD"}, "name", "LD_PRELOAD decides"),
            ({"extraEnvVars[0].value": "a\x1bb"}, "value", "control characters"),
            ({"extraEnvVars[0].value": "x" * 40_000}, "value", "at most"),
            ({"extraEnvVars[0].secret": "perhaps"}, "secret", "true"),
        ],
    )
    async def test_what_is_wrong_stands_beside_it(
        self, alice: Person, changes: dict[str, str], field: str, text: str
    ) -> None:
        response = await fill(alice, **changes)
        assert response.status_code == 422
        assert text in Html(response.text).beside(f"extraEnvVars[0].{field}")
        assert (SESSIONS.started, kept(), leaks()) == ([], None, [])

    async def test_store_is_down(self, alice: Person) -> None:
        SESSIONS.store.failure = DOWN
        response = await fill(alice, git__branch="kept")
        await alice.settle()
        assert response.status_code == 422
        page = Html(response.text)
        assert "Vault is sealed" in page.beside("extraEnvVars[0].value")
        assert page.control("git.branch").attributes["value"] == "kept"
        assert CANARY not in response.text
        assert (SESSIONS.started, alice.active, leaks()) == ([], set(), [])
        SESSIONS.store.failure = None
        assert (await alice.press(page, **{"extraEnvVars[0].value": CANARY})).status_code == 302
        await alice.settle()
        assert all_kept() == [{"MY_TOKEN": CANARY}]

    async def test_new_session_keeps_nothing_of_the_default_one(self, alice: Person) -> None:
        await fill(alice)
        await alice.settle()
        page = await alice.open("/hub/spawn?service=r")
        assert page.control("extraEnvVars[0].name").attributes["value"] == ""
        response = await fill(alice, **{"extraEnvVars[0].value": ""})
        assert "Type the value" in Html(response.text).beside("extraEnvVars[0].value")
        assert all_kept() == [{"MY_TOKEN": CANARY}]

    async def test_taken_out_is_deleted(self, alice: Person) -> None:
        await fill(alice, "/hub/spawn/alice/mine?service=r")
        await alice.settle()
        await alice.user.stop("mine")
        page = await alice.open("/hub/spawn/alice/mine")
        fields = {"extraEnvVars[0].name": "", "extraEnvVars[0].secret": []}
        assert (await alice.press(page, **fields)).status_code == 302
        await alice.settle()
        assert kept("mine") is None

    async def test_deleting_the_session_deletes_the_values(self, alice: Person) -> None:
        await fill(alice, "/hub/spawn/alice/mine?service=r")
        await alice.settle()
        assert kept("mine")
        response = await rest(alice, "DELETE", "mine", {"remove": True})
        assert response.status_code in (202, 204)
        async with asyncio.timeout(10):
            while "mine" in alice.servers:
                await asyncio.sleep(0.05)
        assert kept("mine") is None

    async def test_link_with_one_is_not_shown(self, alice: Person) -> None:
        page = await alice.open(
            f"/hub/spawn?service=r&extraEnvVars[0].name=A&extraEnvVars[0].value={CANARY}"
            "&extraEnvVars[0].secret=true"
        )
        assert leaks() == []
        assert page.posted()["extraEnvVars[0].value"] == [""]
        assert "checked" in page.control("extraEnvVars[0].secret").attributes


class TestRest:
    """JupyterHub's REST API commits and logs options before it asks the spawner: they must be clean by then."""

    @pytest.mark.parametrize("wrapped", [True, False])
    async def test_launch(self, alice: Person, wrapped: bool) -> None:
        body = {"user_options": options(variable())} if wrapped else options(variable())
        assert (await rest(alice, "POST", "", body)).status_code in (201, 202)
        await alice.settle()
        assert kept() == {"MY_TOKEN": CANARY}
        assert alice.user.spawner.launch_options.extra_env_vars[0].secret
        assert leaks() == []

    async def test_launch_with_dotted_paths(self, alice: Person) -> None:
        dotted = {
            "extraEnvVars[0].name": "MY_TOKEN",
            "extraEnvVars[0].value": CANARY,
            "extraEnvVars[0].secret": "true",
        }
        body = {"user_options": {"service": "r", "options": dotted}}
        assert (await rest(alice, "POST", "", body)).status_code in (201, 202)
        await alice.settle()
        assert (kept(), leaks()) == ({"MY_TOKEN": CANARY}, [])

    async def test_put_patch_and_launch(self, alice: Person) -> None:
        assert (await rest(alice, "PUT", "mine", {"user_options": options(variable())})).status_code == 201
        assert kept("mine") == {"MY_TOKEN": CANARY}
        changed = options(variable(value=None), variable("OTHER", f"{CANARY}2"))
        assert (await rest(alice, "PATCH", "mine", {"user_options": changed})).status_code == 200
        assert kept("mine") == {"MY_TOKEN": CANARY, "OTHER": f"{CANARY}2"}
        assert (await rest(alice, "POST", "mine", None)).status_code in (201, 202)
        await alice.settle()
        assert alice.user.spawners["mine"].grant["variables"] == ["MY_TOKEN", "OTHER"]
        refused = await rest(alice, "PATCH", "mine", {"user_options": options(variable("THIRD"))})
        assert refused.status_code == 400, "it runs"
        assert kept("mine") == {"MY_TOKEN": CANARY, "OTHER": f"{CANARY}2"}
        assert leaks() == []

    async def test_rename_moves_them(self, alice: Person) -> None:
        await rest(alice, "PUT", "mine", {"user_options": options(variable())})
        assert (await rest(alice, "PATCH", "mine", {"name": "yours"})).status_code == 200
        assert (kept("mine"), kept("yours")) == (None, {"MY_TOKEN": CANARY})
        both = {"name": "again", "user_options": options(variable())}
        assert (await rest(alice, "PATCH", "yours", both)).status_code == 400
        assert leaks() == []

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    @pytest.mark.parametrize(
        "wrong",
        [
            options({**variable(), "more": 1}),
            options({**variable(), "secret": "perhaps"}),
            options(variable("PATH")),
            options(variable(value=f"{CANARY}\x1b")),
            options(variable(value=None)),
            {"service": "nonsense", "options": {"extraEnvVars": [variable()]}},
            {"service": "r", "extraEnvVars": [variable()]},
            {"service": "r", "options": {"extraEnvVars": variable()}},
            {"service": "r", "options": {"extraEnvVars": {"0": variable()}}},
            {"service": "r", "options": [variable()]},
        ],
    )
    async def test_what_is_wrong_is_stored_nowhere(self, alice: Person, method: str, wrong: Any) -> None:
        server = "mine"
        if method == "PATCH":
            await rest(alice, "PUT", server, {"user_options": {"service": "r"}})
        response = await rest(alice, method, server, {"user_options": wrong})
        assert response.status_code == 400, response.text
        assert response.json()["message"]
        assert CANARY not in response.text
        await alice.settle()
        assert (SESSIONS.started, kept("mine"), leaks()) == ([], None, [])

    async def test_body_that_is_no_json_is_not_logged(self, alice: Person) -> None:
        response = await rest(alice, "POST", "", f'{{"user_options": "{CANARY}"'.encode())
        assert response.status_code == 400
        assert leaks() == []

    async def test_problems_are_told_by_field(self, alice: Person) -> None:
        response = await rest(alice, "POST", "", {"user_options": options(variable("PATH"))})
        assert [one["field"] for one in response.json()["problems"]] == ["extraEnvVars[0].name"]

    @pytest.mark.parametrize(("method", "status"), [("POST", (400, 503)), ("PUT", (503,)), ("PATCH", (503,))])
    async def test_store_is_down(self, alice: Person, method: str, status: tuple[int, ...]) -> None:
        if method == "PATCH":
            await rest(alice, "PUT", "mine", {"user_options": {"service": "r"}})
        SESSIONS.store.failure = DOWN
        response = await rest(alice, method, "mine", {"user_options": options(variable())})
        assert response.status_code in status
        assert "Vault is sealed" in response.json()["message"]
        await alice.settle()
        assert (SESSIONS.started, leaks()) == ([], [])

    async def test_without_the_right_nothing_is_written(self, alice: Person) -> None:
        async with signed_in(alice.app, "bob") as bob:
            await bob.get("/hub/spawn")
            headers = {"X-XSRFToken": bob.cookies.get("_xsrf", path="/hub/") or ""}
            path = "/hub/api/users/alice/server"
            response = await bob.post(path, json={"user_options": options(variable())}, headers=headers)
        assert response.status_code in (403, 404)
        assert (kept(), SESSIONS.started, leaks()) == (None, [], [])
