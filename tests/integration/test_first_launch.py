"""From the first launch to the deletion of a session, by the REST API and from inside, on one real datalab."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from session_client import CodeFailedError, SessionClient
from stack import DIRECT, Person, Stack, eventually, running_stack

from sardonyx_hub.identity.keys import KeyRing

#: Life of credentials in seconds: renewed after some 12.
TTL = 20
SECRET = 'it\'s "$HOME" `id` ${x} {a} %s \\ \nsecond line \N{GRINNING FACE}'


@pytest.fixture(scope="module")
def datalab(session_environment: Path) -> Iterator[Stack]:
    with running_stack(SARDONYX_CREDENTIAL_TTL=str(TTL)) as running:
        yield running


@pytest.fixture(scope="module")
def alice(datalab: Stack) -> Person:
    person = datalab.person("alice")
    written = person.api("PUT", "datalab/v1/secrets/tools/first", json={"values": {"FIRST_SECRET": SECRET}})
    assert written.status_code == 200, written.text
    return person


@pytest.fixture(scope="module")
def bob(datalab: Stack) -> Person:
    return datalab.person("bob")


def vault(stack: Stack, path: str, token: str, method: str = "GET") -> httpx.Response:
    address = json.loads((stack.home / "vault" / "server.json").read_text())["api_addr"]
    return httpx.request(method, f"{address}/v1/{path}", headers={"X-Vault-Token": token}, **DIRECT)


def expiry(client: SessionClient) -> float:
    """Return until when the session's S3 keys are good, as its newest credentials say."""
    text = client.python("import os; print(os.environ['AWS_CREDENTIAL_EXPIRATION'])").strip()
    printed = client.python(f"import datetime; print(datetime.datetime.fromisoformat({text!r}).timestamp())")
    return float(printed)


def renewed_after(client: SessionClient, moment: float) -> None:
    """Wait until the session has keys that were made after `moment` and work."""
    eventually(lambda: expiry(client) > moment + TTL - 2, TTL * 2, every=1, what="keys are renewed")
    code = "import os, boto3; boto3.client('s3').list_objects_v2(Bucket=os.environ['VAULT_TOP_DIR']); print('listed')"
    assert client.python(code).strip() == "listed"


def hub_process(stack: Stack) -> psutil.Process:
    """Return the process of the hub; waits where there is none at the moment."""
    found: psutil.Process = eventually(lambda: next(iter(_running(stack, "-m", "jupyterhub")), None), 20)
    return found


def _running(stack: Stack, *words: str) -> list[psutil.Process]:
    found = []
    for one in stack.family():
        with contextlib.suppress(psutil.Error):
            if " ".join(words) in " ".join(one.cmdline()):
                found.append(one)
    return found


def disk(stack: Stack, person: str, session: str = "default") -> Path:
    return stack.home / "disks" / person / session


@contextlib.contextmanager
def session_of(
    person: Person, options: dict[str, Any] | None = None, name: str = ""
) -> Iterator[SessionClient]:
    person.launch(options, session=name)
    try:
        yield SessionClient(person, name)
    finally:
        person.end(name)


def test_an_empty_launch_starts_the_default_service(datalab: Stack, bob: Person) -> None:
    answer = bob.api("POST", "users/bob/server", json={})
    assert answer.status_code in {201, 202}, answer.text
    eventually(lambda: (bob.server() or {}).get("ready"), 90, what="bob's session is ready")
    client = SessionClient(bob)
    client.wait_until_answers()
    assert client.http.get("lab").status_code == 200
    assert client.value("AWS_S3_ENDPOINT")
    assert "VAULT_TOKEN" not in client.shell("env | cut -d= -f1").split()
    bob.end()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"service": "jupyter-r"}, ["jupyter-r", "Available: jupyter-python"]),
        (
            {"service": "jupyter-python", "options": {"s3": {"access": "all"}}},
            ["s3.access", "read-only", "none"],
        ),
        (
            {"service": "jupyter-python", "options": {"resources": {"limits": {"cpu": 999}}}},
            ["resources.limits.cpu", "from 100m to 2"],
        ),
        ({"service": "jupyter-python", "options": {"colour": "red"}}, ["colour", "no such launch option"]),
        (
            {
                "service": "jupyter-python",
                "options": {"extraEnvVars": [{"name": "LD_PRELOAD", "value": "x"}]},
            },
            ["extraEnvVars[0].name", "LD_PRELOAD"],
        ),
    ],
)
def test_wrong_options_are_named_with_what_is_allowed(
    bob: Person, options: dict[str, Any], said: list[str]
) -> None:
    answer = bob.api("POST", "users/bob/server", json={"user_options": options})
    assert answer.status_code == 400, f"{answer.status_code} {answer.text}"
    message = answer.json()["message"]
    for words in said:
        assert words in message
    assert "Traceback" not in answer.text
    server = bob.server()
    # JupyterHub stores options before they are checked; what was refused must not be what `{}` launches next.
    assert server is None or not (server["ready"] or server["pending"] or server["user_options"])


