"""The credentials document: what `GET /hub/api/datalab/v1/credentials` answers and sessions start with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .environment import relative_path, session_environment, timestamp
from .model import Credentials, GitAccount, Grant, S3Credentials, Subject, VaultCredentials

DOCUMENT_VERSION = 1


def credentials_document(
    subject: Subject,
    grant: Grant,
    credentials: Credentials,
    options: Mapping[str, Any] | None = None,
    *,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Return the credentials of a session as JSON-serializable data. It holds secrets: never log it.

    Times are ISO 8601 in UTC with ``Z``. ``environment`` is everything that the session needs as variables,
    so that its agent maps nothing.

    Parameters
    ----------
    options
        Launch options that show in the environment, see :func:`~.environment.session_environment`.
    now
        By default the present.
    """
    ends = credentials.expires_at
    git = credentials.git.accounts if credentials.git is not None else ()
    return {
        "version": DOCUMENT_VERSION,
        "issued_at": timestamp(now or datetime.now(UTC)),
        "expires_at": timestamp(ends) if ends is not None else None,
        "s3": _s3(credentials.s3) if credentials.s3 is not None else None,
        "vault": _vault(grant, credentials.vault) if credentials.vault is not None else None,
        "git": [_account(account) for account in git],
        "environment": session_environment(subject, grant, credentials, options),
        "problems": [
            {"source": problem.source, "code": problem.code, "message": problem.message}
            for problem in credentials.problems
        ],
    }


def _s3(s3: S3Credentials) -> dict[str, Any]:
    return {
        "access_key_id": s3.access_key_id,
        "secret_access_key": s3.secret_access_key,
        "session_token": s3.session_token,
        "expiration": timestamp(s3.expiration),
        "endpoint_url": s3.endpoint_url,
        "region": s3.region,
        "path_style": s3.path_style,
        "bucket": s3.bucket,
        "access": s3.access,
    }


def _vault(grant: Grant, vault: VaultCredentials) -> dict[str, Any]:
    document = {
        "address": vault.address,
        "mount": vault.mount,
        "top_dir": vault.top_dir,
        "relative_path": relative_path(grant),
        "expiration": timestamp(vault.expiration),
    }
    if grant.vault_token:
        document["token"] = vault.token
    return document


def _account(account: GitAccount) -> dict[str, str]:
    return {
        "host": account.host,
        "username": account.username,
        "token": account.token,
        "name": account.name,
        "email": account.email,
    }
