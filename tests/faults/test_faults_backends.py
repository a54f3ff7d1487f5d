"""Backends that are sealed, killed, slow or refusing: what the person reads, and that all heals by itself.

Nothing is started by hand in here: a fault is made, its sentence is read, and the datalab has to recover.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from session_client import SessionClient
from stack import Person, Stack, eventually, running_stack

from sardonyx_spawner.catalogue import DEFAULT_CATALOGUE

#: Launches without Vault and Git: only S3 is asked.
S3_ONLY = {"vault": {"enabled": False}, "git": {"enabled": False}}
WITH_SECRET = {"vault": {"secret": ["canary"]}, "git": {"enabled": False}}
#: With S3 away too, nothing is asked: for tests of Vault alone.
SECRET_ONLY = {**WITH_SECRET, "s3": {"access": "none"}}
STRICT = "jupyter-strict"


@pytest.fixture(scope="module")
def datalab(session_environment: Path) -> Iterator[Stack]:
    with running_stack(started=False) as stack:
        stack.home.parent.mkdir(exist_ok=True)
        text = DEFAULT_CATALOGUE.read_text(encoding="utf-8")
        entry = text[text.index("  - id: jupyter-python") :]
        strict = entry.replace("jupyter-python\n    default: true", f"{STRICT}\n    required: [vault]", 1)
        catalogue = stack.home.parent / "catalogue.yaml"
        catalogue.write_text(f"{text}\n{strict}", encoding="utf-8")
        stack.command = [*stack.command, f"--catalogue={catalogue}"]
        yield stack.start()


@pytest.fixture(scope="module")
def alice(datalab: Stack) -> Person:
    person = datalab.person("alice")
    assert (
        person.api("PUT", "datalab/v1/secrets/canary", json={"values": {"MY_CANARY": "sings"}}).status_code
        == 200
    )
    return person


def part(stack: Stack, program: str) -> psutil.Process:
    """Return the process of a part; waits while it is being started again."""

    def find() -> psutil.Process | None:
        for one in stack.family():
            with contextlib.suppress(psutil.Error):
                if Path(one.exe()).name == program and "server" in one.cmdline():
                    return one
        return None

    found: psutil.Process = eventually(find, 30, what=f"{program} runs")
    return found


@contextlib.contextmanager
def hanging(process: psutil.Process) -> Iterator[None]:
    """Keep a process from doing anything while the block runs; it accepts connections and never answers."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


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


def test_without_a_fault_nothing_is_warned_of(alice: Person) -> None:
    said, _ = launch(alice, {"vault": {"secret": ["canary"]}})
    alice.end()
    assert "⚠" not in " ".join(said)


def test_a_sealed_vault_is_said_and_unsealed(datalab: Stack, alice: Person) -> None:
    opened = json.loads((datalab.home / "vault" / "init.json").read_text())
    address = json.loads((datalab.home / "vault" / "server.json").read_text())["api_addr"]
    assert datalab.process is not None
    supervisor = psutil.Process(datalab.process.pid)
    # Held, so that what the person reads meanwhile can be read: it unseals within seconds.
    with hanging(supervisor):
        token = {"X-Vault-Token": opened["root_token"]}
        assert httpx.put(f"{address}/v1/sys/seal", headers=token, trust_env=False).status_code == 204
        said, seconds = launch(alice, WITH_SECRET)
        assert any(
            text.startswith("⚠") and "Vault is sealed; an administrator must unseal it" in text
            for text in said
        )
        assert seconds < 60
        no_traces(said)
    client = SessionClient(alice)
    assert client.value("AWS_ACCESS_KEY_ID"), "S3 is not Vault's fault"
    eventually(
        lambda: "OpenBao: was sealed; it is unsealed again" in datalab.printed, 20, what="it is unsealed"
    )
    # The running session too: its agent asks again by itself.
    eventually(
        lambda: client.value("MY_CANARY") == "sings", 60, every=1, what="the secret arrives in the session"
    )
    alice.end()
    heals(alice, WITH_SECRET)


def test_a_killed_vault_comes_back(datalab: Stack, alice: Person) -> None:
    seen = len(datalab.output)
    part(datalab, "bao").send_signal(signal.SIGKILL)
    said, _ = launch(alice, WITH_SECRET)
    alice.end()
    no_traces(said)
    warned = [text for text in said if text.startswith("⚠")]
    assert all("Vault" in text for text in warned), warned
    eventually(
        lambda: any(
            "OpenBao: was ended by SIGKILL; it is started again" in line for line in datalab.output[seen:]
        ),
        10,
    )
    heals(alice, WITH_SECRET)


def test_a_vault_that_hangs_slows_nobody_who_does_without_it(datalab: Stack, alice: Person) -> None:
    with hanging(part(datalab, "bao")):
        begun = time.monotonic()
        assert alice.api("GET", "datalab/v1/credentials").json()["s3"]
        assert time.monotonic() - begun < 1
        one = Launch(alice, S3_ONLY)
        alice.end()
        assert "⚠" not in " ".join(one.said), one.said
        assert one.seconds_between("Getting your credentials", "Your credentials are ready") < 1
        form = time.monotonic()
        page = alice.http.get("/hub/spawn")
        assert page.status_code == 200
        assert "the secret store (Vault) does not answer" in page.text
        assert time.monotonic() - form < 6


