"""The sources of credentials against the real SeaweedFS and OpenBao, in good times and bad."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from credential_backends import Backends, changed, running
from hvac import exceptions as vault

from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.errors import SecretConflictError, SourceError
from sardonyx_hub.credentials.model import GitAccount, Grant, Subject, VaultCredentials
from sardonyx_hub.credentials.provision import OWNER_TAG, BucketProvisioner
from sardonyx_hub.credentials.s3 import S3Source
from sardonyx_hub.credentials.s3_policy import SharedBucket
from sardonyx_hub.credentials.secret_store import SecretStore
from sardonyx_hub.credentials.vault import VaultSource

ALICE = Subject("alice")


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    with running(tmp_path_factory.mktemp("sources")) as started:
        yield started


@pytest.fixture
def black_hole() -> Iterator[str]:
    """URL of a server that takes connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    """URL on which nothing listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def web_server(body: bytes) -> Iterator[str]:
    """Serve `body` to every request; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def life(value: Any) -> float:
    return float((value.expiration - value.issued_at).total_seconds())


# S3 ---------------------------------------------------------------------------------------------


def test_keys_reach_a_bucket_that_is_made_before_them(backends):
    credentials = backends.s3.fetch(Subject("newcomer"), Grant("s"))
    assert credentials.bucket == "newcomer"
    assert credentials.problems == ()
    assert 3590 < life(credentials) <= 3601
    s3 = backends.s3_client(credentials)
    s3.put_object(Bucket="newcomer", Key="a/b.csv", Body=b"1")
    s3.copy_object(Bucket="newcomer", Key="c.csv", CopySource="newcomer/a/b.csv")
    upload = s3.create_multipart_upload(Bucket="newcomer", Key="big")["UploadId"]
    part = s3.upload_part(Bucket="newcomer", Key="big", UploadId=upload, PartNumber=1, Body=b"x" * 1000)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    assert len(s3.list_parts(Bucket="newcomer", Key="big", UploadId=upload)["Parts"]) == 1
    s3.complete_multipart_upload(Bucket="newcomer", Key="big", UploadId=upload, MultipartUpload=parts)
    s3.put_object_tagging(Bucket="newcomer", Key="big", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.delete_objects(Bucket="newcomer", Delete={"Objects": [{"Key": "c.csv"}]})
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="newcomer")["Contents"]] == ["a/b.csv", "big"]


@pytest.mark.parametrize(("duration", "seconds"), [(None, 3600), (60, 3600), (900, 900), (7200, 7200)])
def test_the_life_that_is_asked_for(backends, duration, seconds):
    source = S3Source(changed(backends.s3_config, duration=duration), backends.issuer)
    assert seconds - 10 < life(source.fetch(ALICE, Grant("s"))) <= seconds + 1


def test_where_sessions_see_s3(backends):
    config = changed(
        backends.s3_config, public_endpoint_url="https://s3.example.org", region="fr", path_style=False
    )
    credentials = S3Source(config, backends.issuer).fetch(ALICE, Grant("s", s3="read-only"))
    assert (credentials.endpoint_url, credentials.region) == ("https://s3.example.org", "fr")
    assert (credentials.path_style, credentials.access) == (False, "read-only")


def test_sts_has_an_address_of_its_own(backends, nobody):
    config = changed(
        backends.s3_config, endpoint_url=nobody, sts_endpoint_url=backends.seaweedfs.endpoint_url
    )
    assert S3Source(config, backends.issuer).fetch(ALICE, Grant("s")).endpoint_url == nobody


