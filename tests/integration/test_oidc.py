"""The hub as an issuer, before the real S3 and secrets servers: documents, rotation, theft, hostile names."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import hvac
import jwt
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from hvac.exceptions import VaultError
from stack import DIRECT
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from sardonyx_hub.credentials.model import Subject
from sardonyx_hub.credentials.secret_store import SecretStore
from sardonyx_hub.credentials.vault_client import VaultConfig
from sardonyx_hub.embedded.iam import ROLE_ARN
from sardonyx_hub.embedded.openbao import MOUNT, ROLE, OpenBao
from sardonyx_hub.embedded.ports import SeaweedPorts, free_ports
from sardonyx_hub.embedded.seaweedfs import REGION, SeaweedFS
from sardonyx_hub.identity.handlers import oidc_handlers
from sardonyx_hub.identity.handles import HandleRegistry
from sardonyx_hub.identity.issuer import Issuer
from sardonyx_hub.identity.keys import KeyRing

ALICE = Subject(handle="alice")


class Served:
    """The issuer's documents at an address, in a thread; its issuer can be exchanged."""

    def __init__(self) -> None:
        self.issuer: Issuer | None = None
        self.jwks_asked = 0
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def _serve(self, ready: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            handlers = [(f"/hub{path}", handler) for path, handler in oidc_handlers()]
            # As in a hub: XSRF cookies are on, which these handlers must not ask for.
            settings = {"sardonyx": self, "xsrf_cookies": True, "log_function": self._count}
            server = HTTPServer(Application(handlers, **settings))
            sock, self.port = bind_unused_port()
            server.add_socket(sock)
            ready.set()
            await self._stop.wait()
            server.stop()

        asyncio.run(main())

    def _count(self, handler: RequestHandler) -> None:
        self.jwks_asked += handler.request.path.endswith("/jwks")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hub/datalab/oidc"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@dataclass
class Backends:
    """The real servers, and the issuer that they trust."""

    served: Served
    keys: KeyRing
    issuer: Issuer
    weed: SeaweedFS
    bao: OpenBao
    secrets: SecretStore

    def s3_login(self, token: str) -> dict[str, Any]:
        """Exchange a token for S3 keys, as anybody who holds it can."""
        config = Config(signature_version=UNSIGNED, retries={"max_attempts": 1}, proxies={})
        sts = boto3.client("sts", endpoint_url=self.weed.endpoint_url, region_name=REGION, config=config)
        answer = sts.assume_role_with_web_identity(
            RoleArn=ROLE_ARN, RoleSessionName="somebody", WebIdentityToken=token
        )
        return dict(answer["Credentials"])

    def vault_login(self, token: str) -> str:
        """Exchange a token for a Vault token."""
        client = hvac.Client(self.bao.address, timeout=10)
        return str(client.auth.jwt.jwt_login(role=ROLE, jwt=token)["auth"]["client_token"])

    def accepted(self, s3_token: str, vault_token: str) -> tuple[bool, bool]:
        """Return whether S3 and Vault take these tokens now."""
        return _works(self.s3_login, s3_token), _works(self.vault_login, vault_token)

    def tokens(self) -> tuple[str, str]:
        return self.issuer.token(ALICE, "datalab-s3"), self.issuer.token(ALICE, "datalab-vault")


def _works(login: Any, token: str) -> bool:
    try:
        login(token)
    except (ClientError, VaultError):
        return False
    return True


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.close()


@pytest.fixture
def issuer(served: Served, tmp_path: Path) -> Issuer:
    served.issuer = Issuer(KeyRing(tmp_path / "keys"), served.url)
    return served.issuer


@pytest.fixture(scope="module")
def servers(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SeaweedFS, OpenBao]]:
    folder = tmp_path_factory.mktemp("servers")
    port, cluster_port = free_ports(2)
    where = {"issuer_url": served.url, "jwks_url": f"{served.url}/jwks"}
    weed = SeaweedFS(folder / "weed", SeaweedPorts.free(), **where)
    bao = OpenBao(folder / "bao", port, cluster_port=cluster_port, **where)
    try:
        weed.launch()
        bao.start()
        weed.wait_ready()
        yield weed, bao
    finally:
        weed.stop()
        bao.stop()


