"""What SeaweedFS is told about who may do what."""

from typing import Any

import pytest

from sardonyx_hub.credentials.s3_policy import SharedBucket
from sardonyx_hub.embedded.iam import iam_configuration, shared_bucket_statements


def configuration(**changes: Any) -> dict[str, Any]:
    return iam_configuration(
        **{
            "issuer_url": "http://127.0.0.1:8000/hub/datalab/oidc",
            "jwks_url": "http://127.0.0.1:9000/hub/datalab/oidc/jwks",
            "audience": "datalab-s3",
            "ttl": 3600,
            "signing_key": "a2V5",
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("ttl", "life", "longest"),
    [(20, "20s", "20s"), (899, "899s", "899s"), (900, "900s", "43200s"), (3600, "3600s", "43200s")],
)
def test_a_life_too_short_to_ask_for_is_also_the_longest(ttl: int, life: str, longest: str) -> None:
    sts = configuration(ttl=ttl)["sts"]
    assert (sts["tokenDuration"], sts["maxSessionLength"]) == (life, longest)


def test_nothing_is_allowed_by_default_and_diffusion_not_by_the_role() -> None:
    made = configuration()
    assert made["policy"]["defaultEffect"] == "Deny"
    resources = [
        resource
        for policy in made["policies"]
        for statement in policy["document"]["Statement"]
        if statement["Action"] != ["s3:ListAllMyBuckets"]
        for resource in statement["Resource"]
    ]
    assert resources
    assert all("${jwt:datalab_id}" in resource for resource in resources)


@pytest.mark.parametrize(
    ("bucket", "reading", "writing"),
    [
        (SharedBucket("b"), [None], []),
        (
            SharedBucket("b", read=("alice", "bob")),
            [{"StringEquals": {"jwt:datalab_id": ["alice", "bob"]}}],
            [],
        ),
        (
            SharedBucket("b", read=("@stats",), write=("alice",)),
            [
                {"StringEquals": {"jwt:datalab_id": ["alice"]}},
                {"ForAnyValue:StringEquals": {"jwt:groups": ["stats"]}},
            ],
            [{"StringEquals": {"jwt:datalab_id": ["alice"]}}],
        ),
        (SharedBucket("b", read=(), write=("*",)), [None], [None]),
        (SharedBucket("b", read=(), write=()), [], []),
    ],
)
def test_shared_buckets_are_opened_to_whom_they_name(
    bucket: SharedBucket, reading: list[Any], writing: list[Any]
) -> None:
    statements = shared_bucket_statements(bucket)
    assert [s.get("Condition") for s in statements if "s3:GetObject" in s["Action"]] == reading
    assert [s.get("Condition") for s in statements if "s3:PutObject" in s["Action"]] == writing
    assert all(s["Resource"] == ["arn:aws:s3:::b", "arn:aws:s3:::b/*"] for s in statements)
