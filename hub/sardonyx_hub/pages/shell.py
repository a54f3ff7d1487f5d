"""What surrounds the content of every page, JupyterHub's own too: language, theme, navigation, and what a page may load.

Templates reach it by functions in ``JupyterHub.template_vars``. These find the handler through the bound method
``static_url`` that JupyterHub puts into the context of every template, error pages included.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jinja2 import pass_context
from jinja2.runtime import Context
from jupyterhub.handlers.pages import ProxyErrorHandler
from jupyterhub.spawner import SpawnException
from jupyterhub.utils import url_path_join
from tornado.httputil import HTTPHeaders, url_concat

from sardonyx_spawner.messages import LANGUAGES

from ..admin.rights import Rights
from .assets import asset_url
from .language import language_of
from .messages import PageMessages

if TYPE_CHECKING:
    from .announcement import Notice

log = logging.getLogger("sardonyx")

THEME_COOKIE = "datalab-theme"
THEMES = ("auto", "light", "dark")

#: What every page may load: files of this hub; pictures also from where a catalogue's icons are. Nothing inline.
CONTENT_SECURITY_POLICY: Mapping[str, str] = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: https:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}

#: Sentences that the shared scripts of `hub/ui/src/lib` say.
_SCRIPT_MESSAGES = (
    "common.cancel",
    "common.close",
    "common.copied",
    "common.copy_failed",
    "common.error.",
    "common.live.",
    "common.offline",
    "common.sign_in",
    "services.idle.toast",
)

_ATTRIBUTE = "_sardonyx_shell"


@dataclass(frozen=True)
class NavEntry:
    """A room in the navigation."""

    room: str
    label: str
    href: str
    icon: str


def security_policy(**changes: str) -> str:
    """Return the content security policy of a page; `changes` are directives with ``_`` for ``-``."""
    directives = {
        **CONTENT_SECURITY_POLICY,
        **{name.replace("_", "-"): text for name, text in changes.items()},
    }
    return "; ".join(f"{name} {text}" for name, text in directives.items())


class Shell:
    """What surrounds the content of one page.

    Parameters
    ----------
    handler
        The handler that answers, any of the hub's.
    """

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self.language = language_of(handler)
        self.languages = LANGUAGES
        self.themes = THEMES
        chosen = handler.get_cookie(THEME_COOKIE)
        self.theme = chosen if chosen in THEMES else "auto"
        self.room: str = getattr(handler, "room", "")
        self.hub_url: str = handler.hub.base_url
        self.title: str = handler.settings["sardonyx"].title
        self._messages = PageMessages(self.language)
        self._assets: dict[str, str] = {}

    def t(self, key: str, /, **params: object) -> str:
        """Return a sentence in the person's language."""
        return self._messages.translate(key, **params)

    def asset_url(self, name: str) -> str:
        """Return the URL of a static file; empty, and logged, if it is not there (pages that were not built)."""
        if name not in self._assets:
            url = asset_url(self.hub_url, name)
            if url is None:
                log.error("The page's file %s is missing: run `python3 tools/bootstrap.py runtime`", name)
            # A list has the same icons in each row.
            self._assets[name] = url or ""
        return self._assets[name]

    def url(self, *path: str) -> str:
        """Return the URL of a path below ``/hub/``."""
        joined: str = url_path_join(self.hub_url, *path)
        return joined

    @property
    def person(self) -> Any:
        """Who looks at the page; `user` in JupyterHub's templates is sometimes the person whose server it is about."""
        return self._handler.current_user

    @property
    def insecure(self) -> bool:
        """Whether what is typed into the page travels in the clear to another machine."""
        request = self._handler.request
        here = request.host_name in ("localhost", "127.0.0.1", "::1") or request.host_name.endswith(
            ".localhost"
        )
        return request.protocol != "https" and not here

    @property
    def proxied(self) -> bool:
        """Whether the page is about a session that the proxy could not reach."""
        return isinstance(self._handler, ProxyErrorHandler)

    def reason_of(self, error: BaseException | None) -> str:
        """Return what an error of a launch says to people; empty if it says something to nobody but developers."""
        return str(error.message or "") if isinstance(error, SpawnException) else ""

    @property
    def this_url(self) -> str:
        """Path and query of the page itself, without what only chose its language."""
        request = self._handler.request
        query = [
            (name, text.decode("utf-8", "replace"))
            for name, texts in request.query_arguments.items()
            for text in texts
            if name not in ("lang", "_xsrf", "redirects")
        ]
        url: str = url_concat(request.path, query)
        return url

    def preference_url(self, **chosen: str) -> str:
        """Return where to go to choose a language or a theme; it leads back to the page that it was on."""
        url: str = url_concat(self.url("datalab/preferences"), chosen)
        return url

    def messages(self, prefixes: Iterable[str] = ()) -> dict[str, str]:
        """Return the sentences for the page's script: those of `prefixes`, and the shared ones."""
        return self._messages.starting_with([*_SCRIPT_MESSAGES, *prefixes])

    @property
    def announcement(self) -> Notice | None:
        """What is announced to everybody; None if nothing is, or the person closed it."""
        # Late: the handler that closes it is a page, with a shell.
        from .announcement import notice_of

        return notice_of(self._handler)

    @property
    def notices(self) -> Sequence[Mapping[str, Any]]:
        """Messages of administrators to the person that they have not closed."""
        from .notices import notices_of

        return notices_of(self._handler)

    @property
    def nav(self) -> Sequence[NavEntry]:
        """The rooms that the person may enter; none if nobody is signed in."""
        if self._handler.current_user is None:
            return ()
        rooms = [
            ("catalogue", "datalab/catalogue", "grid"),
            ("services", "datalab/services", "play-circle"),
            ("secrets", "datalab/secrets", "key"),
            ("account", "datalab/account", "person"),
        ]
        if administers(self._handler):
            rooms.append(("admin", "datalab/admin", "gear"))
        return [
            NavEntry(room, self.t(f"common.nav.{room}"), self.url(path), icon) for room, path, icon in rooms
        ]

    def restrict(self, **changes: str) -> str:
        """Send this page's content security policy, unless the operator configured one; for `page.html`, so empty text."""
        configured = HTTPHeaders(self._handler.settings.get("headers", {}))
        if "Content-Security-Policy" not in configured:
            self._handler.set_header("Content-Security-Policy", security_policy(**changes))
        return ""


