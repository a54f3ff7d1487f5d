"""A real hub in this process on real backends: JupyterHub, SeaweedFS and OpenBao, without a proxy in front."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from hub import NoProxy, answering_page, make_hub, running
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import SimpleLocalProcessSpawner, Spawner
from stack import DIRECT
from traitlets.config import Config

from sardonyx_hub.build import build_datalab
from sardonyx_hub.config import configure_embedded
from sardonyx_hub.credentials.secret_store import GIT_FOLDER
from sardonyx_hub.datalab import Datalab
from sardonyx_hub.embedded.ca import CertificateAuthority
from sardonyx_hub.embedded.files import private_directory, write_private
from sardonyx_hub.embedded.guard import VARIABLE
from sardonyx_hub.embedded.instance import Instance
from sardonyx_hub.embedded.openbao import MOUNT, OpenBao
from sardonyx_hub.embedded.ports import Ports, free_ports
from sardonyx_hub.embedded.seaweedfs import SeaweedFS
from sardonyx_hub.embedded.settings import EmbeddedSettings
from sardonyx_hub.settings import Sardonyx
from sardonyx_spawner.launch_progress import LaunchProgress, State
from sardonyx_spawner.mixin import DatalabSpawnerMixin

PASSWORD = "correct horse battery staple"
SECRET, GIT_HOST = "bench", "git.example.org"
#: Launch options with all three sources: S3, one chosen secret, the person's Git account.
EVERYTHING = {"s3": {"access": "read-write"}, "vault": {"enabled": True, "secret": [SECRET]}}
#: The same launch without any source.
NOTHING = {"s3": {"access": "none"}, "vault": {"enabled": False}, "git": {"enabled": False}}
_TOKEN = "bench-token-of-a-hub-on-loopback"
#: What would lead a client to other servers or accounts than ours.
_FOREIGN = ("AWS_", "S3_", "MC_HOST_", "VAULT_", "BAO_", "JUPYTER", "SARDONYX_", "CONFIGPROXY_", "OAUTH")


@dataclass
class Marks:
    """When each step of the launch under way was told of, on :func:`time.time`'s clock."""

    seen: dict[tuple[str, str], float] = field(default_factory=dict)

    def at(self, step: str, *states: str) -> float:
        """Return when `step` was in the first of `states` that it was in."""
        for state in states:
            if (step, state) in self.seen:
                return self.seen[step, state]
        raise RuntimeError(f"the launch was never {' or '.join(states)} at {step}: {sorted(self.seen)}")

    def between(self, step: str) -> float:
        """Return the seconds from the beginning of `step` to its end."""
        return self.at(step, "ok", "warning") - self.at(step, "running")

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Note what pending pages are told; launches come one after the other, so whose it is is known."""
        add = LaunchProgress.add

        def timed(progress: LaunchProgress, step: str, state: State, message: str) -> None:
            self.seen.setdefault((step, state), time.time())
            add(progress, step, state, message)

        setattr(LaunchProgress, add.__name__, timed)
        try:
            yield
        finally:
            setattr(LaunchProgress, add.__name__, add)


MARKS = Marks()


class InstantSpawner(DatalabSpawnerMixin, Spawner):  # type: ignore[misc]
    """The datalab's mixin over a session that is there at once: what is left is what the hub does."""

    page_port = 0
    running = False
    hook_seconds = 0.0

    async def run_pre_spawn_hook(self) -> None:
        begun = time.perf_counter()
        await super().run_pre_spawn_hook()
        self.hook_seconds = time.perf_counter() - begun

    async def start(self) -> tuple[str, int]:
        self.running = True
        return "127.0.0.1", self.page_port

    async def stop(self, now: bool = False) -> None:
        self.running = False

    async def poll(self) -> int | None:
        return None if self.running else 0


class PeerSpawner(SimpleLocalProcessSpawner):  # type: ignore[misc]
    """JupyterHub's own spawner; tells when it starts its process, and when that listens."""

    async def start(self) -> tuple[str, int]:
        MARKS.seen["start", "running"] = time.time()
        ip, port = await super().start()
        # Beside the hub, which looks at growing intervals.
        self.looking = asyncio.create_task(_note_when_it_listens(port))
        return ip, port


