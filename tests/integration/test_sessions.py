"""Sessions in a real JupyterHub: what pages and API say of them, what is done to them, and how open pages learn of it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import sessions_hub
from sessions_hub import CONTROL, Hub, ObedientSpawner, Person

from sardonyx_hub.api.routes import PREFIX
from sardonyx_spawner.launch_errors import LaunchError

pytestmark = pytest.mark.asyncio(loop_scope="module")
hub, alice = sessions_hub.hub, sessions_hub.alice


class TestDescription:
    """``GET /sessions`` and ``/sessions/NAME``."""

    async def test_nobody_has_a_session_at_first(self, alice: Person) -> None:
        assert (await alice.api("GET", "sessions")).json() == {"version": 1, "sessions": []}
        assert (await alice.api("GET", "sessions/-")).status_code == 404

    async def test_from_start_to_stop(self, alice: Person) -> None:
        CONTROL.gate.clear()
        asyncio.get_running_loop().call_later(1, CONTROL.gate.set)
        launch = asyncio.create_task(alice.launch("run1", resources={"limits": {"memory": "3Gi"}}))
        starting = await alice.until("run1", "starting")
        assert starting["url"] is None
        assert starting["progress"]["percent"] > 0
        await launch
        running = await alice.until("run1", "running")
        assert running["service"]["name"] == {"en": "Lab", "fr": "Labo"}
        assert running["resources"]["memory"]["limit"] == "3Gi"
        assert running["resources"]["cpu"]["limit"] == "2"
        assert running["url"] == "/user/alice/run1/"
        assert any("exit code 3 <i>" in warning for warning in running["warnings"])
        stopped = (await alice.api("POST", "sessions/run1/stop")).json()
        assert (stopped["state"], stopped["url"], stopped["ended"]) == ("stopped", None, None)
        assert stopped["resources"]["memory"]["limit"] == "3Gi"

    async def test_default_session_is_one_too(self, alice: Person) -> None:
        await alice.launch("")
        assert (await alice.until("-", "running"))["name"] == ""
        names = [one["name"] for one in (await alice.api("GET", "sessions")).json()["sessions"]]
        assert names == [""]

    async def test_those_that_run_come_first(self, alice: Person) -> None:
        for name in ("aa", "bb", "cc"):
            await alice.launch(name)
        for name in ("aa", "bb"):
            await alice.api("POST", f"sessions/{name}/stop")
        found = [
            (one["name"], one["state"]) for one in (await alice.api("GET", "sessions")).json()["sessions"]
        ]
        assert found == [("cc", "running"), ("bb", "stopped"), ("aa", "stopped")]


class TestActions:
    """What people do to their sessions."""

    async def test_start_has_the_options_of_before(self, alice: Person) -> None:
        await alice.launch("run1", resources={"limits": {"memory": "3Gi"}})
        await alice.api("POST", "sessions/run1/stop")
        assert (await alice.api("POST", "sessions/run1/start")).status_code in (200, 202)
        await alice.until("run1", "running")
        assert CONTROL.options[0] == CONTROL.options[1]

    async def test_restart(self, alice: Person) -> None:
        await alice.launch("run1")
        assert (await alice.api("POST", "sessions/run1/restart")).status_code in (200, 202)
        await alice.until("run1", "running")
        assert len(CONTROL.options) == 2
        assert CONTROL.options[0] == CONTROL.options[1]

    @pytest.mark.parametrize("by_jupyterhub", [False, True])
    async def test_stop_during_start(self, alice: Person, by_jupyterhub: bool) -> None:
        """A start that takes its time to give up is waited for: JupyterHub alone answers 500."""
        CONTROL.gate.clear()
        CONTROL.giving_up = 2.0
        launch = asyncio.create_task(alice.launch("run1"))
        await alice.until("run1", "starting")
        await asyncio.sleep(0.2)
        if by_jupyterhub:
            headers = {"X-XSRFToken": alice.client.cookies["_xsrf"]}
            answer = await alice.client.delete("/hub/api/users/alice/servers/run1", headers=headers)
            assert answer.status_code == 204, answer.text
        else:
            answer = await alice.api("POST", "sessions/run1/stop")
            assert (answer.status_code, answer.json()["state"]) == (200, "stopped")
        launch.cancel()
        assert await alice.state("run1") == "stopped"
        CONTROL.gate.set()
        await alice.api("POST", "sessions/run1/start")
        await alice.until("run1", "running")

    @pytest.mark.parametrize("by_jupyterhub", [False, True])
    async def test_start_during_delete(
        self, alice: Person, by_jupyterhub: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It would run on a disk that goes, without a row in the database: nobody could stop it."""
        await alice.launch("run1")
        await alice.api("POST", "sessions/run1/stop")
        begun, gate = asyncio.Event(), asyncio.Event()

        async def remove_slowly(_: Any) -> None:
            begun.set()
            await gate.wait()

        monkeypatch.setattr(ObedientSpawner, "delete_forever", remove_slowly)
        headers = {"X-XSRFToken": alice.client.cookies["_xsrf"]}
        path = "/hub/api/users/alice/servers/run1"
        deleting = asyncio.create_task(
            alice.client.request("DELETE", path, headers=headers, json={"remove": True})
            if by_jupyterhub
            else alice.api("DELETE", "sessions/run1")
        )
        await begun.wait()
        assert (await alice.api("POST", "sessions/run1/start")).status_code == 409
        launch = await alice.client.post(path, headers=headers, json={"service": "lab", "options": {}})
        assert launch.status_code == 400, launch.text
        assert (await alice.api("DELETE", "sessions/run1")).status_code == 409
        gate.set()
        assert (await deleting).status_code == 204
        assert await alice.state("run1") == "none"
        assert len(CONTROL.options) == 1

    async def test_failed_launch_says_why(self, alice: Person) -> None:
        CONTROL.failure = LaunchError("Le disque n’est pas là <b>.", reason="disk", status_code=503)
        with pytest.raises(AssertionError):
            await alice.launch("run1")
        found = await alice.until("run1", "failed")
        assert found["error"] == "Le disque n’est pas là <b>."
        assert "Le disque n’est pas là &lt;b&gt;." in await alice.page()
        CONTROL.failure = None
        await alice.api("POST", "sessions/run1/start")
        assert (await alice.until("run1", "running"))["error"] is None

    @pytest.mark.parametrize(
        ("action", "status", "code"),
        [("start", 409, "running"), ("delete", 409, "not-stopped")],
    )
    async def test_refusals_of_a_session_that_runs(
        self, alice: Person, action: str, status: int, code: str
    ) -> None:
        await alice.launch("run1")
        method, path = (
            ("DELETE", "sessions/run1") if action == "delete" else ("POST", f"sessions/run1/{action}")
        )
        answer = await alice.api(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert "session" in answer.json()["message"]

    @pytest.mark.parametrize(("action", "code"), [("restart", "stopped"), ("keep-alive", "stopped")])
    async def test_refusals_of_a_stopped_session(self, alice: Person, action: str, code: str) -> None:
        await alice.launch("run1")
        await alice.api("POST", "sessions/run1/stop")
        answer = await alice.api("POST", f"sessions/run1/{action}", json={"hours": 4})
        assert (answer.status_code, answer.json()["code"]) == (409, code)

    @pytest.mark.parametrize(
        ("name", "status"),
        [
            ("Analyse d’été ☀", 200),
            ("<script>alert(1)</script>", 200),
            ("", 200),
            ("a\nb", 400),
            ("x" * 300, 400),
        ],
    )
    async def test_rename(self, alice: Person, name: str, status: int) -> None:
        await alice.launch("run1")
        answer = await alice.api("PATCH", "sessions/run1", json={"display_name": name})
        assert answer.status_code == status, answer.text
        if status == 200:
            assert answer.json()["display_name"] == name
            page = await alice.page()
            assert "<script>alert" not in page

    @pytest.mark.parametrize("body", [{}, {"display_name": 4}, {"name": "x"}, {"display_name": "x", "y": 1}])
    async def test_rename_with_a_wrong_body(self, alice: Person, body: dict[str, Any]) -> None:
        await alice.launch("run1")
        assert (await alice.api("PATCH", "sessions/run1", json=body)).status_code == 400

    @pytest.mark.parametrize("name", ["run1", "-"])
    async def test_delete(self, alice: Person, name: str) -> None:
        await alice.launch("" if name == "-" else name)
        await alice.api("POST", f"sessions/{name}/stop")
        assert (await alice.api("DELETE", f"sessions/{name}")).status_code == 204
        assert CONTROL.forgotten == ["" if name == "-" else name]
        assert (await alice.api("GET", "sessions")).json()["sessions"] == []
        assert (await alice.api("GET", f"sessions/{name}")).status_code == 404


class TestLooks:
    """Log, events, use."""

    async def test_log(self, alice: Person) -> None:
        await alice.launch("run1")
        part = (await alice.api("GET", "sessions/run1/logs")).json()
        assert part == {"text": "a line <b>\n", "start": 0, "end": 11, "more": False}
        assert (await alice.api("GET", "sessions/run1/logs?after=7")).json()["text"] == "<b>\n"
        assert (await alice.api("GET", f"sessions/run1/logs?after={'9' * 5000}")).status_code == 400
        assert "a line &lt;b&gt;" in await alice.page("/run1")

    @pytest.mark.parametrize("after", ["-1", "x", "1e3", "٣", "9" * 30])
    async def test_log_from_nowhere(self, alice: Person, after: str) -> None:
        await alice.launch("run1")
        assert (await alice.api("GET", "sessions/run1/logs", params={"after": after})).status_code == 400

    async def test_events_are_those_of_the_last_launch(self, alice: Person) -> None:
        await alice.launch("run1")
        await alice.until("run1", "running")
        await asyncio.sleep(0.3)
        events = (await alice.api("GET", "sessions/run1/events")).json()["events"]
        assert [event["step"] for event in events][:2] == ["options", "clone"]
        assert [event["state"] for event in events][-1] == "warning"
        await alice.api("POST", "sessions/run1/stop")
        assert (await alice.api("GET", "sessions/run1/events")).json()["events"] == events

    async def test_usage(self, alice: Person) -> None:
        await alice.launch("run1")
        used = (await alice.api("GET", "sessions/run1/usage")).json()
        assert used == {"cpu": 0.5, "memory": 1_073_741_824, "processes": 4}
        await alice.api("POST", "sessions/run1/stop")
        used = (await alice.api("GET", "sessions/run1/usage")).json()
        assert used == {"cpu": None, "memory": None, "processes": None}


class TestScopes:
    """Whose sessions a request may touch."""

    ROUTES = (
        ("GET", "sessions/run1", "read:servers"),
        ("GET", "sessions/run1/logs", "read:servers,access:servers"),
        ("GET", "sessions/run1/events", "read:servers"),
        ("GET", "sessions/run1/usage", "read:servers"),
        ("POST", "sessions/run1/start", "start:servers"),
        ("POST", "sessions/run1/restart", "start:servers,delete:servers"),
        ("POST", "sessions/run1/keep-alive", "start:servers"),
        ("PATCH", "sessions/run1", "start:servers"),
        ("POST", "sessions/run1/stop", "delete:servers"),
        ("DELETE", "sessions/run1", "delete:servers"),
    )
    ALL = ("read:servers", "access:servers", "start:servers", "delete:servers")

    @pytest.mark.parametrize(("method", "path", "needs"), ROUTES)
    async def test_a_token_needs_the_scopes(
        self, hub: Hub, alice: Person, method: str, path: str, needs: str
    ) -> None:
        await alice.launch("run1")
        body = (
            {"json": {"display_name": "x"}}
            if method == "PATCH"
            else {"json": {"hours": 4}}
            if "keep" in path
            else {}
        )
        enough = [f"{scope}!user" for scope in needs.split(",")]
        for missing in needs.split(","):
            others = [f"{scope}!user" for scope in self.ALL if scope not in (missing, f"read:{missing}")]
            # start:servers and delete:servers bring read:servers along
            others = [scope for scope in others if missing != "read:servers" or "access" in scope]
            token = alice.user.new_api_token(scopes=others)
            answer = await self._ask(hub, token, method, path, **body)
            assert answer.status_code == 403, (missing, answer.text)
        token = alice.user.new_api_token(scopes=enough)
        assert (await self._ask(hub, token, method, path, **body)).status_code < 500
        assert (await self._ask(hub, token, method, path, **body)).status_code != 403

    async def _ask(self, hub: Hub, token: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"token {token}"}
        async with httpx.AsyncClient(
            base_url=hub.url, headers=headers, trust_env=False, timeout=20
        ) as client:
            return await client.request(method, f"/hub{PREFIX}/{path}", **options)

    async def test_a_sessions_own_token_sees_none(self, hub: Hub, alice: Person) -> None:
        await alice.launch("run1")
        token = alice.user.spawners["run1"].api_token
        for method, path, _ in self.ROUTES:
            assert (await self._ask(hub, token, method, path)).status_code == 403, path
        assert (await self._ask(hub, token, "GET", "sessions")).status_code == 403

    async def test_who_was_let_in_reads_no_log(self, hub: Hub, alice: Person) -> None:
        await alice.launch("run1")
        async with hub.signed_in("bob") as bob:
            token = bob.user.new_api_token(scopes=["access:servers!user", "read:servers!user"])
        answer = await self._ask(hub, token, "GET", "sessions/run1/logs?user=alice")
        assert answer.status_code == 404

    async def test_other_people_have_none_and_administrators_all(self, hub: Hub, alice: Person) -> None:
        await alice.launch("run1")
        async with hub.signed_in("bob") as bob, hub.signed_in("admin") as admin:
            for method, path, _ in self.ROUTES:
                assert (await bob.api(method, f"{path}?user=alice")).status_code == 404, path
            assert (await bob.api("GET", "sessions?user=alice")).status_code == 404
            assert (await admin.api("GET", "sessions?user=alice")).json()["sessions"][0]["user"] == "alice"
            assert (await admin.api("GET", "sessions/run1/logs?user=alice")).status_code == 200
            assert (await admin.api("POST", "sessions/run1/stop?user=alice")).json()["state"] == "stopped"
        assert (await alice.until("run1", "stopped"))["ended"]["reason"] == "administrator"
        assert "Un administrateur l’a arrêtée" in await alice.page()


class TestPage:
    """The page without script: plain forms."""

    async def test_empty_state_leads_to_the_catalogue(self, alice: Person) -> None:
        page = await alice.page()
        assert "Vous n’avez pas encore de session" in page
        assert "/hub/datalab/catalogue" in page

    async def test_forms(self, alice: Person) -> None:
        await alice.launch("run1")
        answer = await alice.post("run1/rename", display_name="Cours <b>")
        assert answer.status_code == 303
        page = (await alice.client.get(answer.headers["location"])).text
        assert "La session s’appelle maintenant Cours &lt;b&gt;." in page
        answer = await alice.post("run1/stop")
        assert "done=stop" in answer.headers["location"]
        answer = await alice.post("run1/start")
        assert answer.status_code == 303
        await alice.until("run1", "running")
        answer = await alice.post("run1/start")
        assert answer.status_code == 409
        assert "La session est déjà en cours." in answer.text

    async def test_delete_says_what_is_lost_and_asks(self, alice: Person) -> None:
        await alice.launch("run1")
        page = await alice.page("/run1/delete")
        assert "1,5\xa0Gio\u202f; nombre de fichiers\xa0: 12" in page
        assert "elle est d’abord arrêtée" in page
        answer = await alice.post("run1/delete")
        assert answer.status_code == 400
        assert "Cochez la case" in answer.text
        assert CONTROL.forgotten == []
        answer = await alice.post("run1/delete", confirm="yes")
        assert answer.status_code == 303
        assert CONTROL.forgotten == ["run1"]

    async def test_forms_of_strangers_are_refused(self, alice: Person) -> None:
        await alice.launch("run1")
        answer = await alice.client.post("/hub/datalab/services/run1/stop", data={})
        assert answer.status_code == 403
        assert await alice.state("run1") == "running"

    @pytest.mark.parametrize("path", ["/nothing", "/nothing/delete", "?card=nothing", "/-"])
    async def test_no_such_session(self, alice: Person, path: str) -> None:
        assert (await alice.client.get(f"/hub/datalab/services{path}")).status_code == 404

    async def test_readme_is_markdown_and_no_html(self, alice: Person) -> None:
        await alice.launch("run1")
        page = await alice.page("/run1")
        assert "Lisez <strong>moi</strong> &lt;b&gt;x&lt;/b&gt;" in page

    async def test_one_card_for_the_script(self, alice: Person) -> None:
        await alice.launch("run1")
        card = await alice.page("?card=run1")
        assert card.lstrip().startswith("<article")
        assert "<html" not in card

    @pytest.mark.parametrize("done", ["nonsense", "stop", "delete"])
    async def test_what_was_done_is_said_in_our_words_only(self, alice: Person, done: str) -> None:
        page = await alice.page(f"?done={done}&name=%3Cb%3E")
        assert "<b>" not in page
        assert ("nonsense" in page) is False
