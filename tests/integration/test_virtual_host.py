"""S3 by virtual hosts (``bucket.endpoint``): bucket, keys, policies and the client's address, against the real SeaweedFS."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from credential_backends import served

from sardonyx_hub.credentials.model import Grant, Subject
from sardonyx_hub.credentials.provision import BucketProvisioner, ProvisionConfig
from sardonyx_hub.credentials.s3 import S3Config, S3Source
from sardonyx_hub.credentials.s3_policy import everyone_with
from sardonyx_hub.embedded import iam
from sardonyx_hub.embedded.ports import SeaweedPorts
from sardonyx_hub.embedded.seaweedfs import SeaweedFS

DOMAIN = "s3.sardonyx.test"


class VirtualHosts(SeaweedFS):
    """SeaweedFS that knows its own name, so that it finds the bucket in the name of the host."""

    def _command(self, program: str) -> list[str]:
        return [*super()._command(program), f"-s3.domainName={DOMAIN}"]


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """The names of hosts that were looked up."""
    return []


@pytest.fixture(scope="module", autouse=True)
def names(asked: list[str]) -> Iterator[None]:
    """Let the domain and everything below it be this machine, as a wildcard in DNS would."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        if isinstance(host, str) and (host == DOMAIN or host.endswith(f".{DOMAIN}")):
            asked.append(host)
            host = "127.0.0.1"
        return real(host, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, names: None) -> Iterator[S3Source]:
    directory: Path = tmp_path_factory.mktemp("virtual-host")
    with served(directory / "keys") as issuer:
        seaweedfs = VirtualHosts(
            directory / "s3", SeaweedPorts.free(), issuer_url=issuer.url, jwks_url=f"{issuer.url}/jwks"
        )
        try:
            seaweedfs.start()
            url = f"http://{DOMAIN}:{seaweedfs.ports.s3}"
            keys = json.loads(seaweedfs.admin_keys_file.read_text())
            provisioner = BucketProvisioner(
                ProvisionConfig(
                    url,
                    keys["access_key"],
                    keys["secret_key"],
                    path_style=False,
                    diffusion_principal=everyone_with(iam.ROLE_ARN),
                )
            )
            yield S3Source(S3Config(url, role_arn=iam.ROLE_ARN, path_style=False), issuer, provisioner)
        finally:
            seaweedfs.stop()


def client(source: S3Source, handle: str, **grant: Any) -> Any:
    """Return an S3 client as a session's configuration describes it."""
    credentials = source.fetch(Subject(handle), Grant("test", **grant))
    assert not credentials.path_style
    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=credentials.endpoint_url,
        region_name=credentials.region,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        config=Config(s3={"addressing_style": "virtual"}, retries={"total_max_attempts": 1}, proxies={}),
    )


def test_a_bucket_is_made_and_used_by_its_own_host_name(source: S3Source, asked: list[str]) -> None:
    s3 = client(source, "alice")
    s3.put_object(Bucket="alice", Key="a b/+é.csv", Body=b"1")
    assert s3.get_object(Bucket="alice", Key="a b/+é.csv")["Body"].read() == b"1"
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="alice")["Contents"]] == ["a b/+é.csv"]
    assert f"alice.{DOMAIN}" in asked


def test_what_is_somebody_elses_stays_so_and_diffusion_is_for_all(source: S3Source) -> None:
    alice, bob = client(source, "alice"), client(source, "bob")
    alice.put_object(Bucket="alice", Key="private.csv", Body=b"1")
    alice.put_object(Bucket="alice", Key="diffusion/open.csv", Body=b"2")
    assert bob.get_object(Bucket="alice", Key="diffusion/open.csv")["Body"].read() == b"2"
    for refused in (
        lambda: bob.get_object(Bucket="alice", Key="private.csv"),
        lambda: bob.put_object(Bucket="alice", Key="diffusion/mine.csv", Body=b"3"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()


def test_read_only_is_real(source: S3Source) -> None:
    reader = client(source, "alice", s3="read-only")
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.put_object(Bucket="alice", Key="x", Body=b"1")