def test_nothing_of_the_hubs_environment_is_believed(backends, nobody, monkeypatch, tmp_path):
    broken = tmp_path / "config"
    broken.write_text("[profile\nnonsense")
    for name, value in {
        "AWS_PROFILE": "missing",
        "AWS_CONFIG_FILE": str(broken),
        "AWS_SHARED_CREDENTIALS_FILE": str(broken),
        "AWS_ENDPOINT_URL": nobody,
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_CA_BUNDLE": "/nowhere",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_RETRY_MODE": "nonsense",
        "HTTP_PROXY": nobody,
        "http_proxy": nobody,
        "ALL_PROXY": nobody,
        "NO_PROXY": "",
        "VAULT_TOKEN": "hvs.other",
        "VAULT_ADDR": nobody,
        "VAULT_NAMESPACE": "other",
        "VAULT_CLIENT_CERT": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    assert S3Source(backends.s3_config, backends.issuer).fetch(ALICE, Grant("s")).access_key_id
    assert (
        VaultSource(backends.vault_config, backends.issuer).fetch(ALICE, Grant("s", vault_token=True)).token
    )
    assert SecretStore(backends.vault_config, backends.issuer).list(ALICE) == []
    backends.provisioner.ensure("environment")


def test_s3_that_is_not_there(backends, nobody):
    with pytest.raises(SourceError, match="S3 storage cannot be reached") as caught:
        S3Source(changed(backends.s3_config, endpoint_url=nobody), backends.issuer).fetch(ALICE, Grant("s"))
    assert caught.value.code == "unreachable"


def test_s3_that_hangs(backends, black_hole):
    config = changed(backends.s3_config, endpoint_url=black_hole, read_timeout=0.5)
    start = time.monotonic()
    with pytest.raises(SourceError, match="did not answer in time") as caught:
        S3Source(config, backends.issuer).fetch(ALICE, Grant("s"))
    assert caught.value.code == "timeout"
    assert time.monotonic() - start < 2


def test_a_refusal_names_what_to_check_and_no_token(backends):
    tokens = []

    class Spy:
        def token(self, subject: Subject, audience: str) -> str:
            tokens.append(backends.issuer.token(subject, audience))
            return str(tokens[-1])

    for changes in ({"audience": "other"}, {"role_arn": "arn:aws:iam::role/missing"}):
        with pytest.raises(SourceError, match="S3 storage refused the hub's token") as caught:
            S3Source(changed(backends.s3_config, **changes), Spy()).fetch(ALICE, Grant("s"))
        assert caught.value.code == "denied"
        assert tokens[-1] not in str(caught.value)
        assert tokens[-1].split(".")[2] not in str(caught.value)


@pytest.mark.parametrize("minutes", [-30, -2, 2, 30])
def test_clocks_that_differ_are_told_and_the_end_is_right_on_the_hubs_clock(backends, minutes):
    wrong = timedelta(minutes=minutes)
    source = S3Source(backends.s3_config, backends.issuer, clock=lambda: datetime.now(UTC) + wrong)
    credentials = source.fetch(ALICE, Grant("s"))
    assert 3590 < life(credentials) <= 3601
    assert abs(credentials.issued_at - datetime.now(UTC) - wrong) < timedelta(seconds=10)
    side = "ahead of" if minutes < 0 else "behind"
    assert f"{abs(minutes)} min {side} the hub's" in credentials.problems[0].message


def test_shared_buckets_for_which_the_policy_has_no_room_are_named(backends):
    many = tuple(SharedBucket(f"shared-bucket-number-{number}") for number in range(40))
    source = S3Source(changed(backends.s3_config, shared_buckets=many), backends.issuer)
    credentials = source.fetch(ALICE, Grant("s"))
    assert "shared-bucket-number-39" in credentials.problems[0].message
    assert "shared-bucket-number-0," not in credentials.problems[0].message


# Buckets ----------------------------------------------------------------------------------------


def test_a_bucket_is_made_once_by_many_at_once(backends):
    provisioners = [BucketProvisioner(backends.provisioner.config) for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda n: provisioners[n % 3].ensure("crowd"), range(12)))
    admin = backends.admin()
    assert admin.get_bucket_tagging(Bucket="crowd")["TagSet"] == [{"Key": OWNER_TAG, "Value": "crowd"}]
    assert len(backends.admin().get_bucket_policy(Bucket="crowd")["Policy"]) > 100


def test_a_bucket_that_somebody_made_for_something_else_is_not_given(backends):
    admin = backends.admin()
    admin.create_bucket(Bucket="archive")
    admin.put_object(Bucket="archive", Key="confidential", Body=b"x")
    with pytest.raises(SourceError, match="archive exists already") as caught:
        backends.s3.fetch(Subject("archive"), Grant("s"))
    assert caught.value.code == "invalid"
    adopting = BucketProvisioner(changed(backends.provisioner.config, adopt=True))
    adopting.ensure("archive")
    assert backends.s3_of("archive").list_objects_v2(Bucket="archive")["KeyCount"] == 1


