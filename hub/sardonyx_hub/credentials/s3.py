"""S3 keys from STS: `AssumeRoleWithWebIdentity` with the hub's own short-lived token.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from ..identity.handles import is_handle
from .aws import (
    CLOCKS_DIFFER,
    clock_hint,
    clock_sentence,
    error_code,
    isolated_client,
    server_date,
    source_error,
)
from .errors import SourceError
from .model import Grant, S3Credentials, SourceName, SourceProblem, Subject
from .provision import BucketProvisioner
from .s3_policy import MAX_SESSION_POLICY, SessionPolicy, SharedBucket, session_policy
from .source import SourceValue, TokenIssuer

#: What STS takes as DurationSeconds; a shorter life is the server's configuration, the parameter left out.
MIN_DURATION, MAX_DURATION = 900, 43_200
#: The Date header has whole seconds, and an answer takes a moment.
_CLOCKS_AGREE = timedelta(seconds=3)


@dataclass(frozen=True)
class S3Config:
    """Where S3 and STS are and how sessions see them.

    Parameters
    ----------
    endpoint_url
        S3 as the hub reaches it.
    role_arn
        The role that every person's session takes.
    public_endpoint_url
        S3 as sessions reach it; `endpoint_url` by default.
    sts_endpoint_url
        STS as the hub reaches it; `endpoint_url` by default.
    path_style
        Whether sessions address ``endpoint/bucket`` and not ``bucket.endpoint``.
    duration
        Life of the keys in seconds, 900 to 43,200. None, and anything shorter, leaves it to the server.
    audience
        What the token must be for; the server checks it.
    ca_file
        PEM file of the authorities to trust; botocore's by default.
    connect_timeout, read_timeout, timeout
        Seconds: to connect to STS, for one answer, for everything with retries.
    shared_buckets
        Buckets beside people's own.
    max_session_policy
        Characters that the STS server takes in a session policy.
    """

    endpoint_url: str
    role_arn: str = "arn:aws:iam::role/datalab"
    public_endpoint_url: str = ""
    sts_endpoint_url: str = ""
    region: str = "us-east-1"
    path_style: bool = True
    duration: int | None = None
    audience: str = "datalab-s3"
    ca_file: str | None = None
    connect_timeout: float = 2.0
    read_timeout: float = 4.0
    timeout: float = 5.0
    shared_buckets: tuple[SharedBucket, ...] = ()
    max_session_policy: int = MAX_SESSION_POLICY


class S3Source:
    """Gives a session S3 keys that reach the person's bucket, others' `diffusion/` and the shared buckets.

    Parameters
    ----------
    issuer
        Signs the token that STS exchanges.
    provisioner
        Makes the person's bucket before the first keys; None where buckets are made otherwise.
    clock
        Returns the present, with time zone.
    """

    name: SourceName = "s3"
    label = "S3 storage"
    per_session = False

    def __init__(
        self,
        config: S3Config,
        issuer: TokenIssuer,
        provisioner: BucketProvisioner | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.config = config
        self.timeout = config.timeout
        self._issuer = issuer
        self._provisioner = provisioner
        self._clock = clock
        self._sts = isolated_client(
            "sts",
            config.sts_endpoint_url or config.endpoint_url,
            region=config.region,
            ca_file=config.ca_file,
            connect_timeout=config.connect_timeout,
            read_timeout=config.read_timeout,
        )

    def cache_key(self, subject: Subject, grant: Grant) -> Hashable | None:
        """Return the access and the groups (of which shared buckets depend), or None without S3."""
        return None if grant.s3 == "none" else (grant.s3, subject.groups)

    def fetch(self, subject: Subject, grant: Grant) -> S3Credentials:
        """Make the person's bucket if it is not there, and keys.

        Raises
        ------
        SourceError
            If the bucket belongs to something else, or STS does not answer or refuses.
        """
        if not is_handle(subject.handle):
            raise SourceError("s3", "invalid", "The person has no handle that S3 may see.")
        if self._provisioner is not None:
            self._provisioner.ensure(subject.handle)
        policy = session_policy(
            subject, grant.s3, self.config.shared_buckets, max_length=self.config.max_session_policy
        )
        sent = self._clock()
        answer = self._assume(subject, policy)
        return self._credentials(subject, grant, policy, sent, answer)

    def end(self, value: SourceValue) -> None:
        """Do nothing: STS keys cannot be ended before their time."""

    def _assume(self, subject: Subject, policy: SessionPolicy) -> Mapping[str, Any]:
        try:
            token = self._issuer.token(subject, self.config.audience)
        except (ValueError, RuntimeError) as error:
            raise SourceError("s3", "invalid", f"The hub could not sign a token for {self.label}.") from error
        request: dict[str, Any] = {
            "RoleArn": self.config.role_arn,
            "RoleSessionName": subject.handle,
            "WebIdentityToken": token,
            "Policy": policy.document,
        }
        if self.config.duration is not None and self.config.duration >= MIN_DURATION:
            request["DurationSeconds"] = min(self.config.duration, MAX_DURATION)
        sent = self._clock()
        try:
            answer: Mapping[str, Any] = self._sts.assume_role_with_web_identity(**request)
        except ClientError as error:
            raise self._refused(error, sent) from None
        except Exception as error:
            # botocore's parsers raise anything on an answer that is not STS's, and quote it.
            raise source_error(error, self.label) from None
        return answer

    def _refused(self, error: ClientError, sent: datetime) -> SourceError:
        """Return why STS refused; a clock that is wrong is the cause that nobody looks for."""
        known = source_error(error, self.label)
        if known.transport:
            return known
        if error_code(error) in {"MalformedPolicyDocument", "PackedPolicyTooLarge"}:
            message = f"{self.label} did not accept the session policy: too long, or a name is not valid."
            return SourceError("s3", "invalid", message)
        hint = clock_hint(error, sent)
        # SeaweedFS answers InvalidParameterValue (400) to a token that it does not accept.
        message = (
            f"{self.label} refused the hub's token ({error_code(error)}): "
            f"check the issuer, the audience {self.config.audience!r} and the role. {hint}"
        )
        return SourceError("s3", "denied", message.rstrip())

    def _credentials(
        self,
        subject: Subject,
        grant: Grant,
        policy: SessionPolicy,
        sent: datetime,
        answer: Mapping[str, Any],
    ) -> S3Credentials:
        try:
            keys = answer["Credentials"]
            expiration, difference = local_expiration(keys["Expiration"], server_date(answer), sent)
            credentials = S3Credentials(
                access_key_id=keys["AccessKeyId"],
                secret_access_key=keys["SecretAccessKey"],
                session_token=keys["SessionToken"],
                issued_at=sent,
                expiration=expiration,
                endpoint_url=self.config.public_endpoint_url or self.config.endpoint_url,
                region=self.config.region,
                path_style=self.config.path_style,
                bucket=subject.handle,
                access=grant.s3,
                problems=self._problems(policy, difference),
            )
        except (KeyError, TypeError, AttributeError):
            message = f"{self.label} gave an answer without keys: is the STS address right?"
            raise SourceError("s3", "invalid", message) from None
        if expiration <= sent:
            message = f"{self.label} gave keys that have expired already. {clock_sentence(difference)}"
            raise SourceError("s3", "invalid", message)
        return credentials

    def _problems(self, policy: SessionPolicy, difference: timedelta) -> tuple[SourceProblem, ...]:
        problems = []
        if abs(difference) > CLOCKS_DIFFER:
            problems.append(SourceProblem("s3", "invalid", clock_sentence(difference)))
        if policy.left_out:
            names = ", ".join(policy.left_out)
            message = f"Not reachable, as the session policy has no room for more shared buckets: {names}."
            problems.append(SourceProblem("s3", "invalid", message))
        return tuple(problems)


def local_expiration(
    expiration: datetime, server_date: datetime | None, sent: datetime
) -> tuple[datetime, timedelta]:
    """Return when keys end on the clock that gave `sent`, and by how much the server's clock is ahead of it.

    Parameters
    ----------
    expiration
        As the server says, on its own clock.
    server_date
        The answer's Date header; without it, clocks are believed to agree.
    sent
        When the request left.
    """
    if server_date is None or abs(server_date - sent) <= _CLOCKS_AGREE:
        return expiration, timedelta(0)
    # A second less: the Date header is cut to whole seconds.
    return sent + (expiration - server_date) - timedelta(seconds=1), server_date - sent
