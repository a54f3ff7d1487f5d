"""`sardonyx doctor` on a datalab in which one thing is wrong: the words that name it, the exit code, and no secret.

Wrong clocks are in test_faults_machine.py, files that others can read in test_parts.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest
from faults import doctor, hanging, part, run_command, settings
from stack import DIRECT, PASSWORD, Stack, eventually, running_stack

from sardonyx_hub.embedded.ca import CertificateAuthority
from sardonyx_hub.embedded.openbao import AUTH_PATH


@pytest.fixture(scope="module")
def datalab() -> Iterator[Stack]:
    with running_stack(command=run_command()) as running:
        yield running


def secrets_of(stack: Stack) -> list[str]:
    """Return what must never be shown."""
    files = [stack.home / "vault" / "init.json", stack.home / "s3" / "admin.json"]
    found = [secret for file in files for secret in re.findall(r'": "([^"]{16,})"', file.read_text())]
    return [*found, (stack.home / "proxy-token").read_text().strip(), PASSWORD]


def wrong(stack: Stack) -> list[str]:
    """Return what the doctor finds wrong; it shows no secret, counts right, and exits with 1."""
    done = doctor(stack)
    assert done.returncode == 1, done.stdout
    assert not [secret for secret in secrets_of(stack) if secret in done.stdout + done.stderr]
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    found = [line.removeprefix("wrong  ") for line in lines if line.startswith("wrong  ")]
    assert lines[-1] == f"{len(found)} of {len(lines) - 1} checks found something wrong"
    return found


@contextlib.contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    """Give a file another content while the block runs."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def vault(stack: Stack, method: str, path: str, body: dict[str, object]) -> None:
    """Ask OpenBao as its administrator."""
    token = json.loads((stack.home / "vault" / "init.json").read_text())["root_token"]
    url = f"{settings(stack).vault_address}/v1/{path}"
    answer = httpx.request(method, url, headers={"X-Vault-Token": token}, json=body, **DIRECT)
    assert answer.is_success, answer.status_code


def test_a_damaged_ca(datalab: Stack) -> None:
    ca = settings(datalab).ca_file
    with changed(ca, b"nonsense"):
        found = wrong(datalab)
    assert f"CA: {ca} is no certificate; remove {ca.parent} and start again" in found
    assert any(re.match(r"S3: https://\S+ is not trusted by our CA; start again", line) for line in found)
    assert len(found) == 2


def test_another_ca(datalab: Stack, tmp_path: Path) -> None:
    other = CertificateAuthority(tmp_path / "ca")
    own = other.ensure()
    with changed(settings(datalab).ca_file, own.read_bytes()):
        found = wrong(datalab)
    assert len(found) == 1
    assert re.match(r"S3: https://\S+ is not trusted by our CA; start again", found[0])


def test_vault_trusts_another_issuer(datalab: Stack) -> None:
    jwks = settings(datalab).jwks_url
    right = {"jwks_url": jwks, "bound_issuer": settings(datalab).issuer_url, "skip_jwks_validation": True}
    vault(datalab, "POST", f"auth/{AUTH_PATH}/config", {**right, "bound_issuer": "https://other.example"})
    try:
        found = wrong(datalab)
    finally:
        vault(datalab, "POST", f"auth/{AUTH_PATH}/config", right)
    assert found == ["secrets: does not trust this hub's tokens; start again to configure it"]


@contextlib.contextmanager
def relay(target: str) -> Iterator[int]:
    """Pass GET requests on to `target` from another port: the hub by another address than its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = httpx.get(f"{target}{self.path}", **DIRECT)
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_a_hub_that_calls_itself_otherwise(datalab: Stack) -> None:
    known = settings(datalab)
    path = datalab.home / "settings.json"
    before = path.read_bytes()
    with relay(datalab.url) as port:
        other = replace(known, port=port)
        other.save()
        try:
            found = wrong(datalab)
        finally:
            path.write_bytes(before)
    expected = f"issuer: calls itself {known.issuer_url}; backends expect {other.issuer_url}: start again"
    assert expected in found
    assert "secrets: does not trust this hub's tokens; start again to configure it" in found


def test_a_sealed_vault(datalab: Stack) -> None:
    assert datalab.process is not None
    supervisor = psutil.Process(datalab.process.pid)
    # It would unseal it before the doctor has looked.
    with hanging(supervisor):
        vault(datalab, "PUT", "sys/seal", {})
        found = wrong(datalab)
    assert found == ["secrets: is sealed; `sardonyx run` unseals it within seconds, else start again"]
    eventually(lambda: doctor(datalab).returncode == 0, 60, every=1, what="it is unsealed again")


def test_s3_that_hangs_and_s3_that_is_gone(datalab: Stack) -> None:
    assert datalab.process is not None
    weed = part(datalab, "/weed")
    with hanging(psutil.Process(datalab.process.pid)):
        with hanging(weed):
            found = wrong(datalab)
        assert len(found) == 2, found
        for what in ("clocks", "S3"):
            assert any(
                re.match(rf"{what}: http://\S+ does not answer \(ReadTimeout\)", line) for line in found
            )
        os.kill(weed.pid, signal.SIGKILL)
        found = wrong(datalab)
    assert {re.sub(r"http://\S+", "URL", line) for line in found} == {
        f"{what}: URL does not answer (ConnectError); is `sardonyx run` running?" for what in ("clocks", "S3")
    }
    eventually(lambda: doctor(datalab).returncode == 0, 90, every=1, what="all is well again")


def test_nothing_runs(tmp_path: Path, datalab: Stack) -> None:
    """Last: everything is down, and each area says so by itself."""
    datalab.stop()
    found = wrong(datalab)
    areas = [line.partition(":")[0] for line in found]
    assert areas == ["issuer", "clocks", "S3", "secrets", "scopes"]
    assert all("is `sardonyx run` running?" in line for line in found)


def test_no_datalab(tmp_path: Path, datalab: Stack) -> None:
    done = subprocess.run(
        [*run_command()[:1], "doctor"],
        env={**datalab.environment, "SARDONYX_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"wrong  home: {tmp_path} holds no datalab; start one with `sardonyx run`, or set SARDONYX_HOME"
    ]
