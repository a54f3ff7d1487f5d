"""The announcement on every page, and closing it: a cookie keeps which one a person has closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from .base import DatalabPageHandler
from .language import language_of
from .markdown import render_line

if TYPE_CHECKING:
    from ..datalab import Datalab

ANNOUNCEMENT_COOKIE = "datalab-announcement"
_DAYS = 180


@dataclass(frozen=True)
class Notice:
    """The announcement in one language. `language` is that of the text, which may not be translated."""

    id: str
    level: str
    html: Markup
    language: str
    dismissable: bool


def notice_of(handler: Any) -> Notice | None:
    """Return the announcement for the page that a handler renders; None if there is none, or it was closed."""
    datalab: Datalab | None = handler.settings.get("sardonyx")
    announcement = datalab.announcement() if datalab is not None else None
    if announcement is None:
        return None
    if announcement.dismissable and handler.get_cookie(ANNOUNCEMENT_COOKIE) == announcement.id:
        return None
    language = language_of(handler)
    return Notice(
        id=announcement.id,
        level=announcement.level,
        html=render_line(announcement.text.in_language(language)),
        language=announcement.text.language_of(language),
        dismissable=announcement.dismissable,
    )


class AnnouncementHandler(DatalabPageHandler):
    """``/hub/datalab/announcement``: the announcement alone, for pages that are open when it changes; POST closes it."""

    anonymous = True
    before_terms = True

    async def get(self) -> None:
        """Send what stands in the page: HTML, nothing if there is no announcement."""
        await self.render_page("datalab/announcement.html")

    async def post(self) -> None:
        """Remember that the person closed it, and go back to the page; what the shell's script does without a reload."""
        closed = self.get_body_argument("id", "")[:64]
        self.set_cookie(
            ANNOUNCEMENT_COOKIE,
            closed if closed.isalnum() else "",
            path=self.hub.base_url,
            expires_days=_DAYS,
            samesite="Lax",
            secure=self.request.protocol == "https",
        )
        self.redirect(self.get_next_url(), status=303)
