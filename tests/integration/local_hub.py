"""A real hub whose sessions run in the sandbox of this machine, for the tests of the local spawner."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import tornado.websocket
from hub import make_hub, running
from jupyterhub import orm, roles
from jupyterhub.auth import DummyAuthenticator
from stack import DIRECT
from traitlets.config import Config

from sardonyx_spawner.bundle import SessionBundle
from sardonyx_spawner.local import LocalDatalabSpawner
from sardonyx_spawner.runner import descendants, start_time

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
        db_url=f"sqlite:///{home}/hub.sqlite",
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
    app = await make_hub(config)
    # Not through the configuration: traitlets copies that deeply.
    app.config.LocalDatalabSpawner.bundle_hook = make_bundle
    app.config.LocalDatalabSpawner.end_hook = end
    app.users.settings["config"] = app.config
    async with running(app):
        app.log.addHandler(log)
        yield Hub(app, home, log, ended)


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
        async with httpx.AsyncClient(headers=self.headers, timeout=30, **DIRECT) as client:
            answer = await client.get(f"{self.url}{path}")
            answer.raise_for_status()
            return answer.json()

    async def post(self, path: str, content: Mapping[str, Any]) -> Any:
        async with httpx.AsyncClient(headers=self.headers, timeout=60, **DIRECT) as client:
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


def restarted(spawner: Any) -> Any:
    """Return the session's spawner as a hub that was just started makes it."""
    state = json.loads(json.dumps(spawner.get_state()))
    spawner.orm_spawner.state = state
    return spawner.user._new_spawner(spawner.name)
