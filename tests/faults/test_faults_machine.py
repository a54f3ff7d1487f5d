"""A machine whose disk fills up while people work, or whose clock is wrong."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from faults import doctor, restart_hub, small_disk
from session_client import SessionClient
from stack import DIRECT, Person, Stack, eventually, running_stack

#: Where Debian's libfaketime is; the loader fills in ``$LIB``.
FAKETIME = "/usr/$LIB/faketime/libfaketimeMT.so.1"
MEGABYTE = 1 << 20


@pytest.mark.root
def test_a_disk_that_fills_up_stops_launches_and_heals(session_environment: Path) -> None:
    with running_stack(started=False) as stack, small_disk(stack.home, 700):
        stack.start()
        alice = stack.person("alice")
        assert alice.api("GET", "datalab/v1/credentials").json()["s3"]
        filler = stack.home / "filler"
        fill(filler, stack.home)
        eventually(lambda: "disk: less than 256 MB are free" in stack.printed, 15, what="it is said")
        answer = alice.api("POST", "users/alice/server", json={"service": "jupyter-python", "options": {}})
        message = answer.json()["message"] if answer.content else ""
        assert answer.status_code == 507, f"{answer.status_code} {message}"
        assert "disk" in message.lower()
        assert "Traceback" not in answer.text
        assert alice.http.get("/hub/health").status_code == 200
        filler.unlink()
        eventually(lambda: launched(alice), 60, every=1, what="a launch after there is room again")
        assert SessionClient(alice).shell("echo room > ~/work/x && cat ~/work/x") == "room"
        alice.end()
        stack.stop()


def fill(path: Path, disk: Path) -> None:
    """Take all that is free."""
    with path.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * MEGABYTE)
            file.flush()
    with (disk / "filler-rest").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 512)


def launched(person: Person) -> bool:
    server = person.server()
    if server is not None and server["ready"]:
        return True
    if server is None or not server["pending"]:
        with contextlib.suppress(OSError):
            (person.stack.home / "filler-rest").unlink(missing_ok=True)
        person.api("POST", f"users/{person.name}/server", json={"service": "jupyter-python"})
    return False


# Clocks --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def datalab(session_environment: Path) -> Iterator[Stack]:
    """A datalab whose hub alone (so: the issuer) takes its clock from a file; see :func:`set_clock`."""
    with running_stack(started=False) as stack:
        # `sardonyx run` starts the hub as `python -m jupyterhub`: the preload is for that program only.
        site = stack.home.parent / "preload"
        site.mkdir()
        (site / "sitecustomize.py").write_text(_PRELOAD)
        (site / "clock").write_text("+0")
        stack.environment = {**stack.environment, "PYTHONPATH": str(site), "TEST_CLOCK_LIBRARY": FAKETIME}
        yield stack.start()


#: Starts the hub's Python again with the clock of the file; what that starts (sessions) has the right one.
_PRELOAD = """\
import os, sys
if "LD_PRELOAD" in os.environ:
    del os.environ["LD_PRELOAD"]
elif "jupyterhub" in sys.orig_argv:
    clock = open(os.path.join(os.path.dirname(__file__), "clock")).read()
    os.environ.update(LD_PRELOAD=os.environ["TEST_CLOCK_LIBRARY"], FAKETIME=clock)
    os.environ.update(FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_RESET="1")
    os.execv(sys.executable, sys.orig_argv)
"""


def set_clock(stack: Stack, offset: str) -> None:
    """Give the hub a clock that is wrong by `offset`; it is started again for that."""
    (stack.home.parent / "preload" / "clock").write_text(offset)
    restart_hub(stack)


def hub_is_off_by(stack: Stack) -> float:
    """Return how many seconds the hub's clock is ahead of this test's."""
    date = httpx.get(f"{stack.url}/hub/health", **DIRECT).headers["Date"]
    return parsedate_to_datetime(date).timestamp() - time.time()


@pytest.mark.parametrize("offset", ["+2m", "-2m"])
def test_a_clock_that_is_wrong_by_two_minutes_still_gives_credentials(datalab: Stack, offset: str) -> None:
    set_clock(datalab, offset)
    assert abs(hub_is_off_by(datalab)) > 100
    alice = datalab.person("alice")
    assert alice.api("PUT", "datalab/v1/secrets/canary", json={"values": {"MY_CANARY": "sings"}}).is_success
    alice.launch({"vault": {"secret": ["canary"]}})
    client = SessionClient(alice)
    assert client.value("MY_CANARY") == "sings"
    code = "import boto3; print(boto3.client('s3').list_objects_v2(Bucket='alice')['KeyCount'])"
    assert client.python(code).strip() == "0"
    done = doctor(datalab)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert any(line.startswith("wrong  clocks: hub is 1") and "set both by NTP" in line for line in lines), (
        lines
    )
    alice.end()


def test_a_clock_that_is_wrong_by_an_hour_is_said(datalab: Stack) -> None:
    set_clock(datalab, "+60m")
    assert abs(hub_is_off_by(datalab)) > 3000
    done = doctor(datalab)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert any("clocks: hub is 3" in line and "tokens are refused" in line for line in lines), lines
    alice = datalab.person("alice")
    problems = alice.api("GET", "datalab/v1/credentials").json()["problems"]
    assert any("clock" in problem["message"].lower() for problem in problems), problems
