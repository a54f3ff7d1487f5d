"""People's buckets: made once, marked as theirs, `diffusion/` opened to everyone signed in."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from ..identity.handles import is_handle
from .aws import error_code, isolated_client, source_error
from .errors import SourceError
from .s3_policy import diffusion_statements, merge_statements

#: Tag of a bucket that we made: its value is the handle, or `:shared:`, which is no handle.
OWNER_TAG = "sardonyx-owner"
SHARED_OWNER = ":shared:"


@dataclass(frozen=True)
class ProvisionConfig:
    """With which rights buckets are made.

    Parameters
    ----------
    access_key, secret_key
        Of an account that may make, tag and set the policy of every bucket.
    endpoint_url
        S3 as the hub reaches it.
    diffusion_principal
        ARN of everyone signed in, for the bucket policy; empty where the backend has no such thing, then
        nobody else can read `diffusion/`.
    shared_buckets
        Names that are nobody's.
    adopt
        Whether a bucket that exists under a person's handle and that we did not make is given to the person.
        Only for moving from another system whose bucket names are the same people's.
    """

    endpoint_url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    path_style: bool = True
    ca_file: str | None = None
    connect_timeout: float = 2.0
    read_timeout: float = 4.0
    diffusion_principal: str = "arn:aws:sts::assumed-role/datalab/*"
    shared_buckets: Collection[str] = ()
    adopt: bool = False


class BucketProvisioner:
    """Makes people's and shared buckets. Its methods block; many threads may call them, and again.

    Ownership is a tag on the bucket, so it outlives the hub's database, and a bucket that somebody made for
    another purpose is never given to a person who happens to be called like it.
    """

    label = "S3 storage"

    def __init__(self, config: ProvisionConfig) -> None:
        self.config = config
        self._done: set[str] = set()
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._s3: Any = isolated_client(
            "s3",
            config.endpoint_url,
            region=config.region,
            ca_file=config.ca_file,
            connect_timeout=config.connect_timeout,
            read_timeout=config.read_timeout,
            path_style=config.path_style,
            keys=(config.access_key, config.secret_key),
        )

    def ensure(self, handle: str) -> None:
        """Make the bucket of `handle` if it is missing, and open its `diffusion/`.

        Raises
        ------
        SourceError
            `invalid` if `handle` is no handle or its bucket belongs to something else; else what S3 answered.
        """
        if not is_handle(handle) or handle in self.config.shared_buckets:
            raise SourceError("s3", "invalid", f"{handle!r} cannot be the name of a person's bucket.")
        self._once(handle, owner=handle)

    def ensure_shared(self, name: str) -> None:
        """Make the shared bucket `name` if it is missing; one that exists is used unless it is a person's.

        Raises
        ------
        SourceError
            `invalid` if it is a person's bucket or not in the configuration; else what S3 answered.
        """
        if name not in self.config.shared_buckets:
            raise SourceError("s3", "invalid", f"{name!r} is not among the shared buckets.")
        self._once(name, owner=SHARED_OWNER)

    def _once(self, bucket: str, *, owner: str) -> None:
        if bucket in self._done:
            return
        with self._lock:
            busy = self._busy.setdefault(bucket, threading.Lock())
        with busy:
            if bucket in self._done:
                return
            try:
                self._make(bucket, owner)
                if owner == bucket and self.config.diffusion_principal:
                    self._open_diffusion(bucket)
            except SourceError:
                raise
            except Exception as error:
                # botocore's parsers raise anything on an answer that is not S3's, and quote it.
                raise source_error(error, f"{self.label} (bucket {bucket})") from None
            self._done.add(bucket)
        with self._lock:
            self._busy.pop(bucket, None)

    def _make(self, bucket: str, owner: str) -> None:
        if self._exists(bucket):
            self._check_owner(bucket, owner)
            return
        try:
            self._s3.create_bucket(Bucket=bucket)
        except ClientError as error:
            if error_code(error) not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise
            # Another hub process was quicker, and is about to tag it.
            if self._owner(bucket) not in {owner, None}:
                raise self._not_ours(bucket) from None
        self._tag(bucket, owner)

    def _exists(self, bucket: str) -> bool:
        try:
            self._s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error_code(error) in {"404", "NoSuchBucket"}:
                return False
            raise
        return True

    def _check_owner(self, bucket: str, owner: str) -> None:
        known = self._owner(bucket)
        if known == owner:
            return
        if known is None and (owner == SHARED_OWNER or self.config.adopt or self._empty(bucket)):
            # Empty: a hub that died between making and tagging it; there is nothing in it to give away.
            self._tag(bucket, owner)
            return
        raise self._not_ours(bucket)

    def _empty(self, bucket: str) -> bool:
        listing = self._s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
        return not listing.get("Contents") and not listing.get("CommonPrefixes")

    def _owner(self, bucket: str) -> str | None:
        return self._tags(bucket).get(OWNER_TAG)

    def _tags(self, bucket: str) -> dict[str, str]:
        try:
            tags = self._s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
        except ClientError as error:
            if error_code(error) == "NoSuchTagSet":
                return {}
            raise
        return {tag["Key"]: tag["Value"] for tag in tags}

    def _tag(self, bucket: str, owner: str) -> None:
        tags = {**self._tags(bucket), OWNER_TAG: owner}
        tag_set = [{"Key": key, "Value": value} for key, value in tags.items()]
        self._s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tag_set})

    def _open_diffusion(self, bucket: str) -> None:
        try:
            known = json.loads(self._s3.get_bucket_policy(Bucket=bucket)["Policy"])
        except ClientError as error:
            if error_code(error) != "NoSuchBucketPolicy":
                raise
            known = None
        policy = merge_statements(known, diffusion_statements(bucket, self.config.diffusion_principal))
        if policy is not None:
            self._s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    def _not_ours(self, bucket: str) -> SourceError:
        message = (
            f"A bucket named {bucket} exists already and was not made for this person. "
            f"An administrator can give it by the tag {OWNER_TAG}={bucket}, or rename it."
        )
        return SourceError("s3", "invalid", message)
