"""One `sardonyx` configuration (traitlets) made into the JupyterHub configuration.

In a `jupyterhub_config.py`::

    from sardonyx_hub.config import configure

    c.Sardonyx.issuer_url = "https://hub.example.org/hub/datalab/oidc"
    c.Sardonyx.s3_endpoint_url = "https://s3.example.org"
    c.Sardonyx.vault_url = "https://vault.example.org"
    c.JupyterHub.authenticator_class = "github"
    configure(c)
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from traitlets import Bool, Dict, Integer, List, Unicode
from traitlets.config import Config, Configurable
from traitlets.utils.importstring import import_item

from sardonyx_spawner.catalogue import DEFAULT_CATALOGUE
from sardonyx_spawner.local import LocalDatalabSpawner

from .api import scopes
from .api.audit import Audit
from .api.ratelimit import RateLimit
from .auth import EmbeddedAuthenticator, wrap_authenticator
from .credentials.broker import Broker
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
from .embedded.settings import EmbeddedSettings
from .identity.handles import HandleRegistry
from .identity.issuer import Issuer
from .identity.keys import KeyRing
from .pages import TEMPLATE_PATHS

#: Seconds after which a hub that starts is up.
_UP_SECONDS = 15.0

#: What people may do to their own credentials, secrets and Git accounts.
CUSTOM_SCOPES = {
    scopes.CREDENTIALS: {"description": "Get the credentials of one's sessions"},
    scopes.SECRETS: {"description": "Read and write one's secrets"},
    scopes.GIT: {"description": "Read and write one's Git accounts"},
}

#: The rights of a session's token: JupyterHub's own two, and the credentials of that one session.
SERVER_SCOPES = ["users:activity!user", "access:servers!server", f"{scopes.CREDENTIALS}!server"]


class Sardonyx(Configurable):
    """The settings of a datalab."""

    state_dir = Unicode(
        "sardonyx",
        config=True,
        help="""
        Folder of the signing keys, the handle registry and the audit log. Back it up: with it, people keep their handles.

        Example::

            c.Sardonyx.state_dir = "/srv/sardonyx"
        """,
    )
    handles_url = Unicode(
        "",
        config=True,
        help="""
        Database of the handle registry, as an SQLAlchemy URL; an SQLite file in `state_dir` by default.

        Example::

            c.Sardonyx.handles_url = "postgresql+psycopg2://sardonyx@db.example.org/sardonyx"
        """,
    )
    issuer_url = Unicode(
        config=True,
        help="""
        URL of the hub as OpenID issuer, as S3 STS and Vault are configured with it.

        Example::

            c.Sardonyx.issuer_url = "https://hub.example.org/hub/datalab/oidc"
        """,
    )
    catalogue_file = Unicode(
        str(DEFAULT_CATALOGUE),
        config=True,
        help="""
        YAML file of the catalogue.

        Example::

            c.Sardonyx.catalogue_file = "/etc/sardonyx/catalogue.yaml"
        """,
    )
    shared_buckets = List(
        Dict(),
        config=True,
        help="""
        Buckets beside people's own. `read` and `write` list handles, `@` and a group's handle (`project-NAME`), or
        `*` for everyone.

        Example::

            c.Sardonyx.shared_buckets = [{"name": "teaching", "read": ["*"], "write": ["@project-teachers"]}]
        """,
    )

    s3_endpoint_url = Unicode("", config=True, help="S3 as the hub reaches it; no S3 storage if empty.")
    s3_public_endpoint_url = Unicode(
        "", config=True, help="S3 as sessions reach it; `s3_endpoint_url` by default."
    )
    s3_sts_endpoint_url = Unicode(
        "", config=True, help="STS as the hub reaches it; `s3_endpoint_url` by default."
    )
    s3_region = Unicode("us-east-1", config=True, help="Region that requests are signed for.")
    s3_role_arn = Unicode("arn:aws:iam::role/datalab", config=True, help="Role that sessions take.")
    s3_path_style = Bool(
        True, config=True, help="Whether buckets are addressed as `endpoint/bucket`, not `bucket.endpoint`."
    )
    s3_duration = Integer(
        3600,
        allow_none=True,
        config=True,
        help="Life of S3 keys in seconds, 900 to 43,200; None leaves it to the server.",
    )
    s3_ca_file = Unicode("", config=True, help="PEM file of the authorities that sign S3's certificate.")
    s3_admin_file = Unicode(
        "",
        config=True,
        help="""
        JSON file (0600) with `access_key` and `secret_key` of an account that may make buckets; empty if buckets
        are made otherwise.

        Example::

            c.Sardonyx.s3_admin_file = "/etc/sardonyx/s3-admin.json"
        """,
    )

    vault_url = Unicode("", config=True, help="Vault or OpenBao as the hub reaches it; no secrets if empty.")
    vault_public_url = Unicode("", config=True, help="Vault as sessions reach it; `vault_url` by default.")
    vault_mount = Unicode("onyxia-kv", config=True, help="Mount of the KV version 2 secrets engine.")
    vault_auth_path = Unicode("jwt", config=True, help="Mount of the JWT auth method.")
    vault_role = Unicode("datalab", config=True, help="Role that sessions log in with.")
    vault_namespace = Unicode("", config=True, help="Namespace, where there are any.")
    vault_ca_file = Unicode(
        "", config=True, help="PEM file of the authorities that sign Vault's certificate."
    )


def build_datalab(settings: Sardonyx) -> Datalab:
    """Make the datalab's parts from its settings. Does no network I/O.

    Raises
    ------
    ValueError
        If a setting is missing or wrong; the message names it.
    """
    if not settings.issuer_url:
        raise ValueError("Sardonyx.issuer_url is not set: the URL of the hub followed by /hub/datalab/oidc.")
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
    if settings.s3_endpoint_url:
        sources["s3"] = S3Source(_s3_config(settings, shared), issuer, provisioner)
    secrets = git_accounts = None
    if settings.vault_url:
        vault = _vault_config(settings)
        secrets = SecretStore(vault, issuer)
        git_accounts = GitAccounts(secrets)
        sources["vault"] = VaultSource(vault, issuer)
        sources["git"] = GitSource(git_accounts)
    audit = Audit(state / "audit.jsonl")
    # What a hub recorded just before it stops is still in a queue then.
    atexit.register(audit.close)
    return Datalab(
        handles=HandleRegistry(
            settings.handles_url or state / "handles.sqlite", reserved=[bucket.name for bucket in shared]
        ),
        issuer=issuer,
        broker=Broker(sources),
        audit=audit,
        rate_limit=RateLimit(),
        provisioner=provisioner,
        secrets=secrets,
        git_accounts=git_accounts,
    )


def configure(c: Config, **parts: Any) -> Datalab:
    """Fill `c`, the configuration of a JupyterHub, with what makes it a datalab.

    What the operator sets afterwards in the same file wins, as with any configuration.

    Parameters
    ----------
    c
        The result of `get_config()`; its section `Sardonyx` is read.
    parts
        Parts of :class:`~.datalab.Datalab` beside, or instead of, those that the settings describe.

    Raises
    ------
    ValueError
        If a setting is missing or wrong.
    """
    settings = Sardonyx(config=c)
    datalab = build_datalab(settings)
    for name, part in parts.items():
        setattr(datalab, name, part)
    hub = c.JupyterHub
    hub.authenticator_class = wrap_authenticator(
        _authenticator_class(hub.get("authenticator_class")), datalab
    )
    hub.tornado_settings = {**hub.get("tornado_settings", {}), "sardonyx": datalab}
    hub.custom_scopes = {**hub.get("custom_scopes", {}), **CUSTOM_SCOPES}
    hub.extra_user_scopes = {*hub.get("extra_user_scopes", ()), *(f"{scope}!user" for scope in CUSTOM_SCOPES)}
    hub.load_roles = [*hub.get("load_roles", []), {"name": "server", "scopes": SERVER_SCOPES}]
    hub.template_paths = [*hub.get("template_paths", []), *(str(path) for path in TEMPLATE_PATHS)]
    hub.setdefault("allow_named_servers", True)
    _freeze_when_up()
    mixin = c.DatalabSpawnerMixin
    mixin.catalogue_file = settings.catalogue_file
    mixin.handle_hook = datalab.handle_of_spawner
    mixin.bundle_hook = datalab.make_bundle
    mixin.end_hook = datalab.end_session
    mixin.form_context_hook = datalab.form_context
    return datalab


def _freeze_when_up() -> None:
    """Let the garbage collector leave alone what a started hub consists of.

    Looking through its 400,000 objects stops the event loop for a fifth of a second, again and again.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # a configuration that is read for something else than to start a hub
        return

    def freeze() -> None:
        gc.collect()
        gc.freeze()

    loop.call_later(_UP_SECONDS, freeze)


