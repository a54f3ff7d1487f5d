"""Base of the datalab's own pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.user import User
from tornado import web
from tornado.httputil import url_concat

from .language import LanguageMixin
from .shell import Shell, shell_of

if TYPE_CHECKING:
    from ..datalab import Datalab


class DatalabPageHandler(LanguageMixin, BaseHandler):  # type: ignore[misc]
    """A page of the datalab, for people who are signed in.

    Attributes
    ----------
    room
        Which entry of the navigation is current.
    anonymous
        Whether the page is also for people who are not signed in.
    before_terms
        Whether the page is also for people who have not accepted the terms of use.
    """

    room = ""
    anonymous = False
    before_terms = False

    @property
    def datalab(self) -> Datalab:
        """The parts that the hub's handlers share."""
        return cast("Datalab", self.settings["sardonyx"])

    @property
    def shell(self) -> Shell:
        """What surrounds the page."""
        return shell_of(self)

    def set_default_headers(self) -> None:
        """Keep pages out of caches: they show what is the person's own."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")

    def compute_etag(self) -> str | None:
        """No ETag: the answer is never kept."""
        return None

    async def prepare(self) -> None:
        """Send people who are not signed in to the sign-in page, and back here after it.

        Raises
        ------
        HTTPError
            403 for a form that nobody is signed in for, and for a hub service.
        """
        await super().prepare()
        self.remember_language()
        if self.anonymous or self._finished:
            return
        if self.current_user is None:
            if self.request.method not in ("GET", "HEAD"):
                raise web.HTTPError(403, self.t("common.error.signed_out"))
            self.redirect(url_concat(self.get_login_url(), {"next": self.request.uri}))
        elif not isinstance(self.current_user, User):
            raise web.HTTPError(403, self.t("common.error.people_only"))
        elif not self.before_terms and self.datalab.terms_due(self.current_user):
            # Late: the page of the terms is one of these.
            from .terms import lead_to_terms

            lead_to_terms(self)

    def t(self, key: str, /, **params: object) -> str:
        """Return a sentence in the person's language."""
        return self.shell.t(key, **params)

    async def render_page(self, template: str, *, messages: Iterable[str] = (), **ns: Any) -> None:
        """Answer with a page.

        Parameters
        ----------
        template
            Name below ``pages/templates``; it extends ``page.html``.
        messages
            Prefixes of the sentences that the page's script says.
        ns
            What the template uses, beside ``t``, ``asset_url``, ``language`` and ``page`` (the :class:`.Shell`).
        """
        shell = self.shell
        context = {
            "language": shell.language,
            "languages": shell.languages,
            "messages": tuple(messages),
            **ns,
        }
        self.finish(await self.render_template(template, **context))