@pytest.fixture
def backends(served: Served, servers: tuple[SeaweedFS, OpenBao], tmp_path: Path) -> Backends:
    weed, bao = servers
    # Two seconds instead of an hour: both backends have the old key in their cache when the new one signs.
    keys = KeyRing(tmp_path / "keys", publish_seconds=2)
    issuer = served.issuer = Issuer(keys, served.url)
    admin = weed.admin_client()
    for bucket in ("alice", "bob"):
        if bucket not in {known["Name"] for known in admin.list_buckets()["Buckets"]}:
            admin.create_bucket(Bucket=bucket)
    return Backends(served, keys, issuer, weed, bao, SecretStore(VaultConfig(bao.address), issuer))


# Documents ----------------------------------------------------------------------------------------------


def test_a_client_finds_the_keys_and_verifies(issuer: Issuer, served: Served) -> None:
    discovery = httpx.get(f"{served.url}/.well-known/openid-configuration", **DIRECT).json()
    assert discovery["issuer"] == served.url
    key = jwt.PyJWKClient(discovery["jwks_uri"]).get_signing_key_from_jwt(issuer.token(ALICE, "datalab-s3"))
    claims = jwt.decode(
        issuer.token(ALICE, "datalab-s3"), key, ["RS256"], audience="datalab-s3", issuer=served.url
    )
    assert claims["sub"] == "alice"


@pytest.mark.parametrize("path", [".well-known/openid-configuration", "jwks"])
def test_documents_are_public_and_cacheable(issuer: Issuer, served: Served, path: str) -> None:
    with httpx.Client(**DIRECT) as client:
        answer = client.get(f"{served.url}/{path}")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("application/json")
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        assert "Set-Cookie" not in answer.headers
        assert '"d"' not in answer.text
        again = client.get(f"{served.url}/{path}", headers={"If-None-Match": answer.headers["Etag"]})
        assert again.status_code == 304
        assert client.head(f"{served.url}/{path}").status_code == 200
        for method in ("POST", "PUT", "DELETE"):
            assert client.request(method, f"{served.url}/{path}").status_code == 405


def test_no_cache_keeps_the_keys_longer_than_a_new_one_is_published(served: Served, tmp_path: Path) -> None:
    served.issuer = Issuer(KeyRing(tmp_path / "keys", publish_seconds=20), served.url)
    answer = httpx.get(f"{served.url}/jwks", **DIRECT)
    assert answer.headers["Cache-Control"] == "public, max-age=20"


# Rotation and theft -------------------------------------------------------------------------------------


def test_a_token_is_good_at_its_backend_only(backends: Backends) -> None:
    s3_token, vault_token = backends.tokens()
    assert backends.accepted(s3_token, vault_token) == (True, True)
    assert backends.accepted(vault_token, s3_token) == (False, False)


def test_nothing_fails_while_a_key_is_rotated(backends: Backends) -> None:
    old = backends.keys.signing_key()[0]
    before = backends.tokens()
    assert backends.accepted(*before) == (True, True)
    backends.keys.rotate()
    end = time.monotonic() + 4
    while time.monotonic() < end:
        assert backends.accepted(*backends.tokens()) == (True, True)
        assert backends.accepted(*before) == (True, True), "a token of the old key is good to its end"
        time.sleep(0.2)
    assert backends.keys.signing_key()[0] != old


def test_a_stolen_key_is_of_no_use_after_the_hubs_next_request(backends: Backends) -> None:
    backends.keys.rotate()
    time.sleep(2.1)
    stolen = backends.tokens()
    assert backends.accepted(*stolen) == (True, True)
    backends.keys.revoke(backends.keys.signing_key()[0])
    # The backends meet the new key's id, ask for the keys, and forget the old ones.
    assert backends.accepted(*backends.tokens()) == (True, True)
    assert backends.accepted(*stolen) == (False, False)