def test_two_launches_at_once_are_one_session(datalab: Stack, bob: Person) -> None:
    with ThreadPoolExecutor(4) as pool:
        launches = [pool.submit(bob.api, "POST", "users/bob/server", json={}) for _ in range(4)]
        codes = sorted(launch.result().status_code for launch in launches)
    assert codes[0] in {201, 202}
    assert all(code in {201, 202, 400} for code in codes), codes
    eventually(lambda: (bob.server() or {}).get("ready"), 90, what="bob's session is ready")
    runners = _running(datalab, "sardonyx_spawner/runner.py")
    assert len(runners) == 1
    bob.end()
    assert not any(one.is_running() for one in runners)


def test_a_chosen_secret_is_in_kernels_and_terminals_and_its_token_ends(
    datalab: Stack, alice: Person
) -> None:
    options = {"vault": {"secret": ["tools/first"], "token": True}}
    with session_of(alice, options) as client:
        assert client.value("FIRST_SECRET") == SECRET
        shown = client.shell("python -c 'import json, os; print(json.dumps(os.environ[\"FIRST_SECRET\"]))'")
        assert json.loads(shown) == SECRET
        token = client.value("VAULT_TOKEN")
        assert vault(datalab, "auth/token/lookup-self", token).status_code == 200
    # A few seconds, and far from the token's own end: so it was revoked and did not just run out.
    ended = time.monotonic()
    eventually(
        lambda: vault(datalab, "auth/token/lookup-self", token).status_code == 403, 8, what="token ends"
    )
    assert time.monotonic() - ended < TTL / 2


def test_a_disk_is_kept_by_a_stop_and_removed_by_a_deletion(datalab: Stack, alice: Person) -> None:
    with session_of(alice, name="keep") as client:
        client.shell("echo kept > ~/work/kept.txt")
    assert (disk(datalab, "alice", "keep") / "work" / "kept.txt").read_text() == "kept\n"
    with session_of(alice, name="keep") as client:
        assert client.shell("cat ~/work/kept.txt") == "kept"
    alice.end("keep", remove=True)
    eventually(lambda: not disk(datalab, "alice", "keep").exists(), 10, what="the disk is removed")
    left = [path for path in datalab.home.glob("*/alice/keep*") if path.exists()]
    assert left == []


@pytest.fixture(scope="module")
def both(alice: Person, bob: Person) -> Iterator[tuple[SessionClient, SessionClient]]:
    """Sessions of both people, alice's with a secret and something that runs."""
    with (
        session_of(alice, {"vault": {"secret": ["tools/first"]}}) as first,
        session_of(bob) as second,
    ):
        first.shell("echo private > ~/work/private.txt")
        yield first, second