def _authenticator_class(chosen: Any) -> type[Authenticator]:
    """Return the operator's authenticator class: a class, an import path or the name of an entry point."""
    if isinstance(chosen, type):
        return chosen
    name = chosen if isinstance(chosen, str) and chosen else "pam"
    for entry in entry_points(group="jupyterhub.authenticators", name=name):
        loaded: type[Authenticator] = entry.load()
        return loaded
    imported: type[Authenticator] = import_item(name)
    return imported


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


def _vault_config(settings: Sardonyx) -> VaultConfig:
    return VaultConfig(
        address=settings.vault_url,
        public_address=settings.vault_public_url,
        mount=settings.vault_mount,
        auth_path=settings.vault_auth_path,
        role=settings.vault_role,
        namespace=settings.vault_namespace or None,
        ca_file=settings.vault_ca_file or None,
    )


def configure_embedded(c: Config, settings: EmbeddedSettings) -> Datalab:
    """Fill `c` for the hub of `sardonyx run`: embedded parts on loopback, local sessions, demo accounts.

    Parameters
    ----------
    settings
        What the supervisor agreed with the embedded parts.
    """
    _configure_hub(c, settings)
    s = c.Sardonyx
    s.state_dir = str(settings.state_dir)
    s.issuer_url = settings.issuer_url
    s.shared_buckets = [
        {"name": bucket.name, "read": list(bucket.read), "write": list(bucket.write)}
        for bucket in settings.shared_buckets
    ]
    s.s3_endpoint_url = settings.s3_endpoint_url
    s.s3_public_endpoint_url = settings.s3_https_endpoint_url
    s.s3_admin_file = str(settings.s3_admin_keys_file)
    s.s3_duration = settings.s3_duration
    s.vault_url = settings.vault_address
    if settings.catalogue_file:
        s.catalogue_file = str(settings.catalogue_file)
    spawner = c.LocalDatalabSpawner
    spawner.home = str(settings.home)
    spawner.environments = {name: str(path) for name, path in settings.environments.items()}
    spawner.program_folders = [str(settings.mc_directory)] if settings.mc_directory else []
    spawner.ca_file = str(settings.ca_file)
    spawner.credentials_url = f"{settings.hub_url}/hub/api/datalab/v1/credentials"
    c.JupyterHub.authenticator_class = EmbeddedAuthenticator
    c.JupyterHub.spawner_class = LocalDatalabSpawner
    c.EmbeddedAuthenticator.password_file = str(settings.password_file)
    c.Authenticator.allowed_users = {"alice", "bob"}
    c.Authenticator.admin_users = {"admin"}
    return configure(c, disk=settings.home)


def _configure_hub(c: Config, settings: EmbeddedSettings) -> None:
    """Tell the hub where it and its proxy listen, and where it keeps its things."""
    hub = c.JupyterHub
    hub.bind_url = settings.public_url
    hub.hub_bind_url = settings.hub_url
    hub.db_url = f"sqlite:///{settings.database_file}"
    hub.cookie_secret_file = str(settings.cookie_secret_file)
    # The supervisor starts the proxy, so that both it and the sessions outlive a hub that dies.
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = settings.proxy_api_url
    c.ConfigurableHTTPProxy.auth_token = settings.proxy_token_file.read_text(encoding="utf-8").strip()
