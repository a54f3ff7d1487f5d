"""Secrets with their versions through the JSON API, on the real OpenBao: what can be had back and what cannot."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import api_hub
import httpx
import pytest
from api_hub import MARK, Lab
from credential_backends import served

from sardonyx_hub.api.secrets import MAX_AT_ONCE
from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.secret_commands import folder_commands, secret_commands
from sardonyx_hub.credentials.secret_store import SecretStore
from sardonyx_hub.credentials.vault import VaultConfig, VaultSource
from sardonyx_hub.embedded import programs
from sardonyx_hub.embedded.openbao import OpenBao
from sardonyx_hub.embedded.ports import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")
hub, lab = api_hub.hub, api_hub.lab


@pytest.fixture(scope="module")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OpenBao, Any]]:
    """The real server, and an issuer that it trusts."""
    folder = tmp_path_factory.mktemp("bao")
    with served(folder / "keys") as issuer:
        port, cluster_port = free_ports(2)
        url = f"{issuer.url}/jwks"
        server = OpenBao(folder / "bao", port, cluster_port=cluster_port, jwks_url=url, issuer_url=issuer.url)
        server.start()
        yield server, issuer
        server.stop()


@pytest.fixture
def real(lab: Lab, openbao: tuple[OpenBao, Any], monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The hub with the real store."""
    server, issuer = openbao
    config = VaultConfig(server.address, timeout=15, read_timeout=10)
    broker = Broker({"vault": VaultSource(config, issuer)})
    monkeypatch.setattr(lab.datalab, "secrets", SecretStore(config, issuer))
    monkeypatch.setattr(lab.datalab, "broker", broker)
    return lab


async def put(client: httpx.AsyncClient, path: str, **values: str) -> int:
    answer = await client.put(f"secrets/{path}", json={"values": values})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["version"])


async def history(client: httpx.AsyncClient, path: str) -> list[str]:
    """Return what became of each version, the oldest first."""
    versions = (await client.get(f"secrets/{path}?history=1")).json()["versions"]
    states = [
        "destroyed" if one["destroyed"] else "deleted" if one["deleted"] else "there" for one in versions
    ]
    return states[::-1]


async def test_a_change_names_only_what_it_changes(real: Lab) -> None:
    async with real.client(real.token("ann")) as client:
        await put(client, "a", TOKEN=MARK, PORT="1", OLD="x")
        change = {"cas": 1, "set": {"PORT": "2\nü😀'\"<b>"}, "remove": ["OLD"], "rename": {"TOKEN": "KEY"}}
        answer = await client.patch("secrets/a", json=change)
        assert answer.json() == {"path": "a", "version": 2}
        assert MARK not in answer.text
        assert (await client.get("secrets/a")).json()["values"] == {"KEY": MARK, "PORT": "2\nü😀'\"<b>"}
        assert (await client.get("secrets/a?version=1&key=OLD")).json()["values"] == {"OLD": "x"}
        assert (await client.get("secrets/a?key=NONE")).status_code == 404


async def test_two_tabs_do_not_overwrite_each_other(real: Lab) -> None:
    async with real.client(real.token("ann")) as client:
        await put(client, "tabs", A="1")
        first = await client.patch("secrets/tabs", json={"cas": 1, "set": {"A": "2"}})
        second = await client.patch("secrets/tabs", json={"cas": 1, "set": {"B": "3"}})
        ahead = await client.patch("secrets/tabs", json={"cas": 3, "set": {"B": "3"}})
        assert [first.status_code, second.status_code, ahead.status_code] == [200, 409, 409]
        assert second.json()["code"] == "conflict"
        assert (await client.get("secrets/tabs")).json() == {
            "path": "tabs",
            "values": {"A": "2"},
            "version": 2,
        }
        gone = await client.delete("secrets/tabs?version=1")
        assert gone.status_code == 409
        assert (await client.get("secrets/tabs")).status_code == 200


