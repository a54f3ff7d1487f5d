"""The launch form posted in a real JupyterHub: what starts a session, and what a person reads when none was."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

import pytest
from form_hub import SESSIONS, Person, alice, app
from html_form import Html
from jupyterhub.slugs import is_valid_safe_slug
from jupyterhub.spawner import SpawnException

from sardonyx_hub.pages import room

__all__ = ["alice", "app"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestPost:
    """POST launches, or shows what was wrong beside what was typed."""

    async def test_launches_the_default_session(self, alice: Person) -> None:
        response = await alice.press(await alice.open(), git__branch="dev")
        assert (response.status_code, response.headers["location"]) == (302, "/hub/spawn-pending/alice")
        await alice.settle()
        assert SESSIONS.started == [""]
        assert alice.user.spawner.launch_options.git.branch == "dev"
        assert alice.user.spawner.user_options["service"] == "python"

    async def test_a_full_disk_is_said_and_nothing_starts(
        self, alice: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = await alice.open("/hub/spawn?lang=fr")
        monkeypatch.setattr(room, "is_full", lambda folder: True)
        response = await alice.press(page)
        assert response.status_code == 507
        assert "Le disque de ce datalab est plein" in response.text
        assert SESSIONS.started == []

    async def test_untouched_form_means_the_defaults(self, alice: Person) -> None:
        await alice.press(await alice.open())
        await alice.settle()
        options = alice.user.spawner.launch_options
        assert options.resources.limits.memory == "2Gi"
        assert options.service.image.version == "3.12"
        assert (options.vault.secret, options.extra_env_vars, options.s3.access) == ([], [], "read-write")

    async def test_errors_stand_beside_their_fields_and_input_is_kept(self, alice: Person) -> None:
        response = await alice.press(
            await alice.open(),
            **{
                "resources__limits__memory": "9000Gi",
                "git__repository": "https://me:ghp_token@example.org/a.git",
                "extraEnvVars[0]__name": "LD_PRELOAD",
                "extraEnvVars[0]__value": "a\nb",
                "extraEnvVars[1]__name": "FINE",
                "extraEnvVars[1]__value": "<i>&amp;",
                "vault__secret": ["", "projet_patate"],
                "display_name": "My course",
                "service__image__version": "3.11",
            },
        )
        assert response.status_code == 422
        page = Html(response.text)
        memory = page.control("resources.limits.memory")
        assert memory.attributes["value"] == "9000Gi"
        assert memory.attributes["aria-invalid"] == "true"
        assert "from 128Mi to 8Gi" in page.beside("resources.limits.memory")
        assert "token or a password" in page.beside("git.repository")
        assert "LD_PRELOAD decides" in page.beside("extraEnvVars[0].name")
        sent = page.posted()
        assert sent["extraEnvVars[0].value"] == ["a\nb"]
        assert sent["extraEnvVars[1].value"] == ["<i>&amp;"]
        assert sent["vault.secret"] == ["", "projet_patate"]
        assert sent["display_name"] == ["My course"]
        assert sent["service.image.version"] == ["3.11"]
        for section in ("resources", "git", "extraEnvVars"):
            assert "open" in page.by_id(f"section-{section}").attributes
        problems = page.by_id("form-problems")
        targets = [
            one.attributes["href"][1:]
            for one in page.all("a", class_="alert-link")
            if one.inside("div") is problems
        ]
        assert len(targets) == 3
        for target in targets:
            page.by_id(target)
        assert (SESSIONS.started, alice.active) == ([], set())

    async def test_name_with_dots_in_it(self, alice: Person) -> None:
        name = r"resources.limits.nvidia\.com/gpu"
        wrong = await alice.press(await alice.open(), **{name: "3"})
        assert wrong.status_code == 422
        assert Html(wrong.text).control(name).attributes["value"] == "3"
        assert "from 0 to 2" in Html(wrong.text).beside(name)
        assert (await alice.press(Html(wrong.text), **{name: "2"})).status_code == 302
        await alice.settle()
        assert alice.user.spawner.launch_options.resources.limits.devices == {"nvidia.com/gpu": 2}

    async def test_corrected_form_launches(self, alice: Person) -> None:
        wrong = await alice.press(await alice.open(), resources__limits__memory="lots")
        assert wrong.status_code == 422
        right = await alice.press(Html(wrong.text), resources__limits__memory="3Gi")
        assert right.status_code == 302
        await alice.settle()
        assert alice.user.spawner.launch_options.resources.limits.memory == "3Gi"

    async def test_unknown_field_is_told(self, alice: Person) -> None:
        response = await alice.press(await alice.open(), **{"nonsense<x>": "1"})
        assert response.status_code == 422
        assert "nonsense&lt;x&gt;" in response.text
        assert "nonsense<x>" not in response.text

    async def test_hidden_service_is_refused(self, alice: Person) -> None:
        response = await alice.press(await alice.open(), service="hidden")
        assert response.status_code in (400, 422)
        assert "hidden" in response.text
        assert SESSIONS.started == []

    async def test_without_xsrf_token_is_refused(self, alice: Person) -> None:
        await alice.open()
        response = await alice.client.post("/hub/spawn", data={"service": "python"})
        assert response.status_code == 403
        assert SESSIONS.started == []

    async def test_bytes_that_are_no_text_are_refused(self, alice: Person) -> None:
        page = await alice.open()
        action = page.by_id("spawn_form").attributes["action"]
        response = await alice.client.post(
            action,
            content=b"service=python&git.branch=%ff",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert response.status_code == 400

    async def test_reason_of_a_refused_launch_is_told(self, alice: Person) -> None:
        SESSIONS.failure = SpawnException("No room today <b>", reason="capacity", status_code=503)
        response = await alice.press(await alice.open(), git__branch="kept")
        assert response.status_code == 503
        page = Html(response.text)
        assert "No room today &lt;b&gt;" in response.text
        assert page.control("git.branch").attributes["value"] == "kept"

    async def test_unexpected_error_is_a_number_not_a_traceback(self, alice: Person) -> None:
        SESSIONS.failure = ValueError("the password is hunter2")
        response = await alice.press(await alice.open(), git__branch="kept")
        assert response.status_code == 500
        assert "hunter2" not in response.text
        assert re.search(r"give them this number: [0-9a-f]{8}", response.text)
        assert Html(response.text).control("git.branch").attributes["value"] == "kept"


class TestNamedSessions:
    """Sessions with a name, given or generated."""

    async def test_named_session_launches_with_its_options(self, alice: Person) -> None:
        page = await alice.open("/hub/spawn/alice/mine")
        response = await alice.press(page, display_name="Mine, été", git__branch="b")
        assert response.headers["location"] == "/hub/spawn-pending/alice/mine"
        await alice.settle()
        assert SESSIONS.started == ["mine"]
        assert alice.user.spawners["mine"].launch_options.git.branch == "b"
        assert alice.user.orm_spawners["mine"].display_name == "Mine, été"

    async def test_error_shows_the_named_sessions_form(self, alice: Person) -> None:
        response = await alice.press(await alice.open("/hub/spawn/alice/mine"), git__branch="..")
        assert response.status_code == 422
        page = Html(response.text)
        assert urlsplit(page.by_id("spawn_form").attributes["action"]).path == "/hub/spawn/alice/mine"
        assert "mine" in page.all("h1")[0].text
        assert page.control("git.branch").attributes["value"] == ".."
        assert "mine" not in alice.servers

    async def test_stopped_session_offers_its_own_options_again(self, alice: Person) -> None:
        await alice.press(
            await alice.open("/hub/spawn/alice/mine?service=r"), git__branch="again", s3__access="read-only"
        )
        await alice.settle()
        await alice.user.stop("mine")
        page = await alice.open("/hub/spawn/alice/mine")
        assert page.posted()["service"] == ["r"]
        assert page.control("git.branch").attributes["value"] == "again"
        assert page.posted()["s3.access"] == ["read-only"]
        other = await alice.open("/hub/spawn/alice/other")
        assert other.control("git.branch").attributes["value"] == ""

    async def test_running_named_session_is_opened(self, alice: Person) -> None:
        await alice.press(await alice.open("/hub/spawn/alice/mine"))
        await alice.settle()
        response = await alice.client.get("/hub/spawn/alice/mine?opt-service=r")
        assert (response.status_code, response.headers["location"]) == (302, "/user/alice/mine/")
        assert SESSIONS.started == ["mine"]

    async def test_second_session_gets_a_name(self, alice: Person) -> None:
        await alice.press(await alice.open())
        await alice.settle()
        page = await alice.open("/hub/spawn?service=r")
        assert "Your default session is running" in page.source
        response = await alice.press(page, display_name="Second")
        await alice.settle()
        name = response.headers["location"].rpartition("/")[2]
        assert is_valid_safe_slug(name)
        assert re.fullmatch(r"r-[a-z0-9]{4}", name)
        assert SESSIONS.started == ["", name]
        assert alice.user.orm_spawners[name].display_name == "Second"
        assert alice.user.spawners[name].user_options["service"] == "r"

    async def test_second_session_does_not_take_the_first_ones_options(self, alice: Person) -> None:
        await alice.press(await alice.open(), git__branch="first")
        await alice.settle()
        assert (await alice.open()).control("git.branch").attributes["value"] == ""

    async def test_without_named_servers_the_running_one_is_opened(self, alice: Person) -> None:
        page = await alice.open()
        await alice.press(page)
        await alice.settle()
        alice.app.tornado_application.settings["allow_named_servers"] = False
        response = await alice.client.get("/hub/spawn")
        assert (response.status_code, response.headers["location"]) == (302, "/user/alice/")
        again = await alice.press(page, _launch="another-page")
        assert again.status_code == 400
        assert "running or starting already" in again.text
        assert SESSIONS.started == [""]

    async def test_limit_is_told_and_input_kept(self, alice: Person) -> None:
        for name in ("one", "two"):
            await alice.press(await alice.open(f"/hub/spawn/alice/{name}"))
        await alice.press(await alice.open())
        await alice.settle()
        response = await alice.press(await alice.open(), git__branch="kept")
        assert response.status_code == 400
        assert "You have 2 sessions, the most that is allowed" in response.text
        assert Html(response.text).control("git.branch").attributes["value"] == "kept"
        assert alice.servers == {"", "one", "two"}

    async def test_failed_new_session_does_not_count(self, alice: Person) -> None:
        await alice.press(await alice.open())
        await alice.settle()
        SESSIONS.failure = SpawnException("no", reason="x")
        for _ in range(3):
            assert (await alice.press(await alice.open())).status_code == 400
        assert alice.servers == {""}

    async def test_pressed_twice_launches_once(self, alice: Person) -> None:
        page = await alice.open()
        SESSIONS.delay = 0.1
        first, second = await asyncio.gather(alice.press(page), alice.press(page))
        await alice.settle()
        third = await alice.press(page)
        assert {one.headers["location"] for one in (first, second, third)} == {"/hub/spawn-pending/alice"}
        assert SESSIONS.started == [""]

    async def test_pressed_twice_at_the_limit_launches_once(self, alice: Person) -> None:
        alice.app.tornado_application.settings["named_server_limit_per_user"] = 1
        await alice.press(await alice.open())
        await alice.settle()
        page = await alice.open()
        SESSIONS.delay = 0.1
        answers = await asyncio.gather(alice.press(page), alice.press(page))
        await alice.settle()
        assert len({one.headers["location"] for one in answers}) == 1
        assert len(SESSIONS.started) == 2

    async def test_two_pages_at_once_make_two_sessions_within_the_limit(self, alice: Person) -> None:
        await alice.press(await alice.open())
        await alice.settle()
        pages = [await alice.open() for _ in range(3)]
        SESSIONS.delay = 0.1
        answers = await asyncio.gather(*(alice.press(page) for page in pages))
        await alice.settle()
        assert sorted(one.status_code for one in answers) == [302, 302, 400]
        assert len(alice.servers) == 3
