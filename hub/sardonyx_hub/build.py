"""Makes the parts of a datalab from its settings. No network I/O."""

from __future__ import annotations

import atexit
import json
from pathlib import Path

from .admin.health import Backends
from .api.audit import Audit
from .api.ratelimit import RateLimit
from .credentials.broker import Broker
from .credentials.ending_notes import EndingNotes
from .credentials.git import GitAccounts, GitSource
from .credentials.model import SourceName
from .credentials.provision import BucketProvisioner, ProvisionConfig
from .credentials.s3 import S3Config, S3Source
from .credentials.s3_policy import SharedBucket, everyone_with
from .credentials.secret_store import SecretStore
from .credentials.source import CredentialSource
from .credentials.vault import VaultSource
from .credentials.vault_client import VaultConfig
from .datalab import Datalab
from .documents import DocumentStore
from .identity.handles import HandleRegistry
from .identity.issuer import Issuer
from .identity.keys import KeyRing
from .quotas import parse_limits
from .saved import SavedConfigurations
from .settings import Sardonyx


def build_datalab(settings: Sardonyx) -> Datalab:
    """Make the datalab's parts from its settings. Does no network I/O.

    Raises
    ------
    ValueError
        If a setting is missing or wrong; the message names it.
    """
    if not settings.issuer_url:
        raise ValueError("Sardonyx.issuer_url is not set: the URL of the hub followed by /hub/datalab/oidc.")
    home = settings.home()
    state = Path(settings.state_dir)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    shared = tuple(
        SharedBucket(
            bucket["name"], read=tuple(bucket.get("read", ["*"])), write=tuple(bucket.get("write", []))
        )
        for bucket in settings.shared_buckets
    )
    issuer = Issuer(KeyRing(state / "keys"), settings.issuer_url)
    sources: dict[SourceName, CredentialSource] = {}
    provisioner = _provisioner(settings, shared)
    s3_config = _s3_config(settings, shared) if settings.s3_endpoint_url else None
    if s3_config is not None:
        sources["s3"] = S3Source(s3_config, issuer, provisioner)
    secrets = git_accounts = None
    if settings.vault_url:
        vault = _vault_config(settings)
        secrets = SecretStore(vault, issuer)
        git_accounts = GitAccounts(secrets)
        sources["vault"] = VaultSource(vault, issuer)
        sources["git"] = GitSource(git_accounts)
    database = settings.handles_url or state / "handles.sqlite"
    documents = DocumentStore(database)
    audit = Audit(state / "audit.jsonl")
    # What a hub recorded just before it stops is still in a queue then.
    atexit.register(audit.close)
    return Datalab(
        handles=HandleRegistry(database, reserved=[bucket.name for bucket in shared]),
        documents=documents,
        issuer=issuer,
        broker=Broker(sources, notes=EndingNotes(documents)),
        audit=audit,
        rate_limit=RateLimit(),
        default_quota=parse_limits(settings.quota, "Sardonyx.quota"),
        backends=_backends(settings, state),
        provisioner=provisioner,
        secrets=secrets,
        git_accounts=git_accounts,
        s3_config=s3_config,
        public_ca_file=Path(settings.public_ca_file) if settings.public_ca_file else None,
        vault_tokens=settings.vault_tokens,
        saved=SavedConfigurations(secrets) if secrets else None,
        home=home,
        title=settings.title,
    )


def _s3_config(settings: Sardonyx, shared: tuple[SharedBucket, ...]) -> S3Config:
    return S3Config(
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        sts_endpoint_url=settings.s3_sts_endpoint_url,
        region=settings.s3_region,
        role_arn=settings.s3_role_arn,
        path_style=settings.s3_path_style,
        duration=settings.s3_duration,
        ca_file=settings.s3_ca_file or None,
        shared_buckets=shared,
    )


def _provisioner(settings: Sardonyx, shared: tuple[SharedBucket, ...]) -> BucketProvisioner | None:
    if not (settings.s3_endpoint_url and settings.s3_admin_file):
        return None
    keys = json.loads(Path(settings.s3_admin_file).read_text(encoding="utf-8"))
    return BucketProvisioner(
        ProvisionConfig(
            endpoint_url=settings.s3_endpoint_url,
            access_key=keys["access_key"],
            secret_key=keys["secret_key"],
            region=settings.s3_region,
            path_style=settings.s3_path_style,
            ca_file=settings.s3_ca_file or None,
            shared_buckets=frozenset(bucket.name for bucket in shared),
            diffusion_principal=everyone_with(settings.s3_role_arn),
        )
    )


def _backends(settings: Sardonyx, state: Path) -> Backends:
    return Backends(
        s3_url=settings.s3_endpoint_url,
        sts_url=settings.s3_sts_endpoint_url,
        s3_role=settings.s3_role_arn,
        s3_ca_file=settings.s3_ca_file,
        vault_url=settings.vault_url,
        vault_ca_file=settings.vault_ca_file,
        issuer_url=settings.issuer_url,
        folder=state,
    )


def _vault_config(settings: Sardonyx) -> VaultConfig:
    return VaultConfig(
        address=settings.vault_url,
        public_address=settings.vault_public_url,
        mount=settings.vault_mount,
        auth_path=settings.vault_auth_path,
        role=settings.vault_role,
        revoke_role=settings.vault_revoke_role,
        namespace=settings.vault_namespace or None,
        ca_file=settings.vault_ca_file or None,
    )
