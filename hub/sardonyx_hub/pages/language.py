"""The language of a person: what they chose (cookie), else what their browser prefers."""

from __future__ import annotations

from typing import Any

from sardonyx_spawner.messages import pick_language

LANGUAGE_COOKIE = "datalab-lang"
_DAYS = 365


def language_of(handler: Any) -> str:
    """Return the language in which to answer a request, whichever handler of the hub has it."""
    chosen = handler.get_query_argument("lang", None) or handler.get_cookie(LANGUAGE_COOKIE)
    return pick_language(handler.request.headers.get("Accept-Language"), chosen)


class LanguageMixin:
    """For Tornado handlers of the hub: ``?lang=fr`` chooses a language, a cookie keeps it."""

    request: Any
    hub: Any

    @property
    def datalab_language(self) -> str:
        """The language to answer in."""
        return language_of(self)

    def remember_language(self) -> None:
        """Keep the language that the request asks for, if it is one there are messages for."""
        handler: Any = self
        asked = handler.get_query_argument("lang", None)
        if asked and pick_language(None, asked) == asked:
            handler.set_cookie(
                LANGUAGE_COOKIE,
                asked,
                path=self.hub.base_url,
                expires_days=_DAYS,
                httponly=True,
                samesite="Lax",
                secure=self.request.protocol == "https",
            )
