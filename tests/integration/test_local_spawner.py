"""Real sessions on this machine: a real JupyterHub launches real JupyterLab in its sandbox, loses it, finds
it, ends it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import tornado.websocket
from jupyterhub import orm, roles
from jupyterhub.app import JupyterHub
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.proxy import Proxy
from traitlets.config import Config

from sardonyx_spawner.bundle import SessionBundle
from sardonyx_spawner.launch_errors import LaunchError
from sardonyx_spawner.local import LocalDatalabSpawner
from sardonyx_spawner.local_process import boot_id, port_state
from sardonyx_spawner.runner import descendants, start_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: In every secret value; must be in no log, no argument, no database.
MARK = "MARK-0815"
CATALOGUE = """
services:
  - id: lab
    name: Lab
    default: true
    resources:
      cpu: {limit: {default: 1, max: 2}}
      memory: {limit: {default: 1Gi, max: 2Gi}}
    init: {shown: true}
    local: {environment: test}
  - id: quick
    name: Quick
    local:
      environment: test
      command: [python, -c, "import http.server as s, os; s.test(s.SimpleHTTPRequestHandler,
      port=int(os.environ['JUPYTERHUB_SERVICE_URL'].split(':')[2].split('/')[0]), bind='127.0.0.1')"]
  - id: broken
    name: Broken
    local:
      environment: test
      command: [python, -c, "import sys; sys.exit(7)"]
  - id: escaping
    name: Escaping
    local:
      environment: test
      command: [bash, -c, "setsid setsid sleep 1000 & exec python -m http.server --bind 127.0.0.1 $(echo
      $JUPYTERHUB_SERVICE_URL | sed 's/.*://; s,/.*,,')"]
"""


class NoProxy(Proxy):
    """A hub without a proxy: the tests ask hub and sessions themselves."""

    should_start = False

    async def add_route(self, routespec: str, target: str, data: object) -> None: ...

    async def delete_route(self, routespec: str) -> None: ...

    async def get_all_routes(self) -> dict[str, Any]:
        return {}


class Keeper(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def make_bundle(spawner: Any, service: Any, options: Any) -> SessionBundle:
    """Stands for the hub's broker."""
    spawner.report("s3", "ok")
    values = {"AWS_SECRET_ACCESS_KEY": f"{MARK}-{spawner.handle}", "AWS_ACCESS_KEY_ID": "key"}
    document = {
        "version": 1,
        "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "expires_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)),
        "s3": None,
        "vault": None,
        "git": [],
        "environment": values,
        "problems": [],
    }
    return SessionBundle(environment=values, document=document)


@dataclass
class Hub:
    """A running hub whose sessions run on this machine."""

    app: Any
    home: Path
    log: Keeper
    ended: list[str] = field(default_factory=list)

    def user(self, name: str) -> Any:
        if name not in self.app.users:
            person = orm.User(name=name)
            self.app.db.add(person)
            self.app.db.commit()
            roles.assign_default_roles(self.app.db, entity=person)
            return self.app.users[person]
        return self.app.users[name]

    async def launch(self, name: str, server: str = "", **options: Any) -> Any:
        """Launch a session as JupyterHub does; return its spawner."""
        user = self.user(name)
        await user.spawn(server, options=options)
        return user.spawners[server]

    async def stop(self, spawner: Any) -> None:
        await spawner.user.stop(spawner.name)

    def disk(self, name: str, server: str = "default") -> Path:
        return self.home / "disks" / name / server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory, session_environment: Path) -> AsyncIterator[Hub]:
    home = tmp_path_factory.mktemp("sardonyx")
    (home / "keys").write_text("the datalab's keys")
    log = Keeper()
    ended: list[str] = []

    async def end(spawner: Any) -> None:
        ended.append(spawner.grant["session"])

    config = Config()
    config.JupyterHub.update(
        bind_url=f"http://127.0.0.1:{free_port()}",
        hub_ip="127.0.0.1",
        hub_port=free_port(),
        db_url=f"sqlite:///{home}/hub.sqlite",
        cookie_secret=b"0" * 32,
        proxy_class=NoProxy,
        spawner_class=LocalDatalabSpawner,
        authenticator_class=DummyAuthenticator,
        allow_named_servers=True,
        services=[{"name": "watcher", "api_token": "watcher-token-0123456789", "admin": True}],
        log_level=logging.DEBUG,
    )
    config.DummyAuthenticator.update(allow_all=True, password="pass")
    config.LocalDatalabSpawner.update(
        home=str(home),
        environments={"test": str(session_environment)},
        catalogue=CATALOGUE,
        http_timeout=30,
        stop_seconds=5,
    )
    JupyterHub.clear_instance()
    app = JupyterHub.instance(config=config)
    app.init_signal = lambda: None
    await app.initialize([])
    # Not through the configuration: traitlets copies that deeply.
    app.config.LocalDatalabSpawner.bundle_hook = make_bundle
    app.config.LocalDatalabSpawner.end_hook = end
    app.users.settings["config"] = app.config
    await app.start()
    app.log.addHandler(log)
    found = Hub(app, home, log, ended)
    yield found
    for user in list(app.users.values()):
        for spawner in list(user.spawners.values()):
            with suppress(Exception):
                await user.stop(spawner.name)
    app.http_server.stop()
    for callback in app._periodic_callbacks.values():
        callback.stop()
    JupyterHub.clear_instance()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def processes_of(spawner: Any) -> list[int]:
    """Return the runner and everything below it."""
    pid = spawner._runner.identity.pid
    return [pid, *descendants(pid)]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if start_time(pid) is not None]


