"""A whole datalab for tests: one real ``sardonyx run`` in a folder of its own, and a person's requests to
it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from sardonyx_hub.embedded import launch
from sardonyx_hub.embedded.guard import VARIABLE

PASSWORD = "correct horse battery staple"
#: For httpx: ask the server itself. It speaks plain HTTP on loopback; to read the machine's authorities for each client
#: would take more time than most requests.
DIRECT: dict[str, Any] = {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
START_LIMIT = 180.0
STOP_LIMIT = 60.0
READY = re.compile(r"Sardonyx is ready at (http://127\.0\.0\.1:\d+)")
#: What would lead a client of a test to other servers or accounts than the stack's.
_FOREIGN = ("AWS_", "S3_", "MC_HOST_", "VAULT_", "BAO_", "JUPYTER", "SARDONYX_", "RCLONE_", "OAUTH")
_MARK = "SARDONYX_TEST_STACK"


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without inherited accounts and servers, and with `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) or name == "SARDONYX_CACHE"
    }
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # a datalab that is started forty times is compiled once
    for name in ("no_proxy", "NO_PROXY"):
        kept[name] = ",".join(filter(None, [kept.get(name), "127.0.0.1,localhost"]))
    return kept | more


def eventually(check: Callable[[], Any], limit: float = 30.0, every: float = 0.2, what: str = "") -> Any:
    """Return the first truthy value of `check()`; fail after `limit` seconds.

    An AssertionError or a transport error of `check` counts as "not yet", and the last one is shown at the
    end.
    """
    deadline = time.monotonic() + limit
    last: Exception | None = None
    while True:
        try:
            if value := check():
                return value
        except (AssertionError, httpx.TransportError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit:.0f} s: {what or check}: {last}")
        time.sleep(every)


@dataclass
class Stack:
    """One ``sardonyx run``: make it with :func:`running_stack`.

    Attributes
    ----------
    url
        ``http://127.0.0.1:PORT``, without a slash at its end.
    home
        Its SARDONYX_HOME.
    output
        Every line that it printed.
    """

    home: Path
    port: int
    environment: Mapping[str, str]
    command: Sequence[str]
    output: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    seconds_to_ready: float = 0.0
    _reader: threading.Thread | None = None
    _runs: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def printed(self) -> str:
        """All that it printed so far."""
        return "\n".join(self.output)

    def spawn(self) -> None:
        """Start it without waiting."""
        # tied to us: when the tests are killed, so is the supervisor, and its guard ends the rest
        tied = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *self.command]
        self.process = subprocess.Popen(
            tied,
            env={**self.environment, _MARK: self.mark},
            cwd=self.home.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.output.append(line.rstrip("\n"))

    def start(self, limit: float = START_LIMIT) -> Stack:
        """Start it and wait for the line that says that it is ready."""
        started = time.monotonic()
        seen = len(self.output)
        self.spawn()
        while not any(READY.search(line) for line in self.output[seen:]):
            assert self.process is not None
            assert self._reader is not None
            if self.process.poll() is not None:
                self._reader.join(5)  # its last lines
                raise AssertionError(f"sardonyx run ended with {self.process.returncode}:\n{self.printed}")
            if time.monotonic() - started > limit:
                self.kill()
                raise AssertionError(f"not ready within {limit:.0f} s:\n{self.printed}")
            time.sleep(0.05)
        self.seconds_to_ready = time.monotonic() - started
        return self

    def refused(self, limit: float = 60) -> str:
        """Start what cannot start; return the one line that says why, and see that no process is left."""
        self.spawn()
        assert self.process is not None
        members = self.family()
        code = self.process.wait(limit)
        assert self._reader is not None
        self._reader.join(5)
        assert code == 1, self.printed
        assert self.left(members) == []
        assert "Traceback" not in self.printed
        told = [line for line in self.output if line.startswith("sardonyx: ")]
        assert len(told) == 1, self.printed
        return told[0]

    def family(self) -> list[psutil.Process]:
        """Return every living process that belongs to it: marked, below it, or run from its folder."""
        # Sessions have the mark of the run that started them, and not ours.
        with contextlib.suppress(OSError, ValueError, KeyError):
            self._runs.add(json.loads((self.home / "lock").read_text())["id"])
        found: dict[int, psutil.Process] = {}
        below: dict[int, list[psutil.Process]] = {}
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                below.setdefault(one.ppid(), []).append(one)
                if one.pid != os.getpid() and self._is_ours(one):
                    found[one.pid] = one
        fresh = list(found)
        while fresh:
            more = {
                child.pid: child for pid in fresh for child in below.get(pid, []) if child.pid not in found
            }
            found |= more
            fresh = list(more)
        return [one for one in found.values() if _lives(one)]

    def _is_ours(self, one: psutil.Process) -> bool:
        if self.process is not None and one.pid == self.process.pid:
            return True
        folder = str(self.home)
        if any(folder in word for word in one.cmdline()):
            return True
        marks = {
            f"{_MARK}={self.mark}",
            f"SARDONYX_HOME={folder}",
            *(f"{VARIABLE}={run}" for run in self._runs),
        }
        words = Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")
        return not marks.isdisjoint(word.decode(errors="replace") for word in words)

    def stop(self, number: int = signal.SIGTERM, limit: float = STOP_LIMIT) -> int:
        """End it as a person does, assert that nothing of it is left, and return its exit code."""
        assert self.process is not None
        members = self.family()
        self.process.send_signal(number)
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop within {limit:.0f} s:\n{self.printed}") from None
        left = self.left(members)
        self.kill()
        assert not left, f"left behind: {left}"
        return code

    def left(self, members: Sequence[psutil.Process], within: float = 5.0) -> list[str]:
        """Return the command lines of those `members`, and of all else of the stack, that still live after a
        while.
        """
        deadline = time.monotonic() + within
        while True:
            alive = {one.pid: one for one in [*members, *self.family()] if _lives(one)}
            if not alive or time.monotonic() > deadline:
                return [_words(one) for one in alive.values()]
            time.sleep(0.2)

    def kill(self) -> None:
        """End whatever is left by force; only for the end of a test."""
        for one in self.family():
            with contextlib.suppress(psutil.Error):
                one.kill()
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)

    def person(self, name: str, password: str = PASSWORD) -> Person:
        """Return someone who has just signed in."""
        return Person(self, name).sign_in(password)

    def logs(self) -> dict[str, str]:
        """Return what it printed and the contents of its log files, by name."""
        texts = {"output": self.printed}
        for path in sorted(self.home.rglob("*.log*")):
            with contextlib.suppress(OSError):
                texts[str(path.relative_to(self.home))] = path.read_text(encoding="utf-8", errors="replace")
        return texts


def _lives(one: psutil.Process) -> bool:
    try:
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _words(one: psutil.Process) -> str:
    try:
        return f"{one.pid}: {' '.join(one.cmdline())[:200]}"
    except psutil.Error:
        return str(one.pid)


@contextlib.contextmanager
def running_stack(
    *, command: Sequence[str] | None = None, started: bool = True, **environment: str
) -> Iterator[Stack]:
    """Run a datalab in a new folder while the block runs, then end it and see that nothing is left.

    Parameters
    ----------
    command
        By default the ``sardonyx run`` of this Python.
    started
        False for a test that starts it itself.
    environment
        More variables, such as ``SARDONYX_CREDENTIAL_TTL="20"``.
    """
    folder = Path(tempfile.mkdtemp(prefix="sardonyx-"))
    home = folder / "home"
    port = free_port()
    variables = {"SARDONYX_HOME": str(home), "PORT": str(port), "SARDONYX_DEMO_PASSWORD": PASSWORD}
    sardonyx = Path(sys.executable).with_name("sardonyx")
    stack = Stack(
        home, port, clean_environment(**variables, **environment), command or [str(sardonyx), "run"]
    )
    try:
        if started:
            stack.start()
        yield stack
        if stack.process is not None and stack.process.poll() is None:
            stack.stop()
    finally:
        stack.kill()
        shutil.rmtree(folder, ignore_errors=True)


class Person:
    """Someone with a browser's cookies, at the pages and the REST API of a stack."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.name = name
        self.http = httpx.Client(base_url=stack.url, follow_redirects=True, timeout=30, **DIRECT)

    def xsrf(self) -> str:
        """Return the value of the newest XSRF cookie of the hub."""
        # A session has a cookie of the same name on a path of its own.
        cookies = [cookie for cookie in self.http.cookies.jar if cookie.name == "_xsrf"]
        values = [cookie.value for cookie in cookies if cookie.path == "/hub/"]
        return values[-1] or "" if values else ""

    def sign_in(self, password: str = PASSWORD) -> Person:
        """Fill in the login form."""
        self.http.get("/hub/login")
        form = {"username": self.name, "password": password, "_xsrf": self.xsrf()}
        answer = self.http.post("/hub/login", data=form)
        assert answer.status_code == 200, f"sign-in of {self.name}: {answer.status_code} {answer.text[:500]}"
        assert "/login" not in answer.url.path, f"sign-in of {self.name} was refused"
        return self

    def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call ``/hub/api/PATH`` as the person does from a page of the hub."""
        headers = {"X-XSRFToken": self.xsrf(), "Referer": f"{self.stack.url}/hub/home"} | options.pop(
            "headers", {}
        )
        return self.http.request(method, f"/hub/api/{path.lstrip('/')}", headers=headers, **options)

    def token(self, *scopes: str) -> str:
        """Make an API token of the person."""
        body: dict[str, Any] = {"note": "test", "expires_in": 3600}
        if scopes:
            body["scopes"] = list(scopes)
        answer = self.api("POST", f"users/{self.name}/tokens", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def with_token(self, token: str) -> httpx.Client:
        """Return a client that has only a token."""
        headers = {"Authorization": f"token {token}"}
        return httpx.Client(base_url=self.stack.url, headers=headers, timeout=30, **DIRECT)

    def launch(
        self,
        options: Mapping[str, Any] | None = None,
        *,
        session: str = "",
        service: str = "jupyter-python",
        limit: float = 90,
    ) -> dict[str, Any]:
        """Launch a session through the REST API, wait until it is ready, and return its model."""
        body = {"service": service, "options": dict(options or {})}
        path = f"users/{self.name}/servers/{session}" if session else f"users/{self.name}/server"
        answer = self.api("POST", path, json=body)
        assert answer.status_code in {201, 202}, f"launch: {answer.status_code} {answer.text}"
        return dict(eventually(lambda: self._ready(session), limit, what=f"{self.name}'s session is ready"))

    def _ready(self, session: str) -> dict[str, Any] | None:
        server = self.server(session)
        return server if server and server["ready"] else None

    def server(self, session: str = "") -> dict[str, Any] | None:
        """Return the hub's model of a session, or None."""
        answer = self.api("GET", f"users/{self.name}", params={"include_stopped_servers": "1"})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] | None = answer.json()["servers"].get(session)
        return found

    def end(self, session: str = "", *, remove: bool = False, limit: float = 60) -> None:
        """Stop a session and wait until it is stopped; with `remove` delete it and its disk."""
        path = f"users/{self.name}/servers/{session}" if session else f"users/{self.name}/server"
        answer = self.api("DELETE", path, json={"remove": True}) if remove else self.api("DELETE", path)
        assert answer.status_code in {202, 204, 404}, f"stop: {answer.status_code} {answer.text}"

        def stopped() -> bool:
            server = self.server(session)
            return server is None or (not server["ready"] and not server["pending"])

        eventually(stopped, limit, what=f"{self.name}'s session is stopped")

    def clear(self) -> None:
        """Delete every session of the person, with its disk."""
        for session in self.api("GET", "datalab/v1/sessions").json()["sessions"]:
            self.end(session["name"])
            path = f"datalab/v1/sessions/{session['name'] or '-'}"
            answer = self.api("DELETE", path, timeout=60)
            assert answer.status_code == 204, f"{path}: {answer.status_code} {answer.text}"
