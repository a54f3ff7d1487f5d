"""Nobody's secret value is where it has no business: one test greps everything that a datalab leaves.

It runs with hub and proxy at debug level, with secrets, Git token, S3 keys and Vault token in play, and with each
action that a person may take with them. No value is shown when it fails, but its name and the place.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from session_client import SessionClient
from stack import DIRECT, PASSWORD, Person, Stack, eventually, running_stack

#: Files that hold secrets because it is their purpose: pattern below the home -> names of what may be in them.
ENTITLED = {
    "demo-password": {"password"},
    "proxy-token": {"proxy token"},
    "jupyterhub-cookie-secret": {"cookie secret"},
    "s3/admin.json": {"S3 admin key"},
    "s3/identities.json": {"S3 admin key"},
    "s3/keys.json": {"S3 signing key"},
    "s3/iam.json": {"S3 signing key"},
    "s3/security.toml": {"S3 signing key"},
    "vault/init.json": {"Vault root token", "Vault unseal key"},
    "state/keys/*.pem": {"issuer's key"},
    "run/alice/default/**": {"secret", "Git token", "S3 keys", "Vault token", "endpoint token"},
}
#: Words in a command line of a process -> names of what may be in its environment.
ENTITLED_PROCESSES = {
    "sardonyx run": {"password"},  # as the operator set it
    "configurable-http-proxy": {"proxy token"},
    "jupyterhub -f": {"proxy token"},
    "sardonyx_session agent": {"hub token"},
}
#: What only the session's own processes have in their environment.
SESSION = {"secret", "Git token", "S3 keys", "Vault token", "hub token", "endpoint token"}


def canary(words: str = "") -> str:
    return f"cAnArY{secrets.token_hex(12)}{words}"


@dataclass
class Values:
    """The values that must not be found, by name."""

    known: dict[str, set[bytes]] = field(default_factory=dict)

    def add(self, name: str, *values: str) -> None:
        """Add values; of one with blanks and signs, each run of at least 12 plain letters."""
        for value in values:
            parts = re.findall(r"[\w+/=.-]{12,}", value)
            assert parts, f"{name}: nothing to look for"
            for part in parts:
                self.known.setdefault(name, set()).update(forms(part))

    def found(self, where: bytes, *, but: set[str] = frozenset()) -> set[str]:  # type: ignore[assignment]
        """Return the names of the values in `where`, without those that may be there."""
        return {
            name for name, values in self.known.items() if name not in but and any(v in where for v in values)
        }


def forms(value: str) -> set[bytes]:
    """Return how a value of plain letters may be written: as it is, percent-encoded, in base64 at any offset."""
    data = value.encode()
    written = {
        data,
        data.replace(b"/", b"%2F").replace(b"+", b"%2B").replace(b"=", b"%3D"),
        data.replace(b"/", b"\\/"),
    }
    for offset in range(3):
        # The first and the last letter depend on what stands beside it.
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            inner = encode(b"\0" * offset + data)[(0, 2, 3)[offset] :].rstrip(b"=")[:-1]
            written.add(inner)
    return written


@pytest.fixture(scope="module")
def datalab(session_environment: Path) -> Iterator[Stack]:
    with running_stack(started=False) as stack:
        (stack.home.parent / "sardonyx_config.py").write_text("c.Spawner.debug = True\n")
        stack.command = [*stack.command, "--debug"]
        yield stack.start()


@pytest.fixture(scope="module")
def values() -> Values:
    return Values()


SECRET = canary(f'-it\'s "{canary()}" $HOME ${{x}} {{a}} %s\n{canary()}\N{GRINNING FACE}{canary()}')


#: What alice marks secret in the launch options.
OWN = canary()


@pytest.fixture(scope="module")
def alice(datalab: Stack, values: Values) -> Iterator[Person]:
    """Alice, who has done all that she can with secrets, and whose session runs."""
    person = datalab.person("alice")
    git = canary()
    values.add("secret", SECRET)
    values.add("Git token", git)
    values.add(
        "password", PASSWORD.replace(" ", ""), canary()
    )  # the password itself is looked for by its words
    values.known["password"] = {
        PASSWORD.encode(),
        PASSWORD.replace(" ", "+").encode(),
        PASSWORD.replace(" ", "%20").encode(),
    }
    account = {"username": "alice", "token": git, "name": "Alice", "email": "alice@example.org"}
    tries = [
        ("PUT", "secrets/canary", {"values": {"MY_CANARY": SECRET}}),
        # Refused, after having been read: a name that is none, a body that is none.
        ("PUT", "secrets/../canary", {"values": {"MY_CANARY": SECRET}}),
        ("PUT", "secrets/second", {"values": {"MY_CANARY": SECRET}, "unknown": SECRET}),
        ("PUT", "secrets/canary", {"values": {"MY_CANARY": SECRET}, "cas": 7}),
        ("PUT", "git-accounts/git.example.org", account),
        ("PUT", "git-accounts/git.example.org", {**account, "name": "two\nlines"}),
        ("GET", "secrets/canary", None),
        ("GET", "git-accounts/git.example.org", None),
        ("GET", "credentials", None),
    ]
    for method, path, body in tries:
        person.api(method, f"datalab/v1/{path}", json=body)
    person.api("PUT", "datalab/v1/secrets/third", content=json.dumps({"values": SECRET})[:-5])
    wrong = httpx.Client(base_url=datalab.url, follow_redirects=True, **DIRECT)
    wrong.get("/hub/login")
    mistyped = {
        "username": "alice",
        "password": SECRET,
        "_xsrf": wrong.cookies.get("_xsrf", path="/hub/") or "",
    }
    wrong.post("/hub/login", data=mistyped)
    values.add("secret", OWN)
    own = [{"name": "MY_OWN", "value": OWN, "secret": True}]
    person.launch({"vault": {"secret": ["canary"], "token": True}, "extraEnvVars": own})
    yield person
    person.end()


@pytest.fixture(scope="module")
def everything(datalab: Stack, alice: Person, values: Values) -> Values:
    """All values, those that were made meanwhile included, after each was used."""
    home = datalab.home
    token = alice.token()
    values.add("hub token", token)
    session = SessionClient(alice, token=token)
    text = session.python("import json, os; print(json.dumps(dict(os.environ)))")
    environment = json.loads(text)
    assert environment["MY_CANARY"] == SECRET
    assert environment["MY_OWN"] == OWN
    values.add("hub token", environment["JUPYTERHUB_API_TOKEN"])
    values.add("S3 keys", environment["AWS_SECRET_ACCESS_KEY"], environment["AWS_SESSION_TOKEN"])
    values.add("Vault token", environment["VAULT_TOKEN"])
    values.add("endpoint token", (home / "run/alice/default/endpoint.token").read_text())
    session.shell(
        'python -c \'import boto3; boto3.client("s3").put_object(Bucket="alice", Key="k", Body=b"b")\''
    )
    session.shell("aws s3 ls s3://alice/ && rclone lsf s3:alice && git ls-remote https://127.0.0.1:9/x; true")
    own = alice.with_token(token)
    assert own.get("/hub/api/datalab/v1/credentials", params={"session": "", "refresh": 1}).status_code == 200
    admin, kept = (json.loads((home / name).read_text()) for name in ("s3/admin.json", "s3/keys.json"))
    opened = json.loads((home / "vault/init.json").read_text())
    values.add("S3 admin key", admin["secret_key"])
    values.add("S3 signing key", *kept.values())
    values.add("Vault root token", opened["root_token"])
    values.add("Vault unseal key", opened["unseal_key"])
    values.add("proxy token", (home / "proxy-token").read_text())
    values.add("cookie secret", (home / "jupyterhub-cookie-secret").read_text())
    for key in (home / "state" / "keys").glob("*.pem"):
        values.add("issuer's key", *key.read_text().splitlines()[2:4])
    return values


def entitled(path: Path, home: Path) -> set[str]:
    inner = path.relative_to(home)
    for pattern, names in ENTITLED.items():
        if inner.match(pattern) or (pattern.endswith("/**") and str(inner).startswith(pattern[:-2])):
            return names
    return set()


def test_the_search_finds_what_is_there(everything: Values, datalab: Stack) -> None:
    """A search that finds nothing anywhere shows nothing."""
    for place, name in (
        ("run/alice/default/env.json", "secret"),
        ("run/alice/default/env.sh", "secret"),
        ("run/alice/default/document.json", "S3 keys"),
        ("run/alice/default/document.json", "Git token"),
        ("run/alice/default/document.json", "Vault token"),
        ("vault/init.json", "Vault root token"),
        ("s3/security.toml", "S3 signing key"),
        ("proxy-token", "proxy token"),
        ("demo-password", "password"),
    ):
        assert name in everything.found((datalab.home / place).read_bytes()), f"{name} not found in {place}"
    marked = f"x{SECRET}y"
    for text in (
        marked,
        json.dumps(marked),
        base64.b64encode(marked.encode()).decode(),
        str(httpx.QueryParams(a=marked)),
    ):
        assert "secret" in everything.found(text.encode()), "a form of the secret is not found"


def test_no_file_holds_a_value_but_those_made_for_it(everything: Values, datalab: Stack) -> None:
    found, open_ones, searched = [], [], 0
    for path in sorted(datalab.home.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        searched += 1
        allowed = entitled(path, datalab.home)
        found += [
            f"{name} in {path.relative_to(datalab.home)}"
            for name in everything.found(path.read_bytes(), but=allowed)
        ]
        if allowed and path.stat().st_mode & 0o077:
            open_ones.append(str(path.relative_to(datalab.home)))
    assert searched > 50
    assert found == []
    assert open_ones == []


def test_no_log_holds_a_value_at_debug_level(everything: Values, datalab: Stack) -> None:
    logs = datalab.logs()
    assert "[D " in logs["log/hub.log"], "the hub is not at debug level"
    assert re.search(r"debug\S*: PROXY ", logs["log/proxy.log"]), "the proxy is not at debug level"
    found = {name: hits for name, text in logs.items() if (hits := everything.found(text.encode()))}
    assert found == {}
    addresses = " ".join(re.findall(r"(?:GET|POST|PUT|DELETE|PATCH) (/\S*)", " ".join(logs.values())))
    assert "/hub/api/datalab/v1/credentials" in addresses
    assert everything.found(addresses.encode()) == set()


def test_no_command_line_holds_a_value_and_environments_only_their_own(
    everything: Values, datalab: Stack
) -> None:
    family = {one.pid for one in datalab.family()}
    found, seen = [], 0
    for one in psutil.process_iter():
        try:
            words = " ".join(one.cmdline())
            environment = Path(f"/proc/{one.pid}/environ").read_bytes()
        except (psutil.Error, OSError):
            continue
        found += [f"{name} in the command line of {one.name()}" for name in everything.found(words.encode())]
        if one.pid not in family:
            # This test's own process, and other people's: none of the stack's values but by the test's doing.
            continue
        seen += 1
        allowed = next((names for mark, names in ENTITLED_PROCESSES.items() if mark in words), set())
        if b"SARDONYX_RUN_ID=" in environment and b"JUPYTERHUB_USER=alice" in environment:
            allowed = SESSION
        found += [
            f"{name} in the environment of {words[:120]}"
            for name in everything.found(environment, but=allowed)
        ]
    assert seen >= 8
    assert found == []


def test_the_databases_hold_no_value_in_any_column(everything: Values, datalab: Stack, alice: Person) -> None:
    found, cells = [], 0
    for path in sorted(datalab.home.rglob("*.sqlite")):
        if "disks" in path.parts:
            continue
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            tables = [
                name for (name,) in database.execute("select name from sqlite_master where type = 'table'")
            ]
            for table in tables:
                for row in database.execute(f'select * from "{table}"'):
                    for cell in row:
                        cells += 1
                        data = cell if isinstance(cell, bytes) else str(cell).encode()
                        found += [f"{name} in {path.name}, table {table}" for name in everything.found(data)]
    assert cells > 100
    assert found == []
    answers = [
        alice.api("GET", path).content
        for path in ("users/alice?include_stopped_servers=1", "users/alice/tokens")
    ]
    assert everything.found(b"".join(answers)) == set()


def test_a_stopped_session_leaves_nothing(everything: Values, datalab: Stack, alice: Person) -> None:
    """Last in this file: what was in the run directory goes with the session."""
    alice.end()
    left = [path for path in (datalab.home / "run").rglob("*") if path.is_file()]
    found = [str(path.name) for path in left if everything.found(path.read_bytes())]
    assert found == []
    eventually(lambda: not any("bundle.json" in path.name for path in left), 1)
