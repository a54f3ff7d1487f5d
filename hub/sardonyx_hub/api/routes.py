"""Every route of the JSON API: one table, which a test holds against the rules for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .base import DatalabHandler
from .catalogue import CatalogueHandler
from .credentials import CredentialsHandler
from .git_accounts import GitAccountHandler, GitAccountsHandler
from .secrets import SecretHandler, SecretsHandler

PREFIX: Final = "/api/datalab/v1"


@dataclass(frozen=True)
class Route:
    """A pattern below ``/hub/`` and who answers it."""

    pattern: str
    handler: type[DatalabHandler]
    methods: tuple[str, ...]


ROUTES: Final = (
    Route(rf"{PREFIX}/credentials", CredentialsHandler, ("GET",)),
    Route(rf"{PREFIX}/catalogue", CatalogueHandler, ("GET",)),
    Route(rf"{PREFIX}/git-accounts", GitAccountsHandler, ("GET",)),
    Route(rf"{PREFIX}/git-accounts/([^/]+)", GitAccountHandler, ("GET", "PUT", "DELETE")),
    Route(rf"{PREFIX}/secrets/?", SecretsHandler, ("GET",)),
    Route(rf"{PREFIX}/secrets/(.+)", SecretHandler, ("GET", "PUT", "DELETE")),
)


def api_handlers() -> list[tuple[str, type]]:
    """Return the routes for ``Authenticator.get_handlers``, which mounts them below ``/hub/``."""
    return [(route.pattern, route.handler) for route in ROUTES]