async def test_what_is_deleted_can_be_had_back_and_what_is_destroyed_cannot(real: Lab) -> None:
    async with real.client(real.token("ann")) as client:
        await put(client, "d", A="1")
        await put(client, "d", A="2")
        assert (await client.delete("secrets/d?version=2")).status_code == 204
        assert (await client.get("secrets/d")).status_code == 404
        assert await history(client, "d") == ["there", "deleted"]
        assert (await client.post("secrets/d", json={"action": "undelete", "version": 2})).status_code == 200
        assert (await client.get("secrets/d")).json()["values"] == {"A": "2"}
        assert (await client.delete("secrets/d?forever=1&version=1")).status_code == 204
        assert await history(client, "d") == ["destroyed", "there"]
        for number in (1, 9):
            gone = await client.post("secrets/d", json={"action": "undelete", "version": number})
            assert gone.status_code == 404
        assert (await client.get("secrets/d?version=1")).status_code == 404
        assert (await client.delete("secrets/d?forever=1")).status_code == 204
        assert (await client.get("secrets/d?history=1")).status_code == 404


async def test_an_older_version_is_made_the_newest(real: Lab) -> None:
    async with real.client(real.token("ann")) as client:
        await put(client, "r", A="old")
        await put(client, "r", A="new")
        answer = await client.post("secrets/r", json={"action": "restore", "version": 1})
        assert answer.json() == {"path": "r", "version": 3}
        assert (await client.get("secrets/r")).json()["values"] == {"A": "old"}
        assert (await client.get("secrets/r?version=2")).json()["values"] == {"A": "new"}
        assert (await client.post("secrets/r", json={"action": "restore", "version": 9})).status_code == 404


async def test_a_move_takes_the_versions_along_and_overwrites_nothing(real: Lab) -> None:
    async with real.client(real.token("mona")) as client:
        for number in range(3):
            await put(client, "from", A=str(number))
        await put(client, "taken", B="mine")
        await client.delete("secrets/from?forever=1&version=2")
        refused = await client.post("secrets/from", json={"action": "move", "to": "taken"})
        assert (refused.status_code, refused.json()["code"]) == (409, "exists")
        assert (await client.get("secrets/taken")).json()["values"] == {"B": "mine"}
        moved = await client.post("secrets/from", json={"action": "move", "to": "folder/to"})
        assert moved.json() == {"path": "folder/to", "moved": 1}
        assert (await client.get("secrets/folder/to")).json()["values"] == {"A": "2"}
        assert (await client.get("secrets/folder/to?version=1")).json()["values"] == {"A": "0"}
        assert (await client.get("secrets/from?history=1")).status_code == 404
        same = await client.post("secrets/folder/to", json={"action": "move", "to": "folder/to"})
        assert same.status_code == 409
        assert (await client.get("secrets/folder/to")).status_code == 200


async def test_a_deleted_secret_keeps_its_name(real: Lab) -> None:
    async with real.client(real.token("mona")) as client:
        await put(client, "kept", A="1")
        await put(client, "other", A="1")
        await client.delete("secrets/kept")
        assert (await client.put("secrets/kept", json={"values": {"A": "2"}, "cas": 0})).status_code == 409
        assert (await client.post("secrets/other", json={"action": "move", "to": "kept"})).status_code == 409


async def test_folders_are_counted_moved_and_deleted_with_a_word_about_how_many(real: Lab) -> None:
    async with real.client(real.token("fred")) as client:
        for path in ("f/a", "f/b", "f/deep/er/c", "f/gone", "other"):
            await put(client, path, A=path)
        await client.put("git-accounts/git.example", json={"token": MARK})
        await client.delete("secrets/f/gone")
        top = (await client.get("secrets/?details=1")).json()
        assert top["folders"] == [{"name": "f", "secrets": 3, "deleted": 1}]
        assert [(one["name"], one["version"], one["deleted"]) for one in top["secrets"]] == [
            ("other", 1, False)
        ]
        inside = (await client.get("secrets/f/?details=1")).json()
        assert {one["name"]: one["deleted"] for one in inside["secrets"]} == {
            "a": False,
            "b": False,
            "gone": True,
        }
        wrong = await client.delete("secrets/f/?expected=2")
        assert (wrong.status_code, wrong.json()["count"]) == (409, "3")
        into = await client.post("secrets/f/", json={"action": "move", "to": "f/deep"})
        assert into.status_code == 400
        moved = await client.post("secrets/f/", json={"action": "move", "to": "g"})
        assert moved.json() == {"path": "g", "moved": 3}
        assert (await client.get("secrets/g/deep/er/c")).json()["values"] == {"A": "f/deep/er/c"}
        deleted = await client.delete("secrets/g/?expected=3")
        assert deleted.json() == {"path": "g", "deleted": 3}
        assert (await client.get("secrets/g/?details=1")).json()["folders"] == [
            {"name": "deep", "secrets": 0, "deleted": 1}
        ]
        assert (await client.delete("secrets/g/?forever=1")).json()["deleted"] == 3
        assert (await client.get("secrets/g/?history=1")).json()["secrets"] == []
        assert (await client.post("secrets/nowhere/", json={"action": "move", "to": "x"})).status_code == 404


