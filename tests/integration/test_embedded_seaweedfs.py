"""The embedded S3 server: closed ports, own buckets, short lives, fast and safe ends."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from credential_backends import client, served
from embedded_probe import listening, speaks

from sardonyx_hub.credentials.model import Subject
from sardonyx_hub.credentials.s3_policy import SharedBucket
from sardonyx_hub.embedded.ca import CertificateAuthority
from sardonyx_hub.embedded.iam import ROLE_ARN
from sardonyx_hub.embedded.ports import SeaweedPorts
from sardonyx_hub.embedded.seaweedfs import SeaweedFS
from sardonyx_hub.identity.issuer import Issuer

PATHS = (
    "/",
    "/status",
    "/dir/status",
    "/dir/assign",
    "/vol/status",
    "/ui/index.html",
    "/metrics",
    "/buckets/",
)
SHARED = (SharedBucket("commons"), SharedBucket("lab-data", read=("@stats",), write=("alice",)))


def make(directory: Path, issuer: Issuer, ttl: int = 3600) -> SeaweedFS:
    return SeaweedFS(
        directory / "s3",
        SeaweedPorts.free(),
        issuer_url=issuer.url,
        jwks_url=f"{issuer.url}/jwks",
        ttl=ttl,
        tls=CertificateAuthority(directory / "ca").issue("s3"),
        shared_buckets=SHARED,
    )


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with served(tmp_path_factory.mktemp("keys")) as serving:
        yield serving


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[SeaweedFS]:
    server = make(tmp_path_factory.mktemp("weed"), issuer)
    begun = time.monotonic()
    server.start()
    print(f"\nSeaweedFS: first start {time.monotonic() - begun:.1f} s")
    yield server
    server.stop()


def credentials(weed: SeaweedFS, issuer: Issuer, handle: str, *groups: str, **request: Any) -> dict[str, Any]:
    sts = boto3.client(
        "sts",
        endpoint_url=weed.endpoint_url,
        region_name="us-east-1",
        config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}, proxies={}),
    )
    token = issuer.token(Subject(handle, groups=groups), request.pop("audience", "datalab-s3"))
    answer = sts.assume_role_with_web_identity(
        RoleArn=ROLE_ARN, RoleSessionName=handle, WebIdentityToken=token, **request
    )
    return dict(answer["Credentials"])


def person(weed: SeaweedFS, issuer: Issuer, handle: str, *groups: str) -> Any:
    keys = credentials(weed, issuer, handle, *groups)
    return client(weed.endpoint_url, keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def code(call: Any, **arguments: Any) -> str:
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def test_every_port_is_on_loopback_and_ours(weed: SeaweedFS) -> None:
    assert weed.process.pid
    open_ports = listening(weed.process.pid)
    assert set(open_ports.values()) == {"127.0.0.1"}
    assert set(open_ports) == set(asdict(weed.ports).values())


@pytest.mark.parametrize(
    "name", [name for name in asdict(SeaweedPorts.free()) if name not in {"s3", "s3_https"}]
)
def test_internal_ports_answer_nobody_without_our_certificate(weed: SeaweedFS, name: str) -> None:
    port = asdict(weed.ports)[name]
    assert speaks(port, paths=PATHS) == []
    internal = weed.directory / "internal"
    with_certificate = speaks(
        port, paths=["/"], certificate=(internal / "part.pem", internal / "part-key.pem")
    )
    # Else the test above would pass for a port that answers nobody at all.
    if "grpc" in name:
        assert with_certificate == ["h2"]


def test_the_ca_of_sessions_opens_no_internal_port(weed: SeaweedFS) -> None:
    pair = CertificateAuthority(weed.directory.parent / "ca").issue("other", client=True)
    assert speaks(weed.ports.filer_grpc, paths=PATHS, certificate=(pair.certificate, pair.key)) == []


def test_s3_says_nothing_to_strangers(weed: SeaweedFS) -> None:
    for port in (weed.ports.s3, weed.ports.s3_https):
        # An empty "200 OK" at /status, for load balancers, is all there is.
        assert set(speaks(port, paths=PATHS)) <= {"http /status", "https /status", "h2"}


def test_own_bucket_shared_buckets_and_nobody_elses(weed: SeaweedFS, issuer: Issuer) -> None:
    admin = weed.admin_client()
    for bucket in ("alice", "bob"):
        admin.create_bucket(Bucket=bucket)
    alice, bob = person(weed, issuer, "alice"), person(weed, issuer, "bob", "stats")
    assert code(alice.put_object, Bucket="alice", Key="private/diffusion/x", Body=b"1") == "ok"
    assert code(alice.list_objects_v2, Bucket="alice") == "ok"
    assert code(alice.delete_bucket, Bucket="alice") == "AccessDenied"
    assert code(bob.get_object, Bucket="alice", Key="private/diffusion/x") == "AccessDenied"
    assert code(bob.put_object, Bucket="alice", Key="y", Body=b"") == "AccessDenied"
    assert code(bob.list_objects_v2, Bucket="alice") == "AccessDenied"
    assert code(alice.put_object, Bucket="lab-data", Key="x", Body=b"") == "ok"
    assert code(bob.get_object, Bucket="lab-data", Key="x") == "ok"
    assert code(bob.put_object, Bucket="lab-data", Key="x", Body=b"") == "AccessDenied"
    assert code(person(weed, issuer, "carol").get_object, Bucket="lab-data", Key="x") == "AccessDenied"
    assert code(bob.list_objects_v2, Bucket="commons") == "ok"
    assert code(bob.put_object, Bucket="commons", Key="x", Body=b"") == "AccessDenied"


def test_a_token_for_another_backend_is_refused(weed: SeaweedFS, issuer: Issuer) -> None:
    with pytest.raises(ClientError):
        credentials(weed, issuer, "alice", audience="datalab-vault")


def test_https_is_trusted_by_our_ca(weed: SeaweedFS, issuer: Issuer) -> None:
    keys = credentials(weed, issuer, "dora")
    over_tls = boto3.client(
        "s3",
        endpoint_url=weed.https_endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
        verify=str(weed.directory.parent / "ca" / "ca.pem"),
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, proxies={}),
    )
    assert code(over_tls.list_objects_v2, Bucket="commons") == "ok"


def test_fifty_buckets_take_no_space_in_advance(weed: SeaweedFS) -> None:
    admin = weed.admin_client()
    for number in range(50):
        admin.create_bucket(Bucket=f"bucket-{number}")
        admin.put_object(Bucket=f"bucket-{number}", Key="x", Body=b"x" * 1000)
    used = sum(path.stat().st_size for path in (weed.directory / "data").rglob("*") if path.is_file())
    assert used < 50 << 20


def test_keys_in_files_are_private_and_not_in_the_command_line(weed: SeaweedFS) -> None:
    assert weed.process.pid
    words = " ".join(psutil.Process(weed.process.pid).cmdline())
    for name in ("admin.json", "keys.json", "identities.json", "iam.json", "security.toml"):
        path = weed.directory / name
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert weed.admin_keys_file.read_text().split('"')[3] not in words
    assert weed.directory.stat().st_mode & 0o777 == 0o700


def test_a_short_life_is_the_longest(tmp_path: Path, issuer: Issuer) -> None:
    server = make(tmp_path, issuer, ttl=20)
    server.start()
    try:
        issued = time.time()
        for request in ({}, {"DurationSeconds": 900}):
            life = credentials(server, issuer, "alice", **request)["Expiration"].timestamp() - issued
            assert 18 <= life <= 22
    finally:
        server.stop()


def test_keys_and_sessions_survive_a_restart_that_is_fast(weed: SeaweedFS, issuer: Issuer) -> None:
    keys = weed.admin_keys_file.read_text()
    weed.admin_client().create_bucket(Bucket="erin")
    erin = person(weed, issuer, "erin")
    assert code(erin.put_object, Bucket="erin", Key="x", Body=b"kept") == "ok"
    begun = time.monotonic()
    weed.stop()
    stopped = time.monotonic() - begun
    weed.start()
    started = time.monotonic() - begun - stopped
    print(f"\nSeaweedFS: stop {stopped:.2f} s, second start {started:.1f} s")
    assert stopped < 5
    assert started < 20
    assert weed.admin_keys_file.read_text() == keys
    assert erin.get_object(Bucket="erin", Key="x")["Body"].read() == b"kept"


def test_other_ports_on_the_same_data(weed: SeaweedFS) -> None:
    admin = weed.admin_client()
    admin.create_bucket(Bucket="moved")
    admin.put_object(Bucket="moved", Key="x", Body=b"kept")
    weed.stop()
    weed.ports = SeaweedPorts.free()
    weed.start()
    assert weed.admin_client().get_object(Bucket="moved", Key="x")["Body"].read() == b"kept"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_acknowledged_object_is_lost(weed: SeaweedFS, end: str) -> None:
    bucket = f"acknowledged-{end}"
    weed.admin_client().create_bucket(Bucket=bucket)
    acknowledged: dict[str, str] = {}
    ended = threading.Event()

    def write(number: int) -> None:
        s3 = weed.admin_client()
        for count in range(10_000):
            if ended.is_set():
                return
            body = os.urandom((6 << 20) if count % 10 == 9 else 2000)
            try:
                s3.put_object(Bucket=bucket, Key=f"{number}/{count}", Body=body)
            except (ClientError, BotoCoreError):
                return
            acknowledged[f"{number}/{count}"] = hashlib.sha256(body).hexdigest()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    time.sleep(3)
    if end == "kill":
        weed.process.kill()
    weed.stop()
    ended.set()
    for writer in writers:
        writer.join()
    weed.start()
    s3 = weed.admin_client()
    assert len(acknowledged) > 20
    for key, digest in acknowledged.items():
        assert hashlib.sha256(s3.get_object(Bucket=bucket, Key=key)["Body"].read()).hexdigest() == digest
    assert code(s3.put_object, Bucket=bucket, Key="after", Body=b"x") == "ok"
