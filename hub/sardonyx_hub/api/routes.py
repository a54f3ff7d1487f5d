"""Every route of the JSON API: one table, which a test holds against the rules for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .admin import (
    AdminAnnouncementHandler,
    AdminCatalogueHandler,
    AdminGroupQuotaHandler,
    AdminGroupsHandler,
    AdminHealthHandler,
    AdminMessagesHandler,
    AdminPeopleHandler,
    AdminPersonHandler,
    AdminPersonQuotaHandler,
    AdminSessionsHandler,
    AdminSessionStopHandler,
)
from .base import DatalabHandler
from .catalogue import CatalogueHandler
from .credentials import CredentialsHandler
from .git_accounts import GitAccountHandler, GitAccountsHandler
from .launch_options import LaunchOptionsHandler
from .live import LiveHandler
from .messages import MessageHandler, MessagesHandler
from .openapi import OpenApiHandler
from .saved import LaunchLinkHandler, SavedConfigurationHandler, SavedConfigurationsHandler
from .secrets import SecretHandler, SecretsHandler
from .sessions import (
    SessionActionHandler,
    SessionEventsHandler,
    SessionHandler,
    SessionLogsHandler,
    SessionsHandler,
    SessionUsageHandler,
)
from .vault_tokens import VaultTokenHandler, VaultTokensHandler

PREFIX: Final = "/api/datalab/v1"


@dataclass(frozen=True)
class Route:
    """A pattern below ``/hub/`` and who answers it."""

    pattern: str
    handler: type[DatalabHandler]
    methods: tuple[str, ...]


ROUTES: Final = (
    Route(rf"{PREFIX}/openapi\.json", OpenApiHandler, ("GET",)),
    Route(rf"{PREFIX}/credentials", CredentialsHandler, ("GET",)),
    Route(rf"{PREFIX}/catalogue", CatalogueHandler, ("GET",)),
    Route(rf"{PREFIX}/live", LiveHandler, ("GET",)),
    Route(rf"{PREFIX}/launch-options", LaunchOptionsHandler, ("POST",)),
    Route(rf"{PREFIX}/sessions", SessionsHandler, ("GET",)),
    Route(rf"{PREFIX}/sessions/([^/]+)", SessionHandler, ("GET", "PATCH", "DELETE")),
    Route(rf"{PREFIX}/sessions/([^/]+)/(start|stop|restart|keep-alive)", SessionActionHandler, ("POST",)),
    Route(rf"{PREFIX}/sessions/([^/]+)/logs", SessionLogsHandler, ("GET",)),
    Route(rf"{PREFIX}/sessions/([^/]+)/events", SessionEventsHandler, ("GET",)),
    Route(rf"{PREFIX}/sessions/([^/]+)/usage", SessionUsageHandler, ("GET",)),
    Route(rf"{PREFIX}/git-accounts", GitAccountsHandler, ("GET",)),
    Route(rf"{PREFIX}/git-accounts/([^/]+)", GitAccountHandler, ("GET", "PUT", "DELETE")),
    Route(rf"{PREFIX}/saved-configurations", SavedConfigurationsHandler, ("GET", "POST")),
    Route(
        rf"{PREFIX}/saved-configurations/([^/]+)",
        SavedConfigurationHandler,
        ("GET", "PUT", "PATCH", "DELETE"),
    ),
    Route(rf"{PREFIX}/saved-configurations/([^/]+)/link", LaunchLinkHandler, ("GET",)),
    Route(rf"{PREFIX}/secrets/?", SecretsHandler, ("GET",)),
    Route(rf"{PREFIX}/secrets/(.+)", SecretHandler, ("GET", "PUT", "PATCH", "POST", "DELETE")),
    Route(rf"{PREFIX}/messages", MessagesHandler, ("GET",)),
    Route(rf"{PREFIX}/messages/([^/]+)", MessageHandler, ("DELETE",)),
    Route(rf"{PREFIX}/admin/sessions", AdminSessionsHandler, ("GET",)),
    Route(rf"{PREFIX}/admin/people", AdminPeopleHandler, ("GET",)),
    Route(rf"{PREFIX}/admin/people/([^/]+)", AdminPersonHandler, ("GET",)),
    Route(rf"{PREFIX}/admin/people/([^/]+)/quota", AdminPersonQuotaHandler, ("PUT", "DELETE")),
    Route(rf"{PREFIX}/admin/people/([^/]+)/messages", AdminMessagesHandler, ("POST",)),
    Route(rf"{PREFIX}/admin/people/([^/]+)/sessions/([^/]+)/stop", AdminSessionStopHandler, ("POST",)),
    Route(rf"{PREFIX}/admin/groups", AdminGroupsHandler, ("GET",)),
    Route(rf"{PREFIX}/admin/groups/([^/]+)/quota", AdminGroupQuotaHandler, ("PUT", "DELETE")),
    Route(rf"{PREFIX}/admin/announcement", AdminAnnouncementHandler, ("GET", "PUT", "POST", "DELETE")),
    Route(rf"{PREFIX}/admin/catalogue", AdminCatalogueHandler, ("GET", "POST")),
    Route(rf"{PREFIX}/admin/health", AdminHealthHandler, ("GET",)),
    Route(rf"{PREFIX}/vault-tokens", VaultTokensHandler, ("POST",)),
    Route(rf"{PREFIX}/vault-tokens/([^/]+)", VaultTokenHandler, ("DELETE",)),
)


def api_handlers() -> list[tuple[str, type]]:
    """Return the routes for ``Authenticator.get_handlers``, which mounts them below ``/hub/``."""
    return [(route.pattern, route.handler) for route in ROUTES]