@dataclass
class BenchHub:
    """The running hub, and people's ways into it."""

    app: JupyterHub
    config: Config
    settings: EmbeddedSettings
    datalab: Datalab
    bao: OpenBao
    client: httpx.AsyncClient

    async def sign_in(self, name: str) -> float:
        """Sign `name` in as a browser does; return the seconds that the posted form took."""
        url = self.settings.hub_url
        async with httpx.AsyncClient(base_url=url, timeout=60, **DIRECT) as browser:
            await browser.get("/hub/login")
            form = {"username": name, "password": PASSWORD, "_xsrf": browser.cookies["_xsrf"]}
            begun = time.perf_counter()
            answer = await browser.post("/hub/login", data=form)
            seconds = time.perf_counter() - begun
        if answer.status_code != 302:
            raise RuntimeError(f"sign-in of {name}: {answer.status_code}")
        return seconds

    async def give(self, *names: str) -> None:
        """Write a secret and a Git account of each person as the administrator: the hub has seen neither."""
        await asyncio.to_thread(self._give, names)

    def _give(self, names: tuple[str, ...]) -> None:
        kv = self.bao.client().secrets.kv.v2
        account = {"username": "u", "token": "t", "name": "n", "email": "m@example.org"}
        for name in names:
            handle = self.datalab.handles.handle_for(name)
            for path, data in ((SECRET, {"BENCH_KEY": "value"}), (f"{GIT_FOLDER}/{GIT_HOST}", account)):
                kv.create_or_update_secret(f"{handle}/{path}", secret=data, mount_point=MOUNT)

    def spawner(self, name: str, spawner_class: type[Spawner] = InstantSpawner) -> Any:
        """Return the spawner of a person, which is of the class that is asked for."""
        self.app.users.settings["spawner_class"] = spawner_class
        spawners = self.app.users[name].spawners
        if type(spawners[""]) is not spawner_class:  # a sign-in has made one already
            spawners.pop("")
        return spawners[""]

    async def launch(self, name: str, options: Mapping[str, Any]) -> float:
        """Launch by the REST API; return the seconds until the session is ready."""
        MARKS.seen.clear()
        body = {"service": "jupyter-python", "options": dict(options)}
        begun = time.perf_counter()
        answer = await self.client.post(f"/users/{name}/server", json=body)
        seconds = time.perf_counter() - begun
        if answer.status_code != 201:
            raise RuntimeError(f"launch of {name}: {answer.status_code} {answer.text[:500]}")
        return seconds

    async def stop(self, name: str) -> None:
        """Stop a session and wait until all that belongs to it has ended."""
        answer = await self.client.delete(f"/users/{name}/server")
        if answer.status_code not in {202, 204}:
            raise RuntimeError(f"stop of {name}: {answer.status_code} {answer.text[:500]}")
        spawner = self.app.users[name].spawners[""]
        while spawner.pending or spawner.active:
            await asyncio.sleep(0.02)
        await self.datalab.broker.settle()

    @contextlib.asynccontextmanager
    async def other_datalab(self, **settings: str) -> AsyncIterator[Datalab]:
        """Make the datalab of a hub that has just started: the same backends, nothing remembered, no connection.

        Parameters
        ----------
        settings
            Settings of :class:`~sardonyx_hub.settings.Sardonyx` that differ.
        """
        config = Config()
        config.Sardonyx.update({**self.config.Sardonyx, **settings})
        datalab = build_datalab(Sardonyx(config=config))
        try:
            yield datalab
        finally:
            await datalab.broker.close(2)
            await asyncio.to_thread(datalab.audit.close)
            datalab.handles.close()


@contextlib.contextmanager
def _clean_environment() -> Iterator[None]:
    kept = dict(os.environ)
    for name in kept:
        if name.startswith(_FOREIGN) and name != "SARDONYX_CACHE":
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


