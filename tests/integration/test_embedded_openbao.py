"""The embedded secrets server: unsealed by itself, configured anew at each start, one's own secrets only."""

import time
from collections.abc import Iterator
from pathlib import Path

import hvac
import psutil
import pytest
from credential_backends import served
from embedded_probe import listening
from hvac.exceptions import Forbidden, InvalidRequest

from sardonyx_hub.credentials.model import Subject
from sardonyx_hub.embedded.errors import StartError
from sardonyx_hub.embedded.openbao import MOUNT, ROLE, OpenBao
from sardonyx_hub.embedded.ports import free_ports
from sardonyx_hub.identity.issuer import Issuer


def make(directory: Path, issuer_url: str, jwks_url: str, ttl: int = 3600) -> OpenBao:
    port, cluster_port = free_ports(2)
    return OpenBao(
        directory, port, cluster_port=cluster_port, issuer_url=issuer_url, jwks_url=jwks_url, ttl=ttl
    )


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with served(tmp_path_factory.mktemp("keys")) as serving:
        yield serving


@pytest.fixture
def bao(tmp_path: Path, issuer: Issuer) -> Iterator[OpenBao]:
    server = make(tmp_path / "vault", issuer.url, f"{issuer.url}/jwks", ttl=120)
    begun = time.monotonic()
    server.start()
    print(f"\nOpenBao: first start {time.monotonic() - begun:.1f} s")
    yield server
    server.stop()


def login(bao: OpenBao, issuer: Issuer, handle: str, audience: str = "datalab-vault") -> hvac.Client:
    client = hvac.Client(url=bao.address, timeout=10)
    client.auth.jwt.jwt_login(role=ROLE, jwt=issuer.token(Subject(handle), audience))
    return client


def write(client: hvac.Client, path: str, **values: str) -> None:
    client.secrets.kv.v2.create_or_update_secret(path, values, mount_point=MOUNT)


def read(client: hvac.Client, path: str) -> dict[str, str]:
    answer = client.secrets.kv.v2.read_secret_version(path, mount_point=MOUNT, raise_on_deleted_version=True)
    return dict(answer["data"]["data"])


def test_ports_are_on_loopback_and_secrets_are_private(bao: OpenBao) -> None:
    assert bao.process.pid
    assert listening(bao.process.pid) == {bao.port: "127.0.0.1", bao.cluster_port: "127.0.0.1"}
    assert bao.init_file.stat().st_mode & 0o777 == 0o600
    words = " ".join(psutil.Process(bao.process.pid).cmdline())
    assert bao.client().token not in words
    assert bao.client().token not in (bao.directory / "bao.log").read_text()


def test_people_have_their_own_tree_and_nothing_beside(bao: OpenBao, issuer: Issuer) -> None:
    alice, bob = login(bao, issuer, "alice"), login(bao, issuer, "bob")
    write(alice, "alice/deep/secret", a="b")
    assert read(alice, "alice/deep/secret") == {"a": "b"}
    listed = alice.secrets.kv.v2.list_secrets("alice", mount_point=MOUNT)["data"]["keys"]
    assert listed == ["deep/"]
    for attempt in (
        lambda: read(bob, "alice/deep/secret"),
        lambda: write(bob, "alice/x", a="b"),
        lambda: write(bob, "bobby/x", a="b"),
        lambda: bob.secrets.kv.v2.list_secrets("alice", mount_point=MOUNT),
        lambda: bob.secrets.kv.v2.list_secrets("", mount_point=MOUNT),
        bob.sys.list_mounted_secrets_engines,
    ):
        with pytest.raises(Forbidden):
            attempt()


def test_a_token_lives_as_long_as_configured_and_ends_when_revoked(bao: OpenBao, issuer: Issuer) -> None:
    alice = login(bao, issuer, "alice")
    assert 110 <= alice.auth.token.lookup_self()["data"]["ttl"] <= 120
    alice.auth.token.revoke_self()
    with pytest.raises(Forbidden):
        alice.auth.token.lookup_self()


def test_a_token_for_another_backend_is_refused(bao: OpenBao, issuer: Issuer) -> None:
    with pytest.raises(InvalidRequest):
        login(bao, issuer, "alice", audience="datalab-s3")


def test_it_unseals_itself(bao: OpenBao, issuer: Issuer) -> None:
    bao.client().sys.seal()
    assert bao.sealed()
    assert bao.ensure_unsealed()
    assert not bao.ensure_unsealed()
    deadline = time.monotonic() + 10
    while not bao.healthy() and time.monotonic() < deadline:
        time.sleep(0.05)
    login(bao, issuer, "alice")


def test_a_changed_issuer_takes_effect_and_secrets_stay(bao: OpenBao, issuer: Issuer) -> None:
    write(login(bao, issuer, "alice"), "alice/x", a="b")
    bao.stop()
    # The keys cannot be fetched yet: the hub starts later.
    moved = make(bao.directory, "http://127.0.0.1:1/hub/datalab/oidc", "http://127.0.0.1:1/jwks")
    moved.start()
    try:
        with pytest.raises(hvac.exceptions.VaultError):
            login(moved, issuer, "alice")
    finally:
        moved.stop()
    begun = time.monotonic()
    bao.start()
    print(f"\nOpenBao: second start {time.monotonic() - begun:.1f} s")
    assert read(login(bao, issuer, "alice"), "alice/x") == {"a": "b"}


def test_a_kill_loses_nothing(bao: OpenBao, issuer: Issuer) -> None:
    write(login(bao, issuer, "alice"), "alice/x", a="b")
    bao.process.kill()
    bao.stop()
    bao.start()
    assert read(login(bao, issuer, "alice"), "alice/x") == {"a": "b"}


def test_an_end_in_the_middle_of_the_first_start_is_made_good(tmp_path: Path, issuer: Issuer) -> None:
    server = make(tmp_path / "vault", issuer.url, f"{issuer.url}/jwks")
    server.start()
    server.stop()
    server.init_file.unlink()
    (server.directory / "init.begun").touch()  # initialised, but the answer never arrived
    server.start()
    server.stop()


@pytest.mark.parametrize("content", [None, "{}", "damaged"])
def test_lost_keys_are_one_line_and_destroy_nothing(
    tmp_path: Path, issuer: Issuer, content: str | None
) -> None:
    server = make(tmp_path / "vault", issuer.url, f"{issuer.url}/jwks")
    server.start()
    server.stop()
    kept = server.init_file.read_text()
    if content is None:
        server.init_file.unlink()
    else:
        server.init_file.write_text(content)
    with pytest.raises(StartError, match=r"init\.json is missing or damaged; restore it from a backup"):
        server.start()
    assert not server.process.running
    server.init_file.write_text(kept)
    server.start()
    server.stop()
