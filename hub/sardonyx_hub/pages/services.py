"""My services: the sessions of a person, what they do, and what can be done to them.

``/hub/datalab/services`` lists them, ``/NAME`` has details, log and events of one, ``/NAME/delete`` says what is lost. All
of it works as plain forms; the script of the page asks for a card again (``?card=NAME``) when the hub tells of a change.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from jupyterhub.utils import url_path_join
from tornado import web
from tornado.httputil import url_concat

from .. import session_actions as actions
from ..api.sessions import path_name, server_name_of
from ..documents import DocumentError
from ..idle import KeepAliveError
from ..session_actions import SessionRefusedError
from ..sessions import describe, was_used
from .base import DatalabPageHandler
from .markdown import render
from .session_view import SessionView, human_bytes, human_number, view_of

#: Actions of the forms -> what the page says after them.
_DONE: Final = frozenset({"start", "stop", "stopping", "restart", "rename", "keep-alive", "delete"})
#: Seconds for each look at a session while its page is made.
_LOOK_SECONDS: Final = 4.0
_MESSAGES: Final = (
    "services.done.keep-alive",
    "services.restart",
    "services.stop",
    "services.event.",
    "common.saved",
)


class ServicesPageHandler(DatalabPageHandler):
    """The list."""

    room = "services"

    def rate(self, kind: Any) -> None:
        """Count the request against the person's limit."""
        if self.datalab.rate_limit.take(self.current_user.name, kind) > 0:
            raise web.HTTPError(429, self.t("services.refused.busy"))

    def url_of(self, *path: str) -> str:
        """Return an address below the page's own."""
        url: str = url_path_join(self.hub.base_url, "datalab/services", *path)
        return url

    async def get(self) -> None:
        """Show all sessions, or one card of them."""
        card = self.get_query_argument("card", "")
        if card:
            await self._card(card)
            return
        done = self.get_query_argument("done", "")
        await self.show(done=done if done in _DONE else "", name=self.get_query_argument("name", "")[:255])

    async def show(self, *, refused: str = "", done: str = "", name: str = "") -> None:
        """Answer with the page; `refused` says what was not done, `done` what was."""
        found = await self.datalab.sessions.list(self.current_user)
        await self.render_page(
            "datalab/services.html",
            messages=_MESSAGES,
            sessions=[self.view(one) for one in found],
            url_of=self.url_of,
            refused=refused,
            done=self.t(f"services.done.{done}", name=name) if done and (name or done == "delete") else "",
        )

    async def _card(self, path: str) -> None:
        view = await self.view_of(path)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        detail = self.get_query_argument("detail", "") == "1"
        self.finish(
            await self.render_template("datalab/service_card.html", s=view, detail=detail, url_of=self.url_of)
        )

    async def view_of(self, path: str) -> SessionView:
        """Return the session that a path names, in words; 404 if there is none."""
        user, name = self.current_user, server_name_of(path)
        row = user.orm_spawners.get(name)
        if row is None or not was_used(user.spawners.get(name) or row):
            raise web.HTTPError(404, self.t("services.refused.unknown"))
        await self.datalab.sessions.refresh_catalogue(user)
        return self.view(describe(self.datalab, user, row))

    def view(self, data: dict[str, Any]) -> SessionView:
        """Return a description in words."""
        return view_of(
            data,
            path=path_name(data["name"]),
            t=self.t,
            language=self.shell.language,
            icon_url=self.shell.asset_url,
        )


class ServicePageHandler(ServicesPageHandler):
    """One session: what it uses, its events, its log, and about its service."""

    async def get(self, path: str) -> None:  # type: ignore[override]
        """Show it."""
        self.rate("read")
        view = await self.view_of(path)
        spawner = self.current_user.spawners[view.data["name"]]
        log, usage = await asyncio.gather(self._read_log(spawner), self._measure(spawner))
        service = self._service(view)
        await self.render_page(
            "datalab/service.html",
            messages=_MESSAGES,
            s=view,
            url_of=self.url_of,
            log=log,
            can_log=hasattr(spawner, "read_log"),
            can_usage=hasattr(spawner, "usage"),
            usage=usage,
            events=self.datalab.sessions.launches.events((self.current_user.name, view.data["name"])),
            readme=self._readme(service),
            links=self._links(service),
            bytes_of=lambda size: human_bytes(size, self.shell.language),
            number_of=lambda number: human_number(f"{number:.2f}", self.shell.language),
        )

    def _service(self, view: SessionView) -> Any:
        """Return the service, if there is something to read about it."""
        catalogue = self.datalab.sessions.catalogue
        service = catalogue.get(view.data["service"]["id"]) if catalogue is not None else None
        return service if service is not None and service.readme is not None else None

    def _readme(self, service: Any) -> str:
        return render(service.readme.in_language(self.shell.language), headings_from=3) if service else ""

    def _links(self, service: Any) -> list[tuple[str, str]]:
        links = service.links if service else ()
        return [(link.name.in_language(self.shell.language), link.url) for link in links]

    async def _read_log(self, spawner: Any) -> Any:
        return await self._look(spawner.read_log()) if hasattr(spawner, "read_log") else None

    async def _measure(self, spawner: Any) -> Any:
        return await self._look(spawner.usage()) if hasattr(spawner, "usage") and spawner.ready else None

    async def _look(self, work: Any) -> Any:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                return await work
        except Exception as error:
            self.log.warning("A session cannot be looked at: %s", type(error).__name__)
            return None


