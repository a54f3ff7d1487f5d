"""What the tests of the session share: a server that plays the hub, and an agent started as a process."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import sardonyx_session

PACKAGE = Path(sardonyx_session.__file__).parent
HUB_TOKEN = "hub-token-0123456789"


def iso(moment: datetime) -> str:
    """Return a moment as the hub writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class PlayedHub:
    """Answers the credentials endpoint; each answer has new keys, unless told otherwise."""

    def __init__(self, life: float = 3600.0) -> None:
        self.life = life
        self.skew = 0.0  # how far this hub's clock is ahead
        self.status = 200
        self.headers: dict[str, str] = {}
        self.problems: list[dict[str, str]] = []
        self.git: list[dict[str, str]] = []
        self.secrets: dict[str, str] = {}
        self.s3_endpoint = "http://127.0.0.1:9"
        self.count = 0
        self.requests: list[tuple[float, str, str]] = []
        self.port = 0
        self._server: http.server.ThreadingHTTPServer | None = None

    def document(self) -> dict[str, Any]:
        """Return the next document."""
        self.count += 1
        now = datetime.now(UTC) + timedelta(seconds=self.skew)
        end = iso(now + timedelta(seconds=self.life))
        failing = {problem["source"] for problem in self.problems}
        s3 = {
            "access_key_id": f"KEY{self.count}",
            "secret_access_key": f"secret{self.count}",
            "session_token": f"token{self.count}",
            "expiration": end,
            "endpoint_url": self.s3_endpoint,
            "region": "us-east-1",
            "path_style": True,
            "bucket": "alice",
            "access": "read-write",
        }
        environment = dict(self.secrets)
        if "s3" not in failing:
            environment.update(
                AWS_ACCESS_KEY_ID=f"KEY{self.count}",
                AWS_SECRET_ACCESS_KEY=f"secret{self.count}",
                AWS_SESSION_TOKEN=f"token{self.count}",
                AWS_CREDENTIAL_EXPIRATION=end,
                AWS_ENDPOINT_URL=self.s3_endpoint,
                AWS_DEFAULT_REGION="us-east-1",
            )
        return {
            "version": 1,
            "issued_at": iso(now),
            "expires_at": end,
            "s3": None if "s3" in failing else s3,
            "vault": None,
            "git": self.git,
            "environment": environment,
            "problems": self.problems,
        }

    @property
    def url(self) -> str:
        """URL of the endpoint."""
        return f"http://127.0.0.1:{self.port}/hub/api/datalab/v1/credentials"

    def start(self) -> None:
        """Listen; on the same port as before if there was one."""
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.requests.append((time.monotonic(), self.path, self.headers.get("Authorization", "")))
                body = json.dumps(hub.document() if hub.status == 200 else {"message": "no"}).encode()
                self.send_response_only(hub.status)
                date = datetime.now(UTC) + timedelta(seconds=hub.skew)
                self.send_header("Date", format_datetime(date, usegmt=True))
                for name, value in hub.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening: connections are refused from now on."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def clean_environ(home: Path, run: Path, **more: str) -> dict[str, str]:
    """Return an environment as a spawner would give it, with nothing of this machine's own."""
    home.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",  # a Python 2 would leave its files among the sources
        "SARDONYX_RUN": str(run),
        "PYTHONPATH": str(PACKAGE.parent),
        **more,
    }


class AgentProcess:
    """``python -m sardonyx_session agent`` with a run directory of its own."""

    def __init__(self, run: Path, hub: PlayedHub, python: str = sys.executable, **more: str) -> None:
        self.run = run
        self.python = python
        self.environ = clean_environ(
            run.parent / "agent-home",
            run,
            SARDONYX_CREDENTIALS_URL=hub.url,
            JUPYTERHUB_API_TOKEN=HUB_TOKEN,
            **more,
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self.process = subprocess.Popen([self.python, "-m", "sardonyx_session", "agent"], env=self.environ)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it; return its status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)

    def status(self) -> dict[str, Any]:
        """Return ``status.json``."""
        return dict(json.loads((self.run / "status.json").read_text()))

    def env(self) -> Mapping[str, str]:
        """Return ``env.json``."""
        return dict(json.loads((self.run / "env.json").read_text()))

    def generation(self) -> int:
        """Return the number of the set; 0 if there is none."""
        try:
            return int((self.run / "generation").read_text())
        except FileNotFoundError:
            return 0


def wait_for(condition: Callable[[], Any], seconds: float = 15.0, step: float = 0.05) -> Any:
    """Return the first true value of `condition`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(step)
