"""A real JupyterLab in its sandbox on this machine: what is in it, what it may, and that the hub finds it again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import local_hub
import pytest
import pytest_asyncio
from local_hub import MARK, Hub, Lab, processes_of, restarted

pytestmark = pytest.mark.asyncio(loop_scope="module")

hub = local_hub.hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(hub: Hub) -> AsyncIterator[Any]:
    """One JupyterLab of alice for the tests that only look at it."""
    spawner = await hub.launch("alice", service="lab")
    yield spawner
    await hub.stop(spawner)


async def test_lab_starts_and_its_kernel_has_the_credentials(hub: Hub, session: Any) -> None:
    assert session.server.url.startswith("http://127.0.0.1:")
    lab = Lab(session)
    code = "import os, sys, pandas; print(os.environ['AWS_SECRET_ACCESS_KEY'], sys.prefix, os.getcwd())"
    printed = await lab.run(code)
    assert f"{MARK}-alice" in printed
    assert "/.local/share/sardonyx/python" in printed


WHEEL_CODE = "def answer():\n    return 42\n"


def make_wheel(folder: Path, name: str) -> Path:
    """Make a small wheel without any build tool."""
    import zipfile

    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", WHEEL_CODE)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return path


async def test_terminal_has_job_control_and_sees_only_its_own_session(hub: Hub, session: Any) -> None:
    lines = (
        "sleep 100 & jobs; kill %1; wait; id -un; echo LI''ST; ps -e -o comm= | sort -u | tr '\\n' ' '; "
        f"cat {hub.home}/keys; ls /root/.ssh; kill -0 {os.getpid()}; echo $((40 + 2))-end"
    )
    shown = await Lab(session).shell(lines, "42-end")
    assert "Running" in shown
    assert "no job control" not in shown
    assert "onyxia" in shown
    assert "the datalab's keys" not in shown
    assert shown.count("No such") >= 3
    listed = shown.partition("\nLIST")[2].partition("cat:")[0]
    assert "bash" in listed
    assert "pytest" not in listed


async def test_packages_of_the_person_land_on_the_disk_and_are_found(hub: Hub, session: Any) -> None:
    folder = hub.disk("alice") / "work"
    make_wheel(folder, "sdx_by_pip")
    make_wheel(folder, "sdx_by_uv")
    lab = Lab(session)
    await lab.shell("pip install --no-index ~/work/sdx_by_pip*.whl; echo $((40 + 2))-end", "42-end")
    await lab.shell(
        "uv pip install --offline --no-index ~/work/sdx_by_uv*.whl; echo $((40 + 2))-end", "42-end"
    )
    printed = await lab.run("import sdx_by_pip, sdx_by_uv; print(sdx_by_pip.answer() + sdx_by_uv.answer())")
    assert printed.strip() == "84"
    packages = hub.disk("alice") / ".local/share/sardonyx/python/lib"
    assert {"sdx_by_pip.py", "sdx_by_uv.py"} <= {path.name for path in packages.rglob("sdx*.py")}


async def test_kernels_open_no_port(session: Any) -> None:
    lab = Lab(session)
    code = (
        "import glob, json, os\n"
        "found = glob.glob(os.environ['JUPYTER_RUNTIME_DIR'] + '/kernel-*.json')\n"
        "print({json.load(open(name))['transport'] for name in found})"
    )
    assert "{'ipc'}" in await lab.run(code)


async def test_lab_opens_in_the_work_folder_with_the_home_above_it(session: Any) -> None:
    contents = await Lab(session).get("/api/contents/")
    assert "work" in {entry["name"] for entry in contents["content"]}


async def test_limits_hold_and_are_told(hub: Hub, session: Any) -> None:
    messages = [event["message"] for event in session.launch_progress.events]
    assert any("limit" in message for message in messages)
    enforced = session._limits.enforced
    assert set(enforced) == {"memory", "cpu", "processes"}
    if enforced["memory"] == "cgroup":
        code = "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'bytearray(3 << 30)']).returncode)"
        assert (await Lab(session).run(code)).strip() == "-9"


async def test_secrets_are_in_no_argument_log_or_database(hub: Hub, session: Any) -> None:
    token = session.api_token
    pids = processes_of(session)
    assert len(pids) >= 4
    for pid in pids:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert token.encode() not in arguments
        assert MARK.encode() not in arguments
    written = "\n".join(hub.log.lines) + (hub.home / "logs/alice/default.log").read_text()
    assert token not in written
    assert MARK not in written
    database = b"".join(path.read_bytes() for path in hub.home.glob("hub.sqlite*"))
    assert token.encode() not in database
    assert MARK.encode() not in database
    assert not (hub.home / "run/alice/default/bundle.json").exists()
    for path in (hub.home / "run/alice/default", hub.home / "disks/alice/default", hub.home / "logs/alice"):
        assert path.stat().st_mode & 0o077 == 0
    assert (hub.home / "logs/alice/default.log").stat().st_mode & 0o777 == 0o600


async def test_agent_is_started_again(session: Any) -> None:
    def agent() -> list[int]:
        return [
            pid for pid in processes_of(session) if b"\0agent\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    before = agent()
    assert len(before) == 1
    os.kill(before[0], signal.SIGKILL)
    async with asyncio.timeout(20):
        while not agent() or agent() == before:
            await asyncio.sleep(0.1)


async def test_session_survives_the_hub_and_is_found_again(hub: Hub, session: Any) -> None:
    found = restarted(session)
    assert await found.poll() is None
    assert found.grant == session.grant
    assert found.handle == "alice"
