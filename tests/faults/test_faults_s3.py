"""An S3 storage that is killed, slow, refusing or out of order: what the person reads, and that all heals by itself.

The hub reaches S3 and STS through a reverse proxy each, as operators have them, so that they can be out of order apart.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from faults import hanging, heals, launch, no_traces, part, refreshed, restart_hub, settings
from relay import Relay
from session_client import SessionClient
from stack import Person, Stack, eventually, running_stack

#: Launches without Vault and Git: only S3 is asked.
S3_ONLY = {"vault": {"enabled": False}, "git": {"enabled": False}}
LISTING = "import os, boto3; print(boto3.client('s3').list_objects_v2(Bucket=os.environ['JUPYTERHUB_USER'])['KeyCount'])"


#: Who comes for the first time when a storage answers so.
NEWCOMERS = {(name, status): f"{name}-{status}" for name in ("s3", "sts") for status in (500, 502, 503)}


@dataclass
class Relays:
    """What stands between the hub and SeaweedFS."""

    s3: Relay
    sts: Relay


@pytest.fixture(scope="module")
def relays() -> Iterator[Relays]:
    with Relay() as s3, Relay() as sts:
        yield Relays(s3, sts)


@pytest.fixture(scope="module")
def datalab(session_environment: Path, relays: Relays) -> Iterator[Stack]:
    with running_stack(started=False) as stack:
        (stack.home.parent / "sardonyx_config.py").write_text(
            f"c.Sardonyx.s3_endpoint_url = {relays.s3.url!r}\nc.Sardonyx.s3_sts_endpoint_url = {relays.sts.url!r}\n"
            f"c.Authenticator.allowed_users = { ({'alice', 'bob', *NEWCOMERS.values()})!r}\n"
        )
        for relay in (relays.s3, relays.sts):
            relay.target = lambda: settings(stack).ports.seaweedfs.s3
        yield stack.start()


@pytest.fixture(scope="module")
def alice(datalab: Stack) -> Person:
    return datalab.person("alice")


def test_without_a_fault_keys_are_given(alice: Person, relays: Relays) -> None:
    assert not refreshed(alice)["problems"]
    assert relays.s3.answered
    assert relays.sts.answered


def test_an_sts_out_of_order_is_said_and_the_running_session_gets_keys_later(
    alice: Person, relays: Relays
) -> None:
    with relays.sts.out_of_order(503):
        said, seconds = launch(alice, {**S3_ONLY, "s3": {"access": "read-only"}})
        no_traces(said)
        assert "⚠ S3 storage: S3 storage is out of order (503)." in " ".join(said), said
        assert seconds < 40
        client = SessionClient(alice)
        assert client.shell("echo works") == "works"
        assert client.value("AWS_ACCESS_KEY_ID") == ""
    eventually(lambda: client.value("AWS_ACCESS_KEY_ID"), 60, every=1, what="keys arrive in the session")
    assert client.python(LISTING).strip() == "0"
    alice.end()


@pytest.mark.parametrize(("name", "status"), NEWCOMERS)
def test_a_storage_out_of_order_is_one_sentence_and_heals(
    datalab: Stack, relays: Relays, name: str, status: int
) -> None:
    """Somebody new each time, from their sign-in on: their bucket is made by S3, their keys by STS."""
    relay: Relay = getattr(relays, name)
    with relay.out_of_order(status):
        person = datalab.person(NEWCOMERS[name, status])
        (problem,) = refreshed(person)["problems"]
        assert (problem["source"], problem["code"]) == ("s3", "unreachable")
        assert re.match(
            rf"S3 storage( \(bucket s3-\d+\))? is out of order \({status}\)\.", problem["message"]
        )
        no_traces([problem["message"]])

    def healed() -> bool:
        now = refreshed(person)
        return bool(now["s3"]) and not now["problems"]

    eventually(healed, 30, every=1.1, what="keys are given")


def test_a_killed_s3_is_named_and_comes_back(datalab: Stack, alice: Person) -> None:
    weed = part(datalab, "/weed")
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


def test_an_s3_that_hangs_is_named_to_somebody_new(datalab: Stack) -> None:
    """Bob has no keys yet, so that his first launch needs S3; without it he has a session nevertheless."""
    with hanging(part(datalab, "/weed")):
        bob = datalab.person("bob")
        said, seconds = launch(bob, S3_ONLY)
        no_traces(said)
        assert any(text.startswith("⚠ S3 storage: S3 storage did not answer") for text in said), said
        assert seconds < 40
        client = SessionClient(bob)
        assert client.shell("echo works") == "works"
        assert client.value("AWS_ACCESS_KEY_ID") == ""
    eventually(lambda: client.value("AWS_ACCESS_KEY_ID"), 90, every=1, what="keys arrive in the session")
    assert client.python(LISTING).strip() == "0"
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
