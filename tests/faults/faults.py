"""What the tests of faults share: a datalab's parts, a command that builds nothing, a disk that can be filled."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
from stack import DIRECT, Person, Stack, eventually

from sardonyx_hub.embedded.settings import EmbeddedSettings

SARDONYX = Path(sys.executable).with_name("sardonyx")


def run_command(*more: str) -> list[str]:
    """Return ``sardonyx run`` for tests without sessions: any environment will do, and nothing is built."""
    environment = f'--RunApp.environments={{"jupyter-python": "{sys.prefix}"}}'
    return [str(SARDONYX), "run", environment, "--RunApp.build_mc=False", *more]


def settings(stack: Stack) -> EmbeddedSettings:
    """Return the settings that a stack runs with."""
    return EmbeddedSettings.load(stack.home / "settings.json")


def doctor(stack: Stack) -> subprocess.CompletedProcess[str]:
    """Run ``sardonyx doctor`` on a stack."""
    return subprocess.run(
        [str(SARDONYX), "doctor"],
        env=dict(stack.environment),
        cwd=stack.home.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def part(stack: Stack, *words: str) -> psutil.Process:
    """Return the process of a stack with all `words` in its command line; waits while it is being started again."""

    def find() -> psutil.Process | None:
        for one in stack.family():
            with contextlib.suppress(psutil.Error):
                line = one.cmdline()
                # Whatever starts it (launcher, guard, sandbox) has its words too, behind its own.
                if all(any(word in argument for argument in line[:3]) for word in words):
                    return one
        return None

    found: psutil.Process = eventually(find, 30, what=f"{' '.join(words)} runs")
    return found


def restart_hub(stack: Stack) -> None:
    """Kill the hub, and wait until it is there again by itself."""
    hub = part(stack, "-m", "jupyterhub")
    hub.kill()
    hub.wait(10)
    eventually(lambda: httpx.get(f"{stack.url}/hub/health", **DIRECT).status_code == 200, 60)


@contextlib.contextmanager
def hanging(process: psutil.Process) -> Iterator[None]:
    """Keep a process from doing anything while the block runs; it accepts connections and never answers."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a tmpfs of a few megabytes on `folder`: a disk of its own that can be filled."""
    folder.mkdir(parents=True)
    options = f"size={megabytes}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


class Launch:
    """One launch, its pending page read from beginning to end."""

    def __init__(self, person: Person, options: dict[str, Any], service: str = "jupyter-python") -> None:
        self.said: list[str] = []
        self.times: list[float] = []
        self.begun = time.monotonic()
        # JupyterHub answers a launch only after ten seconds or its end: too late to read what is said meanwhile.
        with ThreadPoolExecutor(1) as pool:
            posted = pool.submit(self._post, person, service, options)
            while not posted.done() and not (person.server() or {}).get("pending"):
                time.sleep(0.02)
            if not posted.done():
                self._follow(person)
            answer = posted.result()
        if answer.status_code >= 400:
            self.said.append(answer.json()["message"])
        eventually(lambda: not (person.server() or {}).get("pending"), 60, what="the launch ends")
        self.seconds = time.monotonic() - self.begun

    @staticmethod
    def _post(person: Person, service: str, options: dict[str, Any]) -> httpx.Response:
        body = {"service": service, "options": options}
        return person.api("POST", f"users/{person.name}/server", json=body)

    def _follow(self, person: Person) -> None:
        headers = {"X-XSRFToken": person.xsrf(), "Referer": f"{person.stack.url}/hub/home"}
        path = f"/hub/api/users/{person.name}/server/progress"
        with person.http.stream("GET", path, headers=headers, timeout=60) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    event = json.loads(line.removeprefix("data:"))
                    self.said.append(event.get("message", ""))
                    self.times.append(time.monotonic())
                    if event.get("ready") or event.get("failed"):
                        return

    def seconds_between(self, first: str, second: str) -> float:
        """Return the seconds from one sentence to another."""
        return self.times[self.said.index(second)] - self.times[self.said.index(first)]


def launch(
    person: Person, options: dict[str, Any], service: str = "jupyter-python"
) -> tuple[list[str], float]:
    """Launch; return the sentences that the pending page showed, and how long it took."""
    one = Launch(person, options, service)
    return one.said, one.seconds


def no_traces(said: list[str]) -> None:
    text = " ".join(said)
    for word in ("Traceback", "Exception", "HTTPConnectionPool", "botocore", "hvac", "<html"):
        assert word not in text


def heals(person: Person, options: dict[str, Any], limit: float = 60) -> None:
    """Wait until a launch goes without a warning, then end the session."""

    def well() -> bool:
        said, _ = launch(person, options)
        person.end()
        return "⚠" not in " ".join(said) and any("ready" in text.lower() for text in said)

    eventually(well, limit, every=1, what="a launch without a warning")


def refreshed(person: Person) -> dict[str, Any]:
    answer = person.api("GET", "datalab/v1/credentials", params={"refresh": "1"})
    if answer.status_code == 429:
        raise AssertionError(answer.text)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
