"""Choosing a language and a theme, with or without being signed in: two cookies."""

from __future__ import annotations

from urllib.parse import urlsplit

from .base import DatalabPageHandler
from .shell import THEME_COOKIE, THEMES

_DAYS = 365


class PreferencesHandler(DatalabPageHandler):
    """``?lang=fr``, ``?theme=dark``; goes back to where the link was, which the browser says in ``Referer``.

    A query argument with the address would end in logs, and some addresses hold codes (OAuth, invitations).
    """

    anonymous = True

    def get(self) -> None:
        """Keep what was chosen (the language is kept by the base class) and go back."""
        theme = self.get_query_argument("theme", "")
        if theme in THEMES:
            self.set_cookie(
                THEME_COOKIE,
                theme,
                path=self.hub.base_url,
                expires_days=_DAYS,
                samesite="Lax",
                secure=self.request.protocol == "https",
            )
        self.redirect(self._back())

    def _back(self) -> str:
        came_from = urlsplit(self.request.headers.get("Referer", ""))
        path = f"{came_from.path}?{came_from.query}" if came_from.query else came_from.path
        # two slashes would be the beginning of another host's address, and browsers read a backslash as a slash
        foreign = came_from.netloc != self.request.host or path.startswith("//") or "\\" in path
        return self.hub.base_url if foreign or not path.startswith(self.base_url) else path
