"""What can be seen of a session from outside: log, use, disk, commands in terminals."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sardonyx_hub.history import Launches
from sardonyx_hub.pages.session_view import human_bytes
from sardonyx_spawner import session_looks as looks
from sardonyx_spawner.launch_progress import LaunchProgress
from sardonyx_spawner.runner import descendants

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("GET /lab?token=abc HTTP", "GET /lab?token=[hidden] HTTP"),
        ("/cb?code=a&state=b&x=1", "/cb?code=[hidden]&state=[hidden]&x=1"),
        (
            "https://s3/b?X-Amz-Signature=ff&X-Amz-Date=1",
            "https://s3/b?X-Amz-Signature=[hidden]&X-Amz-Date=[hidden]",
        ),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [hidden]"),
        ("authorization token abc", "authorization token [hidden]"),
        ("Set-Cookie: a=b", "Set-Cookie: [hidden]"),
        (f"started with {TOKEN}!", "started with [hidden]!"),
        ("\x1b[31mred\x1b[0m \x07bell\r\n", "red bell\n"),
        ("été <b> & ünïcode 😀\ttab", "été <b> & ünïcode 😀\ttab"),
    ],
)
def test_a_log_lets_nobody_in(line: str, shown: str) -> None:
    assert looks.scrub(line, (TOKEN, "")) == shown


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "x.log"
    path.write_bytes(b"first\nsecond\nthi")
    return path


def test_a_log_is_read_in_whole_lines(log: Path) -> None:
    part = looks.read_log(log, None)
    assert (part.text, part.start, part.end, part.more) == ("first\nsecond\n", 0, 13, False)
    with log.open("ab") as file:
        file.write(b"rd\n")
    assert looks.read_log(log, part.end).text == "third\n"


def test_a_log_that_was_put_aside_begins_anew(log: Path) -> None:
    assert looks.read_log(log, 10_000).text == "first\nsecond\n"


def test_a_long_log_is_read_from_its_end_and_in_parts(log: Path) -> None:
    log.write_bytes(b"".join(b"%08d\n" % number for number in range(40_000)))
    part = looks.read_log(log, None)
    assert part.text.startswith("000")
    assert part.text.endswith("00039999\n")
    assert part.end == 360_000
    assert len(part.text) <= looks.MAX_LOG
    text, end, more = "", 0, True
    while more:
        part = looks.read_log(log, end)
        text, end, more = text + part.text, part.end, part.more
    assert text == log.read_text()


def test_no_log_yet(tmp_path: Path) -> None:
    assert looks.read_log(tmp_path / "none", None) == looks.LogPart("", 0, 0, False)


def test_one_endless_line_does_not_stop_the_reader(log: Path) -> None:
    log.write_bytes(b"x" * (looks.MAX_LOG * 2))
    part = looks.read_log(log, 0)
    assert part.end == looks.MAX_LOG
    assert part.more


def test_the_size_of_a_disk_follows_no_link(tmp_path: Path) -> None:
    disk, other = tmp_path / "disk", tmp_path / "other"
    (disk / "a" / "b").mkdir(parents=True)
    other.mkdir()
    (other / "big").write_bytes(b"x" * 10_000)
    (disk / "a" / "one").write_bytes(b"x" * 1000)
    (disk / "a" / "b" / "two").write_bytes(b"x" * 500)
    (disk / "link").symlink_to(other)
    found = looks.disk_size(disk)
    assert (found.files, found.more) == (3, False)
    assert 1500 <= found.bytes < 2000


#: A process that has a shell in a terminal below it, as a server with terminals has.
_SERVER = """
import fcntl, os, sys, termios, time
if os.fork() == 0:
    os.setsid()
    fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(int(sys.argv[1]), number)
    os.execvp("bash", ["bash", "--norc", "-i"])
time.sleep(60)
"""


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The number of such a process, and the other end of its terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", _SERVER, str(theirs)], pass_fds=[theirs])
    os.close(theirs)
    yield process.pid, ours
    for pid in [*descendants(process.pid), process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    os.close(ours)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_a_command_in_a_terminal_is_seen_and_a_shell_that_waits_is_none(terminal: tuple[int, int]) -> None:
    pid, keyboard = terminal
    assert eventually(lambda: len(descendants(pid)) == 1)
    time.sleep(0.3)
    assert not looks.runs_command(pid)
    os.write(keyboard, b"sleep 50\n")
    assert eventually(lambda: looks.runs_command(pid))
    os.write(keyboard, b"\x03")
    assert eventually(lambda: not looks.runs_command(pid))
    os.write(keyboard, b"sleep 50 &\n")
    time.sleep(0.3)
    assert not looks.runs_command(pid)


def test_what_a_session_uses() -> None:
    busy = "import os\nif os.fork() == 0:\n  block = bytearray(50_000_000)\n  while True: pass\nos.wait()"
    process = subprocess.Popen([sys.executable, "-c", busy])
    try:
        assert eventually(lambda: looks.look_at(process.pid).memory > 50_000_000)
        usage, look = looks.usage_between(process.pid, None)
        assert usage.processes == 1
        time.sleep(1)
        usage, _ = looks.usage_between(process.pid, look)
        assert 0.05 < usage.cpu < 1.5
    finally:
        for pid in [*descendants(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(
    ("size", "language", "text"),
    [
        (0, "en", "0\xa0B"),
        (1023, "fr", "1023\xa0o"),
        (1024, "en", "1\xa0KiB"),
        (1_610_612_736, "fr", "1,5\xa0Gio"),
        (1_610_612_736, "en", "1.5\xa0GiB"),
        (2**30 * 300, "en", "300\xa0GiB"),
        (2**60, "fr", "1048576\xa0Tio"),
    ],
)
def test_bytes_for_people(size: int, language: str, text: str) -> None:
    assert human_bytes(size, language) == text


async def test_launches_are_remembered_and_bounded() -> None:
    launches = Launches(sessions=2)
    progress = LaunchProgress()
    progress.add("options", "ok", "In order")
    for name in ("a", "b", "c"):
        launches.follow(("alice", name), progress)
        launches.note(("alice", name), "stopped", f"Stopped {name}")
    progress.add("clone", "warning", "No such repository")
    assert launches.events(("alice", "a")) == []
    events = launches.events(("alice", "c"))
    assert [event["state"] for event in events] == ["ok", "ok", "warning"]
    for number in range(100):
        launches.note(("alice", "c"), "note", f"Note {number}")
    assert len(launches.events(("alice", "c"))) == 52
    launches.forget(("alice", "c"))
    assert launches.events(("alice", "c")) == []
