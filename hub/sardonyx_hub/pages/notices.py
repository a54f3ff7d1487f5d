"""Messages of administrators on a person's pages, and closing them."""

from __future__ import annotations

from typing import Any

from tornado import web

from ..documents import DocumentError
from .base import DatalabPageHandler


def notices_of(handler: Any) -> list[dict[str, Any]]:
    """Return the messages for the page that a handler renders."""
    datalab = handler.settings.get("sardonyx")
    user = handler.current_user
    found: list[dict[str, Any]] = (
        datalab.notices.for_person(user.name) if datalab is not None and user is not None else []
    )
    return found


class NoticesHandler(DatalabPageHandler):
    """``/hub/datalab/notices``: the messages alone, for pages that are open when one comes; POST closes one."""

    before_terms = True

    async def get(self) -> None:
        """Send what stands in the page: HTML, nothing if there is no message."""
        await self.render_page("datalab/notices.html")

    async def post(self) -> None:
        """Close a message, and go back to the page; what the shell's script does without a reload."""
        try:
            await self.datalab.notices.dismiss(self.current_user.name, self.get_body_argument("id", "")[:64])
        except DocumentError:
            raise web.HTTPError(503, self.t("admin.refused.database")) from None
        self.redirect(self.get_next_url(self.current_user), status=303)