def test_backends_keep_the_keys(backends: Backends) -> None:
    assert backends.accepted(*backends.tokens()) == (True, True)
    asked = backends.served.jwks_asked
    for _ in range(5):
        assert backends.accepted(*backends.tokens()) == (True, True)
    assert backends.served.jwks_asked == asked


# Names --------------------------------------------------------------------------------------------------

HOSTILE = [
    "*",
    "bob*",
    "al?ce",
    "a/b",
    "..",
    "Alice",
    "a",
    "first.last@april.fr",
    "x" * 80,
    "${x}",
    "shared-data",
]


def test_hostile_names_reach_nothing_of_others(backends: Backends, tmp_path: Path) -> None:
    admin = backends.weed.admin_client()
    for bucket in ("alice", "bob", "shared-data"):
        if bucket == "shared-data":
            admin.create_bucket(Bucket=bucket)
        admin.put_object(Bucket=bucket, Key="private.txt", Body=b"not yours")
    for name in ("alice", "bob"):
        backends.secrets.write(Subject(handle=name), "private", {"KEY": "not yours"})

    registry = HandleRegistry(tmp_path / "handles.sqlite", ["shared-data"])
    assert registry.handle_for("alice", "first person") == "alice"
    people = [registry.handle_for(name) for name in HOSTILE]
    # A person deleted and made again, and another person of the same name.
    people.append(registry.handle_for("alice", "second person"))
    registry.retire("alice")
    people.append(registry.handle_for("alice", "third person"))
    assert len(set(people)) == len(people)

    for handle in people:
        assert reached(backends, Subject(handle=handle)) == []
    # What was tried works for whom it belongs to.
    own = ["read alice", "write alice", "list alice", "delete alice"]
    secrets = [f"{verb} secret of alice" for verb in ("read", "write", "delete")]
    assert reached(backends, ALICE) == own + secrets


def reached(backends: Backends, subject: Subject) -> list[str]:
    """Try everything on others' things as `subject`; return what worked."""
    given = backends.s3_login(backends.issuer.token(subject, "datalab-s3"))
    s3 = boto3.client(
        "s3",
        endpoint_url=backends.weed.endpoint_url,
        region_name=REGION,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, proxies={}),
    )
    worked = []
    for bucket in ("alice", "bob", "shared-data"):
        tries = {
            "read": lambda bucket=bucket: s3.get_object(Bucket=bucket, Key="private.txt"),
            "write": lambda bucket=bucket: s3.put_object(Bucket=bucket, Key="private.txt", Body=b"mine"),
            "list": lambda bucket=bucket: s3.list_objects_v2(Bucket=bucket),
            "delete": lambda bucket=bucket: s3.delete_object(Bucket=bucket, Key="private.txt"),
        }
        worked += [f"{verb} {bucket}" for verb, attempt in tries.items() if succeeds(attempt)]
    vault = hvac.Client(
        backends.bao.address,
        token=backends.vault_login(backends.issuer.token(subject, "datalab-vault")),
    ).secrets.kv.v2
    for name in ("alice", "bob"):
        mount = {"path": f"{name}/private", "mount_point": MOUNT}
        tries = {
            "read": lambda mount=mount: vault.read_secret_version(**mount, raise_on_deleted_version=True),
            "write": lambda mount=mount: vault.create_or_update_secret(**mount, secret={"KEY": "mine"}),
            "delete": lambda mount=mount: vault.delete_metadata_and_all_versions(**mount),
        }
        worked += [f"{verb} secret of {name}" for verb, attempt in tries.items() if succeeds(attempt)]
    return worked


def succeeds(attempt: Any) -> bool:
    try:
        attempt()
    except (ClientError, VaultError):
        return False
    return True
