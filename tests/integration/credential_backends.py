"""The real SeaweedFS and OpenBao for tests of credentials, with a small server for the issuer's keys."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from hvac.exceptions import Forbidden

from sardonyx_hub.credentials.git import GitAccounts, GitSource
from sardonyx_hub.credentials.model import Grant, S3Credentials, Subject, VaultCredentials
from sardonyx_hub.credentials.provision import BucketProvisioner, ProvisionConfig
from sardonyx_hub.credentials.s3 import S3Config, S3Source
from sardonyx_hub.credentials.s3_policy import SharedBucket, everyone_with
from sardonyx_hub.credentials.vault import SecretStore, VaultConfig, VaultSource
from sardonyx_hub.embedded import iam
from sardonyx_hub.embedded.openbao import OpenBao
from sardonyx_hub.embedded.ports import SeaweedPorts, free_ports
from sardonyx_hub.embedded.seaweedfs import SeaweedFS
from sardonyx_hub.identity.issuer import Issuer
from sardonyx_hub.identity.keys import KeyRing

# Its data files take 0.1 s to load.
_SESSION = botocore.session.Session()
SHARED = (SharedBucket("commons"), SharedBucket("lab-data", read=("alice",), write=("bob",)))


@dataclass
class Backends:
    """Both servers, and our parts on top of them."""

    seaweedfs: SeaweedFS
    openbao: OpenBao
    issuer: Issuer
    s3_config: S3Config
    vault_config: VaultConfig
    provisioner: BucketProvisioner
    s3: S3Source
    vault: VaultSource
    secrets: SecretStore
    git_accounts: GitAccounts
    git: GitSource

    def s3_client(self, credentials: S3Credentials) -> Any:
        """Return an S3 client as a session has it."""
        return client(
            self.seaweedfs.endpoint_url,
            credentials.access_key_id,
            credentials.secret_access_key,
            credentials.session_token,
        )

    def s3_of(self, handle: str, **grant: Any) -> Any:
        """Return an S3 client of a session of `handle`."""
        return self.s3_client(self.s3.fetch(Subject(handle), Grant("test", **grant)))

    def token_works(self, given: VaultCredentials) -> bool:
        client = self.openbao.client()
        client.token = given.token
        try:
            client.auth.token.lookup_self()
        except Forbidden:
            return False
        return True

    def admin(self) -> Any:
        """Return an S3 client that may do everything."""
        return self.seaweedfs.admin_client()


def client(endpoint_url: str, access_key: str, secret_key: str, token: str | None) -> Any:
    """Return a botocore S3 client that tries once."""
    return _SESSION.create_client(
        "s3",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=token,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=20,
            proxies={},
        ),
    )


@contextlib.contextmanager
def served(directory: Path) -> Iterator[Issuer]:
    """Serve an issuer's discovery document and keys on a loopback port."""
    issuer: Issuer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(issuer.jwks() if self.path.endswith("/jwks") else issuer.discovery()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(KeyRing(directory), f"http://127.0.0.1:{server.server_port}/hub/datalab/oidc")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Backends]:
    """Start both servers in a fresh folder, end them afterwards."""
    with contextlib.ExitStack() as stack:
        issuer = stack.enter_context(served(directory / "keys"))
        jwks_url = f"{issuer.url}/jwks"
        seaweedfs = SeaweedFS(
            directory / "s3",
            SeaweedPorts.free(),
            issuer_url=issuer.url,
            jwks_url=jwks_url,
            shared_buckets=SHARED,
        )
        port, cluster_port = free_ports(2)
        openbao = OpenBao(
            directory / "bao", port, cluster_port=cluster_port, jwks_url=jwks_url, issuer_url=issuer.url
        )
        stack.callback(seaweedfs.stop)
        stack.callback(openbao.stop)
        seaweedfs.launch()
        openbao.launch()
        seaweedfs.wait_ready()
        openbao.wait_ready()
        yield _on_top(seaweedfs, openbao, issuer)


def _on_top(seaweedfs: SeaweedFS, openbao: OpenBao, issuer: Issuer) -> Backends:
    keys = json.loads(seaweedfs.admin_keys_file.read_text())
    s3_config = S3Config(
        seaweedfs.endpoint_url,
        role_arn=iam.ROLE_ARN,
        shared_buckets=SHARED,
        timeout=10,
        read_timeout=8,
    )
    provisioner = BucketProvisioner(
        ProvisionConfig(
            seaweedfs.endpoint_url,
            keys["access_key"],
            keys["secret_key"],
            diffusion_principal=everyone_with(iam.ROLE_ARN),
            shared_buckets=tuple(bucket.name for bucket in SHARED),
            read_timeout=8,
        )
    )
    vault_config = VaultConfig(openbao.address, timeout=10, read_timeout=8)
    secrets = SecretStore(vault_config, issuer)
    accounts = GitAccounts(secrets)
    return Backends(
        seaweedfs=seaweedfs,
        openbao=openbao,
        issuer=issuer,
        s3_config=s3_config,
        vault_config=vault_config,
        provisioner=provisioner,
        s3=S3Source(s3_config, issuer, provisioner),
        vault=VaultSource(vault_config, issuer),
        secrets=secrets,
        git_accounts=accounts,
        git=GitSource(accounts),
    )


def changed(config: Any, **changes: Any) -> Any:
    """Return a configuration with other values."""
    return replace(config, **changes)