def test_people_do_not_see_each_other(datalab: Stack, both: tuple[SessionClient, SessionClient]) -> None:
    first, second = both
    kernel = first.start_kernel()
    first.python("import os; os.environ['MINE'] = 'mine'", kernel=kernel)
    processes = second.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls /proc | grep -c '^[0-9]'")
    inside = int(processes.rsplit(maxsplit=1)[-1])
    assert inside < 20, "more processes than those of one session"
    assert "runner.py" not in processes
    assert "jupyterhub -f" not in processes
    # Nothing of the datalab's home, under any of its names.
    for place in (datalab.home, datalab.home.parent, Path("/root"), disk(datalab, "alice")):
        with pytest.raises(CodeFailedError):
            second.shell(f"ls {place}/* && ls {place} | grep .")
    for number in (hub_process(datalab).pid, psutil.Process().pid):
        with pytest.raises(CodeFailedError):
            second.shell(f"cat /proc/{number}/environ | grep -a .")
    found = second.shell(
        "grep -rls private / --include=private.txt --exclude-dir=proc --exclude-dir=sys 2>/dev/null",
        check=False,
    )
    assert found == ""
    # Kernels speak over sockets in the sandbox's own /tmp: nothing to connect to on the shared loopback.
    sockets = first.shell("ls /tmp/jupyter/*ipc* /tmp/jupyter")
    assert "kernel-" in sockets
    assert "kernel-" + kernel not in second.shell("ls -R /tmp /run 2>/dev/null", check=False)
    first.http.delete(f"api/kernels/{kernel}")


def test_a_session_token_does_not_open_another_persons_session(
    datalab: Stack, both: tuple[SessionClient, SessionClient]
) -> None:
    _, second = both
    script = """
import json, os, urllib.error, urllib.request
def ask(url):
    request = urllib.request.Request(url, headers={"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]})
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
hub = os.environ["JUPYTERHUB_API_URL"]
print(json.dumps([ask(url) for url in URLS]))
"""
    urls = [
        f"{datalab.url}/user/alice/api/contents",
        f"{datalab.url}/hub/api/users/alice",
        f"{datalab.url}/hub/api/datalab/v1/credentials?user=alice",
        f"{datalab.url}/hub/api/datalab/v1/secrets/tools/first",
        f"{datalab.url}/hub/api/datalab/v1/credentials",
    ]
    codes = json.loads(second.python(script.replace("URLS", repr(urls))))
    assert codes[:4] == [403, 404, 403, 403]
    assert codes[4] == 200, "its own credentials"


def test_a_hub_that_was_killed_finds_its_sessions_again(
    datalab: Stack, both: tuple[SessionClient, SessionClient], alice: Person
) -> None:
    first, _ = both
    terminal, kernel = first.start_terminal(), first.start_kernel()
    first.python("import os; answer = os.getpid()", kernel=kernel)
    before = hub_process(datalab)
    before.send_signal(signal.SIGKILL)
    killed = time.time()
    # The proxy is a process of its own: the session answers as if nothing had happened.
    assert first.python("print(answer)", kernel=kernel).strip().isdigit()
    eventually(lambda: hub_process(datalab).pid != before.pid, 20, what="the hub is started again")
    eventually(lambda: alice.http.get("/hub/health").status_code == 200, 60, what="the hub answers")
    assert any(line.startswith("hub: was ended by SIGKILL") for line in datalab.output)
    server = eventually(alice.server, 20, what="the session is known")
    assert server["ready"]
    assert first.shell("echo alive", terminal=terminal) == "alive"
    assert first.python("print(answer == os.getpid())", kernel=kernel).strip() == "True"
    renewed_after(first, max(killed, time.time() - 5))
    first.http.delete(f"api/kernels/{kernel}")


def test_signing_keys_rotate_while_sessions_run(
    datalab: Stack, both: tuple[SessionClient, SessionClient], bob: Person
) -> None:
    first, _ = both
    ring = KeyRing(datalab.home / "state" / "keys", publish_seconds=3)
    old, _ = ring.signing_key()
    new = ring.rotate().kid
    eventually(lambda: ring.signing_key()[0] == new, 10, what="the new key signs")
    switched = time.time() + 1
    jwks = httpx.get(f"{datalab.url}/hub/datalab/oidc/jwks", **DIRECT).json()
    assert {old, new} <= {key["kid"] for key in jwks["keys"]}
    with session_of(bob, {"vault": {"token": True}}, name="after-rotation") as client:
        assert vault(datalab, "auth/token/lookup-self", client.value("VAULT_TOKEN")).status_code == 200
        assert client.value("AWS_ACCESS_KEY_ID")
    renewed_after(first, switched)
    assert json.loads(first.shell("sardonyx-session status --json || cat $SARDONYX_RUN/status.json"))
