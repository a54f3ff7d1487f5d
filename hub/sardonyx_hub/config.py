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
import gc
from importlib.metadata import entry_points
from typing import Any

from jupyterhub.auth import Authenticator
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader
from traitlets.utils.importstring import import_item

from sardonyx_spawner.local import LocalDatalabSpawner

from .api import scopes
from .auth import EmbeddedAuthenticator, wrap_authenticator
from .build import build_datalab
from .datalab import Datalab
from .embedded.openbao import REVOKE_ROLE
from .embedded.settings import EmbeddedSettings
from .home_settings import EMBEDDED_HOME_TEXT
from .pages import TEMPLATE_PATHS
from .pages.hub_pages import configure_pages
from .settings import Sardonyx

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
    datalab.idle.default = settings.idle_rule()
    datalab.idle.keep_alive_hours = tuple(settings.keep_alive_hours)
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
    configure_pages(hub)
    _freeze_when_up()
    mixin = c.DatalabSpawnerMixin
    mixin.catalogue_file = settings.catalogue_file
    mixin.handle_hook = datalab.handle_of_spawner
    mixin.bundle_hook = datalab.make_bundle
    mixin.end_hook = datalab.end_session
    mixin.state_hook = datalab.sessions.changed
    mixin.form_context_hook = datalab.form_context
    mixin.quota_hook = datalab.quotas.check
    mixin.secret_values_hook = datalab.keep_session_values
    mixin.secret_rename_hook = datalab.rename_session_values
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


def configure_embedded(c: Config, settings: EmbeddedSettings) -> Datalab:
    """Fill `c` for the hub of `sardonyx run`: embedded parts on loopback, local sessions, demo accounts.

    Parameters
    ----------
    settings
        What the supervisor agreed with the embedded parts.
    """
    _configure_hub(c, settings)
    s = c.Sardonyx
    if settings.config_file:
        # What the file says of other classes is loaded after this, and wins; these have to be known here.
        operators = PyFileConfigLoader(settings.config_file.name, path=str(settings.config_file.parent))
        s.merge(operators.load_config().get("Sardonyx", {}))
    s.setdefault("home_text", EMBEDDED_HOME_TEXT)
    s.state_dir = str(settings.state_dir)
    s.issuer_url = settings.issuer_url
    # Long enough for a session that is left open over a weekend; what is forgotten ends some time all the same.
    s.setdefault("idle_stop", {"after": "7d", "warn": "1h"})
    s.shared_buckets = [
        {"name": bucket.name, "read": list(bucket.read), "write": list(bucket.write)}
        for bucket in settings.shared_buckets
    ]
    # Not against the operator's word: there may be a reverse proxy before it.
    s.setdefault("s3_endpoint_url", settings.s3_endpoint_url)
    s.setdefault("s3_public_endpoint_url", settings.s3_https_endpoint_url)
    s.setdefault("s3_admin_file", str(settings.s3_admin_keys_file))
    s.s3_duration = settings.s3_duration
    s.vault_url = settings.vault_address
    s.public_ca_file = str(settings.ca_file)
    s.vault_revoke_role = REVOKE_ROLE
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
