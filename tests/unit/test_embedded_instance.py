"""One run a home, and a guard that ends everything when the supervisor is gone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sardonyx_hub.embedded import guard
from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.instance import Instance

SUPERVISOR = """
import os, subprocess, sys, time
from pathlib import Path
from sardonyx_hub.embedded.guard import VARIABLE
from sardonyx_hub.embedded.instance import Instance
instance = Instance(Path(sys.argv[1]))
instance.acquire()
marked = {**os.environ, VARIABLE: instance.identifier}
# One that ignores SIGTERM, in a session of its own, whose parent is gone.
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", code], env=marked, start_new_session=True)
print(instance.identifier, child.pid, flush=True)
time.sleep(60)
"""


def started(home: Path) -> tuple[subprocess.Popen[str], str, int]:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(home)], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout
    identifier, pid = supervisor.stdout.readline().split()
    return supervisor, identifier, int(pid)


def ended(supervisor: subprocess.Popen[str]) -> None:
    supervisor.kill()
    supervisor.wait()
    assert supervisor.stdout
    supervisor.stdout.close()


def guards(identifier: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if identifier in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def until(check: object, within: float = 10.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if check():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def test_the_guard_ends_what_a_killed_supervisor_leaves(tmp_path: Path) -> None:
    supervisor, identifier, pid = started(tmp_path)
    assert list(guard.marked(identifier)) == [pid]
    ended(supervisor)
    assert until(lambda: not list(guard.marked(identifier)))
    assert until(lambda: not guards(identifier)), "the guard itself must end"


def test_ctrl_c_does_not_reach_the_guard(tmp_path: Path) -> None:
    supervisor, identifier, _ = started(tmp_path)
    (watching,) = guards(identifier)
    assert os.getsid(watching.pid) != os.getsid(supervisor.pid)
    watching.send_signal(signal.SIGINT)
    watching.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert watching.is_running()
    ended(supervisor)
    assert until(lambda: not guards(identifier))


def test_the_next_run_ends_what_even_the_guard_left(tmp_path: Path) -> None:
    supervisor, identifier, _ = started(tmp_path)
    for process in guards(identifier):
        process.kill()
    ended(supervisor)
    assert list(guard.marked(identifier))
    instance = Instance(tmp_path)
    instance.acquire()
    assert not list(guard.marked(identifier))
    instance.release()


def test_one_run_a_home(tmp_path: Path) -> None:
    first, second = Instance(tmp_path), Instance(tmp_path)
    first.acquire()
    with pytest.raises(StartError) as caught:
        second.acquire()
    assert f"already runs in {tmp_path} (process {os.getpid()})" in str(caught.value)
    first.release()
    second.acquire()
    second.release()


def test_the_guard_is_replaced_when_it_is_killed(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    instance.acquire()
    (watching,) = guards(instance.identifier)
    watching.kill()
    assert until(lambda: not guards(instance.identifier) or watching.status() == psutil.STATUS_ZOMBIE)
    instance.watch()
    assert until(lambda: any(g.pid != watching.pid for g in guards(instance.identifier)))
    instance.release()
    assert not guards(instance.identifier)