def test_a_vault_that_hangs_is_named_and_the_launch_goes_on(datalab: Stack, alice: Person) -> None:
    with hanging(part(datalab, "bao")):
        said, seconds = launch(alice, WITH_SECRET)
        no_traces(said)
        assert any(text.startswith("⚠ Secrets: Vault ") for text in said), said
        assert seconds < 40
        client = SessionClient(alice)
        assert client.value("AWS_ACCESS_KEY_ID")
        assert client.value("MY_CANARY") == ""
    eventually(
        lambda: client.value("MY_CANARY") == "sings", 90, every=1, what="the secret arrives in the session"
    )
    alice.end()
    heals(alice, WITH_SECRET)


def test_a_service_that_requires_vault_does_not_start_without_it(datalab: Stack, alice: Person) -> None:
    with hanging(part(datalab, "bao")):
        said, _ = launch(alice, WITH_SECRET, service=STRICT)
        no_traces(said)
        assert "The session was not started: Vault " in " ".join(said), said
        eventually(lambda: not (alice.server() or {}).get("pending"), 20)
        assert not (alice.server() or {}).get("ready")

    def starts() -> bool:
        launch(alice, WITH_SECRET, service=STRICT)
        ready = bool((alice.server() or {}).get("ready"))
        alice.end()
        return ready

    eventually(starts, 60, every=1, what="the strict service starts again")


def test_a_killed_s3_is_named_and_comes_back(datalab: Stack, alice: Person) -> None:
    weed = part(datalab, "weed")
    assert datalab.process is not None
    with hanging(psutil.Process(datalab.process.pid)):
        weed.send_signal(signal.SIGKILL)
        # The keys of the launches before are good still: new ones are asked for, so that S3 has to be.
        problems = eventually(lambda: refreshed(alice)["problems"], 20, every=1.1, what="S3 is missed")
        assert all("S3 storage" in problem["message"] for problem in problems), problems
        assert {problem["code"] for problem in problems} <= {"unreachable", "timeout", "circuit-open"}
    eventually(lambda: "SeaweedFS: was ended by SIGKILL; it is started again" in datalab.printed, 10)
    eventually(lambda: not refreshed(alice)["problems"], 60, every=1.1, what="S3 gives keys again")
    heals(alice, S3_ONLY)


def refreshed(person: Person) -> dict[str, Any]:
    answer = person.api("GET", "datalab/v1/credentials", params={"refresh": "1"})
    if answer.status_code == 429:
        raise AssertionError(answer.text)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_an_s3_that_hangs_is_named_to_somebody_new(datalab: Stack) -> None:
    """Bob has no keys yet, so that his first launch needs S3; without it he has a session nevertheless."""
    with hanging(part(datalab, "weed")):
        bob = datalab.person("bob")
        said, seconds = launch(bob, S3_ONLY)
        no_traces(said)
        assert any(text.startswith("⚠ S3 storage: S3 storage did not answer") for text in said), said
        assert seconds < 40
        client = SessionClient(bob)
        assert client.shell("echo works") == "works"
        assert client.value("AWS_ACCESS_KEY_ID") == ""
    eventually(lambda: client.value("AWS_ACCESS_KEY_ID"), 90, every=1, what="keys arrive in the session")
    listing = "import os, boto3; print(boto3.client('s3').list_objects_v2(Bucket='bob')['KeyCount'])"
    assert client.python(listing).strip() == "0"
    bob.end()


def test_an_sts_that_refuses_is_said_in_words(datalab: Stack) -> None:
    """The hub signs with a key that it does not publish: STS does not take its tokens, and says so."""
    folder = datalab.home / "state" / "keys"
    ring = json.loads((folder / "keys.json").read_text())
    (kid,) = [key["kid"] for key in ring["keys"]]
    right = (folder / f"{kid}.pem").read_bytes()
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{kid}.pem").write_bytes(other)
    try:
        restart_hub(datalab)
        admin = datalab.person("admin")
        said, _ = launch(admin, S3_ONLY)
        admin.end()
    finally:
        (folder / f"{kid}.pem").write_bytes(right)
    no_traces(said)
    warned = [text for text in said if text.startswith("⚠ S3 storage: ")]
    assert any("refused the hub's token" in text or "could not sign a token" in text for text in warned), said
    restart_hub(datalab)
    heals(datalab.person("admin"), S3_ONLY)


def restart_hub(stack: Stack) -> None:
    """Kill the hub, which is started again by itself."""
    hub = next(one for one in stack.family() if "jupyterhub -f" in " ".join(one.cmdline()))
    hub.send_signal(signal.SIGKILL)
    hub.wait(10)
    eventually(lambda: httpx.get(f"{stack.url}/hub/health", trust_env=False).status_code == 200, 60)
