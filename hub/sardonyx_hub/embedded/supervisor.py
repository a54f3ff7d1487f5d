"""Starts the parts of an embedded datalab, watches over them, and ends them all."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from sardonyx_hub.disk import RESERVE_BYTES
from sardonyx_hub.embedded import environments, mc
from sardonyx_hub.embedded.ca import CertificateAuthority
from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.files import private_directory
from sardonyx_hub.embedded.guard import VARIABLE
from sardonyx_hub.embedded.instance import Instance
from sardonyx_hub.embedded.openbao import OpenBao
from sardonyx_hub.embedded.options import RunOptions, disk_full, free_bytes, keep_password
from sardonyx_hub.embedded.parts import Hub, Proxy, keep_token
from sardonyx_hub.embedded.ports import Ports, require_port
from sardonyx_hub.embedded.processes import ManagedProcess, wait_until
from sardonyx_hub.embedded.seaweedfs import SeaweedFS
from sardonyx_hub.embedded.settings import S3_AUDIENCE, VAULT_AUDIENCE, EmbeddedSettings

Say = Callable[[str], None]

#: Seconds until a sign-in works; a machine that compiles something beside needs them.
HUB_TIMEOUT = 120.0
PROXY_TIMEOUT = 30.0
#: Session environments that are built from the lock files that come with us.
ENVIRONMENTS = ("jupyter-python",)
_BACK_OFF = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
#: A part that has run this long has recovered; its next end counts as the first.
_STEADY = 60.0
_TICK = 0.25
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Part(Protocol):
    """What the supervisor asks of a part."""

    name: str
    process: ManagedProcess

    def launch(self) -> None:
        """Start without waiting."""

    def healthy(self) -> bool:
        """Whether it does its work."""

    def stop(self) -> None:
        """End."""


@dataclass
class _Watched:
    """A part, and how often it ended lately."""

    part: Part
    ends: int = 0
    started: float = 0.0
    restart_at: float | None = None


class Supervisor:
    """One run of an embedded datalab. Use it from the main thread, once.

    Parameters
    ----------
    options
        What the operator chose.
    say
        Called with each line for the operator.
    """

    def __init__(self, options: RunOptions, say: Say) -> None:
        self.options = options
        self.say = say
        self._instance = Instance(options.home.absolute())
        self._stopping = threading.Event()
        self._signals = 0
        self._watched: list[_Watched] = []
        self._background: list[ManagedProcess] = []
        self._executor = ThreadPoolExecutor(8, thread_name_prefix="supervisor")
        self._bao: OpenBao | None = None
        self._hub: Hub | None = None
        self._routes_lost = False
        self._tending: Future[None] | None = None
        self._tended = 0.0
        self._low_space = False

    def run(self) -> int:
        """Start everything, watch over it until a signal comes, end everything.

        Returns
        -------
        int
            Exit code: 0 after a signal, 1 if it could not start; then why was said in one line.
        """
        code = 0
        with self._handled_signals():
            try:
                self._start()
                self._watch()
            except StartError as error:
                if not self._stopping.is_set():
                    self.say(f"sardonyx: {self._explain(error)}")
                    code = 1
            except OSError as error:
                self.say(f"sardonyx: {self._explain(_from_os_error(error, self.options.home))}")
                code = 1
            finally:
                self._end()
        return code

    def _start(self) -> None:
        begun = time.monotonic()
        options = self.options
        options.check()
        self._instance.acquire()
        require_port(options.port)
        settings = self._settings()
        shown = keep_password(settings.password_file, options.password)
        self.say(f"Starting Sardonyx in {settings.home}")
        seaweedfs, bao, proxy, hub = self._make_parts(settings)
        # From here on in the main thread only: parts die with the thread that launched them.
        for part in (seaweedfs, bao, proxy, hub):
            self._launch(part)
        waiting = [
            self._executor.submit(self._timed, "S3 storage (SeaweedFS)", begun, seaweedfs.wait_ready),
            self._executor.submit(self._timed, "secrets (OpenBao)", begun, bao.wait_ready),
            self._executor.submit(self._timed, "proxy", begun, self._waiter(proxy, PROXY_TIMEOUT)),
            *(self._executor.submit(self._build, name, begun) for name in self._missing()),
        ]
        self._wait(waiting)
        self._wait([self._executor.submit(self._timed, "hub", begun, self._waiter(hub, HUB_TIMEOUT))])
        self._bao, self._hub = bao, hub
        if options.build_mc:
            self._build_mc()
        self.say(f"Everything is up after {time.monotonic() - begun:.1f} s")
        self.say(f"Sardonyx is ready at {settings.public_url}")
        if shown:
            word = f"{settings.password_file.read_text().strip()} (kept in {settings.password_file})"
        else:
            word = "the one you set in SARDONYX_DEMO_PASSWORD"
        self.say(f"Sign in as alice, bob or admin; the password is {word}")

    def _settings(self) -> EmbeddedSettings:
        options, home = self.options, self._instance.home
        cache = environments.default_cache_root()
        known = {name: environments.environment_path(name, _lock_file(name), cache) for name in ENVIRONMENTS}
        settings = EmbeddedSettings(
            home=home,
            port=options.port,
            ports=Ports.keep(home / "ports.json", avoid={options.port}),
            ttl=options.ttl,
            shared_buckets=options.shared_buckets,
            environments={**known, **options.environments},
            mc_directory=mc.ensure_mc(cache, _quiet),
            catalogue_file=options.catalogue_file,
            config_file=options.config_file,
        )
        for directory in (settings.log_dir, settings.state_dir, settings.disks_dir, settings.run_dir):
            private_directory(directory)
        settings.save()
        return settings

    def _make_parts(self, settings: EmbeddedSettings) -> tuple[SeaweedFS, OpenBao, Proxy, Hub]:
        # The password is in its file by now, and no child has a use for it in its environment.
        mark: dict[str, str | None] = {
            VARIABLE: self._instance.identifier,
            "SARDONYX_DEMO_PASSWORD": None,
        }
        token = keep_token(settings.proxy_token_file)
        tls = CertificateAuthority(settings.home / "ca").issue("s3")
        seaweedfs = SeaweedFS(
            settings.home / "s3",
            settings.ports.seaweedfs,
            issuer_url=settings.issuer_url,
            jwks_url=settings.jwks_url,
            audience=S3_AUDIENCE,
            ttl=settings.ttl,
            tls=tls,
            shared_buckets=settings.shared_buckets,
            log=settings.log_dir / "seaweedfs.log",
            environment=mark,
        )
        bao = OpenBao(
            settings.home / "vault",
            settings.ports.vault,
            cluster_port=settings.ports.vault_cluster,
            issuer_url=settings.issuer_url,
            jwks_url=settings.jwks_url,
            audience=VAULT_AUDIENCE,
            ttl=settings.ttl,
            log=settings.log_dir / "openbao.log",
            environment=mark,
        )
        debug = self.options.debug
        return (
            seaweedfs,
            bao,
            Proxy(settings, token, mark, debug=debug),
            Hub(settings, token, mark, debug=debug),
        )

    def _launch(self, part: Part) -> None:
        self._raise_if_stopping()
        self._watched.append(_Watched(part, started=time.monotonic()))
        part.launch()

    def _missing(self) -> list[str]:
        return [name for name in ENVIRONMENTS if name not in self.options.environments]

    def _build(self, name: str, begun: float) -> None:
        try:
            environments.ensure_environment(
                name, _lock_file(name), environments.default_cache_root(), lambda line: self.say(f"  {line}")
            )
        except environments.BuildError as error:
            raise StartError(
                f"session environment {name}", str(error), "correct that and start again"
            ) from error
        self.say(f"  session environment {name}: ready after {time.monotonic() - begun:.1f} s")

    def _build_mc(self) -> None:
        cache = environments.default_cache_root()
        if mc.is_built(cache):
            return
        self.say("  mc: being built in the background, once; sessions say so until it is there")
        process = ManagedProcess(
            "mc",
            mc.build_command(cache),
            self._instance.home / "log" / "mc.log",
            environment={VARIABLE: self._instance.identifier, "SARDONYX_DEMO_PASSWORD": None},
        )
        self._background.append(process)
        process.start()

    def _waiter(self, part: Part, limit: float) -> Callable[..., None]:
        def wait(*, cancelled: Callable[[], bool]) -> None:
            wait_until(part.healthy, name=part.name, process=part.process, timeout=limit, cancelled=cancelled)

        return wait

    def _timed(self, what: str, begun: float, wait: Callable[..., None]) -> None:
        wait(cancelled=self._stopping.is_set)
        self.say(f"  {what}: ready after {time.monotonic() - begun:.1f} s")

    def _wait(self, futures: list[Future[None]]) -> None:
        """Wait for all, but raise what the first that fails raises at once."""
        pending = set(futures)
        while pending:
            self._raise_if_stopping()
            for future in [future for future in pending if future.done()]:
                pending.remove(future)
                future.result()
            time.sleep(0.02)

    def _raise_if_stopping(self) -> None:
        if self._stopping.is_set():
            raise StartError("start", "interrupted", "start again")

    def _watch(self) -> None:
        while not self._stopping.wait(_TICK):
            for watched in self._watched:
                self._revive(watched)
            self._instance.watch()
            if self._tending is None or self._tending.done():
                self._tending = self._executor.submit(self._tend)

    def _revive(self, watched: _Watched) -> None:
        """Start a part again that has ended, each time a little later."""
        part, now = watched.part, time.monotonic()
        if part.process.running:
            return
        if watched.restart_at is None:
            if now - watched.started > _STEADY:
                watched.ends = 0
            delay = _BACK_OFF[min(watched.ends, len(_BACK_OFF) - 1)]
            watched.ends += 1
            watched.restart_at = now + delay
            when = f"in {delay:.0f} s" if delay else "now"
            self.say(f"{part.name}: {_how_it_ended(part.process)}; it is started again {when}")
        if now < watched.restart_at:
            return
        watched.restart_at, watched.started = None, now
        try:
            part.launch()
        except (StartError, OSError) as error:
            self.say(f"{part.name}: could not be started again ({error})")
        # A hub that starts looks after the routes itself; it does not notice a new proxy.
        self._routes_lost |= isinstance(part, Proxy)

    def _tend(self) -> None:
        """Unseal what was sealed, restore lost routes, look at the disk; in a thread, every other second."""
        if time.monotonic() - self._tended < 2:
            return
        self._tended = time.monotonic()
        try:
            if self._bao is not None and self._bao.ensure_unsealed():
                self.say("OpenBao: was sealed; it is unsealed again")
        except StartError as error:
            self.say(str(error))
        if self._routes_lost and self._hub is not None and self._hub.restore_routes():
            self._routes_lost = False
        low = free_bytes(self._instance.home) < RESERVE_BYTES
        if low and not self._low_space:
            self.say(
                f"disk: less than {RESERVE_BYTES >> 20} MB are free for {self._instance.home};"
                " launches and uploads are refused until there is more"
            )
        self._low_space = low

    def _end(self) -> None:
        """End every part, the hub first: it ends the sessions."""
        self._stopping.set()
        parts = [watched.part for watched in self._watched]
        if any(part.process.running for part in parts):
            self.say("Stopping")
        hub = [part for part in parts if isinstance(part, Hub)]
        others = [part for part in parts if not isinstance(part, Hub)]
        for part in hub:
            part.stop()
        threads = [threading.Thread(target=part.stop) for part in others]
        threads += [threading.Thread(target=process.stop, args=(0.0,)) for process in self._background]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._instance.release()
        if parts:
            self.say("Stopped")

    @contextmanager
    def _handled_signals(self) -> Iterator[None]:
        before = {sign: signal.signal(sign, self._on_signal) for sign in _SIGNALS}
        try:
            yield
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()
        self._signals += 1
        if self._signals > 1:  # the second Ctrl-C does not want to wait for sessions to end well
            for watched in self._watched:
                if watched.part.process.pid is not None and watched.part.process.running:
                    watched.part.process.kill()

    def _explain(self, error: StartError) -> StartError:
        """Return the cause behind `error`: on a full disk every part fails in words of its own."""
        home = self._instance.home
        if error.part != "disk" and free_bytes(home) < (16 << 20):
            return disk_full(home, free_bytes(home))
        return error


def _lock_file(name: str) -> Path:
    return environments.LOCKS / f"{name}.lock"


def _quiet(line: str) -> None:
    """Say nothing."""


def _how_it_ended(process: ManagedProcess) -> str:
    code = process.exit_code
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _from_os_error(error: OSError, home: Path) -> StartError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(home, free_bytes(home))
    where = f" ({error.filename})" if error.filename else ""
    return StartError("start", f"{error.strerror or error}{where}", "correct that and start again")