class Lab:
    """JupyterLab of a session, asked with a token of its person."""

    def __init__(self, spawner: Any) -> None:
        self.url = spawner.server.url.rstrip("/")
        self.token = spawner.user.new_api_token(scopes=["access:servers!user", "read:users!user"])
        self.headers = {"Authorization": f"token {self.token}"}

    async def get(self, path: str) -> Any:
        async with httpx.AsyncClient(headers=self.headers, trust_env=False, timeout=30) as client:
            answer = await client.get(f"{self.url}{path}")
            answer.raise_for_status()
            return answer.json()

    async def post(self, path: str, content: Mapping[str, Any]) -> Any:
        async with httpx.AsyncClient(headers=self.headers, trust_env=False, timeout=60) as client:
            answer = await client.post(f"{self.url}{path}", json=content)
            answer.raise_for_status()
            return answer.json()

    async def websocket(self, path: str) -> Any:
        url = self.url.replace("http://", "ws://") + path
        request = tornado.httpclient.HTTPRequest(url, headers=self.headers)
        return await tornado.websocket.websocket_connect(request)

    async def run(self, code: str) -> str:
        """Run code in a new kernel; return what it printed."""
        kernel = (await self.post("/api/kernels", {"name": "python3"}))["id"]
        socket_ = await self.websocket(f"/api/kernels/{kernel}/channels")
        header = {
            "msg_id": uuid.uuid4().hex,
            "username": "",
            "session": uuid.uuid4().hex,
            "msg_type": "execute_request",
            "version": "5.3",
        }
        message = {
            "channel": "shell",
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": {"code": code, "silent": False, "store_history": False, "allow_stdin": False},
        }
        await socket_.write_message(json.dumps(message))
        printed = ""
        async with asyncio.timeout(60):
            while True:
                answer = json.loads(await socket_.read_message())
                if answer["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                if answer["msg_type"] == "stream":
                    printed += answer["content"]["text"]
                elif answer["msg_type"] == "error":
                    printed += "\n".join(answer["content"]["traceback"])
                elif answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
                    socket_.close()
                    return printed

    async def shell(self, line: str, until: str) -> str:
        """Type a line into a new terminal; return what it shows until `until` comes."""
        name = (await self.post("/api/terminals", {}))["name"]
        socket_ = await self.websocket(f"/terminals/websocket/{name}")
        shown = ""
        async with asyncio.timeout(60):
            while "setup" not in shown:
                shown += str(await socket_.read_message())
            await asyncio.sleep(1)
            await socket_.write_message(json.dumps(["stdin", line + "\r"]))
            shown = ""
            while until not in shown:
                kind, *rest = json.loads(await socket_.read_message())
                if kind == "stdout":
                    shown += rest[0]
        socket_.close()
        return shown


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


def restarted(spawner: Any) -> Any:
    """Return the session's spawner as a hub that was just started makes it."""
    state = json.loads(json.dumps(spawner.get_state()))
    spawner.orm_spawner.state = state
    return spawner.user._new_spawner(spawner.name)


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
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=60) as client:
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
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=60) as client:
        answer = await client.post(url, json=body)
    assert answer.status_code == 400
    assert "resources.limits.memory" in answer.text
    assert "2Gi" in answer.text
    assert "Traceback" not in answer.text
    assert not hub.disk("quentin").exists()


async def test_deleted_for_ever_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    spawner = await hub.launch("laura", "run1", service="quick")
    disk = hub.disk("laura", "run1")
    other = hub.disk("laura", "other")
    other.mkdir()
    (disk / "link").symlink_to(outside)
    (disk / "closed" / "in").mkdir(parents=True)
    (disk / "closed" / "in").chmod(0)
    await hub.stop(spawner)
    await spawner.delete_forever()
    assert not disk.exists()
    assert other.exists()
    assert (outside / "precious").read_text() == "precious"
    assert not list((hub.home / "disks/.trash").iterdir())


async def test_a_disk_that_is_a_link_is_not_followed(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    disk = hub.disk("mallory")
    disk.parent.mkdir(parents=True)
    disk.symlink_to(tmp_path)
    await hub.user("mallory").spawner.delete_forever()
    assert (tmp_path / "precious").exists()


async def test_renamed_session_keeps_its_disk(hub: Hub) -> None:
    spawner = await hub.launch("nina", "old", service="quick")
    (hub.disk("nina", "old") / "work" / "kept").write_text("kept")
    await hub.stop(spawner)
    await spawner.rename("old", "new")
    assert (hub.disk("nina", "new") / "work" / "kept").exists()
    assert not hub.disk("nina", "old").exists()


async def test_unnamed_session_and_one_called_default_have_a_disk_each(hub: Hub) -> None:
    user = hub.user("olga")
    unnamed = (await user.spawner._folders()).disk
    named = (await user.get_or_create_spawner("default", "")._folders()).disk
    assert unnamed != named


async def test_a_home_that_cannot_be_written_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hub.app.config.LocalDatalabSpawner, "home", str(hub.home / "keys"))
    with pytest.raises(LaunchError, match="disk cannot be written"):
        await hub.launch("peggy", service="quick")
