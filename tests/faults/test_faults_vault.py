"""A Vault that is sealed, killed or slow: what the person reads, and that all heals by itself.

Nothing is started by hand in here: a fault is made, its sentence is read, and the datalab has to recover.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from faults import Launch, hanging, heals, launch, no_traces, part
from session_client import SessionClient
from stack import DIRECT, Person, Stack, eventually, running_stack

from sardonyx_spawner.catalogue import DEFAULT_CATALOGUE

#: A launch without Vault and Git: only S3 is asked.
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
        assert httpx.put(f"{address}/v1/sys/seal", headers=token, **DIRECT).status_code == 204
        said, seconds = launch(alice, WITH_SECRET)
        warned = [text for text in said if text.startswith("⚠")]
        assert "Vault is sealed; an administrator must unseal it" in " ".join(warned), said
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
    part(datalab, "/bao").send_signal(signal.SIGKILL)
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
    with hanging(part(datalab, "/bao")):
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
    with hanging(part(datalab, "/bao")):
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
    with hanging(part(datalab, "/bao")):
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
