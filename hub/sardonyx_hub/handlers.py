"""Every Tornado handler of the datalab, in one list; paths are relative to the hub's prefix (`/hub/`)."""

from __future__ import annotations

from .api import api_handlers
from .identity.handlers import oidc_handlers
from .pages import page_handlers
from .pages.room import room_handlers


def datalab_handlers() -> list[tuple[str, type]]:
    """Return what `Authenticator.get_handlers` mounts: the issuer's documents, the API and the pages."""
    return [*oidc_handlers(), *api_handlers(), *page_handlers(), *room_handlers()]