async def test_the_launch_form_offers_no_deleted_secret(real: Lab) -> None:
    subject = real.datalab.subject_for(real.user("gail"))
    async with real.client(real.token("gail")) as client:
        await put(client, "a", A="1")
        await put(client, "b", A="1")
        await client.delete("secrets/a")
    assert real.datalab.secrets is not None
    assert real.datalab.secrets.tree(subject) == ["b"]


async def test_reserved_folders_are_hidden_and_refused(real: Lab) -> None:
    subject = real.datalab.subject_for(real.user("rita"))
    assert real.datalab.secrets is not None
    real.datalab.secrets.write_internal(subject, ".datalab/configurations/x", {"value": MARK})
    async with real.client(real.token("rita")) as client:
        await put(client, "mine", A="1")
        for path in (".datalab/configurations/x", ".datalab/", ".git/github.com"):
            for method, body in (
                ("GET", None),
                ("PUT", {"values": {"A": "x"}}),
                ("PATCH", {"cas": 1, "set": {"A": "x"}}),
                ("POST", {"action": "move", "to": "stolen"}),
                ("DELETE", None),
            ):
                answer = await client.request(method, f"secrets/{path}", json=body)
                assert answer.status_code == 400, (method, path)
                assert MARK not in answer.text
        into = await client.post("secrets/mine", json={"action": "move", "to": ".datalab/configurations/y"})
        assert into.status_code == 400
        assert (await client.get("secrets/?details=1")).json()["folders"] == []


async def test_another_person_finds_nothing(real: Lab) -> None:
    async with real.client(real.token("owner")) as client:
        await put(client, "private", A=MARK)
    async with real.client(real.token("stranger")) as client:
        assert (await client.get("secrets/private?history=1")).status_code == 404
        for body in ({"action": "move", "to": "x"}, {"action": "undelete", "version": 1}):
            answer = await client.post("secrets/private", json=body)
            assert answer.status_code == 404
        await client.delete("secrets/private?forever=1")
    async with real.client(real.token("owner")) as client:
        assert (await client.get("secrets/private")).json()["values"] == {"A": MARK}


async def test_each_is_in_the_audit_log_without_a_value(real: Lab) -> None:
    async with real.client(real.token("audrey")) as client:
        await put(client, "a", SECRET_KEY=MARK)
        await client.get("secrets/a?key=SECRET_KEY&version=1")
        await client.patch("secrets/a", json={"cas": 1, "set": {"SECRET_KEY": f"{MARK}2"}})
        await client.post("secrets/a", json={"action": "restore", "version": 1})
        await client.delete("secrets/a")
        await client.post("secrets/a", json={"action": "undelete", "version": 3})
        await client.post("secrets/a", json={"action": "move", "to": "b"})
        await client.delete("secrets/b?forever=1&version=1")
        await client.delete("secrets/b?forever=1")
    events = [one for one in real.events() if one.get("person") == "audrey"]
    assert [(one["action"], one["outcome"]) for one in events] == [
        ("write", "done"),
        ("read", "done"),
        ("write", "done"),
        ("restore", "done"),
        ("delete", "done"),
        ("undelete", "done"),
        ("move", "done"),
        ("destroy", "done"),
        ("destroy", "done"),
    ]
    assert events[6]["target"] == "b"
    assert events[7]["version"] == 1
    assert MARK not in real.audit_file.read_text()
    assert "SECRET_KEY" not in real.audit_file.read_text()


