"""Every port of a running datalab, sessions included, tried by somebody who knows no password.

A port that is not in :data:`OPEN` fails the test: whoever adds one says here what it may answer to strangers.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from session_client import SessionClient
from stack import DIRECT, Person, Stack, running_stack

#: Name of an object of alice's and, what nobody else is to see, its content; a secret has that too.
OBJECT = "an-object"
CONTENT = "nobody-else-reads-this"

#: Where something of use would be, were it not closed.
HUB_PATHS = (
    "/", "/hub/", "/hub/login", "/hub/home", "/hub/spawn", "/hub/admin", "/hub/token", "/hub/metrics", "/hub/health",
    "/hub/api", "/hub/api/", "/hub/api/info", "/hub/api/users", "/hub/api/users/alice", "/hub/api/groups",
    "/hub/api/proxy", "/hub/api/services", "/hub/api/user", "/hub/api/shutdown", "/hub/spawn-pending/alice",
    "/hub/user/alice/", "/hub/error/404", "/hub/static/js/admin-react.js", "/hub/logout", "/hub/oauth_login",
    "/hub/api/oauth2/authorize", "/hub/datalab/oidc/.well-known/openid-configuration", "/hub/datalab/oidc/jwks",
    "/hub/datalab/oidc/token", "/hub/api/datalab/v1/credentials", "/hub/api/datalab/v1/secrets",
    "/hub/api/datalab/v1/secrets/canary", "/hub/api/datalab/v1/git-accounts", "/hub/api/datalab/v1/catalogue",
)  # fmt: skip
JUPYTER_PATHS = (
    "", "lab", "tree", "login", "metrics", "api", "api/status", "api/me", "api/contents", "api/contents/work",
    "api/kernels", "api/terminals", "api/sessions", "api/kernelspecs", "files/work", "terminals/1", "nbconvert/html/x",
    "lab/api/settings", "lab/api/workspaces", "oauth_callback", "static/favicon.ico", "logout",
)  # fmt: skip
S3_PATHS = (
    "/", "/alice", "/alice?list-type=2", f"/alice/{OBJECT}", f"/alice/diffusion/{OBJECT}", "/shared?list-type=2",
    "/shared", "/healthz", "/status", "/metrics", "/debug/pprof/", "/?Action=ListUsers", "/buckets/alice/",
)  # fmt: skip
WEED_PATHS = (
    "/", "/buckets/", "/buckets/alice/", f"/buckets/alice/{OBJECT}", "/dir/status", "/dir/assign", "/vol/status",
    "/dir/lookup?volumeId=1", "/cluster/status", "/stats/health", "/ui/index.html", "/status", "/stats/counter",
    "/stats/disk", "/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/col/delete?collection=alice", "/healthz",
)  # fmt: skip
VAULT_PATHS = (
    "/", "/ui/", "/v1/sys/health", "/v1/sys/seal-status", "/v1/sys/leader", "/v1/sys/init", "/v1/sys/mounts",
    "/v1/sys/auth", "/v1/sys/policies/acl?list=true", "/v1/sys/metrics", "/v1/sys/metrics?format=prometheus",
    "/v1/sys/pprof/cmdline", "/v1/sys/host-info", "/v1/sys/config/state/sanitized", "/v1/sys/raw/?list=true",
    "/v1/sys/generate-root/attempt", "/v1/sys/rekey/init", "/v1/sys/storage/raft/snapshot",
    "/v1/sys/storage/raft/configuration", "/v1/sys/internal/ui/mounts", "/v1/sys/internal/specs/openapi",
    "/v1/onyxia-kv/metadata/?list=true", "/v1/onyxia-kv/metadata/alice?list=true", "/v1/onyxia-kv/data/alice/canary",
    "/v1/auth/jwt/config", "/v1/auth/jwt/role/datalab", "/v1/auth/token/lookup-self", "/v1/identity/entity/id?list=true",
    "/v1/identity/oidc/.well-known/keys", "/v1/sys/in-flight-req", "/v1/sys/replication/status",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """What listens somewhere, which addresses are tried there, and which of them may answer what to strangers."""

    paths: tuple[str, ...]
    answers: dict[str, str]
    prefix: str = ""


#: Path: pattern that the whole of what is answered (beside refusals) has to match.
HUB_ANSWERS = {
    "/hub/login": r"(?si)\s*<!DOCTYPE html>.*name=\"password\".*",
    "/hub/error/404": r"(?si)\s*<!DOCTYPE html>.*404.*",
    "/hub/health": "",
    "/hub/api": r'\{"version": "[\d.]+"\}',
    "/hub/api/": r'\{"version": "[\d.]+"\}',
    "/hub/static/js/admin-react.js": r"(?s).*",
    "/hub/datalab/oidc/.well-known/openid-configuration": r'(?s)\{.*"jwks_uri".*\}',
    # Public keys: no private member (d, p, q, ...) and nothing but RSA keys for signatures.
    "/hub/datalab/oidc/jwks": r'\{"keys": \[(\{("(kty|use|alg|kid|n|e)": "[\w-]+"(, )?){6}\}(, )?)+\]\}',
}
S3_ANSWERS = {
    # What somebody put into a folder for everybody is for everybody signed in, and not for strangers.
    "/healthz": "",
    "/status": "",
}
VAULT_ANSWERS = {
    # The protocol has these open: clients ask them before they can log in. Versions and states, no data.
    "/v1/sys/health": r'\{("[\w]+":("[^"]*"|\d+|true|false),?)+\}\s*',
    "/v1/sys/seal-status": r'(?s)\{.*"sealed":false.*\}\s*',
    "/v1/sys/leader": r'(?s)\{.*"is_self":true.*\}\s*',
    "/v1/sys/init": r'\{"initialized":true\}\s*',
    # Which mounts this token sees: without a token none.
    "/v1/sys/internal/ui/mounts": r'(?s)\{.*"data":\{"auth":\{\},"secret":\{\}\}.*\}\s*',
    # What paths the protocol has; of what is mounted here, nothing.
    "/v1/sys/internal/specs/openapi": r"(?s)\{.openapi.(?!.*onyxia-kv).*\}\s*",
    "/v1/identity/oidc/.well-known/keys": r"(?s)\{.*\"keys\":\[?(null)?\]?.*\}\s*",
}
JUPYTER_ANSWERS = {
    "api": r'\{"version": "[\d.]+"\}',
    "static/favicon.ico": r"(?s).*",
    "logout": r"(?s).*",
}
NOTHING: dict[str, str] = {}

OPEN = {
    "public": Place(HUB_PATHS, HUB_ANSWERS),
    "hub": Place(HUB_PATHS, HUB_ANSWERS),
    "proxy_api": Place(("/", "/api/routes", "/api/routes/", "/api/routes/user/alice", "/metrics"), NOTHING),
    "vault": Place(VAULT_PATHS, VAULT_ANSWERS),
    "vault_cluster": Place(("/", "/v1/sys/health"), NOTHING),
    "s3": Place(S3_PATHS, S3_ANSWERS),
    "s3_https": Place(S3_PATHS, S3_ANSWERS),
    "s3_grpc": Place(("/",), NOTHING),
    "master": Place(WEED_PATHS, NOTHING),
    "master_grpc": Place(("/",), NOTHING),
    "volume": Place(WEED_PATHS, NOTHING),
    "volume_grpc": Place(("/",), NOTHING),
    "filer": Place(WEED_PATHS, NOTHING),
    "filer_grpc": Place(("/",), NOTHING),
    "agent": Place(("/", "/credentials", "/status", "/refresh"), NOTHING),
    # ipykernel takes the output of a kernel's child processes there (ZeroMQ, PULL): it sends nothing, and drops what
    # does not begin with the kernel's own random id. All else of a kernel is in files of the sandbox.
    "kernel": Place(("/",), NOTHING),
    # A debugger would listen too (debugpy's adapter lets strangers run code): it has no name here and fails the test.
    "session": Place(JUPYTER_PATHS, JUPYTER_ANSWERS, prefix="/user/alice/"),
}


@pytest.fixture(scope="module")
def datalab(launched: tuple[Stack, SessionClient]) -> Stack:
    return launched[0]


@pytest.fixture(scope="module")
def launched(session_environment: Path) -> Iterator[tuple[Stack, SessionClient]]:
    """A datalab in which alice has a session, a secret, and an object, and has run a kernel and a terminal."""
    with running_stack() as running:
        alice = running.person("alice")
        written = alice.api("PUT", "datalab/v1/secrets/canary", json={"values": {"CANARY": CONTENT}})
        assert written.status_code == 200, written.text
        alice.launch({"vault": {"secret": ["canary"], "token": True}})
        client = SessionClient(alice)
        kernel, terminal = client.start_kernel(), client.start_terminal()
        code = (
            "import boto3; s3 = boto3.client('s3')\n"
            f"for key in ({OBJECT!r}, 'diffusion/' + {OBJECT!r}): s3.put_object(Bucket='alice', Key=key, Body=b'{CONTENT}')"
        )
        client.python(code, kernel=kernel)
        client.shell("echo up", terminal=terminal)
        yield running, client


def listeners(stack: Stack) -> dict[int, tuple[str, psutil.Process]]:
    """Return port -> (address, process) of every TCP socket that listens."""
    found = {}
    for one in stack.family():
        try:
            sockets = one.net_connections(kind="tcp")
        except psutil.Error:
            continue
        found |= {s.laddr.port: (s.laddr.ip, one) for s in sockets if s.status == psutil.CONN_LISTEN}
    return found


def names(stack: Stack) -> dict[int, str]:
    """Return port -> name: the settings' own, and those of sessions by what their process is."""
    ports = json.loads((stack.home / "settings.json").read_text())["ports"]
    known = {number: name for name, number in ports.pop("seaweedfs").items()}
    known |= {number: name for name, number in ports.items()} | {stack.port: "public"}
    for port, (_, process) in listeners(stack).items():
        command = " ".join(process.cmdline())
        if "sardonyx_session agent" in command:
            known[port] = "agent"
        elif "jupyterhub-singleuser" in command:
            known[port] = "session"
        elif "ipykernel_launcher" in command:
            known[port] = "kernel"
    return known


