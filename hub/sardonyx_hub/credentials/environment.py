"""The variables of a session that come from credentials: Onyxia's names, for existing notebooks.

Pure. The variables that depend on paths inside a session (CA bundle, hooks) are added there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from .model import Credentials, GitAccount, GitCredentials, Grant, S3Credentials, Subject, VaultCredentials

#: ``git@host:group/project.git``, the form of SSH that is no URL.
_SCP_LIKE = re.compile(r"(?:[^@/\s]+@)?([^:/\s]+):(?!//).+")


def session_environment(
    subject: Subject,
    grant: Grant,
    credentials: Credentials,
    options: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Return the variables of a session; those of a source that gave nothing are left out.

    Keys of secrets come first, so that nothing of ours can be replaced by them.

    Parameters
    ----------
    options
        Launch options, nested or with dotted paths: ``git.repository``, ``git.branch`` and
        ``kubernetes.namespace`` are used.
    """
    chosen = dict(options or {})
    environment: dict[str, str] = {}
    if credentials.vault is not None:
        environment |= credentials.vault.values
        environment |= vault_variables(grant, credentials.vault)
    repository = _option(chosen, "git.repository")
    environment |= git_variables(subject, credentials.git, repository)
    environment |= _named(
        GIT_REPOSITORY=repository,
        GIT_BRANCH=_option(chosen, "git.branch"),
        KUBERNETES_NAMESPACE=_option(chosen, "kubernetes.namespace"),
    )
    if credentials.s3 is not None:
        environment |= s3_variables(credentials.s3)
    return environment


def s3_variables(s3: S3Credentials) -> dict[str, str]:
    """Return the variables of S3 clients.

    ``AWS_CREDENTIAL_EXPIRATION`` is not optional: without it botocore never reads renewed keys.
    ``MC_HOST_s3`` holds keys as they are: `mc` cuts the value at ``:`` and ``@`` and decodes nothing.
    """
    url = urlsplit(s3.endpoint_url)
    keys = f"{s3.access_key_id}:{s3.secret_access_key}:{s3.session_token}"
    return {
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "AWS_SESSION_TOKEN": s3.session_token,
        "AWS_CREDENTIAL_EXPIRATION": timestamp(s3.expiration),
        "AWS_DEFAULT_REGION": s3.region,
        # SDKs for Go and Java read no AWS_DEFAULT_REGION.
        "AWS_REGION": s3.region,
        "AWS_S3_ENDPOINT": url.netloc,
        "AWS_ENDPOINT_URL": s3.endpoint_url,
        "S3_ENDPOINT": s3.endpoint_url,
        "AWS_PATH_STYLE_ACCESS": "true" if s3.path_style else "false",
        "AWS_WORKING_DIRECTORY_PATH": f"{s3.bucket}/",
        "MC_HOST_s3": f"{url.scheme}://{keys}@{url.netloc}",
    }


def vault_variables(grant: Grant, vault: VaultCredentials) -> dict[str, str]:
    """Return where the person's secrets are, and the token where the grant gives it to the session."""
    variables = {
        "VAULT_ADDR": vault.address,
        "VAULT_MOUNT": vault.mount,
        "VAULT_TOP_DIR": vault.top_dir,
        "VAULT_RELATIVE_PATH": relative_path(grant),
    }
    if grant.vault_token:
        variables["VAULT_TOKEN"] = vault.token
    return variables


def relative_path(grant: Grant) -> str:
    """Return the path of the (first) chosen secret in the person's folder, as Onyxia's variable has one."""
    return grant.secrets[0] if grant.secrets else ""


def git_variables(subject: Subject, git: GitCredentials | None, repository: str = "") -> dict[str, str]:
    """Return who commits, and the token of one account.

    The account is the one on the repository's host; without a repository, the only one there is. Where there
    are several, one variable cannot hold their tokens: Git itself asks the credential helper, which knows
    all.
    """
    account = _account(git, repository)
    return _named(
        GIT_USER_NAME=account.name or subject.full_name,
        GIT_USER_MAIL=account.email or subject.email,
        GIT_PERSONAL_ACCESS_TOKEN=account.token,
    )


def host_of(repository: str) -> str:
    """Return the host (with port) of a repository's address, in lower case; empty if it has none.

    Examples
    --------
    >>> host_of("https://me@GitLab.example.org:8443/group/project.git")
    'gitlab.example.org:8443'
    >>> host_of("git@github.com:group/project.git")
    'github.com'
    """
    if "://" in repository:
        return urlsplit(repository).netloc.rpartition("@")[2].lower()
    match = _SCP_LIKE.fullmatch(repository)
    return match.group(1).lower() if match else ""


def timestamp(moment: datetime) -> str:
    """Return a moment as ISO 8601 in UTC with ``Z`` and whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _account(git: GitCredentials | None, repository: str) -> GitAccount:
    nobody = GitAccount(host="")
    if git is None or not git.accounts:
        return nobody
    host = host_of(repository)
    for account in git.accounts:
        if host and account.host == host:
            return account
    if len(git.accounts) == 1:
        only = git.accounts[0]
        # On another host the name is still the person's, the token is not for that host.
        return only if not host else GitAccount(host="", name=only.name, email=only.email)
    first = next((account for account in git.accounts if account.name or account.email), nobody)
    return GitAccount(host="", name=first.name, email=first.email)


def _option(options: Mapping[str, Any], path: str) -> str:
    """Return a launch option as text, given under its dotted path or nested; empty if it is not set."""
    value: Any = options.get(path)
    if value is None:
        value = options
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
    return "" if value is None else str(value)


def _named(**variables: str) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value}
