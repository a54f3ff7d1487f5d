"""The whole of `sardonyx run`: what listens, what the doctor finds, what is started again, and how all of it ends."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from embedded_probe import answer as answered
from embedded_probe import http1, listening, speaks
from faults import SARDONYX, doctor, part, settings
from stack import DIRECT, PASSWORD, Stack, eventually, running_stack


@pytest.fixture(scope="module")
def datalab(session_environment: Path) -> Iterator[Stack]:
    with running_stack(command=[str(SARDONYX), "run", "--RunApp.build_mc=False"]) as running:
        print(f"\nsardonyx run: first start {running.seconds_to_ready:.1f} s")
        yield running


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


def test_no_secret_is_in_command_lines_and_logs(datalab: Stack) -> None:
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
    ("words", "name"),
    [
        (("-m", "jupyterhub"), "hub"),
        (("/weed",), "SeaweedFS"),
        (("/bao",), "OpenBao"),
        (("configurable-http-proxy",), "proxy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_killed_part_is_started_again(datalab: Stack, words: tuple[str, ...], name: str) -> None:
    killed = part(datalab, *words)
    begun = time.monotonic()
    killed.kill()
    eventually(
        lambda: f"{name}: was ended by SIGKILL; it is started again now" in datalab.output, what="it is said"
    )
    eventually(lambda: part(datalab, *words).pid != killed.pid, 30)
    eventually(
        lambda: httpx.get(f"{datalab.url}/hub/login", **DIRECT).status_code == 200, 60, what="a sign-in works"
    )
    eventually(lambda: doctor(datalab).returncode == 0, 90, every=1, what="all is well again")
    print(f"\n{name}: well again after {time.monotonic() - begun:.1f} s")


def vault_knows(stack: Stack, token: str) -> bool:
    url = f"{settings(stack).vault_address}/v1/auth/token/lookup-self"
    return httpx.get(url, headers={"X-Vault-Token": token}, **DIRECT).status_code == 200


def test_sessions_outlive_the_hub_and_end_with_the_datalab(datalab: Stack) -> None:
    """Last in this file: it ends what the others run on."""
    alice = datalab.person("alice")
    alice.launch()
    token = alice.api("POST", "datalab/v1/vault-tokens").json()
    runner = part(datalab, "runner.py")
    inside = runner.children(recursive=True)
    assert inside
    hub = part(datalab, "-m", "jupyterhub")
    hub.kill()
    eventually(lambda: part(datalab, "-m", "jupyterhub").pid != hub.pid, 60)
    eventually(lambda: httpx.get(f"{datalab.url}/hub/login", **DIRECT).status_code == 200, 60)
    assert runner.is_running()
    assert eventually(lambda: (server := alice.server()) and server["ready"] and server, 30)
    assert part(datalab, "runner.py").pid == runner.pid
    # The hub of before held the token; this one knows its accessor.
    assert vault_knows(datalab, token["token"])
    assert alice.api("DELETE", f"datalab/v1/vault-tokens/{token['id']}").status_code == 204
    eventually(lambda: not vault_knows(datalab, token["token"]), 30, what="the token ends")
    begun = time.monotonic()
    assert datalab.stop() == 0
    print(f"\nsardonyx run: stop with a session {time.monotonic() - begun:.1f} s")
    assert not [process for process in (runner, *inside) if process.is_running()]