def test_a_bucket_of_which_the_tag_names_another_is_not_given_even_if_it_is_empty(backends):
    admin = backends.admin()
    admin.create_bucket(Bucket="taken")
    tags = {"TagSet": [{"Key": OWNER_TAG, "Value": "somebody-else"}]}
    admin.put_bucket_tagging(Bucket="taken", Tagging=tags)
    for adopt in (False, True):
        with pytest.raises(SourceError, match="taken exists already"):
            BucketProvisioner(changed(backends.provisioner.config, adopt=adopt)).ensure("taken")


def test_a_hub_that_died_between_making_and_marking_a_bucket(backends):
    backends.admin().create_bucket(Bucket="halfway")
    backends.provisioner.ensure("halfway")
    assert backends.s3_of("halfway").list_objects_v2(Bucket="halfway")["KeyCount"] == 0


def test_a_shared_bucket_is_nobodys(backends):
    with pytest.raises(SourceError):
        backends.provisioner.ensure("commons")
    backends.provisioner.ensure_shared("commons")
    with pytest.raises(SourceError):
        backends.provisioner.ensure_shared("alice")


def test_the_policy_that_an_operator_added_is_kept(backends):
    backends.provisioner.ensure("policies")
    admin = backends.admin()
    statement = (
        '{"Sid":"Theirs","Effect":"Allow","Principal":"*","Action":["s3:GetObject"],'
        '"Resource":["arn:aws:s3:::policies/site/*"]}'
    )
    admin.put_bucket_policy(
        Bucket="policies", Policy='{"Version":"2012-10-17","Statement":[' + statement + "]}"
    )
    BucketProvisioner(backends.provisioner.config).ensure("policies")
    policy = admin.get_bucket_policy(Bucket="policies")["Policy"]
    assert '"Theirs"' in policy
    assert "SardonyxDiffusionRead" in policy


# Vault ------------------------------------------------------------------------------------------


def test_several_secrets_at_once_and_what_is_wrong_with_some(backends):
    subject = Subject("vera")
    nasty = 'it\'s "$HOME" {x}\n🥔'
    backends.secrets.write(subject, "projet patate", {"PATATE_TOKEN": nasty, "PATATE_PORT": 5432})
    backends.secrets.write(
        subject, "db/main", {"PGPASSWORD": "s3cret", "PATH": "/evil", "LD_PRELOAD": "/evil.so"}
    )
    grant = Grant("vera//1", secrets=("projet patate", "gone", "db/main"), vault_token=True)
    given = backends.vault.fetch(subject, grant)
    assert given.values == {"PATATE_TOKEN": nasty, "PATATE_PORT": "5432", "PGPASSWORD": "s3cret"}
    assert set(given.refused) == {"db/main:PATH", "db/main:LD_PRELOAD"}
    told = {(problem.code, problem.message) for problem in given.problems}
    assert ("missing", "The secret gone is not there: it was deleted or renamed.") in told
    assert any("'LD_PRELOAD' of the secret db/main" in message for _, message in told)
    assert "/evil" not in str(told)
    assert (given.top_dir, given.mount, given.address) == ("vera", "onyxia-kv", backends.openbao.address)
    assert 3590 < life(given) <= 3600
    backends.vault.end(given)


def token_works(backends: Backends, given: VaultCredentials) -> bool:
    client = backends.openbao.client()
    client.token = given.token
    try:
        client.auth.token.lookup_self()
    except vault.Forbidden:
        return False
    return True


def test_a_token_of_each_session_that_ends_alone(backends):
    first = backends.vault.fetch(ALICE, Grant("alice//1", vault_token=True))
    second = backends.vault.fetch(ALICE, Grant("alice//2", vault_token=True))
    assert token_works(backends, first)
    backends.vault.end(first)
    assert not token_works(backends, first)
    assert token_works(backends, second)
    backends.vault.end(first)  # once more is no error
    backends.vault.end(second)


def test_without_secret_and_token_vault_is_not_asked(backends):
    assert backends.vault.cache_key(ALICE, Grant("s")) is None
    assert backends.git.cache_key(ALICE, Grant("s", git_hosts=())) is None