async def test_more_than_one_request_may_touch_is_refused_whole(
    real: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_AT_ONCE > 3
    monkeypatch.setattr("sardonyx_hub.api.secrets.MAX_AT_ONCE", 2)
    async with real.client(real.token("max")) as client:
        for name in "abc":
            await put(client, f"many/{name}", A="1")
        answer = await client.delete("secrets/many/")
        assert (answer.status_code, answer.json()["code"]) == (400, "too-many")
        assert (await client.get("secrets/many/?details=1")).json()["secrets"][0]["deleted"] is False


# Tokens and commands --------------------------------------------------------------------------------


def bao(
    server: OpenBao, token: str, folder: Path, line: str, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command of the page in a terminal."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "VAULT_ADDR": server.address,
        "VAULT_TOKEN": token,
        "NO_PROXY": "127.0.0.1",
    }
    words = [programs.bao(), *shlex.split(line)[1:]]
    return subprocess.run(
        words, env=environment, input=given, capture_output=True, text=True, timeout=20, check=False
    )


async def test_every_command_of_the_page_does_what_it_says(
    real: Lab, openbao: tuple[OpenBao, Any], tmp_path: Path
) -> None:
    server, _ = openbao
    config = VaultConfig(server.address)
    async with real.client(real.token("carl")) as client:
        made = await client.post("vault-tokens")
        assert made.status_code == 201, made.text
        token = made.json()["token"]

        def run(line: str, given: str = "") -> str:
            done = bao(server, token, tmp_path, line, given)
            assert done.returncode == 0, f"{line}: {done.stderr}"
            return done.stdout

        def lines(**what: Any) -> dict[str, str]:
            return {one.what: one.line for one in secret_commands(config, "carl", "d e/s", **what)}

        run(lines(keys=[], version=0)["put"].replace("KEY=-", "PATATE_TOKEN=-"), given="first")
        there = lines(keys=["PATATE_TOKEN"], version=2)
        run(there["patch"], given="second")
        assert run(there["get_one"]).strip() == "second"
        assert "PATATE_TOKEN" in run(there["get"])
        assert "current_version" in run(there["history"])
        run(there["rollback"])
        assert (await client.get("secrets/d e/s")).json() == {
            "path": "d e/s",
            "values": {"PATATE_TOKEN": "first"},
            "version": 3,
        }
        assert "d e/" in run(folder_commands(config, "carl", "")[0].line)
        run(there["delete"])
        assert (await client.get("secrets/d e/s")).status_code == 404
        run(lines(keys=[], version=3, deleted=True)["undelete"])
        assert (await client.get("secrets/d e/s")).status_code == 200


async def test_a_vault_token_of_ones_own_ends_when_it_is_told_to(
    real: Lab, openbao: tuple[OpenBao, Any], tmp_path: Path
) -> None:
    server, _ = openbao
    line = "bao token lookup"
    async with real.client(real.token("vera")) as client:
        first = (await client.post("vault-tokens")).json()
        second = (await client.post("vault-tokens")).json()
        assert first["token"] != second["token"]
        assert (await client.delete(f"vault-tokens/{first['id']}")).status_code == 204
        await real.datalab.broker.settle(5)
        assert bao(server, first["token"], tmp_path, line).returncode != 0
        assert bao(server, second["token"], tmp_path, line).returncode == 0
        assert (await client.delete("vault-tokens/nonsense")).status_code == 404
    events = [one for one in real.events() if one.get("person") == "vera"]
    assert [(one["source"], one["grant"]["vault_token"]) for one in events] == [("vault", True)] * 2
    assert first["token"] not in "\n".join(real.log)


async def test_who_may_have_a_vault_token(real: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spawner = await real.launch("sam", "run1")
    for token in (real.token("sam", "custom:datalab:credentials!user"), spawner.api_token):
        async with real.client(token) as client:
            assert (await client.post("vault-tokens")).status_code == 403
    monkeypatch.setattr(real.datalab, "vault_tokens", False)
    async with real.client(real.token("sam")) as client:
        answer = await client.post("vault-tokens")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_folder_of_many_secrets_is_listed_quickly(real: Lab) -> None:
    subject = real.datalab.subject_for(real.user("lena"))
    store = real.datalab.secrets
    assert store is not None
    for number in range(60):
        store.write(subject, f"n{number:02}", {"A": "x"})
    async with real.client(real.token("lena")) as client:
        begun = time.monotonic()
        answer = await client.get("secrets/?details=1")
        assert len(answer.json()["secrets"]) == 60
        assert time.monotonic() - begun < 3


async def test_a_sealed_vault_is_told_and_the_rest_works(real: Lab, openbao: tuple[OpenBao, Any]) -> None:
    server, _ = openbao
    async with real.client(real.token("ann")) as client:
        server.client().sys.seal()
        try:
            answer = await client.get("secrets/?details=1")
            assert answer.status_code == 503
            assert "sealed" in answer.json()["message"]
            assert (await client.get("catalogue")).status_code == 200
        finally:
            server.ensure_unsealed()
            server.wait_ready()
        real.datalab.broker._backends["vault"].breaker.succeeded()
        assert (await client.get("secrets/a")).status_code == 200
