"""Live events and idle stop in a real JupyterHub: who hears what when sessions change, and who is warned before a stop."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sessions_hub
from sessions_hub import CONTROL, MARK, Hub, Person, idle_rule, open_page

from sardonyx_hub.api.routes import PREFIX
from sardonyx_hub.idle import Rule

pytestmark = pytest.mark.asyncio(loop_scope="module")
hub, alice = sessions_hub.hub, sessions_hub.alice


class TestLive:
    """Open pages learn of changes by events."""

    async def test_two_pages_follow_a_session_through_its_life(self, alice: Person) -> None:
        CONTROL.gate.clear()
        asyncio.get_running_loop().call_later(0.6, CONTROL.gate.set)
        async with open_page(alice) as first, open_page(alice) as second:
            await alice.launch("run1")
            for page in (first, second):
                await page.until(lambda event, data: event == "session" and data["state"] == "starting")
                await page.until(lambda event, data: event == "session" and data["state"] == "running")
            await alice.api("PATCH", "sessions/run1", json={"display_name": "Nom"})
            await first.until(lambda event, data: data.get("display_name") == "Nom")
            await alice.api("POST", "sessions/run1/stop")
            await first.until(lambda event, data: data.get("state") == "stopped")
            await alice.api("DELETE", "sessions/run1")
            await second.until(lambda event, data: data.get("state") == "deleted")
            assert MARK not in str(first.events)

    async def test_progress_is_told(self, alice: Person) -> None:
        CONTROL.gate.clear()
        async with open_page(alice) as page:
            launch = asyncio.create_task(alice.launch("run1"))
            told = await page.until(lambda _, data: (data.get("progress") or {}).get("percent", 0) >= 60)
            assert "git.example.org/x" in told["progress"]["message"]
            CONTROL.gate.set()
            await launch

    @pytest.mark.parametrize(
        ("reason", "code", "words"), [("out-of-memory", 137, "plus de mémoire"), ("exited", 3, "code 3")]
    )
    async def test_a_session_that_dies(
        self, hub: Hub, alice: Person, reason: str, code: int, words: str
    ) -> None:
        async with open_page(alice) as page:
            await alice.launch("run1")
            await alice.until("run1", "running")
            alice.user.spawners["run1"].die(reason, code)
            told = await page.until(lambda _, data: data.get("ended") is not None)
        assert (told["state"], told["ended"]["reason"], told["ended"]["code"]) == ("failed", reason, code)
        assert words in await alice.page()
        await alice.api("POST", "sessions/run1/start")
        assert (await alice.until("run1", "running"))["ended"] is None

    async def test_others_hear_nothing_and_administrators_all(self, hub: Hub, alice: Person) -> None:
        async with hub.signed_in("bob") as bob, hub.signed_in("admin") as admin:
            assert (await bob.api("GET", "live?all=1")).status_code == 403
            async with open_page(bob) as hers, open_page(admin, "live?all=1") as all_of_them:
                await alice.launch("run1")
                told = await all_of_them.until(lambda _, data: data.get("state") == "running")
                assert told["user"] == "alice"
                assert [event for event, _ in hers.events] == ["hello"]

    async def test_signing_out_ends_the_streams_of_that_browser(self, hub: Hub, alice: Person) -> None:
        async with (
            hub.signed_in("alice") as elsewhere,
            open_page(alice) as here,
            open_page(elsewhere) as there,
        ):
            await alice.client.get("/hub/logout")
            await here.until(lambda event, _: event == "bye")
            async with asyncio.timeout(5):
                while not here.ended:
                    await asyncio.sleep(0.02)
            assert not there.ended

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    async def test_other_sites_hear_nothing(self, alice: Person, site: str) -> None:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"}
        answer = await alice.client.get(f"/hub{PREFIX}/live", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross-site")

    async def test_a_sessions_own_token_hears_nothing(self, hub: Hub, alice: Person) -> None:
        """It would hear of the person's other sessions, and what administrators write to them."""
        await alice.launch("run1")
        url = f"/hub{PREFIX}/live"
        for token in (
            alice.user.spawners["run1"].api_token,
            alice.user.new_api_token(scopes=["custom:datalab:secrets!user", "read:servers!user"]),
        ):
            headers = {"Authorization": f"token {token}"}
            async with (
                httpx.AsyncClient(base_url=hub.url, headers=headers, trust_env=False) as program,
                program.stream("GET", url) as answer,
            ):
                assert answer.status_code == 403

    async def test_strangers_hear_nothing(self, hub: Hub) -> None:
        async with httpx.AsyncClient(base_url=hub.url, trust_env=False) as stranger:
            assert (await stranger.get(f"/hub{PREFIX}/live")).status_code in (401, 403)

    async def test_a_page_that_is_closed_is_forgotten(self, hub: Hub, alice: Person) -> None:
        before = hub.datalab.live.count
        async with open_page(alice):
            assert hub.datalab.live.count == before + 1
        async with asyncio.timeout(5):
            while hub.datalab.live.count > before:
                await asyncio.sleep(0.02)