@pytest.mark.parametrize(("changes", "cause"), [({"audience": "x"}, "audience"), ({"role": "x"}, "role")])
def test_a_login_that_is_refused_says_why(backends, changes, cause):
    source = VaultSource(changed(backends.vault_config, **changes), backends.issuer)
    with pytest.raises(SourceError, match="Vault refused the login") as caught:
        source.fetch(ALICE, Grant("s", vault_token=True))
    assert cause in caught.value.message
    assert caught.value.code == "denied"


def test_vault_that_is_not_there_or_hangs(backends, nobody, black_hole):
    for address, code in ((nobody, "unreachable"), (black_hole, "timeout")):
        config = changed(backends.vault_config, address=address, read_timeout=0.5)
        with pytest.raises(SourceError) as caught:
            VaultSource(config, backends.issuer).fetch(ALICE, Grant("s", vault_token=True))
        assert caught.value.code == code
        assert "Vault" in caught.value.message


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"{}", b"[]"])
def test_an_answer_that_is_not_vaults_or_stss(backends, body):
    """What a wrong address leads to: some web server that answers 200."""
    with web_server(body) as address:
        config = changed(backends.vault_config, address=address)
        with pytest.raises(SourceError, match="is the address right") as from_vault:
            VaultSource(config, backends.issuer).fetch(ALICE, Grant("s", vault_token=True))
        with pytest.raises(SourceError, match="address right") as from_sts:
            S3Source(changed(backends.s3_config, endpoint_url=address), backends.issuer).fetch(
                ALICE, Grant("s")
            )
    assert (from_vault.value.code, from_sts.value.code) == ("invalid", "invalid")


def test_secrets_of_ones_own(backends):
    me, secrets = Subject("sam"), backends.secrets
    assert secrets.list(me) == []
    assert secrets.tree(me) == []
    assert secrets.write(me, "a", {"K": "1"}) == 1
    assert secrets.write(me, "a", {"K": "2"}, cas=1) == 2
    assert secrets.write(me, "folder/été", {"É": {"nested": [1]}}) == 1
    assert secrets.read(me, "a").data == {"K": "2"}
    assert (secrets.read(me, "a", version=1).data, secrets.read(me, "a").version) == ({"K": "1"}, 2)
    assert secrets.read(me, "folder/été").data == {"É": {"nested": [1]}}
    assert secrets.list(me) == ["a", "folder/"]
    assert secrets.list(me, "folder") == ["été"]
    assert secrets.tree(me) == ["a", "folder/été"]
    with pytest.raises(SecretConflictError):
        secrets.write(me, "a", {"K": "3"}, cas=1)
    with pytest.raises(SourceError) as too_long:
        secrets.write(me, "a", {"K": "x" * 300_000})
    assert too_long.value.code == "invalid"
    secrets.delete(me, "a")
    with pytest.raises(SourceError) as gone:
        secrets.read(me, "a")
    assert gone.value.code == "missing"
    assert secrets.tree(me) == ["folder/été"]


def test_git_accounts_are_kept_but_not_listed_among_secrets(backends):
    me, accounts = Subject("gil"), backends.git_accounts
    accounts.put(me, GitAccount("GitHub.com", "gil", "ghp_1", "Gil", "gil@example.org"))
    accounts.put(me, GitAccount("gitlab.example.org:8443", token="glpat"))
    assert [account.host for account in accounts.list(me)] == ["github.com", "gitlab.example.org:8443"]
    assert accounts.get(me, "github.com") == GitAccount(
        "github.com", "gil", "ghp_1", "Gil", "gil@example.org"
    )
    assert (backends.secrets.list(me), backends.secrets.tree(me)) == ([], [])
    everything = backends.git.fetch(me, Grant("s"))
    assert [account.token for account in everything.accounts] == ["ghp_1", "glpat"]
    one = backends.git.fetch(me, Grant("s", git_hosts=("github.com", "gone.example.org")))
    assert [account.host for account in one.accounts] == ["github.com"]
    assert [problem.code for problem in one.problems] == ["missing"]
    accounts.delete(me, "github.com")
    assert accounts.get(me, "github.com") is None
    assert [account.host for account in accounts.list(me)] == ["gitlab.example.org:8443"]


@pytest.mark.parametrize(
    "account",
    [
        GitAccount("https://github.com"),
        GitAccount("github.com/../x"),
        GitAccount(""),
        GitAccount("host:0"),
        GitAccount("host:99999"),
        GitAccount("a..b"),
        GitAccount("github.com", token="a\nhost=evil"),
        GitAccount("github.com", username="x" * 5000),
    ],
)
def test_git_accounts_that_are_not_valid(backends, account):
    with pytest.raises(SourceError) as caught:
        backends.git_accounts.put(ALICE, account)
    assert (caught.value.source, caught.value.code) == ("git", "invalid")


