"""Sessions on the hub's own machine, each shut in by bubblewrap where the machine allows it."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from jupyterhub.spawner import Spawner
from jupyterhub.utils import maybe_future, url_path_join

from . import local_environment as environments
from . import local_process as processes
from . import session_looks as looks
from .bundle import SessionBundle
from .launch_errors import LaunchError
from .limits import Limits, Wanted, group_name, prepare
from .local_environment import Layout
from .local_files import SessionFolders, UnsafeNameError, server_folder
from .local_process import Identity, Runner, RunnerError
from .local_settings import LocalSettings
from .sandbox import Isolation, find_isolation

T = TypeVar("T")

#: How often a start is looked at (seconds).
_LOOK_EVERY = 0.1
_PORT_TRIES = 4
_LOG_BYTES = 10_000_000
#: Memory that temporary files may take where the session's own is not limited.
_TEMPORARY_BYTES = 1 << 30
#: Sessions that do not want to end hold a thread for many seconds each. Those of the event loop are few, and serve
#: sign-ins: they are not used for that.
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="sardonyx-session")
#: Said once a hub, not once a session.
_told: set[str] = set()


async def _blocking(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run what blocks in the sessions' own threads."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(function, *args, **kwargs))


class LocalDatalabSpawner(LocalSettings, Spawner):  # type: ignore[misc]
    """Runs each session as processes of this machine that outlive the hub.

    A runner holds the session's processes together; hub and runner share nothing but signals and files below
    `home`.
    """

    sessions_are_local = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._runner: Runner | None = None
        self._starting = False
        self._runtime = ""
        self._limits = Limits()
        self._look: looks.Look | None = None
        super().__init__(*args, **kwargs)

    # State ------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Add what finds the session's processes again after a restart of the hub."""
        state = super().get_state()
        if self._runner is not None:
            identity = self._runner.identity
            state["runner"] = {
                "pid": identity.pid,
                "started": identity.started,
                "boot": identity.boot,
                "run_id": self._runner.run_id,
                "runtime": self._runtime,
                "cgroups": list(self._limits.cgroups),
            }
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Find the session's runner again."""
        super().load_state(state)
        known = state.get("runner")
        if known:
            identity = Identity(int(known["pid"]), int(known["started"]), str(known["boot"]))
            self._runner = Runner(identity, str(known["run_id"]))
            self._runtime = str(known.get("runtime", ""))
            self._limits = Limits(cgroups=tuple(known.get("cgroups", ())))

    def clear_state(self) -> None:
        """Forget the processes."""
        super().clear_state()
        self._runner = self._look = None
        self._runtime = ""
        self._limits = Limits()

    # Isolation --------------------------------------------------------------------------------------------

    @property
    def isolated(self) -> bool:
        """Whether sessions are shut in on this machine. The first look takes some 30 ms."""
        return self.isolation != "none" and bool(find_isolation().bwrap)

    async def people_are_isolated(self) -> bool:
        """Return whether sessions are shut in, without blocking the hub."""
        return bool((await self._find_isolation()).bwrap)

    async def _find_isolation(self) -> Isolation:
        if self.isolation == "none":
            found = Isolation(reason="the configuration says so (isolation = none)")
        else:
            found = await _blocking(find_isolation)
        if not found.bwrap and "isolation" not in _told:
            _told.add("isolation")
            self.log.warning(
                "SESSIONS ARE NOT ISOLATED: everyone who can start one can read the others' files and the datalab's keys. "
                "Reason: %s",
                found.reason,
            )
        if not found.bwrap and self.isolation == "bubblewrap":
            raise LaunchError(
                self.messages.translate("launch.isolation"), reason="isolation", status_code=503
            )
        return found

    # Start ------------------------------------------------------------------------------------------------

    async def start(self) -> str:
        """Start the session and return its URL once its server listens.

        Raises
        ------
        LaunchError
            If it does not start; nothing of it is left then.
        """
        await self.load_user_options()
        self._starting, self.exit_reason = True, ""
        try:
            folders = await self._folders()
            environment = self._environment_folder()
            isolation = await self._find_isolation()
            if not isolation.bwrap:
                self._say("isolation", "warning")
            return await self._start_in(folders, environment, isolation)
        except OSError as error:
            # ENOSPC and its kind; nothing in it but the name of a file.
            self.log.error("%s cannot be started: %s", self._log_name, error)
            reason = error.strerror or type(error).__name__
            raise LaunchError(
                self.messages.translate("launch.disk", reason=reason), reason="disk", status_code=507
            ) from None
        finally:
            self._starting = False
            self.bundle = None

    async def _start_in(self, folders: SessionFolders, environment: Path, isolation: Isolation) -> str:
        try:
            await self._in_thread(self._end_left_behind, folders)
            await self._in_thread(folders.prepare)
            bundle = self.bundle or SessionBundle()
            if bundle.document:
                await self._in_thread(folders.write_bundle, bundle.document, bundle.environment)
            layout = await self._in_thread(self._layout, folders, isolation)
            for _ in range(_PORT_TRIES):
                url = await self._try_port(folders, environment, isolation, layout)
                if url is not None:
                    self._say("start", "ok")
                    return url
                self._say("start", "warning")
            raise LaunchError(self.messages.translate("launch.port"), reason="port", status_code=503)
        except BaseException:
            # Cancelled too (JupyterHub's time limit): whatever came about so far goes.
            await asyncio.shield(asyncio.ensure_future(self._abandon(folders)))
            raise

    async def _try_port(
        self, folders: SessionFolders, environment: Path, isolation: Isolation, layout: Layout
    ) -> str | None:
        """Start on some port; return the URL, or ``None`` if somebody else took the port meanwhile."""
        self.ip, self.port = "127.0.0.1", processes.free_port()
        run_id = secrets.token_hex(16)
        self._limits = await self._set_limits(run_id)
        spec = self._spec(folders, environment, isolation, layout, run_id)
        self._say("start", "running")
        launching = asyncio.ensure_future(
            _blocking(processes.launch, spec, run_id, environments.inherited(os.environ))
        )
        try:
            self._runner = await asyncio.shield(launching)
        except asyncio.CancelledError:
            # The thread goes on: what it starts has to be known to be ended.
            with suppress(RunnerError):
                self._runner = await launching
            raise
        except RunnerError as error:
            self.log.error("%s was not started: %s", self._log_name, error)
            key = "launch.running" if "already runs" in str(error) else "launch.failed"
            text = self.messages.translate(key, **({"reason": str(error)} if key == "launch.failed" else {}))
            raise LaunchError(text, reason="runner", status_code=503) from None
        if not await self._listens(folders):
            return None
        self._runner.confirm()
        return f"http://127.0.0.1:{self.port}"

    async def _listens(self, folders: SessionFolders) -> bool:
        """Wait until the session listens (true) or somebody else does (false), and pass on what it tells."""
        runner, position = self._runner, 0
        if runner is None:
            raise RuntimeError("nothing was started")
        while True:
            told, position = await _blocking(folders.progress_from, position)
            for line in told:
                # What the session wrote may be anything; a step without a sentence is a KeyError.
                with suppress(ValueError, KeyError):
                    self.report(**line)
            state = await _blocking(processes.port_state, self.port, runner)
            if state == "ours":
                return True
            if not runner.alive:
                code, reason = await _blocking(processes.exit_of, folders.state)
                self.log.error(
                    "%s ended while it started (%s, code %s), see %s",
                    self._log_name,
                    reason,
                    code,
                    folders.log,
                )
                if state == "taken":
                    return False
                key = "launch.out_of_memory" if reason == "out-of-memory" else "launch.ended"
                params = {} if reason == "out-of-memory" else {"code": code}
                raise LaunchError(self.messages.translate(key, **params), reason=reason, status_code=500)
            if state == "taken":
                await _blocking(processes.end, runner, grace=0, now=True)
                return False
            await asyncio.sleep(_LOOK_EVERY)

    def _spec(
        self, folders: SessionFolders, environment: Path, isolation: Isolation, layout: Layout, run_id: str
    ) -> dict[str, Any]:
        """Return what the runner is told. It holds the session's token: only its standard input may carry
        it."""
        service, options = self.service, self.launch_options
        if service is None or options is None:
            raise RuntimeError("the launch options were not resolved")
        hub = self.get_env()
        command = environments.server_command(
            layout, environment, service, as_root=not isolation.bwrap and environments.is_root()
        )
        arguments = self._shut_in(command, folders, environment, isolation, hub)
        server = environments.server_environment(
            layout,
            environment,
            hub,
            service,
            options,
            language=self.messages.language,
            programs=self.program_folders,
        )
        mark = {processes.MARK: run_id}
        return {
            "version": 1,
            "confirm": True,
            "state_directory": str(folders.state),
            "log_file": str(folders.log),
            "log_bytes": _LOG_BYTES,
            "grace": self.stop_seconds,
            "limits": {"cgroups": self._limits.cgroups, "cpus": self._limits.cpus, "oom_score_adj": 500},
            "server": {"argv": arguments, "env": {**server, **mark}, "cwd": str(folders.disk)},
            "agent": {
                "argv": [self.agent_python, "-m", "sardonyx_session", "agent"],
                "env": {**self._agent_environment(folders, layout), **mark},
                "cwd": "/",
                "umask": 0o077,
            },
        }

    def _shut_in(
        self,
        command: tuple[str, ...],
        folders: SessionFolders,
        environment: Path,
        isolation: Isolation,
        hub: dict[str, str],
    ) -> list[str]:
        if not isolation.bwrap:
            return list(command)
        return environments.sandboxed(
            command,
            isolation=isolation,
            disk=folders.disk,
            run=folders.run,
            state=folders.state,
            environment=environment,
            package=Path(self.session_package),
            readable=[*self.readable_paths, *self.program_folders],
            environ=hub,
            temporary_bytes=self.mem_limit // 2 if self.mem_limit else _TEMPORARY_BYTES,
        )

    def _agent_environment(self, folders: SessionFolders, layout: Layout) -> dict[str, str]:
        return environments.agent_environment(
            layout,
            folders.run,
            Path(self.session_package),
            os.environ,
            url=self.credentials_url or url_path_join(self.hub.api_url, "datalab/v1/credentials"),
            token=self.api_token,
            ca_file=self.ca_file,
            language=self.messages.language,
        )

    async def _set_limits(self, run_id: str) -> Limits:
        self._limits.remove()
        cpu = float(self.cpu_limit) if self.cpu_limit else None
        wanted = Wanted(int(self.mem_limit) if self.mem_limit else None, cpu, self.pids_limit or None)
        name = group_name(f"{self.handle}-{self.name}-{run_id[:8]}")
        found: Limits = await self._in_thread(lambda: prepare(wanted, name, parent=self.cgroup_parent))
        held = [kind for kind, how in found.enforced.items() if how != "none"]
        missing = [kind for kind, how in found.enforced.items() if how == "none"]
        self.log.info("Limits of %s: %s", self._log_name, dict(found.enforced))
        if held:
            self._say("limits", "ok", limits=self._kinds(held))
        # The number of processes is the operator's wish, not the person's: the log is enough.
        asked = [kind for kind in missing if kind != "processes"]
        if asked:
            self._say("limits", "warning", limits=self._kinds(asked))
        for kind in missing:
            if kind not in _told:
                _told.add(kind)
                self.log.warning(
                    "The limit of %s is not enforced on this machine: %s", kind, found.reasons[kind]
                )
        return found

    def _kinds(self, kinds: list[str]) -> str:
        return ", ".join(self.messages.translate(f"progress.limit.{kind}") for kind in kinds)

    def _layout(self, folders: SessionFolders, isolation: Isolation) -> Layout:
        if isolation.bwrap:
            return Layout.in_sandbox()
        self._runtime = tempfile.mkdtemp(prefix="sardonyx-")
        return Layout.on_machine(folders.disk, folders.run, Path(self.session_package), self._runtime)

    def _environment_folder(self) -> Path:
        name = self.service.local.environment if self.service and self.service.local else ""
        folder = Path(self.environments.get(name, ""))
        if not self.environments.get(name) or not (folder / "bin" / "python").exists():
            self.log.error(
                "The session environment %r is not in LocalDatalabSpawner.environments or not there", name
            )
            text = self.messages.translate("launch.environment", environment=name)
            raise LaunchError(text, reason="environment", status_code=503)
        return folder.absolute()

    async def _folders(self) -> SessionFolders:
        if not self.handle:
            self.handle = await self._find_handle()
        return self._folders_of(self.name)

    def _folders_of(self, server_name: str) -> SessionFolders:
        try:
            return SessionFolders(Path(self.home).absolute(), self.handle, server_folder(server_name))
        except UnsafeNameError:
            text = self.messages.translate("launch.name", name=f"{self.handle}/{server_name}"[:100])
            raise LaunchError(text, reason="name") from None

    def _end_left_behind(self, folders: SessionFolders) -> None:
        """End a session that the hub lost: it was killed before it could note what it had started."""
        identity = processes.left_behind(folders.state)
        if identity is not None:
            self.log.warning("%s still ran unnoticed (process %s) and is ended", self._log_name, identity.pid)
            processes.end(Runner(identity, f"none-{identity.pid}"), grace=self.stop_seconds)

    async def _abandon(self, folders: SessionFolders) -> None:
        await self._in_thread(self._end_all, folders, True)
        self._runner = None

    def _end_all(self, folders: SessionFolders, now: bool) -> None:
        if self._runner is not None:
            processes.end(self._runner, grace=self.stop_seconds, now=now)
        self._limits.remove()
        if self._runtime:
            shutil.rmtree(self._runtime, ignore_errors=True)
        folders.clean()

    @staticmethod
    async def _in_thread(function: Callable[..., T], *args: Any) -> T:
        """Run what blocks outside the event loop, to its end even if whoever waits is cancelled."""
        return await asyncio.shield(asyncio.ensure_future(_blocking(function, *args)))

    # Running ----------------------------------------------------------------------------------------------

    async def poll(self) -> int | None:
        """Return ``None`` while the session runs or starts, else its exit code (0 if it never ran here)."""
        if self._starting:
            return None
        if self._runner is None:
            return 0
        if self._runner.alive:
            return None
        code, self.exit_reason = await _blocking(processes.exit_of, (await self._folders()).state)
        self.exit_code = code
        await self._in_thread(self._end_all, await self._folders(), True)
        return code

    async def stop(self, now: bool = False) -> None:
        """End the session: gently, by force after `stop_seconds`; `now`: by force at once."""
        await self._in_thread(self._end_all, await self._folders(), now)
        self._runner = None

    # Looking ----------------------------------------------------------------------------------------------

    async def read_log(self, after: int | None = None) -> looks.LogPart:
        """Return what the session logged after the byte `after`, or the end of it; tokens are left out."""
        folders = await self._folders()
        return await _blocking(looks.read_log, folders.log, after, (self.api_token or "",))

    async def usage(self) -> looks.Usage | None:
        """Return what the session's processes use now; ``None`` if it does not run."""
        runner = self._runner
        if runner is None or not runner.alive:
            return None
        used, self._look = await _blocking(looks.usage_between, runner.identity.pid, self._look)
        return used

    async def disk_size(self) -> looks.DiskSize:
        """Return how much is on the session's disk."""
        return await _blocking(looks.disk_size, (await self._folders()).disk)

    async def runs_command(self) -> bool:
        """Return whether a command runs in one of the session's terminals."""
        runner = self._runner
        return runner is not None and await _blocking(looks.runs_command, runner.identity.pid)

    async def rename(self, old_name: str, new_name: str) -> None:
        """Keep the disk of a session that gets another name."""
        await maybe_future(super().rename(old_name, new_name))
        await self._folders()
        await self._in_thread(self._folders_of(old_name).rename_to, self._folders_of(new_name))

    async def delete_forever(self) -> None:
        """Remove the session's disk, logs and everything else of it."""
        await maybe_future(super().delete_forever())
        if not self.handle:
            # It never started, so there is nothing of it. To ask for the handle would give one to a person who was
            # just deleted.
            return
        folders = await self._folders()
        await self._in_thread(self._end_left_behind, folders)
        await self._in_thread(folders.forget)