@contextlib.contextmanager
def running_backends(environment: Path) -> Iterator[tuple[EmbeddedSettings, OpenBao]]:
    """Start SeaweedFS and OpenBao in a fresh folder; end them and remove the folder afterwards.

    Parameters
    ----------
    environment
        The session environment of jupyter-python.
    """
    home = Path(tempfile.mkdtemp(prefix="sardonyx-bench-"))
    port = free_ports(1)[0]
    settings = EmbeddedSettings(
        home, port, Ports.free(avoid={port}), environments={"jupyter-python": environment}
    )
    for folder in (settings.log_dir, settings.state_dir, settings.disks_dir, settings.run_dir):
        private_directory(folder)
    write_private(settings.password_file, PASSWORD)
    write_private(settings.proxy_token_file, secrets.token_hex(32))
    instance = Instance(home)
    mark: dict[str, str | None] = {VARIABLE: instance.identifier}
    tls = CertificateAuthority(home / "ca").issue("s3")
    seaweedfs = SeaweedFS(
        home / "s3",
        settings.ports.seaweedfs,
        tls=tls,
        shared_buckets=settings.shared_buckets,
        environment=mark,
        issuer_url=settings.issuer_url,
        jwks_url=settings.jwks_url,
    )
    bao = OpenBao(
        home / "vault",
        settings.ports.vault,
        cluster_port=settings.ports.vault_cluster,
        environment=mark,
        issuer_url=settings.issuer_url,
        jwks_url=settings.jwks_url,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.enter_context(_clean_environment())
        # Its guard ends servers and sessions also when this process is killed.
        stack.callback(instance.release)
        instance.acquire()
        os.environ[VARIABLE] = instance.identifier
        for part in (seaweedfs, bao):
            stack.callback(part.stop)
            part.launch()
        seaweedfs.wait_ready()
        bao.wait_ready()
        yield settings, bao


def _configuration(settings: EmbeddedSettings, people: list[str]) -> tuple[Config, Datalab]:
    config = Config()
    datalab = configure_embedded(config, settings)
    config.Authenticator.allowed_users = set(people)
    config.JupyterHub.update(
        db_url="sqlite:///:memory:",
        proxy_class=NoProxy,
        spawner_class=InstantSpawner,
        services=[{"name": "bench", "api_token": _TOKEN}],
        load_roles=[
            *config.JupyterHub.load_roles,
            {"name": "bench", "services": ["bench"], "scopes": ["admin:users", "admin:servers"]},
        ],
        tornado_settings={**config.JupyterHub.tornado_settings, "slow_spawn_timeout": 120},
        log_level=logging.ERROR,
    )
    environment = settings.environments["jupyter-python"]
    # Root may not run a Jupyter server unless it insists; ours is in a sandbox, where nobody is root.
    insisting = ["--allow-root"] if os.geteuid() == 0 else []
    config.PeerSpawner.update(
        cmd=[str(environment / "bin" / "jupyterhub-singleuser"), *insisting],
        home_dir_template=f"{settings.home}/peer/{{username}}",
        environment={VARIABLE: os.environ[VARIABLE]},
        popen_kwargs={"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL},
        ip="127.0.0.1",
        start_timeout=120,
        http_timeout=120,
    )
    return config, datalab


@contextlib.asynccontextmanager
async def running_hub(settings: EmbeddedSettings, bao: OpenBao, people: list[str]) -> AsyncIterator[BenchHub]:
    """Run JupyterHub in this process; end its sessions and it afterwards."""
    config, datalab = _configuration(settings, people)
    client = httpx.AsyncClient(
        base_url=f"{settings.hub_url}/hub/api",
        headers={"Authorization": f"token {_TOKEN}"},
        timeout=180,
        **DIRECT,
    )
    async with answering_page() as InstantSpawner.page_port:
        with contextlib.chdir(settings.home):  # no configuration file of the folder that this runs in
            app = await make_hub(config)
        async with running(app), client:
            yield BenchHub(app, config, settings, datalab, bao, client)
        await datalab.broker.close(2)
        await asyncio.to_thread(datalab.audit.close)


async def _note_when_it_listens(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            MARKS.seen["start", "ok"] = time.time()
            writer.close()
            return
        await asyncio.sleep(0.1)
