"""Processes of the parts: private bounded logs, a sure end, and words for what went wrong."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.processes import BoundedLog, ManagedProcess, wait_until


def python(tmp_path: Path, code: str, **options: object) -> ManagedProcess:
    return ManagedProcess("part", [sys.executable, "-c", code], tmp_path / "log" / "part.log", **options)  # type: ignore[arg-type]


def gone(pid: int, within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_a_log_is_private_and_bounded(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "part.log", limit=1000)
    for number in range(1000):
        log.write(f"line {number}\n".encode())
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["part.log", "part.log.1"]
    assert all(path.stat().st_size < 1100 and path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert "line 999" in files[0].read_text() + files[1].read_text()


def test_a_full_disk_does_not_end_a_part() -> None:
    with Path("/dev/full").open("ab", buffering=0) as full:
        log = BoundedLog(Path("/dev/full"))
        log._file = full
        log.write(b"lost\n")


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    process = python(tmp_path, "import sys; print('one'); print('two', file=sys.stderr)")
    process.start()
    assert process.pid
    assert gone(process.pid)
    process.stop()
    assert sorted(process.tail()) == ["one", "two"]
    assert sorted((tmp_path / "log" / "part.log").read_text().split()) == ["one", "two"]
    assert process.exit_code == 0


def test_environment_is_added_and_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNWANTED", "x")
    process = python(
        tmp_path,
        "import os; print(os.environ.get('UNWANTED'), os.environ['MARK'])",
        environment={"UNWANTED": None, "MARK": "m"},
    )
    process.start()
    assert process.pid
    assert gone(process.pid)
    process.stop()
    assert process.tail() == ["None m"]


def test_stop_ends_what_ignores_it_and_its_children(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    process = python(tmp_path, code)
    process.start()
    while not process.tail():
        time.sleep(0.02)
    begun = time.monotonic()
    process.stop(grace=0.3)
    assert time.monotonic() - begun < 3
    assert not process.running
    assert gone(int(process.tail()[0]))


def test_it_dies_with_its_supervisor(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sardonyx_hub.embedded.processes import ManagedProcess;"
        f"p = ManagedProcess('part', [sys.executable, '-c', 'import time; time.sleep(60)'], Path({str(tmp_path)!r}) / 'log');"
        "p.start(); print(p.pid, flush=True); time.sleep(60)"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout
    pid = int(supervisor.stdout.readline())
    assert psutil.pid_exists(pid)
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    supervisor.stdout.close()
    assert gone(pid)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "print('listen: address already in use'); raise SystemExit(3)",
            '(exit code 3): "listen: address already in use"',
        ),
        ("print('error: the token is abc'); raise SystemExit(1)", "(exit code 1); see "),
        ("print('all is well'); raise SystemExit(1)", "(exit code 1); see "),
    ],
)
def test_a_part_that_ends_is_one_line_without_a_secret(tmp_path: Path, code: str, said: str) -> None:
    process = python(tmp_path, code)
    process.start()
    assert process.pid
    assert gone(process.pid)
    time.sleep(0.1)
    with pytest.raises(StartError) as caught:
        wait_until(lambda: False, name="part", process=process, timeout=5)
    process.stop()
    assert said in str(caught.value)
    assert "abc" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_part_that_does_not_come_up_is_one_line(tmp_path: Path) -> None:
    process = python(tmp_path, "import time; time.sleep(60)")
    process.start()
    with pytest.raises(StartError, match=r"part: did not come up within 0 s; see .*part\.log"):
        wait_until(lambda: False, name="part", process=process, timeout=0.2)
    process.stop(0)


def test_waiting_can_be_cancelled() -> None:
    with pytest.raises(StartError, match="interrupted"):
        wait_until(lambda: False, name="part", process=None, timeout=60, cancelled=lambda: True)
