"""The agent as a process against a server that plays the hub: first write, renewal, faults, endpoint."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_session_support import HUB_TOKEN, PACKAGE, AgentProcess, PlayedHub, clean_environ, wait_for


@pytest.fixture
def hub() -> Iterator[PlayedHub]:
    played = PlayedHub()
    played.start()
    yield played
    played.stop()


@pytest.fixture
def agent(tmp_path: Path, hub: PlayedHub) -> Iterator[AgentProcess]:
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    process = AgentProcess(run, hub)
    yield process
    if process.process and process.process.poll() is None:
        process.end(signal.SIGKILL)


def ask(agent: AgentProcess, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    port = json.loads((agent.run / "endpoint.json").read_text())["port"]
    headers.setdefault("Authorization", (agent.run / "endpoint.token").read_text())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers={name: value for name, value in headers.items() if value})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def test_first_write_comes_from_the_bundle_without_asking_the_hub(
    agent: AgentProcess, hub: PlayedHub
) -> None:
    document = hub.document()
    bundle = {
        "version": 1,
        "document": document,
        "environment": {"PATATE_TOKEN": "p'o\"$t {x}\n é🥔", "BAD NAME": "x"},
    }
    (agent.run / "bundle.json").write_text(json.dumps(bundle))
    agent.start()
    wait_for(agent.generation)
    assert agent.env()["AWS_ACCESS_KEY_ID"] == "KEY1"
    assert agent.env()["PATATE_TOKEN"] == "p'o\"$t {x}\n é🥔"
    assert "BAD NAME" not in agent.env()
    wait_for(lambda: not (agent.run / "bundle.json").exists())
    time.sleep(0.5)
    assert hub.requests == []
    for path in agent.run.rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    shell = f'. "{agent.run}/env.sh"; printf %s "$PATATE_TOKEN"'
    for program in ("bash", "dash"):
        out = subprocess.run([program, "-c", shell], capture_output=True, check=True, timeout=10)
        assert out.stdout.decode() == "p'o\"$t {x}\n é🥔"


def test_renewal_keeps_keys_valid_over_several_lives(agent: AgentProcess, hub: PlayedHub) -> None:
    hub.life = 5
    agent.start()
    wait_for(lambda: agent.generation() >= 4, 20)
    moments = [moment for moment, _path, _token in hub.requests]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert all(2.5 <= gap <= 3.6 for gap in gaps), gaps  # 60 % of 5 s, +-5 %
    assert {token for _moment, _path, token in hub.requests} == {f"token {HUB_TOKEN}"}
    assert agent.status()["state"] == "ok"
    assert agent.end() == 0


def test_hub_away_keeps_the_old_set_and_heals_within_ten_seconds(agent: AgentProcess, hub: PlayedHub) -> None:
    hub.life = 5
    agent.start()
    wait_for(agent.generation)
    before = agent.generation()
    hub.stop()
    wait_for(lambda: agent.status()["last_error"])
    assert agent.status()["state"] == "degraded"
    assert ask(agent, "/credentials")[0] == 200
    wait_for(lambda: ask(agent, "/credentials")[0] == 503, 10)  # they have ended: none rather than dead ones
    wait_for(lambda: agent.status()["state"] == "failing")
    assert agent.generation() == before
    assert agent.env()["AWS_ACCESS_KEY_ID"] == f"KEY{hub.count}"
    hub.start()
    back = time.monotonic()
    wait_for(lambda: agent.generation() > before, 10)
    assert time.monotonic() - back < 10
    wait_for(lambda: agent.status()["state"] == "ok")


def test_a_source_that_fails_keeps_its_keys_and_heals_by_itself(agent: AgentProcess, hub: PlayedHub) -> None:
    hub.life = 8
    hub.secrets = {"PATATE_PORT": "1"}
    agent.start()
    wait_for(agent.generation)
    hub.problems = [{"source": "s3", "code": "unreachable", "message": "S3 does not answer"}]
    hub.secrets = {"PATATE_PORT": "2"}
    wait_for(lambda: agent.env()["PATATE_PORT"] == "2")
    assert agent.env()["AWS_ACCESS_KEY_ID"] == "KEY1"
    status = wait_for(lambda: agent.status() if agent.status()["state"] == "degraded" else None)
    assert status["sources"]["s3"]["last_error"]["message"] == "S3 does not answer"
    assert json.loads((agent.run / "document.json").read_text())["s3"]["access_key_id"] == "KEY1"
    hub.problems = []
    wait_for(lambda: agent.env()["AWS_ACCESS_KEY_ID"] != "KEY1", 10)
    wait_for(lambda: agent.status()["state"] == "ok")


def test_a_refused_token_is_told_and_not_tried_on(agent: AgentProcess, hub: PlayedHub) -> None:
    agent.start()
    wait_for(agent.generation)
    hub.status = 403
    assert ask(agent, "/refresh", "POST")[0] == 202
    wait_for(lambda: agent.status()["state"] == "denied")
    asked = len(hub.requests)
    time.sleep(3)
    assert len(hub.requests) == asked
    assert ask(agent, "/credentials")[0] == 200  # what is valid stays
    hub.status = 200
    time.sleep(0.1)
    (agent.run / "refresh.request").touch()
    wait_for(lambda: agent.status()["state"] == "ok")
    assert "refresh=1" in hub.requests[-1][1]
    assert not (agent.run / "refresh.request").exists()


def test_retry_after_is_honoured(agent: AgentProcess, hub: PlayedHub) -> None:
    hub.status, hub.headers = 429, {"Retry-After": "4"}
    agent.start()
    wait_for(lambda: hub.requests)
    hub.status = 200
    wait_for(agent.generation)
    first, second = (moment for moment, _path, _token in hub.requests)
    assert 4.0 <= second - first < 6.0


def test_the_endpoint_wants_its_token_and_its_own_name(agent: AgentProcess, hub: PlayedHub) -> None:
    agent.start()
    wait_for(agent.generation)
    status, body = ask(agent, "/credentials")
    answer = json.loads(body)
    assert status == 200
    assert (answer["AccessKeyId"], answer["SecretAccessKey"], answer["Token"]) == (
        "KEY1",
        "secret1",
        "token1",
    )
    assert answer["Expiration"].endswith("Z")
    for path in ("/credentials", "/status"):
        assert ask(agent, path, Authorization="")[0] == 401
        assert ask(agent, path, Authorization="x" * 43)[0] == 401
        assert ask(agent, path, Host="evil.example:80")[0] == 403
    assert ask(agent, "/refresh", "POST", Authorization="")[0] == 401
    assert b"secret1" not in ask(agent, "/status")[1]
    slow = sorted(_timed(lambda: ask(agent, "/credentials")) for _ in range(20))
    assert slow[10] < 0.02, slow


def _timed(call: object) -> float:
    start = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - start


def test_a_killed_agent_is_taken_up_where_it_was(agent: AgentProcess, hub: PlayedHub) -> None:
    hub.secrets = {"PATATE_TOKEN": "x"}
    agent.start()
    wait_for(agent.generation)
    endpoint, token = (agent.run / "endpoint.json").read_text(), (agent.run / "endpoint.token").read_text()
    agent.end(signal.SIGKILL)
    hub.stop()
    agent.start()
    wait_for(lambda: agent.status()["last_error"])
    assert ask(agent, "/credentials")[0] == 200
    hub.secrets = {}
    hub.start()
    wait_for(lambda: agent.generation() == 2)
    assert agent.env()["PATATE_TOKEN"] == "x"  # a variable that is gone keeps its last value
    assert (agent.run / "endpoint.json").read_text() == endpoint
    assert (agent.run / "endpoint.token").read_text() == token


def test_another_launch_in_the_same_directory_starts_anew(agent: AgentProcess, hub: PlayedHub) -> None:
    hub.secrets = {"PATATE_TOKEN": "of the first launch"}
    agent.start()
    wait_for(agent.generation)
    agent.end()
    hub.secrets = {}
    (agent.run / "bundle.json").write_text(
        json.dumps({"version": 1, "document": hub.document(), "environment": {}})
    )
    agent.start()
    wait_for(lambda: agent.generation() == 2)
    assert "PATATE_TOKEN" not in agent.env()


def test_a_wrong_clock_changes_neither_rhythm_nor_what_sdks_are_told(
    agent: AgentProcess, hub: PlayedHub
) -> None:
    hub.life, hub.skew = 6, -120  # the session's clock is two minutes ahead: every end looks past
    agent.start()
    wait_for(lambda: agent.generation() >= 3, 20)
    moments = [moment for moment, _path, _token in hub.requests]
    assert moments[1] - moments[0] > 2.5
    status = agent.status()
    assert status["state"] == "ok"
    assert 115 <= status["clock_skew"] <= 125
    end = json.loads(ask(agent, "/credentials")[1])["Expiration"]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert agent.env()["AWS_CREDENTIAL_EXPIRATION"] >= now
    assert end >= now


@pytest.mark.root
def test_a_full_disk_leaves_the_old_set_whole(hub: PlayedHub, small_disk: Path) -> None:
    run = small_disk / "run"
    run.mkdir(mode=0o700)
    agent = AgentProcess(run, hub)
    hub.life, hub.secrets = 4, {"BIG": "x" * 2000}
    agent.start()
    try:
        wait_for(agent.generation)
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * 1024 * 1024)
        before = agent.generation()
        names = {
            path: path.read_bytes()
            for path in run.rglob("*")
            if path.is_file() and path.name != "status.json"
        }
        wait_for(lambda: (json.loads(ask(agent, "/status")[1])["last_error"] or {}).get("code") == "disk")
        assert agent.generation() == before
        for path, content in names.items():
            assert path.read_bytes() == content, path
        filler.unlink()
        wait_for(lambda: agent.generation() > before, 10)
        wait_for(lambda: agent.status()["state"] == "ok")
    finally:
        agent.end(signal.SIGKILL)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=True, timeout=10)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True, timeout=10)


def test_a_session_that_plants_links_gains_nothing(
    agent: AgentProcess, hub: PlayedHub, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "env.json").write_text('{"STOLEN": "1"}')
    agent.start()
    wait_for(agent.generation)
    agent.end()
    for path in (agent.run / "mc").iterdir():
        path.rmdir() if path.is_dir() else path.unlink()
    (agent.run / "mc").rmdir()
    (agent.run / "mc").symlink_to(other)
    (agent.run / "env.json").unlink()
    (agent.run / "env.json").symlink_to(other / "env.json")
    agent.start()
    wait_for(lambda: agent.status()["last_error"])
    assert sorted(path.name for path in other.iterdir()) == ["env.json"]
    (agent.run / "mc").unlink()
    wait_for(lambda: agent.generation() == 2)
    assert "STOLEN" not in agent.env()


def test_what_it_costs(agent: AgentProcess, hub: PlayedHub) -> None:
    agent.start()
    wait_for(agent.generation)
    ask(agent, "/credentials")
    assert agent.process is not None
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert rss < 30 * 1024, rss


def test_no_secret_in_log_or_command_line(
    agent: AgentProcess, hub: PlayedHub, capfd: pytest.CaptureFixture[str]
) -> None:
    agent.start()
    wait_for(agent.generation)
    hub.status = 403
    ask(agent, "/refresh", "POST")
    wait_for(lambda: agent.status()["state"] == "denied")
    assert agent.process is not None
    line = Path(f"/proc/{agent.process.pid}/cmdline").read_bytes().decode()
    shown = "".join(capfd.readouterr()) + line + (agent.run / "status.json").read_text()
    for secret in (HUB_TOKEN, "secret1", "token1", (agent.run / "endpoint.token").read_text()):
        assert secret not in shown


def test_commands_for_people(agent: AgentProcess, hub: PlayedHub, tmp_path: Path) -> None:
    agent.start()
    wait_for(agent.generation)
    environ = clean_environ(tmp_path / "home", agent.run, SARDONYX_LANG="fr")
    command = [str(PACKAGE / "bin" / "sardonyx-session")]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words], env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    shown = run("status")
    assert shown.returncode == 0, shown.stderr
    assert "valable jusqu'à" in shown.stdout
    assert json.loads(run("status", "--json").stdout)["generation"] == 1
    time.sleep(2)
    assert run("refresh").returncode == 0
    assert agent.env()["AWS_ACCESS_KEY_ID"] == "KEY2"
    assert run("exec", "printenv", "AWS_ACCESS_KEY_ID").stdout == "KEY2\n"
    chained = run(
        "exec",
        "--chain",
        sys.executable,
        "-c",
        "import os; print(sorted(k for k in os.environ if 'AWS' in k))",
    )
    assert "AWS_ACCESS_KEY_ID" not in chained.stdout
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in chained.stdout
    assert run("nonsense").returncode == 2
    assert os.access(command[0], os.X_OK)
