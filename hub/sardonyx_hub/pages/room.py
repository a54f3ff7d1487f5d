"""No launch on a full disk: the hub's own database is on it too, and its errors say nothing to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from jupyterhub.apihandlers.users import UserServerAPIHandler
from tornado import web

from sardonyx_spawner.messages import Messages

from ..disk import is_full
from .language import LanguageMixin
from .rest_launch import LaunchBodyMixin
from .rest_stop import StopWhileStartingMixin
from .terms import lead_to_terms, refuse_for_terms, terms_due

if TYPE_CHECKING:
    from ..datalab import Datalab


class RoomMixin(LanguageMixin):
    """For the two handlers that launch: refuses a POST, before anything is written, where there is no room."""

    settings: dict[str, Any]

    async def prepare(self) -> None:
        """Answer 507 (Insufficient Storage, RFC 4918) with what to do, or go on."""
        datalab = cast("Datalab", self.settings["sardonyx"])
        if self.request.method == "POST" and is_full(datalab.disk):
            raise web.HTTPError(507, Messages(self.datalab_language).translate("launch.disk_full"))
        await super().prepare()  # type: ignore[misc]
        if terms_due(self):
            self.ask_for_terms()

    def ask_for_terms(self) -> None:
        """Answer a person who has not accepted the terms of use; here: lead to them."""
        lead_to_terms(self)


class CheckedServerAPIHandler(RoomMixin, LaunchBodyMixin, StopWhileStartingMixin, UserServerAPIHandler):  # type: ignore[misc]
    """JupyterHub's own route that launches by REST."""

    def ask_for_terms(self) -> None:
        """Refuse a launch; what runs can still be stopped and deleted."""
        if self.request.method != "DELETE":
            refuse_for_terms(self)


def room_handlers() -> list[tuple[str, type]]:
    """Return JupyterHub's routes for launches by REST, with the check; handlers of the authenticator come first."""
    return [
        (r"/api/users/([^/]+)/server", CheckedServerAPIHandler),
        (r"/api/users/([^/]+)/servers/([^/]*)", CheckedServerAPIHandler),
    ]