class ServiceActionHandler(ServicesPageHandler):
    """The forms: ``start``, ``stop``, ``restart``, ``rename``, ``keep-alive``."""

    async def get(self, path: str, action: str) -> None:  # type: ignore[override]
        """Lead to the page: somebody reloads what a form led to."""
        self.redirect(self.url_of())

    async def post(self, path: str, action: str) -> None:
        """Do it, then lead to the list, or show it with why it was not done."""
        self.rate("write")
        name = server_name_of(path)
        try:
            view = await self.view_of(path)
            done = await self._act(action, name)
        except SessionRefusedError as refusal:
            self.set_status(refusal.status)
            await self.show(
                refused=refusal.message or self.t(f"services.refused.{refusal.code}", **refusal.params)
            )
            return
        except asyncio.CancelledError:
            done = "stop"
        if action == "rename":
            view = await self.view_of(path)
        self.redirect(url_concat(self.url_of(), {"done": done, "name": view.title}), status=303)

    async def _act(self, action: str, name: str) -> str:
        user = self.current_user
        if action == "start":
            await actions.start(self, user, name)
        elif action == "restart":
            await actions.restart(self, user, name)
        elif action == "stop":
            return "stop" if await actions.stop(self, user, name) else "stopping"
        elif action == "rename":
            actions.rename(self, user, name, self.get_body_argument("display_name", ""))
        else:
            await self._keep_alive(user.spawners[name])
        return action

    async def _keep_alive(self, spawner: Any) -> None:
        hours = self.get_body_argument("hours", "")
        if not spawner.ready:
            raise SessionRefusedError("stopped")
        try:
            await self.datalab.idle.keep_alive(spawner, _whole(hours))
        except KeepAliveError:
            raise SessionRefusedError("hours", 400) from None
        except DocumentError:
            raise SessionRefusedError("not_kept", 503) from None


def _whole(text: str) -> int:
    """Return a small number that was posted; 0, which is no number of hours, for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


class ServiceDeletePageHandler(ServicesPageHandler):
    """What is lost and what is kept, and the form that does it."""

    async def get(self, path: str) -> None:  # type: ignore[override]
        """Ask."""
        self.rate("read")
        await self._ask(await self.view_of(path))

    async def post(self, path: str) -> None:
        """Stop the session if need be and delete it, once the box is ticked."""
        self.rate("write")
        view = await self.view_of(path)
        if self.get_body_argument("confirm", "") != "yes":
            self.set_status(400)
            await self._ask(view, problem=self.t("services.delete.unticked"))
            return
        name = server_name_of(path)
        try:
            if not await actions.stop(self, self.current_user, name):
                raise SessionRefusedError("stopping")
            await actions.delete(self, self.current_user, name)
        except SessionRefusedError as refusal:
            self.set_status(refusal.status)
            await self._ask(view, problem=self.t(f"services.refused.{refusal.code}", **refusal.params))
            return
        self.redirect(url_concat(self.url_of(), {"done": "delete"}), status=303)

    async def _ask(self, view: SessionView, problem: str = "") -> None:
        spawner = self.current_user.spawners[view.data["name"]]
        size = None
        if hasattr(spawner, "disk_size"):
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    size = await spawner.disk_size()
            except Exception as error:
                self.log.warning("The disk of a session cannot be measured: %s", type(error).__name__)
        language = self.shell.language
        handle = self.datalab.handles.handle_for(self.current_user.name)
        await self.render_page(
            "datalab/service_delete.html",
            s=view,
            url_of=self.url_of,
            problem=problem,
            size=size,
            size_text=human_bytes(size.bytes, language) if size else "",
            bucket=handle if self.datalab.provisioner else "",
        )


def service_handlers() -> list[tuple[str, type]]:
    """Return the routes of My services."""
    return [
        (r"/datalab/services", ServicesPageHandler),
        (r"/datalab/services/([^/]+)", ServicePageHandler),
        (r"/datalab/services/([^/]+)/delete", ServiceDeletePageHandler),
        (r"/datalab/services/([^/]+)/(start|stop|restart|rename|keep-alive)", ServiceActionHandler),
    ]
