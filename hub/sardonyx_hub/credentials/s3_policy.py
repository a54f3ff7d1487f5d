"""S3 policies: what a session may do, and who may read a person's `diffusion/`. Pure functions.

A session's keys can do what the role allows *and* the session policy here allows
(https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .model import S3Access, Subject

#: Characters that STS takes in a session policy.
MAX_SESSION_POLICY = 2048
DIFFUSION = "diffusion/"
DIFFUSION_SIDS = ("SardonyxDiffusionRead", "SardonyxDiffusionList")

_READ = ("s3:Get*", "s3:List*")
#: No bucket policy, no ACL, no tags of buckets: a session cannot open its person's bucket to others.
_WRITE = ("s3:PutObject", "s3:PutObjectTagging", "s3:DeleteObject*", "s3:AbortMultipartUpload")


@dataclass(frozen=True)
class SharedBucket:
    """A bucket of nobody in particular.

    Parameters
    ----------
    name
        The bucket; no person's handle may be equal to it.
    read, write
        Whom it is readable or writable by: handles, ``@`` and the handle of a group, or ``*`` for everyone
        signed in. Who may write may read.
    """

    name: str
    read: tuple[str, ...] = ("*",)
    write: tuple[str, ...] = ()

    def access_of(self, subject: Subject) -> S3Access:
        """Return what `subject` may do with the bucket."""
        names = {"*", subject.handle, *(f"@{group}" for group in subject.groups)}
        if not names.isdisjoint(self.write):
            return "read-write"
        return "none" if names.isdisjoint(self.read) else "read-only"


@dataclass(frozen=True)
class SessionPolicy:
    """A session policy as STS takes it, and the shared buckets that it had no room for."""

    document: str
    left_out: tuple[str, ...] = ()


def session_policy(
    subject: Subject,
    access: S3Access,
    shared: Iterable[SharedBucket] = (),
    *,
    max_length: int = MAX_SESSION_POLICY,
) -> SessionPolicy:
    """Return the session policy: the own bucket, and the shared ones that `subject` may use.

    Other people's `diffusion/` is not in it: each bucket's own policy opens that
    (:func:`diffusion_statements`).

    Parameters
    ----------
    access
        What the grant allows; ``read-only`` makes shared buckets read-only too.
    max_length
        Shared buckets that would make the policy longer are left out, the last ones first.
    """
    allowed = {bucket.name: bucket.access_of(subject) for bucket in shared}
    names = [name for name, what in allowed.items() if what != "none" and name != subject.handle]
    kept = list(names)
    while True:
        writable = [name for name in kept if allowed[name] == "read-write"]
        document = _session_document([subject.handle, *kept], [subject.handle, *writable], access)
        if len(document) <= max_length or not kept:
            return SessionPolicy(document, tuple(names[len(kept) :]))
        kept.pop()


def everyone_with(role_arn: str) -> str:
    """Return the principal of all sessions of a role, as SeaweedFS names it (it has no account numbers).

    Examples
    --------
    >>> everyone_with("arn:aws:iam::role/datalab")
    'arn:aws:sts::assumed-role/datalab/*'
    """
    return f"arn:aws:sts::assumed-role/{role_arn.rpartition('/')[2]}/*"


def diffusion_statements(bucket: str, principal: str) -> list[dict[str, Any]]:
    """Return the statements of a bucket's policy that let `principal` read its `diffusion/`.

    One role policy for all buckets cannot say this: in ``arn:aws:s3:::*/diffusion/*`` the star also matches
    slashes, so that it opens ``alice/private/diffusion/x``.

    Parameters
    ----------
    principal
        ARN of everyone who is signed in, for example ``arn:aws:sts::assumed-role/datalab/*``.
    """
    read, list_ = DIFFUSION_SIDS
    return [
        {
            "Sid": read,
            "Effect": "Allow",
            "Principal": {"AWS": principal},
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{bucket}/{DIFFUSION}*"],
        },
        {
            "Sid": list_,
            "Effect": "Allow",
            "Principal": {"AWS": principal},
            "Action": ["s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}"],
            "Condition": {"StringLike": {"s3:prefix": [f"{DIFFUSION}*"]}},
        },
    ]


def merge_statements(
    policy: Mapping[str, Any] | None, statements: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return `policy` with `statements` in place of those with the same Sid; None if that changes nothing."""
    mine = {statement["Sid"] for statement in statements}
    known = list(policy.get("Statement", [])) if policy else []
    if [statement for statement in known if statement.get("Sid") in mine] == statements:
        return None
    others = [statement for statement in known if statement.get("Sid") not in mine]
    return {"Version": "2012-10-17", "Statement": [*others, *statements]}


def _session_document(readable: list[str], writable: list[str], access: S3Access) -> str:
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"},
        {"Effect": "Allow", "Action": _READ, "Resource": _resources(readable)},
    ]
    if access == "read-write":
        objects = [f"arn:aws:s3:::{name}/*" for name in writable]
        statements.append({"Effect": "Allow", "Action": _WRITE, "Resource": objects})
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def _resources(buckets: Iterable[str]) -> list[str]:
    return [resource for name in buckets for resource in (f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*")]
