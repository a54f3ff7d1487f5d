"""The terms of use: ``/hub/datalab/terms``. Who has not accepted them is led here before any other page of the datalab."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from jupyterhub.user import User
from jupyterhub.utils import url_path_join
from tornado import web
from tornado.httputil import url_concat

from ..documents import DocumentError
from .base import DatalabPageHandler
from .markdown import render
from .messages import PageMessages

if TYPE_CHECKING:
    from ..datalab import Datalab

PATH = "datalab/terms"


def terms_due(handler: Any) -> bool:
    """Return whether the person who makes a request still has to accept the terms."""
    datalab = cast("Datalab", handler.settings["sardonyx"])
    return isinstance(handler.current_user, User) and datalab.terms_due(handler.current_user)


def lead_to_terms(handler: Any) -> None:
    """Answer a request for a page with the terms, and a way back to what was asked for."""
    back = handler.request.uri if handler.request.method in ("GET", "HEAD") else ""
    url = url_path_join(handler.hub.base_url, PATH)
    handler.redirect(url_concat(url, {"next": back}) if back else url, status=303)


def refuse_for_terms(handler: Any) -> None:
    """Answer a request to an API of the hub with 403 and code ``terms``."""
    message = PageMessages(handler.datalab_language).translate("home.terms.api")
    handler.set_status(403)
    handler.set_header("Content-Type", "application/json")
    handler.finish(json.dumps({"status": 403, "message": message, "code": "terms"}))


class TermsHandler(DatalabPageHandler):
    """Shows the terms, and takes a person's acceptance."""

    before_terms = True

    async def get(self) -> None:
        """Show the terms; also to those who have accepted them."""
        await self._show()

    async def post(self) -> None:
        """Keep that the person accepts the version that they have read, and go on to where they wanted to go."""
        terms = self.datalab.home.terms
        if terms is None:
            raise web.HTTPError(404)
        problem = ""
        if self.get_body_argument("version", "") != terms.version:
            problem = self.t("home.terms.changed")
        elif self.get_body_argument("accept", "") != "yes":
            problem = self.t("home.terms.tick")
        else:
            try:
                await self._accept()
            except DocumentError as error:
                self.log.error("The acceptance of the terms by %s: %s", self.current_user.name, error)
                problem = self.t("home.terms.not_kept")
        if problem:
            self.set_status(503 if problem == self.t("home.terms.not_kept") else 422)
            await self._show(problem)
            return
        self.redirect(self.get_next_url(self.current_user), status=303)

    async def _accept(self) -> None:
        terms = self.datalab.home.terms
        assert terms is not None  # noqa: S101 (post() checked)
        handle = self.datalab.handles.handle_for(self.current_user.name)
        await self.datalab.documents.put("terms", handle, terms.record(self.datalab_language))
        self.log.info("%s accepted version %s of the terms of use", self.current_user.name, terms.version)

    async def _show(self, problem: str = "") -> None:
        terms = self.datalab.home.terms
        if terms is None:
            raise web.HTTPError(404)
        record = self.datalab.documents.get("terms", self.datalab.handles.handle_for(self.current_user.name))
        accepted = terms.accepted_by(record)
        text = terms.text.in_language(self.datalab_language)
        following = self.get_query_argument("next", "")
        await self.render_page(
            "datalab/terms.html",
            version=terms.version,
            text=render(text) if text else None,
            text_language=terms.text.language_of(self.datalab_language),
            url=terms.url.in_language(self.datalab_language),
            accepted_at=record["accepted"] if accepted and record else "",
            asked_again=record is not None and not accepted,
            problem=problem,
            action=url_concat(self.request.path, {"next": following}) if following else self.request.path,
        )