def test_every_port_is_known_and_on_loopback(datalab: Stack) -> None:
    found, known = listeners(datalab), names(datalab)
    assert len(found) >= 15
    elsewhere = {
        known.get(port, port): address for port, (address, _) in found.items() if address != "127.0.0.1"
    }
    assert elsewhere == {}
    unknown = {port: " ".join(one.cmdline())[:150] for port, (_, one) in found.items() if port not in known}
    assert unknown == {}, "say in OPEN what these may answer to strangers"
    assert sorted({known[port] for port in found} ^ OPEN.keys()) == []


def test_no_datagram_and_no_abstract_socket(datalab: Stack) -> None:
    pids = datalab.family()
    datagrams = [s.laddr for one in pids for s in one.net_connections(kind="udp") if s.laddr and not s.raddr]
    assert [address for address in datagrams if address.ip not in {"127.0.0.1", "::1"}] == []
    # A sandbox shares the network, abstract Unix sockets with it; those in files have their modes.
    unix = [s.laddr for one in pids for s in one.net_connections(kind="unix") if s.laddr]
    assert [address for address in unix if address.startswith(("@", "\0"))] == []
    files = [Path(address) for address in unix if address.startswith("/") and Path(address).exists()]
    assert [str(path) for path in files if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("name", sorted(OPEN))
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_strangers_get_nothing(datalab: Stack, name: str, scheme: str) -> None:
    place = OPEN[name]
    ports = [port for port, known in names(datalab).items() if known == name]
    assert ports
    useful = []
    for port in ports:
        base = f"{scheme}://127.0.0.1:{port}{place.prefix}"
        with httpx.Client(verify=False, timeout=5, trust_env=False, follow_redirects=False) as stranger:
            if not speaks(stranger, base):
                continue
            for path in place.paths:
                for method in ("GET", "POST", "DELETE") if path not in place.answers else ("GET",):
                    if (what := of_use(stranger, method, base + path, place.answers.get(path))) is not None:
                        useful.append(f"{method} {path}: {what}")
    assert not useful, "\n".join(useful)


def speaks(stranger: httpx.Client, base: str) -> bool:
    """Return whether a port answers to this scheme at all."""
    try:
        stranger.get(f"{base}/", timeout=2)
    except httpx.TransportError:
        return False
    return True


def of_use(stranger: httpx.Client, method: str, url: str, allowed: str | None) -> str | None:
    """Return what a stranger gets, in short, if it is more than a refusal or than `allowed`."""
    try:
        answer = stranger.request(method, url)
    except (httpx.TransportError, httpx.InvalidURL):
        return None  # not that protocol, or a certificate is asked for
    if CONTENT in answer.text:
        return f"{answer.status_code} with the content of an object or a secret"
    if answer.is_redirect:
        where = httpx.URL(url).join(answer.headers["Location"]).path
        inside = re.fullmatch(
            r"/hub/(login|logout|api/oauth2/authorize|home|datalab/catalogue|user/alice/.*)?|/user/alice/(lab|login|tree)?",
            where,
        )
        return None if inside else f"leads to {where}"
    if answer.status_code >= 400:
        # Reasons, yes; but no list, name of a person's thing or trace of code in them.
        return "a traceback" if "Traceback" in answer.text else None
    if allowed is not None and re.fullmatch(allowed, answer.text):
        return None
    return f"{answer.status_code} {answer.text[:200]!r}"


def test_openbao_takes_no_orders_from_strangers(datalab: Stack) -> None:
    """Who may start a new root token or a new key without a token can stop the operator's own, or use a stolen share."""
    port = next(port for port, name in names(datalab).items() if name == "vault")
    orders: list[tuple[str, str, dict[str, Any]]] = [
        ("PUT", "sys/generate-root/attempt", {}),
        ("PUT", "sys/rekey/init", {"secret_shares": 1, "secret_threshold": 1}),
        ("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}),
        ("PUT", "sys/seal", {}),
        ("PUT", "sys/step-down", {}),
        ("POST", "auth/jwt/login", {"role": "datalab", "jwt": "e30.e30.e30"}),
        ("POST", "sys/wrapping/unwrap", {"token": "nonsense"}),
    ]
    taken = []
    for method, path, body in orders:
        answer = httpx.request(method, f"http://127.0.0.1:{port}/v1/{path}", json=body, **DIRECT)
        if answer.status_code < 400:
            taken.append(f"{path}: {answer.status_code} {answer.text[:100]}")
    assert taken == []


# gRPC ----------------------------------------------------------------------------------------------------------------

#: filer_pb.SeaweedFiler/ListEntries {directory: "/buckets/alice"} and the like, as bytes of protocol buffers.
_LIST = b"\x0a\x0e/buckets/alice"
CALLS = {
    "filer_grpc": ("/filer_pb.SeaweedFiler/ListEntries", _LIST),
    "master_grpc": ("/master_pb.Seaweed/VolumeList", b""),
    "volume_grpc": ("/volume_server_pb.VolumeServer/VolumeServerStatus", b""),
    "s3_grpc": ("/messaging_pb.SeaweedS3IamCache/GetUsers", b""),
}


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame of HTTP/2 (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name: str, value: str) -> bytes:
    """Return a header field without indexing, both parts literal (RFC 7541, section 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def grpc_call(connection: socket.socket, path: str, message: bytes) -> bytes:
    """Send one gRPC request by hand; return the data of the answer, empty if there is none."""
    headers = {
        ":method": "POST", ":scheme": "https", ":path": path, ":authority": "127.0.0.1", "te": "trailers",
        "content-type": "application/grpc",
    }  # fmt: skip
    block = b"".join(_literal(name, value) for name, value in headers.items())
    body = b"\x00" + struct.pack(">I", len(message)) + message
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(4, 0, 0, b"")
        + _frame(1, 4, 1, block)
        + _frame(0, 1, 1, body)
    )
    data, seen = b"", b""
    while True:
        while len(seen) >= 9 and len(seen) >= 9 + (size := int.from_bytes(seen[:3])):
            kind, flags, payload, seen = seen[3], seen[4], seen[9 : 9 + size], seen[9 + size :]
            if kind == 0:
                data += payload
            if kind in {3, 7} or (kind == 1 and flags & 1):  # RST_STREAM, GOAWAY, trailers
                return data
        more = connection.recv(65536)
        if not more:
            return data
        seen += more


def ask_grpc(port: int, name: str, context: ssl.SSLContext | None) -> bytes:
    """Return what a gRPC port answers; empty if it does not speak with us."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            if context is None:
                return grpc_call(plain, *CALLS[name])
            with context.wrap_socket(plain, server_hostname="localhost") as wrapped:
                return grpc_call(wrapped, *CALLS[name])
    except OSError:
        return b""


def _tls(folder: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if folder is not None:
        context.load_cert_chain(folder / "part.pem", folder / "part-key.pem")
    return context


@pytest.mark.parametrize("name", sorted(CALLS))
def test_grpc_ports_ask_for_a_certificate(datalab: Stack, name: str) -> None:
    port = next(port for port, known in names(datalab).items() if known == name)
    assert ask_grpc(port, name, None) == b""
    assert ask_grpc(port, name, _tls(None)) == b""
    # A certificate of the CA that people trust is none here.
    wrong = _tls(None)
    wrong.load_cert_chain(datalab.home / "ca" / "s3.pem", datalab.home / "ca" / "s3-key.pem")
    assert ask_grpc(port, name, wrong) == b""


def test_the_same_call_with_a_certificate_is_answered(datalab: Stack) -> None:
    """Shows that the calls above are right, and fail for want of a certificate."""
    port = next(port for port, known in names(datalab).items() if known == "filer_grpc")
    assert OBJECT.encode() in ask_grpc(port, "filer_grpc", _tls(datalab.home / "s3" / "internal"))


def test_weeds_own_commands_get_nothing(datalab: Stack, tmp_path: Path) -> None:
    by_name = {name: port for port, name in names(datalab).items()}
    weed = str(Path(sys.executable).with_name("weed"))
    master = f"127.0.0.1:{by_name['master']}.{by_name['master_grpc']}"
    filer = f"127.0.0.1:{by_name['filer']}.{by_name['filer_grpc']}"
    for command, typed in (
        (["shell", f"-master={master}", f"-filer={filer}"], "fs.ls /buckets/alice\nvolume.list\n"),
        (["filer.cat", f"http://127.0.0.1:{by_name['filer']}/buckets/alice/{OBJECT}"], ""),
    ):
        # It tries for ever: what matters is what it prints meanwhile.
        with subprocess.Popen(
            [weed, *command], cwd=tmp_path, text=True, env={"HOME": str(tmp_path), "PATH": ""},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            try:
                printed, _ = process.communicate(typed, timeout=4)
            except subprocess.TimeoutExpired:
                process.kill()
                printed, _ = process.communicate()
        assert CONTENT not in printed
        assert f"{OBJECT}\n" not in printed.replace(f"/buckets/alice/{OBJECT}", "")
        assert "DataCenter" not in printed


def test_kernels_have_no_debugger(launched: tuple[Stack, SessionClient]) -> None:
    """JupyterLab offers it by the kernel's metadata; debugpy would let all who share the loopback run code in it."""
    _, client = launched
    specifications = client.http.get("api/kernelspecs").json()["kernelspecs"]
    assert specifications
    assert [name for name, one in specifications.items() if one["spec"]["metadata"].get("debugger")] == []


def test_a_session_cannot_use_another_sessions_endpoint(datalab: Stack) -> None:
    """The endpoint of the agent listens on the loopback that all sessions share: its token is what keeps it."""
    port = next(port for port, name in names(datalab).items() if name == "agent")
    bob: Person = datalab.person("bob")
    bob.launch()
    try:
        client = SessionClient(bob)
        shown = client.shell(
            f"curl -s -o /dev/null -w '%{{http_code}} ' http://127.0.0.1:{port}/credentials;"
            f"curl -s -o /dev/null -w '%{{http_code}}' -H \"Authorization: $(cat $AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)\""
            f" http://127.0.0.1:{port}/credentials"
        )
    finally:
        bob.end()
    assert shown.split() == ["401", "401"]
