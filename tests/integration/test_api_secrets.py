"""Secrets and Git accounts through the JSON API: one's own only, checked, and never told to a log."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import api_hub
import pytest
from api_hub import MARK, Lab

from sardonyx_hub.api.routes import PREFIX
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import Subject

pytestmark = pytest.mark.asyncio(loop_scope="module")
hub, lab = api_hub.hub, api_hub.lab

SECRET_BODY = {"values": {"PASSWORD": MARK}}


# Secrets ------------------------------------------------------------------------------------------------


async def test_secrets(lab: Lab) -> None:
    async with lab.client(lab.token("grace")) as client:
        assert (await client.get("secrets")).json() == {"path": "", "folders": [], "secrets": []}
        written = await client.put("secrets/tools/db", json={"values": {"PASSWORD": "p'\"$é\n😀"}})
        assert written.json() == {"path": "tools/db", "version": 1}
        await client.put("secrets/top", json={"values": {"A": "1"}})
        await client.put("git-accounts/git.example", json={"token": MARK})
        assert (await client.get("secrets")).json() == {"path": "", "folders": ["tools"], "secrets": ["top"]}
        assert (await client.get("secrets/tools/")).json()["secrets"] == ["db"]
        read = (await client.get("secrets/tools/db")).json()
        assert read == {"path": "tools/db", "values": {"PASSWORD": "p'\"$é\n😀"}, "version": 1}
        assert (await client.delete("secrets/tools/db")).status_code == 204
        assert (await client.delete("secrets/tools/db")).status_code == 204
        missing = await client.get("secrets/tools/db")
        assert (missing.status_code, missing.json()["code"]) == (404, "missing")


async def test_a_secret_is_ones_own(lab: Lab) -> None:
    async with lab.client(lab.token("alice")) as client:
        await client.put("secrets/mine", json=SECRET_BODY)
    async with lab.client(lab.token("bob")) as client:
        assert (await client.get("secrets/mine")).status_code == 404
        for path in ("../alice/mine", "..%2Falice%2Fmine", "%2e%2e/alice/mine", "a/../../alice/mine"):
            request = client.build_request("GET", "secrets/x")
            request.url = request.url.copy_with(raw_path=f"/hub{PREFIX}/secrets/{path}".encode())
            answer = await client.send(request)
            assert answer.status_code in {400, 404}
            assert MARK not in answer.text


async def test_a_version_that_was_replaced_is_409(lab: Lab) -> None:
    async with lab.client(lab.token("heidi")) as client:
        first = await client.put("secrets/a", json={**SECRET_BODY, "cas": 0})
        second = await client.put("secrets/a", json={**SECRET_BODY, "cas": 0})
        third = await client.put("secrets/a", json={**SECRET_BODY, "cas": 1})
    assert [first.status_code, second.status_code, third.status_code] == [200, 409, 200]
    assert second.json()["code"] == "conflict"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ([], 400),
        ({"values": {}}, 400),
        ({"values": []}, 400),
        ({"values": {"A": 1}}, 400),
        ({"values": {"A": None}}, 400),
        ({"values": {"A": "x\0"}}, 400),
        ({"values": {"A\n": "x"}}, 400),
        ({"values": {"": "x"}}, 400),
        ({"values": {"A" * 129: "x"}}, 400),
        ({"values": {f"K{number}": "x" for number in range(101)}}, 400),
        ({"values": {"A": "x" * 65_537}}, 400),
        ({"values": {f"K{number}": "x" * 60_000 for number in range(5)}}, 413),
        ({"values": {"A": "x"}, "cas": "1"}, 400),
        ({"values": {"A": "x"}, "cas": -1}, 400),
        ({"values": {"A": "x"}, "cas": True}, 400),
        ({"values": {"A": "x"}, "other": 1}, 400),
    ],
)
async def test_secrets_that_are_refused(lab: Lab, body: Any, status: int) -> None:
    async with lab.client(lab.token("alice")) as client:
        answer = await client.put("secrets/refused", json=body)
        assert answer.status_code == status, answer.text
        assert (await client.get("secrets/refused")).status_code == 404


@pytest.mark.parametrize(
    "content", [b"", b"{", b'"' + MARK.encode(), b"\xff", b'{"values": {"A": "\\ud800"}}']
)
async def test_broken_json_is_400_and_not_logged(lab: Lab, content: bytes) -> None:
    async with lab.client(lab.token("alice")) as client:
        headers = {"Content-Type": "application/json"}
        assert (await client.put("secrets/a", content=content, headers=headers)).status_code == 400
    assert MARK not in "\n".join(lab.log)


@pytest.mark.parametrize("path", [".git/git.example", "a//b", ".hidden", "a/.b", "a%0Ab", "a\\b", "x" * 500])
async def test_paths_that_are_refused(lab: Lab, path: str) -> None:
    async with lab.client(lab.token("alice")) as client:
        for method, body in (("GET", None), ("PUT", SECRET_BODY), ("DELETE", None)):
            request = client.build_request(method, "secrets/x", json=body)
            request.url = request.url.copy_with(raw_path=f"/hub{PREFIX}/secrets/{path}".encode())
            assert (await client.send(request)).status_code in {400, 404}
    assert not [kept for kept in lab.store.kept if kept[1].startswith((".hidden", "a//", "x" * 400))]


# Git accounts -------------------------------------------------------------------------------------------


async def test_git_accounts_never_show_the_token_unasked(lab: Lab) -> None:
    fields = {"username": "ivan", "name": "Ivan", "email": "ivan@mail.example"}
    async with lab.client(lab.token("ivan")) as client:
        put = await client.put("git-accounts/Git.Example", json={**fields, "token": MARK})
        listed = await client.get("git-accounts")
        one = await client.get("git-accounts/git.example")
        for answer in (put, listed, one):
            assert answer.status_code == 200
            assert MARK not in answer.text
        assert one.json() == {"host": "git.example", **fields, "token_set": True}
        assert listed.json() == {"accounts": [one.json()]}
        revealed = (await client.get("git-accounts/git.example?reveal=1")).json()
        assert revealed["token"] == MARK
        last = lab.events()[-1]
        assert (last["action"], last["host"], last["person"]) == ("reveal", "git.example", "ivan")


async def test_a_field_that_is_not_sent_stays(lab: Lab) -> None:
    async with lab.client(lab.token("judy")) as client:
        await client.put("git-accounts/git.example", json={"username": "judy", "token": MARK})
        await client.put("git-accounts/git.example", json={"email": "judy@mail.example"})
        account = (await client.get("git-accounts/git.example?reveal=1")).json()
        assert (account["username"], account["email"], account["token"]) == (
            "judy",
            "judy@mail.example",
            MARK,
        )
        await client.put("git-accounts/git.example", json={"token": ""})
        assert (await client.get("git-accounts/git.example")).json()["token_set"] is False
        assert (await client.delete("git-accounts/git.example")).status_code == 204
        assert (await client.get("git-accounts/git.example")).status_code == 404


@pytest.mark.parametrize(
    "host", ["http:", "-x", "a..b", "a_b", "x:0", "x:99999", "al%20ice", "%2e%2e", "*", "a%2Fb"]
)
async def test_hosts_that_are_refused(lab: Lab, host: str) -> None:
    async with lab.client(lab.token("alice")) as client:
        request = client.build_request("PUT", "git-accounts/x", json={"token": MARK})
        request.url = request.url.copy_with(raw_path=f"/hub{PREFIX}/git-accounts/{host}".encode())
        assert (await client.send(request)).status_code in {400, 404}


@pytest.mark.parametrize(
    "body",
    [{"token": "a\nhost=evil"}, {"username": "a\r"}, {"token": 1}, {"name": "x" * 256}, {"other": "x"}, []],
)
async def test_git_accounts_that_are_refused(lab: Lab, body: Any) -> None:
    async with lab.client(lab.token("alice")) as client:
        assert (await client.put("git-accounts/refused.example", json=body)).status_code == 400
        assert (await client.get("git-accounts/refused.example")).status_code == 404


async def test_a_changed_token_reaches_a_running_session(lab: Lab) -> None:
    spawner = await lab.launch("kim", "run1", git_hosts=["git.example"])
    async with lab.client(lab.token("kim")) as person, lab.client(spawner.api_token) as session:
        for token in ("first", "second"):
            await person.put("git-accounts/git.example", json={"token": token})
            assert (await session.get("credentials")).json()["git"][0]["token"] == token


# Failures and silence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["timeout", "unreachable", "denied", "invalid", "circuit-open"])
async def test_a_backend_that_fails_is_503_with_source_and_code(lab: Lab, code: Any) -> None:
    lab.store.failure = SourceError("vault", code, "Vault said no.")
    async with lab.client(lab.token("alice")) as client:
        for method, path, body in (
            ("GET", "secrets", None),
            ("GET", "secrets/a", None),
            ("PUT", "secrets/a", SECRET_BODY),
            ("DELETE", "secrets/a", None),
            ("GET", "git-accounts", None),
            ("PUT", "git-accounts/git.example", {"token": MARK}),
        ):
            answer = await client.request(method, path, json=body)
            if answer.json()["code"] == "circuit-open":
                code = "circuit-open"
            assert answer.status_code == 503
            assert answer.json()["source"] == "vault"
            assert answer.json()["code"] == code
            assert "Retry-After" in answer.headers


async def test_a_fault_of_ours_tells_no_value(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_user: object) -> Subject:
        raise RuntimeError(f"cannot do {MARK}")

    monkeypatch.setattr(lab.datalab, "subject_for", broken)
    lab.log.clear()
    async with lab.client(lab.token("alice")) as client:
        answer = await client.put("secrets/a", json=SECRET_BODY)
    assert answer.status_code == 500
    assert MARK not in answer.text
    assert "RuntimeError" in "\n".join(lab.log)
    assert MARK not in "\n".join(lab.log)


async def test_no_value_is_in_logs_or_audit(lab: Lab) -> None:
    async with lab.client(lab.token("alice")) as client:
        await client.put("secrets/quiet", json=SECRET_BODY)
        await client.get("secrets/quiet")
        await client.put("git-accounts/git.example", json={"token": MARK})
        await client.get("git-accounts/git.example?reveal=1")
        await client.get("credentials?refresh=1")
    lab.events()
    assert "secrets/quiet" in "\n".join(lab.log)
    assert MARK not in "\n".join(lab.log)
    assert MARK not in lab.audit_file.read_text()


async def test_without_a_secret_store_it_is_404(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.datalab, "secrets", None)
    monkeypatch.setattr(lab.datalab, "git_accounts", None)
    async with lab.client(lab.token("alice")) as client:
        for path in ("secrets", "secrets/a", "git-accounts", "git-accounts/git.example"):
            answer = await client.get(path)
            assert answer.status_code == 404
            assert "no secret store" in answer.json()["message"]


async def test_a_slow_store_does_not_hold_up_credentials(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(lab.store, "_fail", lambda: release.wait(10))
    async with lab.client(lab.token("alice")) as client:
        slow = asyncio.create_task(client.get("secrets"))
        await asyncio.sleep(0.1)
        quick = await asyncio.wait_for(client.get("credentials"), 2)
        assert quick.status_code == 200
        assert not slow.done()
        release.set()
        assert (await slow).status_code == 200