class TestIdle:
    """Idle sessions are warned about and stopped, by the real hub."""

    RULE = Rule(timedelta(seconds=3), timedelta(seconds=1))

    async def _quiet(self, alice: Person) -> None:
        """Make the session look as if nobody had used it for an hour."""
        row = alice.user.orm_spawners["run1"]
        row.last_activity = row.started = row.started - timedelta(hours=1)
        alice.hub.app.db.commit()

    async def test_warned_then_stopped_then_started_again(self, hub: Hub, alice: Person) -> None:
        async with open_page(alice) as page:
            await alice.launch("run1")
            await alice.until("run1", "running")
            await self._quiet(alice)
            idle_rule(hub, self.RULE)
            await hub.datalab.idle.look()
            told = await page.until(lambda event, _: event == "warning")
            assert (told["kind"], told["name"]) == ("idle", "run1")
            shown = await alice.page()
            assert "Personne n’utilise cette session" in shown
            assert "Maintenir 4" in shown
            await asyncio.sleep(1.1)
            await hub.datalab.idle.look()
            assert (await alice.until("run1", "stopped"))["ended"]["reason"] == "idle"
        # It was asked with its own token; JupyterHub's look at whether it is up has none.
        tokens = [token for token in CONTROL.tokens if token]
        assert len(tokens) >= 2
        assert all(token.startswith("token ") and len(token) > 20 for token in tokens)
        idle_rule(hub, None)
        assert "car personne ne l’utilisait" in await alice.page()
        await alice.post("run1/start")
        assert (await alice.until("run1", "running"))["ended"] is None

    async def test_a_kernel_that_computes_keeps_its_session(self, hub: Hub, alice: Person) -> None:
        await alice.launch("run1")
        await alice.until("run1", "running")
        await self._quiet(alice)
        idle_rule(hub, self.RULE)
        CONTROL.kernels = [{"execution_state": "busy"}]
        await hub.datalab.idle.look()
        assert not (await alice.api("GET", "sessions/run1")).json()["idle_warning"]

    async def test_keep_alive(self, hub: Hub, alice: Person) -> None:
        await alice.launch("run1")
        await alice.until("run1", "running")
        await self._quiet(alice)
        idle_rule(hub, self.RULE)
        await hub.datalab.idle.look()
        answer = await alice.api("POST", "sessions/run1/keep-alive", json={"hours": 4})
        assert answer.json()["kept_until"] is not None
        assert not answer.json()["idle_warning"]
        await asyncio.sleep(1.1)
        await hub.datalab.idle.look()
        assert await alice.state("run1") == "running"
        assert "Maintenue jusqu’à" in await alice.page()
        await alice.api("POST", "sessions/run1/stop")
        await asyncio.sleep(0.3)
        assert hub.datalab.documents.get("keepalive", "alice/run1") is None

    @pytest.mark.parametrize(
        "body", [{}, {"hours": 5}, {"hours": "4"}, {"hours": True}, {"hours": 4, "x": 1}]
    )
    async def test_keep_alive_with_a_wrong_body(self, hub: Hub, alice: Person, body: dict[str, Any]) -> None:
        await alice.launch("run1")
        await alice.until("run1", "running")
        assert (await alice.api("POST", "sessions/run1/keep-alive", json=body)).status_code == 400

    @pytest.mark.parametrize("hours", ["-4", "4.0", "NaN", "9" * 5000])
    async def test_keep_alive_by_form_with_no_number(self, alice: Person, hours: str) -> None:
        """``int()`` has an error of its own for thousands of digits."""
        await alice.launch("run1")
        await alice.until("run1", "running")
        assert (await alice.post("run1/keep-alive", hours=hours)).status_code == 400