def test_a_store_token_that_an_administrator_revoked(backends):
    me = Subject("ron")
    backends.secrets.write(me, "a", {"K": "1"})
    root = backends.openbao.client()
    for accessor in root.auth.token.list_accessors()["data"]["keys"]:
        if root.auth.token.lookup_accessor(accessor)["data"]["display_name"].endswith("ron"):
            root.auth.token.revoke_accessor(accessor)
    assert backends.secrets.read(me, "a").data == {"K": "1"}


async def test_a_sealed_vault_is_told_and_heals_by_itself(backends):
    grant = Grant("alice//sealed", vault_token=True)
    broker = Broker({"s3": backends.s3, "vault": backends.vault, "git": backends.git}, retries=0)
    backends.openbao.client().sys.seal()
    try:
        down = await broker.credentials(ALICE, grant)
        with pytest.raises(SourceError, match="sealed"):
            backends.secrets.list(ALICE)
    finally:
        backends.openbao.ensure_unsealed()
        backends.openbao.wait_ready()
    assert down.s3 is not None
    assert {(problem.source, problem.code) for problem in down.problems} == {
        ("vault", "unreachable"),
        ("git", "unreachable"),
    }
    assert all("Vault is sealed" in problem.message for problem in down.problems)
    up = await broker.credentials(ALICE, grant)
    assert up.vault is not None
    assert up.problems == ()
    await broker.end_session(grant.session)
    await broker.close()


# All together -----------------------------------------------------------------------------------


async def test_a_session_from_start_to_end(backends):
    me = Subject("zoe", full_name="Zoé")
    backends.secrets.write(me, "patate", {"PATATE": "1"})
    broker = Broker({"s3": backends.s3, "vault": backends.vault, "git": backends.git})
    grant = Grant("zoe//1", secrets=("patate",), vault_token=True, required=frozenset({"s3", "vault"}))
    credentials = await broker.credentials(me, grant)
    broker.raise_if_required(grant, credentials)
    assert credentials.problems == ()
    assert credentials.vault is not None
    assert credentials.vault.values == {"PATATE": "1"}
    assert token_works(backends, credentials.vault)
    # A changed secret is there at once, and the first token goes on until the session ends.
    await broker.call("vault", backends.secrets.write, me, "patate", {"PATATE": "2"})
    broker.forget("zoe", "vault")
    renewed = await broker.credentials(me, grant)
    assert renewed.vault is not None
    assert renewed.vault.values == {"PATATE": "2"}
    await broker.end_session(grant.session)
    await broker.settle()
    assert not token_works(backends, credentials.vault)
    assert not token_works(backends, renewed.vault)
    await broker.close()


async def test_nothing_secret_is_logged_at_debug_level(backends, caplog):
    caplog.set_level(logging.DEBUG)
    me = Subject("log")
    broker = Broker({"s3": backends.s3, "vault": backends.vault, "git": backends.git})
    backends.secrets.write(me, "patate", {"PATATE": "very-secret-value"})
    backends.git_accounts.put(me, GitAccount("github.com", token="ghp_very_secret"))
    grant = Grant("log//1", secrets=("patate",), vault_token=True)
    credentials = await broker.credentials(me, grant)
    S3Source(backends.s3_config, backends.issuer, BucketProvisioner(backends.provisioner.config)).fetch(
        me, grant
    )
    assert credentials.s3 is not None
    assert credentials.vault is not None
    await broker.end_session(grant.session)
    await broker.close()
    admin = backends.provisioner.config.secret_key
    for value in (
        *(credentials.s3.secret_access_key, credentials.s3.session_token, credentials.vault.token, admin),
        *("very-secret-value", "ghp_very_secret", "eyJhbGciOiJSUzI1NiIs"),
    ):
        assert value not in caplog.text
    assert admin not in repr(backends.provisioner.config)


def test_many_threads_share_one_client(backends):
    failures = []

    def fetch(number: int) -> None:
        try:
            backends.s3.fetch(ALICE, Grant(f"{number}"))
        except SourceError as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
