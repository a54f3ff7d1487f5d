"""How real sessions on this machine end, fail to start, and are told from what is not theirs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import local_hub
import pytest
from local_hub import Hub, alive, processes_of, restarted
from stack import DIRECT, free_port

from sardonyx_spawner.launch_errors import LaunchError
from sardonyx_spawner.local import LocalDatalabSpawner
from sardonyx_spawner.local_process import boot_id, port_state
from sardonyx_spawner.runner import descendants, start_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

hub = local_hub.hub


async def test_stop_ends_everything_and_keeps_the_disk(hub: Hub) -> None:
    spawner = await hub.launch("bob", service="quick")
    session = spawner.grant["session"]
    (hub.disk("bob") / "work" / "kept").write_text("kept")
    pids = processes_of(spawner)
    cgroups = spawner._limits.cgroups
    assert await spawner.poll() is None
    await hub.stop(spawner)
    assert alive(pids) == []
    assert await spawner.poll() == 0
    assert session in hub.ended
    assert (hub.disk("bob") / "work" / "kept").read_text() == "kept"
    assert not (hub.home / "run/bob/default").exists()
    assert not any(Path(path).exists() for path in cgroups)


async def test_restarted_hub_stops_what_it_did_not_start(hub: Hub) -> None:
    spawner = await hub.launch("carol", service="quick")
    pids = processes_of(spawner)
    found = restarted(spawner)
    await found.stop()
    spawner._runner.process.wait(timeout=5)
    assert alive(pids) == []
    assert await found.poll() == 0
    await hub.stop(spawner)


async def test_a_process_with_a_used_number_is_not_taken_for_the_session(hub: Hub) -> None:
    stranger = subprocess.Popen(["sleep", "100"])
    try:
        spawner = hub.user("dave").spawner
        started = start_time(stranger.pid)
        assert started is not None
        for runner in (
            {"pid": stranger.pid, "started": started - 1, "boot": boot_id(), "run_id": "r"},
            {"pid": stranger.pid, "started": started, "boot": "another", "run_id": "r"},
        ):
            spawner.load_state({"handle": "dave", "runner": runner})
            assert await spawner.poll() is not None
            await spawner.stop(now=True)
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_runner_killed_takes_the_session_with_it(hub: Hub) -> None:
    spawner = await hub.launch("erin", service="quick")
    pids = processes_of(spawner)
    os.kill(spawner._runner.identity.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while await spawner.poll() is None:
            await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        while alive(pids):
            await asyncio.sleep(0.05)
    await hub.stop(spawner)


async def test_a_session_that_does_not_start_leaves_nothing(hub: Hub) -> None:
    user = hub.user("frank")
    with pytest.raises(LaunchError, match=r"\(code 7\)"):
        await hub.launch("frank", service="broken")
    assert not (hub.home / "run/frank/default").exists()
    assert not _with_environment(str(hub.home / "run/frank"))
    assert await user.spawner.poll() is not None


def _with_environment(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if text.encode() in path.read_bytes():
                found.append(str(path))
    return found


async def test_cancelled_start_leaves_nothing(hub: Hub) -> None:
    spawner = hub.user("grace").spawner
    launch = asyncio.ensure_future(hub.launch("grace", service="lab"))
    async with asyncio.timeout(20):
        while spawner._runner is None:
            await asyncio.sleep(0.02)
    pids = processes_of(spawner)
    launch.cancel()
    with suppress(asyncio.CancelledError):
        await launch
    assert alive(pids) == []
    assert not (hub.home / "run/grace/default").exists()


async def test_without_bubblewrap_what_hides_is_ended_too(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalDatalabSpawner, "isolation", "none")
    spawner = await hub.launch("heidi", service="escaping")
    assert not spawner.isolated
    assert any("not isolated" in event["message"] for event in spawner.launch_progress.events)
    assert any("NOT ISOLATED" in line for line in hub.log.lines)
    async with asyncio.timeout(10):
        while not any(_command(pid).startswith("sleep") for pid in processes_of(spawner)):
            await asyncio.sleep(0.1)
    pids = processes_of(spawner)
    await hub.stop(spawner)
    assert alive(pids) == []


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


async def test_a_port_taken_meanwhile_is_replaced(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        offered = [port]
        monkeypatch.setattr(
            "sardonyx_spawner.local_process.free_port", lambda: offered.pop() if offered else free_port()
        )
        spawner = await hub.launch("ivan", service="quick")
        assert spawner.port != port
        assert port_state(port, spawner._runner) == "taken"
        assert port_state(spawner.port, spawner._runner) == "ours"
    await hub.stop(spawner)


async def test_a_session_that_the_hub_lost_is_ended_before_the_next(hub: Hub) -> None:
    lost = await hub.launch("judy", service="quick")
    pids = processes_of(lost)
    # Killed before it could note what it had started: the database knows nothing, the processes run.
    lost._runner.process = None
    lost._runner = None
    fresh = lost.user._new_spawner("")
    lost.user.spawners[""] = fresh
    lost.orm_spawner.server = None
    again = await hub.launch("judy", service="quick")
    assert alive(pids) == []
    assert await again.poll() is None
    await hub.stop(again)


async def test_a_session_ends_with_a_hub_that_dies_before_it_noted_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sardonyx_spawner.local_process.Runner.confirm", lambda _: None)
    spawner = await hub.launch("lena", service="quick")
    pids = processes_of(spawner)
    assert alive(pids) == pids
    spawner._runner.process.stdin.close()  # what the kernel does when the hub is killed
    async with asyncio.timeout(20):
        while alive(pids):
            await asyncio.sleep(0.1)
    assert "before it noted" in (hub.home / "logs/lena/default.log").read_text()
    await hub.stop(spawner)


async def test_removing_a_session_ends_what_still_runs_of_it(hub: Hub) -> None:
    lost = await hub.launch("mona", service="quick")
    pids = processes_of(lost)
    lost._runner.process = None
    lost._runner = None
    fresh = lost.user._new_spawner("")
    fresh.handle = "mona"
    await fresh.delete_forever()
    assert alive(pids) == []
    assert not hub.disk("mona").exists()
    await hub.stop(lost)


async def test_two_launches_at_once_make_one_session(hub: Hub) -> None:
    hub.user("kim")
    url = f"{hub.app.hub.url}api/users/kim/server"
    headers = {"Authorization": "token watcher-token-0123456789"}
    async with httpx.AsyncClient(headers=headers, timeout=60, **DIRECT) as client:
        answers = await asyncio.gather(*(client.post(url, json={"service": "quick"}) for _ in range(3)))
        assert {answer.status_code for answer in answers} <= {201, 202, 400}
        spawner = hub.user("kim").spawner
        async with asyncio.timeout(30):
            while not spawner.ready:
                await asyncio.sleep(0.05)
    runners = [pid for pid in descendants(os.getpid()) if "runner.py" in _command(pid)]
    own = [pid for pid in runners if _works_for(pid, "/disks/kim/")]
    assert own == [spawner._runner.identity.pid]
    await hub.stop(spawner)


def _works_for(runner: int, disk: str) -> bool:
    return any(disk in _command(pid) for pid in descendants(runner))


async def test_wrong_options_by_rest_are_explained_and_not_launched(hub: Hub) -> None:
    hub.user("quentin")
    url = f"{hub.app.hub.url}api/users/quentin/server"
    headers = {"Authorization": "token watcher-token-0123456789"}
    body = {"service": "lab", "options": {"resources": {"limits": {"memory": "64Gi"}}}}
    async with httpx.AsyncClient(headers=headers, timeout=60, **DIRECT) as client:
        answer = await client.post(url, json=body)
    assert answer.status_code == 400
    assert "resources.limits.memory" in answer.text
    assert "2Gi" in answer.text
    assert "Traceback" not in answer.text
    assert not hub.disk("quentin").exists()
