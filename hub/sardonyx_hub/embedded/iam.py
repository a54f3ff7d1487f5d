"""SeaweedFS's IAM configuration: who may do what, as pure functions.

One role serves everybody. Its policies are templated by a claim that holds the handle and nothing else, which is safe
because the hub's issuer signs no other name (a name like ``bob*`` would be a wildcard here).

Other people's ``diffusion/`` is not opened here but by each bucket's own policy (see
:mod:`sardonyx_hub.credentials.s3_policy`): ``arn:aws:s3:::*/diffusion/*`` on the role would open
``alice/private/diffusion/`` too, because ``*`` matches slashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sardonyx_hub.credentials.s3_policy import SharedBucket

#: The claim of the hub's tokens that policies are templated by; the issuer puts the handle into it.
HANDLE_CLAIM = "datalab_id"
PROVIDER = "datalab"
ROLE = "datalab"
#: The role that sessions assume.
ROLE_ARN = f"arn:aws:iam::role/{ROLE}"
#: AWS's own minimum of ``DurationSeconds``; a shorter life comes from the configuration alone.
MINIMUM_DURATION = 900
MAXIMUM_DURATION = 43200
_OWN = "arn:aws:s3:::${jwt:" + HANDLE_CLAIM + "}"


def iam_configuration(
    *,
    issuer_url: str,
    jwks_url: str,
    audience: str,
    ttl: int,
    signing_key: str,
    shared_buckets: Sequence[SharedBucket] = (),
) -> dict[str, Any]:
    """Return the content of ``iam.json``.

    Parameters
    ----------
    ttl
        Life of credentials in seconds. Under :data:`MINIMUM_DURATION` it also caps what a caller asks for, because
        ``DurationSeconds`` cannot say so little.
    signing_key
        Base64 of the key that session tokens are signed with; kept, so that sessions survive a restart.
    """
    longest = ttl if ttl < MINIMUM_DURATION else MAXIMUM_DURATION
    policies = [_policy("own-bucket", own_bucket_statements())]
    for bucket in shared_buckets:
        policies.append(_policy(f"shared-{bucket.name}", shared_bucket_statements(bucket)))
    return {
        "sts": {
            "tokenDuration": f"{ttl}s",
            "maxSessionLength": f"{longest}s",
            "issuer": "sardonyx-embedded-sts",
            "signingKey": signing_key,
        },
        "providers": [
            {
                "name": PROVIDER,
                "type": "oidc",
                "enabled": True,
                "config": {"issuer": issuer_url, "clientId": audience, "jwksUri": jwks_url},
            }
        ],
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": policies,
        "roles": [_role([policy["name"] for policy in policies])],
    }


def _role(policies: list[str]) -> dict[str, Any]:
    """Return the role that whoever brings a token of the hub may take."""
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": ["sts:AssumeRoleWithWebIdentity"],
    }
    return {
        "roleName": ROLE,
        "roleArn": ROLE_ARN,
        "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
        "attachedPolicies": policies,
    }


def own_bucket_statements() -> list[dict[str, Any]]:
    """Return what a person may do: all in their own bucket but removing it, and listing what they have."""
    return [
        {"Effect": "Allow", "Action": ["s3:*"], "Resource": [_OWN, f"{_OWN}/*"]},
        # Provisioning made it, with rules on it that a bucket made again would not have.
        {"Effect": "Deny", "Action": ["s3:DeleteBucket", "s3:CreateBucket"], "Resource": [_OWN]},
        {"Effect": "Allow", "Action": ["s3:ListAllMyBuckets"], "Resource": ["*"]},
    ]


def shared_bucket_statements(bucket: SharedBucket) -> list[dict[str, Any]]:
    """Return the statements that open a shared bucket to whom it names."""
    arn = f"arn:aws:s3:::{bucket.name}"
    reading = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"]}
    writing = {
        "Effect": "Allow",
        "Action": [
            "s3:PutObject",
            "s3:DeleteObject",
            "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
        ],
    }
    statements = []
    for statement, names in ((reading, (*bucket.read, *bucket.write)), (writing, bucket.write)):
        for condition in _conditions(names):
            statements.append({**statement, "Resource": [arn, f"{arn}/*"], **condition})
    return statements


def _conditions(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return one condition (or none) for each way of being named; each becomes a statement of its own."""
    names = set(names)
    if "*" in names:
        return [{}]
    groups = sorted(name[1:] for name in names if name.startswith("@"))
    handles = sorted(name for name in names if not name.startswith("@"))
    conditions: list[dict[str, Any]] = []
    if handles:
        conditions.append({"Condition": {"StringEquals": {f"jwt:{HANDLE_CLAIM}": handles}}})
    if groups:
        conditions.append({"Condition": {"ForAnyValue:StringEquals": {"jwt:groups": groups}}})
    return conditions


def _policy(name: str, statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "document": {"Version": "2012-10-17", "Statement": statements}}
