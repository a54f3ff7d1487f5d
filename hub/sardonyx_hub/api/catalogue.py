"""``GET /hub/api/datalab/v1/catalogue``: the services that a person sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import scopes
from .base import DatalabHandler

if TYPE_CHECKING:
    from sardonyx_spawner.catalogue import Service


def describe(service: Service) -> dict[str, Any]:
    """Return what a person sees of a service before launching it; texts in all languages, no operator's
    settings.
    """
    return {
        "id": service.id,
        "name": service.name.model_dump(),
        "description": service.description.model_dump() if service.description else None,
        "category": service.category.model_dump(),
        "icon": service.icon,
        "default": service.default,
        "links": [{"name": link.name.model_dump(), "url": link.url} for link in service.links],
    }


class CatalogueHandler(DatalabHandler):
    """The catalogue, for people. A session's own token does not see it: that is good for its credentials
    only.
    """

    scope = scopes.CREDENTIALS

    async def get(self) -> None:
        """Send ``{"version": 1, "services": [...]}``."""
        self.limit("read")
        services = await self.datalab.services_for(self.current_user)
        self.finish({"version": 1, "services": [describe(service) for service in services]})
