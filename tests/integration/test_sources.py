"""The S3 source against the real SeaweedFS, in good times and bad; and all sources together."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import nowhere
import pytest
from credential_backends import changed
from nowhere import life

from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import GitAccount, Grant, Subject
from sardonyx_hub.credentials.provision import OWNER_TAG, BucketProvisioner
from sardonyx_hub.credentials.s3 import S3Source
from sardonyx_hub.credentials.s3_policy import SharedBucket
from sardonyx_hub.credentials.secret_store import SecretStore
from sardonyx_hub.credentials.vault import VaultSource

ALICE = Subject("alice")
black_hole, nobody = nowhere.black_hole, nowhere.nobody


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
    assert backends.token_works(credentials.vault)
    # A changed secret is there at once, and the first token goes on until the session ends.
    await broker.call("vault", backends.secrets.write, me, "patate", {"PATATE": "2"})
    broker.forget("zoe", "vault")
    renewed = await broker.credentials(me, grant)
    assert renewed.vault is not None
    assert renewed.vault.values == {"PATATE": "2"}
    await broker.end_session(grant.session)
    await broker.settle()
    assert not backends.token_works(credentials.vault)
    assert not backends.token_works(renewed.vault)
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
