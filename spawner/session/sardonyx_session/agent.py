"""The agent: makes the first write, then keeps the run directory fresh for as long as the session lives."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional

from . import schedule
from .authorities import BUNDLE_FILE, make_bundle
from .client import Answer, FetchError, HubClient
from .document import (
    PASSING,
    DocumentError,
    check_document,
    format_time,
    hub_now,
    shortest_life,
    source_problems,
)
from .endpoint import Endpoint
from .render import to_json
from .rundir import RunDirectory, run_path
from .state import State

REFRESH_REQUEST = "refresh.request"
STATUS_VERSION = 1
BUNDLE_VERSION = 1
#: A renewal asked for by a person is carried out at most this often (seconds); the hub limits it too.
REFRESH_INTERVAL = 2.0
#: How often the request file is looked for (seconds).
POLL_INTERVAL = 1.0

Fetch = Callable[[bool], Answer]


@dataclass(frozen=True)
class Settings:
    """What the agent is told by its environment.

    Parameters
    ----------
    run, run_view
        The run directory as the agent and as the session sees it (``SARDONYX_RUN``, ``SARDONYX_RUN_VIEW``).
    package_view
        This package as the session sees it (``SARDONYX_PACKAGE_VIEW``).
    url
        ``SARDONYX_CREDENTIALS_URL``.
    token, token_file
        ``JUPYTERHUB_API_TOKEN``, or the file that holds it (``SARDONYX_TOKEN_FILE``), which is read at each
        request.
    ca_file
        ``SARDONYX_CA_FILE``.
    """

    run: str
    run_view: str
    package_view: str
    url: str
    token: str
    token_file: str
    ca_file: str

    def __repr__(self) -> str:
        return f"Settings(run={self.run!r}, url={self.url!r})"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings; what is missing is empty."""
        run = run_path(environ)
        return cls(
            run=run,
            run_view=environ.get("SARDONYX_RUN_VIEW") or run,
            package_view=environ.get("SARDONYX_PACKAGE_VIEW") or os.path.dirname(os.path.abspath(__file__)),
            url=environ.get("SARDONYX_CREDENTIALS_URL", ""),
            token=environ.get("JUPYTERHUB_API_TOKEN", ""),
            token_file=environ.get("SARDONYX_TOKEN_FILE", ""),
            ca_file=environ.get("SARDONYX_CA_FILE", ""),
        )

    def read_token(self) -> str:
        """Return the token for the hub; empty if there is none."""
        if self.token_file:
            try:
                with open(self.token_file, encoding="ascii") as file:
                    return file.read(4096).strip()
            except (OSError, ValueError):
                return ""
        return self.token


