"""What the broker and the sources speak of: subjects, grants and credentials.

Nothing here does I/O and nothing here knows JupyterHub. A :class:`Grant` is fixed at launch and holds no
secret value, so it can be stored in the hub's database; :class:`Credentials` hold nothing but secrets and are
stored nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

S3Access = Literal["read-write", "read-only", "none"]
SourceName = Literal["s3", "vault", "git"]

#: As whom the hub itself logs in to Vault; no person's handle begins with `sardonyx-`.
HUB_HANDLE = "sardonyx-hub"
REVOKE_AUDIENCE = "datalab-vault-revoke"

#: A credential is replaced once less than this share of its life is left.
REPLACE_BELOW = 0.5


@dataclass(frozen=True)
class Subject:
    """A person (or project) as backends see them.

    Parameters
    ----------
    handle
        Safe, unique name; the only one that may reach a policy, a bucket name, a path or a token.
    name, email, full_name
        What JupyterHub knows, for Git and for display; never sent to S3 or Vault.
    groups
        Handles of the groups, signed into the person's identity token.
    """

    handle: str
    name: str = ""
    email: str = ""
    full_name: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grant:
    """What one session may have. Fixed at launch.

    Parameters
    ----------
    session
        Identifier of the session, unique among the sessions of all people and times
        (``handle/server/random``). Credentials that belong to one session (a Vault token) are cached and
        ended under it.
    s3
        ``read-write``, ``read-only`` or ``none``.
    secrets
        Paths of the chosen secrets, relative to the person's top directory in Vault.
    git_hosts
        Hosts whose token may enter the session; ``("*",)`` is every host the person has an account on.
    vault_token
        Whether a ``VAULT_TOKEN`` enters the session.
    required
        Sources without which the launch fails instead of going on with a warning.
    variables
        Names of the environment variables whose values are kept for this session
        (:mod:`~.credentials.session_values`).
    """

    session: str
    s3: S3Access = "read-write"
    secrets: tuple[str, ...] = ()
    git_hosts: tuple[str, ...] = ("*",)
    vault_token: bool = False
    required: frozenset[SourceName] = frozenset()
    variables: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the grant as JSON-serializable data; :meth:`from_dict` is its inverse."""
        return {
            "session": self.session,
            "s3": self.s3,
            "secrets": list(self.secrets),
            "git_hosts": list(self.git_hosts),
            "vault_token": self.vault_token,
            "required": sorted(self.required),
            "variables": list(self.variables),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Grant:
        """Build a grant from what :meth:`to_dict` returned.

        Raises
        ------
        KeyError
            If ``session`` is missing.
        """
        return cls(
            session=data["session"],
            s3=data.get("s3", "none"),
            secrets=tuple(data.get("secrets", ())),
            git_hosts=tuple(data.get("git_hosts", ())),
            vault_token=bool(data.get("vault_token", False)),
            required=frozenset(data.get("required", ())),
            variables=tuple(data.get("variables", ())),
        )


@dataclass(frozen=True)
class S3Credentials:
    """Keys of AWS STS, with where they are good.

    Times are on the hub's clock. ``problems`` are warnings that do not keep the keys from working. ``repr``
    shows no key.
    """

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    issued_at: datetime
    expiration: datetime
    endpoint_url: str
    region: str
    path_style: bool
    bucket: str
    access: S3Access
    problems: tuple[SourceProblem, ...] = ()


@dataclass(frozen=True)
class VaultCredentials:
    """A session's Vault token and the values of its chosen secrets.

    ``token`` is what the broker holds to end it; it enters the session only where ``grant.vault_token`` says
    so. ``accessor`` names the token and is good for nothing but to end it. ``values`` maps environment variable
    names to values; ``refused`` maps ``path:key`` to the reason why not; ``problems`` has one entry for each
    refused key and each secret that is not there.
    """

    token: str = field(repr=False)
    issued_at: datetime
    expiration: datetime
    address: str
    mount: str
    top_dir: str
    values: Mapping[str, str] = field(repr=False, default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[SourceProblem, ...] = ()
    accessor: str = field(repr=False, default="")


@dataclass(frozen=True)
class GitAccount:
    """One person's account on one Git host. ``token`` may be empty (name and mail only)."""

    host: str
    username: str = ""
    token: str = field(repr=False, default="")
    name: str = ""
    email: str = ""


@dataclass(frozen=True)
class GitCredentials:
    """The Git accounts a grant allows.

    They have no life of their own: ``expiration`` says when to read them again.
    """

    accounts: tuple[GitAccount, ...]
    issued_at: datetime
    expiration: datetime
    problems: tuple[SourceProblem, ...] = ()


@dataclass(frozen=True)
class SourceProblem:
    """Why a source has no credentials now, in words for a person; never a secret value.

    ``code`` is one of ``timeout``, ``unreachable``, ``denied``, ``circuit-open``, ``invalid``, ``missing``.
    """

    source: SourceName
    code: str
    message: str


@dataclass(frozen=True)
class Credentials:
    """All credentials of one session at one moment.

    A source that failed is ``None`` and has a problem; one whose renewal failed has its last value and a
    problem.
    """

    s3: S3Credentials | None = None
    vault: VaultCredentials | None = None
    git: GitCredentials | None = None
    problems: tuple[SourceProblem, ...] = ()

    @property
    def expires_at(self) -> datetime | None:
        """The earliest expiration among the sources that were answered, or ``None`` if none was."""
        ends = [part.expiration for part in (self.s3, self.vault, self.git) if part is not None]
        return min(ends, default=None)


def needs_replacement(issued_at: datetime, expiration: datetime, now: datetime | None = None) -> bool:
    """Return whether less than half of a credential's life is left at `now` (default: the present, UTC)."""
    now = now or datetime.now(UTC)
    life = (expiration - issued_at).total_seconds()
    return (expiration - now).total_seconds() < life * REPLACE_BELOW
