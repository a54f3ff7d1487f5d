"""``sardonyx launch`` and ``sardonyx sessions`` as programs, and the launch form's YAML view, against a real hub."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from form_hub import SESSIONS, Person, alice, app
from jupyterhub.spawner import SpawnException

__all__ = ["alice", "app"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def sardonyx(alice: Person, *words: str, token: str = "") -> tuple[int, str, str]:
    """Run the command with a token of alice's; return exit code, output and errors."""
    port = urlsplit(alice.app.hub.bind_url).port
    environment = {
        **os.environ,
        "SARDONYX_URL": f"http://127.0.0.1:{port}",
        "SARDONYX_TOKEN": token or str(alice.user.new_api_token()),
        "LANG": "C.UTF-8",
        "NO_PROXY": "*",
    }
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("sardonyx")),
        *words,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_launches_waits_and_deletes(alice: Person, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    secret = "{name: A, value: from-the-file, secret: true}"
    file.write_text(f"service: r\noptions:\n  git.branch: of-the-file\n  extraEnvVars: [{secret}]\n")
    words = ("--file", str(file), "--set", "git.branch=dev", "--name", "Mon cours", "--wait")
    code, out, err = await sardonyx(alice, "launch", *words)
    assert code == 0, err
    name = out.strip().rstrip("/").rpartition("/")[2]
    assert SESSIONS.started == [name]
    spawner = alice.user.spawners[name]
    assert spawner.launch_options.git.branch == "dev"
    assert spawner.orm_spawner.display_name == "Mon cours"
    assert SESSIONS.store.kept["alice", f".datalab/sessions/{name}/env"][-1] == {"A": "from-the-file"}
    assert "Launching r." in err
    code, out, _ = await sardonyx(alice, "sessions")
    assert [line.split("\t")[:3] for line in out.splitlines() if line.startswith(name)] == [
        [name, "running", "r"]
    ]
    assert (await sardonyx(alice, "sessions", "delete", name, "--yes"))[0] == 0
    async with asyncio.timeout(10):
        while name in alice.servers:
            await asyncio.sleep(0.05)


async def test_what_is_wrong_is_named_and_nothing_starts(alice: Person) -> None:
    code, out, err = await sardonyx(alice, "launch", "r", "--set", "git.branch=..", "--set", "s3.acess=none")
    assert (code, out) == (1, "")
    assert "git.branch: This cannot be the name" in err
    assert "s3.acess: " in err
    assert (await sardonyx(alice, "launch", "nonsense"))[0] == 1
    assert (await sardonyx(alice, "launch", "r", token="wrong"))[0] == 1
    assert SESSIONS.started == []


async def test_reason_of_a_failed_launch_is_told(alice: Person) -> None:
    SESSIONS.failure = SpawnException("No room today", reason="capacity", status_code=503)
    code, _, err = await sardonyx(alice, "launch", "r", "--wait")
    assert code != 0
    assert "No room today" in err


async def read_yaml(alice: Person, text: Any, service: str = "python", language: str = "en") -> Any:
    await alice.client.get("/hub/spawn")
    headers = {
        "X-XSRFToken": alice.client.cookies.get("_xsrf", path="/hub/") or "",
        "Accept-Language": language,
    }
    body = {"service": service, "yaml": text}
    return await alice.client.post("/hub/api/datalab/v1/launch-options", json=body, headers=headers)


class TestYaml:
    """What a text in YAML means for the form."""

    async def test_values_are_as_the_form_posts_them(self, alice: Person) -> None:
        text = """
            service: python
            name: Mine
            options:
              git.branch: dev
              resources: {limits: {memory: 3Gi, nvidia.com/gpu: 1}}
              vault: {enabled: false, secret: [a, b]}
              extraEnvVars: [{name: A, secret: true}]
        """
        answer = (await read_yaml(alice, text)).json()
        assert (answer["service"], answer["name"], answer["problems"]) == ("python", "Mine", [])
        assert answer["values"] == {
            "git.branch": ["dev"],
            "resources.limits.memory": ["3Gi"],
            'resources.limits."nvidia.com/gpu"': ["1"],
            "vault.enabled": ["false"],
            "vault.secret": ["a", "b"],
            "extraEnvVars[0].name": ["A"],
            "extraEnvVars[0].secret": ["true"],
        }
        assert SESSIONS.started == []

    async def test_problems_are_told_by_field_in_the_persons_language(self, alice: Person) -> None:
        answer = (await read_yaml(alice, "git: {branch: .., nonsense: 1}", language="fr")).json()
        assert [one["field"] for one in answer["problems"]] == ["git.branch", "git.nonsense"]
        assert "branche" in answer["problems"][0]["message"]

    @pytest.mark.parametrize(
        ("text", "status", "told"),
        [
            ("a: [", 400, "line 1"),
            ("- a", 400, "keys and values"),
            ("service: hidden", 404, "not in your catalogue"),
            ("x" * 300_000, 413, ""),
            ("x" * 40_000, 400, "32768"),
            ("git: {branch: !!int x}", 400, "line 1"),
            ("[" * 30_000, 400, "line 1"),
            ("a..b: 1", 400, "a..b"),
            (5, 400, "text"),
            ("a: &a [x, x]\nb: [*a, *a, *a]", 200, ""),
        ],
    )
    async def test_what_cannot_be_read(self, alice: Person, text: Any, status: int, told: str) -> None:
        response = await read_yaml(alice, text)
        assert response.status_code == status
        assert told in response.text

    async def test_the_hub_answers_others_meanwhile(self, alice: Person) -> None:
        """Pure Python reads YAML at some 20 KB a second."""
        reading = asyncio.create_task(read_yaml(alice, "\n".join(f"k{n}: 1" for n in range(3000))))
        answers = 0
        while not reading.done():
            assert (await alice.client.get("/hub/health")).status_code == 200
            answers += 1
        assert reading.result().status_code == 200
        assert answers > 5

    async def test_bombs_of_aliases_are_refused_in_time(self, alice: Person) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
        async with asyncio.timeout(20):
            response = await read_yaml(alice, "\n".join(lines))
        assert response.status_code == 400