def administers(handler: Any) -> bool:
    """Whether the person administers the datalab or manages a project: who sees the room Admin."""
    return Rights(handler.parsed_scopes).enters


def shell_of(handler: Any) -> Shell:
    """Return the surroundings of the page that a handler renders; the same object each time."""
    shell: Shell | None = getattr(handler, _ATTRIBUTE, None)
    if shell is None:
        shell = Shell(handler)
        setattr(handler, _ATTRIBUTE, shell)
    return shell


def _from_context(context: Context) -> Shell:
    return shell_of(context["static_url"].__self__)


@pass_context
def _shell(context: Context) -> Shell:
    """``datalab_page()`` in templates."""
    return _from_context(context)


@pass_context
def _translate(context: Context, key: str, /, **params: object) -> str:
    return _from_context(context).t(key, **params)


@pass_context
def _asset_url(context: Context, name: str) -> str:
    return _from_context(context).asset_url(name)


def template_vars() -> dict[str, Callable[[Any], Any]]:
    """Return what to add to ``JupyterHub.template_vars``, which calls each value with the person."""
    functions = {"datalab_page": _shell, "t": _translate, "asset_url": _asset_url}
    return {name: partial(_constant, function) for name, function in functions.items()}


def _constant(value: Any, _user: Any) -> Any:
    return value
