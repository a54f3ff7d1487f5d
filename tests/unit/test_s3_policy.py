"""Session policies, shared buckets, and the end of keys on the hub's clock."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore import exceptions as aws

from sardonyx_hub.credentials.aws import source_error
from sardonyx_hub.credentials.model import Subject
from sardonyx_hub.credentials.s3 import local_expiration
from sardonyx_hub.credentials.s3_policy import (
    MAX_SESSION_POLICY,
    SharedBucket,
    diffusion_statements,
    everyone_with,
    merge_statements,
    session_policy,
)

ALICE = Subject("alice", groups=("project-stats",))
NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("bucket", "access"),
    [
        (SharedBucket("b"), "read-only"),
        (SharedBucket("b", read=()), "none"),
        (SharedBucket("b", read=("bob",)), "none"),
        (SharedBucket("b", read=("alice",)), "read-only"),
        (SharedBucket("b", read=("@project-stats",)), "read-only"),
        (SharedBucket("b", read=("project-stats",)), "none"),
        (SharedBucket("b", read=(), write=("alice",)), "read-write"),
        (SharedBucket("b", read=(), write=("@project-stats",)), "read-write"),
        (SharedBucket("b", read=("*",), write=("bob",)), "read-only"),
        (SharedBucket("b", read=(), write=("*",)), "read-write"),
    ],
)
def test_access_to_a_shared_bucket(bucket, access):
    assert bucket.access_of(ALICE) == access


def resources(document: str, action: str) -> set[str]:
    """Return the resources on which a policy allows `action`."""
    allowed: set[str] = set()
    for statement in json.loads(document)["Statement"]:
        actions, on = statement["Action"], statement["Resource"]
        if action in ([actions] if isinstance(actions, str) else actions):
            allowed |= {on} if isinstance(on, str) else set(on)
    return allowed


SHARED = (
    SharedBucket("commons"),
    SharedBucket("team", write=("alice",)),
    SharedBucket("other", read=("bob",)),
)
ARN = "arn:aws:s3:::"


def test_a_session_that_writes():
    policy = session_policy(ALICE, "read-write", SHARED)
    names = ("alice", "commons", "team")
    assert resources(policy.document, "s3:Get*") == {f"{ARN}{n}{end}" for n in names for end in ("", "/*")}
    assert resources(policy.document, "s3:PutObject") == {f"{ARN}alice/*", f"{ARN}team/*"}
    assert policy.left_out == ()


def test_a_session_that_reads():
    document = session_policy(ALICE, "read-only", SHARED).document
    assert "Put" not in document
    assert "Delete" not in document
    assert f"{ARN}team/*" in resources(document, "s3:Get*")


@pytest.mark.parametrize("access", ["read-only", "read-write"])
def test_the_policy_is_never_longer_than_sts_takes(access):
    many = [SharedBucket(f"{'x' * 50}-{number:02}", write=("*",)) for number in range(60)]
    policy = session_policy(ALICE, access, many)
    assert len(policy.document) <= MAX_SESSION_POLICY
    assert f"{ARN}alice/*" in resources(policy.document, "s3:Get*")
    assert many[0].name in policy.document
    assert set(policy.left_out) == {bucket.name for bucket in many if bucket.name not in policy.document}
    longest = session_policy(Subject("a" * 63), access)
    assert len(longest.document) <= MAX_SESSION_POLICY


def test_statements_are_merged_by_name_once():
    mine = diffusion_statements("alice", everyone_with("arn:aws:iam::role/datalab-person"))
    first = merge_statements(None, mine)
    assert first is not None
    assert first["Statement"] == mine
    assert merge_statements(first, mine) is None
    theirs = {"Sid": "Theirs", "Effect": "Allow"}
    other = diffusion_statements("alice", everyone_with("arn:aws:iam::role/other"))
    merged = merge_statements({"Statement": [theirs, *other]}, mine)
    assert merged is not None
    assert merged["Statement"] == [theirs, *mine]


@pytest.mark.parametrize("ahead", [-1800, -120, -3, 0, 3, 120, 1800])
@pytest.mark.parametrize("life", [60, 3600])
def test_the_end_of_keys_on_the_hubs_clock(ahead, life):
    server = NOW + timedelta(seconds=ahead)
    end, difference = local_expiration(server + timedelta(seconds=life), server, NOW)
    assert abs((end - NOW).total_seconds() - life) <= 3
    assert difference == (timedelta(seconds=ahead) if abs(ahead) > 3 else timedelta(0))


def test_without_a_date_the_server_is_believed():
    end = NOW + timedelta(hours=1)
    assert local_expiration(end, None, NOW) == (end, timedelta(0))


def answered(status: int, code: str) -> aws.ClientError:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return aws.ClientError(response, "AssumeRoleWithWebIdentity")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (aws.ConnectTimeoutError(endpoint_url="u"), "timeout"),
        (aws.ReadTimeoutError(endpoint_url="u"), "timeout"),
        (aws.EndpointConnectionError(endpoint_url="u"), "unreachable"),
        (aws.SSLError(endpoint_url="u", error="e"), "unreachable"),
        (aws.ConnectionClosedError(endpoint_url="u"), "unreachable"),
        (answered(500, "InternalError"), "unreachable"),
        (answered(503, "SlowDown"), "unreachable"),
        (answered(403, "AccessDenied"), "denied"),
        (answered(400, "InvalidIdentityToken"), "denied"),
        (answered(400, "InvalidParameterValue"), "invalid"),
        (aws.ParamValidationError(report="r"), "invalid"),
    ],
)
def test_what_an_error_of_botocore_means(error, code):
    known = source_error(error, "S3 storage")
    assert known.code == code
    assert known.message.startswith("S3 storage")