class Agent:
    """Owns the renewal loop.

    Parameters
    ----------
    settings
        See :class:`Settings`.
    fetch
        Asks the hub; ``fetch(refresh)`` returns an answer or raises :class:`~.client.FetchError`.
    environ
        The starting environment, for the authorities that it trusts.
    state, spread
        Replaced in tests.
    """

    def __init__(
        self,
        settings: Settings,
        fetch: Fetch,
        environ: Mapping[str, str],
        state: Optional[State] = None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.fetch = fetch
        self.environ = environ
        self.directory = state.directory if state else RunDirectory(settings.run)
        self.state = state or State(self.directory, settings.run_view, settings.package_view)
        self.spread = spread
        self.wake = threading.Event()
        self.asked = threading.Event()
        self.stopping = False
        self.writing = False
        self.attempts = 0
        self.failures = 0
        self.due = 0.0
        self.not_before = 0.0
        self.last_attempt = float("-inf")
        self.last_success: Optional[float] = None
        self.error: Optional[dict[str, str]] = None
        self.endpoint: Optional[Endpoint] = None

    # -- start --

    def prepare(self) -> None:
        """Take up old state, start the endpoint, write the authorities, make the first write from the
        bundle."""
        self.state.restore(same_launch=self.directory.modified("bundle.json") is None)
        self._start_endpoint()
        try:
            bundle = make_bundle(self.environ)
            if bundle is not None:
                self.directory.replace({BUNDLE_FILE: bundle})
            for folder in ("mc", "mc/certs", "mc/share"):
                self.directory.make_folder(folder)
        except OSError as error:
            self._disk_error(error)
        self.due = self.state.clock()
        life = self._first_write()
        if life is not None:
            self.due += schedule.renewal_delay(life, self.spread())
        self.write_status()

    def _start_endpoint(self) -> None:
        before = self.directory.read_json("endpoint.json") or {}
        port = before.get("port")
        token = (self.directory.read_bytes("endpoint.token") or b"").decode("ascii", "replace")
        if len(token) < 32:
            token = secrets.token_urlsafe(32)
        try:
            self.endpoint = Endpoint(
                token,
                self.state.container_answer,
                self.status,
                self.request_refresh,
                port if isinstance(port, int) and 1024 <= port < 65536 else 0,
            )
            url = self.endpoint.url
            values = {"version": 1, "url": url, "port": self.endpoint.port}
            self.directory.replace({"endpoint.token": token.encode(), "endpoint.json": to_json(values)})
        except OSError as error:
            say(f"no loopback endpoint: {error.strerror}")
            return
        self.state.endpoint_url, self.state.endpoint_token = url, token

    def _first_write(self) -> Optional[float]:
        """Write from ``bundle.json`` if there is one; return the seconds that its shortest part lives."""
        bundle = self.directory.read_json("bundle.json")
        if bundle is None or bundle.get("version") != BUNDLE_VERSION:
            return None
        modified = self.directory.modified("bundle.json")
        try:
            document = check_document(bundle.get("document"))
        except DocumentError as error:
            self._fail("invalid", f"the session's bundle: {error}")
            document = {"version": 1, "environment": {}}
        # The spawner wrote it on this machine's clock: its age is a difference of one clock, whatever that
        # shows.
        age = max(0.0, self.state.wall() - modified) if modified is not None else 0.0
        now = (hub_now(document) or self.state.wall()) + min(age, 86400.0)
        environment = bundle.get("environment")
        try:
            self._accept(document, now, environment if isinstance(environment, dict) else {})
        except OSError as error:
            self._disk_error(error)
            return None
        self.directory.remove("bundle.json")
        problems = source_problems(document)
        if any(problem["code"] in PASSING for problem in problems.values()) or self.error:
            return 1.0
        life = shortest_life(document, now)
        return schedule.NO_END_DELAY if life is None else max(0.0, life)

    # -- loop --

    def run(self) -> None:
        """Renew until :meth:`stop`."""
        while not self.stopping:
            now = self.state.clock()
            if now >= self.due:
                self.attempt(refresh=False)
            elif self._refresh_wanted() and now >= self.last_attempt + REFRESH_INTERVAL:
                self.asked.clear()
                self.directory.remove(REFRESH_REQUEST)
                self.attempt(refresh=True)
            self.wake.wait(max(0.0, min(POLL_INTERVAL, self.due - self.state.clock())))
            self.wake.clear()

    def stop(self) -> None:
        """End the loop, from another thread."""
        self.stopping = True
        self.wake.set()

    def request_refresh(self) -> None:
        """Have the loop renew as soon as it may."""
        self.asked.set()
        self.wake.set()

    def _refresh_wanted(self) -> bool:
        return self.asked.is_set() or self.directory.modified(REFRESH_REQUEST) is not None

    def attempt(self, refresh: bool) -> None:
        """Ask the hub once, write what it answers, and set when to ask again. Never raises."""
        self.last_attempt = self.state.clock()
        if refresh and self.last_attempt < self.not_before:
            wait = self.not_before - self.last_attempt
            self.error = {**self._error("rate-limited", f"the hub asks to wait {wait:.0f} more seconds")}
            self._finish()
            return
        try:
            answer = self.fetch(refresh)
            self._renew(answer)
        except FetchError as error:
            self._failed(error)
        except DocumentError as error:
            self._failed(FetchError("invalid", str(error)))
        except OSError as error:
            self.failures += 1
            self._disk_error(error)
            self._wait(schedule.backoff_delay(self.failures, self.spread()))
        self._finish()

    def _renew(self, answer: Answer) -> None:
        document = check_document(answer.document)
        now = hub_now(document, answer.date)
        now = self.state.wall() if now is None else now
        written = self._accept(document, now)
        self.error = None
        self.last_success = self.state.wall()
        codes = {problem["code"] for problem in source_problems(document).values()}
        if codes & PASSING:
            self.failures += 1
            self._wait(schedule.backoff_delay(self.failures, self.spread()))
            return
        if self.failures:
            say("the hub and its backends answer again")
        self.failures = 0
        life = shortest_life(document, now)
        delay = schedule.renewal_delay(life, self.spread())
        self._wait(min(delay, schedule.NO_END_DELAY) if codes else delay)
        if written:
            say(f"credentials renewed (set {self.state.generation}), next request in {delay:.0f} s")

    def _failed(self, error: FetchError) -> None:
        self.failures += 1
        self._fail(error.code, str(error))
        spread = self.spread()
        if error.retry_after is not None:
            delay = schedule.retry_after_delay(error.retry_after, spread)
            self.not_before = self.state.clock() + delay
        elif error.code == "denied":
            delay = schedule.denied_delay(self.failures, spread)
        elif error.code.startswith("http-4"):
            delay = schedule.backoff_delay(self.failures, spread, cap=60.0)
        else:
            delay = schedule.backoff_delay(self.failures, spread)
        self._wait(delay)

    def _wait(self, delay: float) -> None:
        self.due = self.state.clock() + delay

    def _finish(self) -> None:
        self.attempts += 1
        self.write_status()

    def _accept(
        self, document: Mapping[str, Any], now: float, extra: Optional[Mapping[str, str]] = None
    ) -> bool:
        self.writing = True
        try:
            return self.state.accept(document, now, extra)
        finally:
            self.writing = False

    # -- telling --

    def _error(self, code: str, message: str) -> dict[str, str]:
        return {"code": code, "message": message, "time": format_time(self.state.wall())}

    def _fail(self, code: str, message: str) -> None:
        if self.error is None or self.error["code"] != code:
            say(f"{code}: {message}")  # once a kind: a backend that is away for a night must not fill a log
        self.error = self._error(code, message)

    def _disk_error(self, error: OSError) -> None:
        self._fail("disk", f"the credentials could not be written, the old ones stay: {error.strerror}")

    def status(self) -> dict[str, Any]:
        """Return the status document (``status.json``, ``GET /status``); it holds no value of a
        credential."""
        sources = self.state.sources_status()
        moments = [source["valid_until"] for source in sources.values() if source["valid_until"]]
        states = {source["state"] for source in sources.values()}
        if self.error and self.error["code"] == "denied":
            state = "denied"
        elif "expired" in states or (self.error and not self.state.generation):
            state = "failing"
        elif self.error or states & {"failing", "missing"}:
            state = "degraded"
        else:
            state = "ok" if self.state.generation else "starting"
        wait = max(0.0, self.due - self.state.clock())
        return {
            "version": STATUS_VERSION,
            "state": state,
            "generation": self.state.generation,
            "attempts": self.attempts,
            "valid_until": min(moments, default=None),
            "next_refresh": format_time(self.state.wall() + wait),
            "last_success": None if self.last_success is None else format_time(self.last_success),
            "last_error": self.error,
            "clock_skew": round(self.state.skew),
            "refused_variables": self.state.refused,
            "sources": sources,
            "updated": format_time(self.state.wall()),
        }

    def write_status(self) -> None:
        """Write ``status.json``; on a full disk the endpoint still tells."""
        self.writing = True
        with contextlib.suppress(OSError):
            self.directory.replace({"status.json": to_json(self.status())})
        self.writing = False


def say(text: str) -> None:
    """Write a line to the log of whoever started the agent. Never a value of a credential."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} sardonyx-session agent: {text}\n")
        sys.stderr.flush()


def main(environ: Mapping[str, str]) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit status."""
    os.umask(0o077)
    settings = Settings.from_environ(environ)
    try:
        client = HubClient(settings.url, settings.read_token, settings.ca_file or None)
        agent = Agent(settings, client.fetch, environ)
    except (ValueError, OSError) as error:
        say(f"cannot start: {error}")
        return 2

    def end(_number: int, _frame: object) -> None:
        # No more than that: setting an event could wait for a lock that the loop holds just now. A request to
        # a hub that hangs is not waited for; a set that is being written is finished.
        agent.stopping = True
        if not agent.writing:
            sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    agent.prepare()
    agent.run()
    return 0
