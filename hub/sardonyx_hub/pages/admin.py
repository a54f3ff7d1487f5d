"""The admin panel: sessions, people, groups, announcement, catalogue, health, idle rules. For `admin-ui` and group managers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from jupyterhub.utils import url_path_join
from tornado import web
from tornado.httputil import url_concat

from sardonyx_spawner.launch_catalogue import catalogue_status

from ..admin.listing import ListingError, Part, Request, read_request
from ..admin.overview import PERSON_COLUMNS, PERSON_FILTERS, SESSION_COLUMNS, SESSION_FILTERS, Overview
from ..admin.rights import Rights
from ..api.admin import current_announcement, describe_catalogue, describe_check, describe_person
from ..api.audit import new_request_id
from ..api.sessions import path_name, server_name_of
from ..home import MAX_ANNOUNCEMENT
from ..idle import Rule, rule_for
from ..quotas import FIELDS, amount_text
from .base import DatalabPageHandler
from .messages import PageMessages

TABS: Final = ("sessions", "people", "groups", "announcement", "catalogue", "health", "idle")
#: What a manager of a group sees.
_MANAGER_TABS: Final = ("sessions", "people", "groups")
_UNITS: Final = (
    (86_400, "admin.duration.days", "admin.duration.days.one"),
    (3600, "admin.duration.hours", "admin.duration.hours.one"),
    (60, "admin.duration.minutes", "admin.duration.minutes.one"),
)
_STATES: Final = ("running", "starting", "stopping", "failed", "stopped", "all")


class _AdminPage(DatalabPageHandler):
    """What the pages of the panel share."""

    room = "admin"

    async def prepare(self) -> None:
        """Let in whoever administers the datalab or manages a group.

        Raises
        ------
        HTTPError
            403.
        """
        await super().prepare()
        if not self._finished and not self.rights.enters:
            raise web.HTTPError(403, self.t("admin.refused.page"))

    @property
    def rights(self) -> Rights:
        """What the request may see and do."""
        return Rights(self.parsed_scopes)

    @property
    def overview(self) -> Overview:
        """All that the request may see."""
        return Overview(self.datalab, self.db, self.users, self.rights, self.datalab_language)

    @property
    def tabs(self) -> tuple[str, ...]:
        """The tabs that are shown."""
        return TABS if self.rights.administers else _MANAGER_TABS

    async def render_tab(self, tab: str, template: str = "", **ns: Any) -> None:
        """Answer with a tab."""
        await self.render_page(
            f"datalab/admin_{template or tab}.html",
            messages=("admin.", "common.optional"),
            tab=tab,
            tabs=self.tabs,
            rights=self.rights,
            path_name=path_name,
            **ns,
        )

    def listing(self, filters: tuple[str, ...], columns: tuple[str, ...], sort: str) -> Request:
        """Read which part of a list is asked for; what is not understood in an address is left out."""
        given = {name: self.get_query_argument(name, "") for name in self.request.query_arguments}
        known = {name: given[name] for name in (*filters, "search", "sort", "offset") if given.get(name)}
        for wrong in ((), ("sort",), ("sort", "offset")):
            try:
                kept = {name: value for name, value in known.items() if name not in wrong}
                return read_request(kept, filters, columns, sort)
            except ListingError:
                continue
        return Request(sort=sort)

    def links(self, part: Part[Any], columns: tuple[str, ...]) -> dict[str, Any]:
        """Return the addresses of a table's headings and of its other pages."""
        request = part.request
        base = {name: value for name, value in {"search": request.search, **request.filters}.items() if value}

        def to(**changes: str | int) -> str:
            url: str = url_concat(self.request.path, {**base, **{n: str(v) for n, v in changes.items() if v}})
            return url

        sorted_by = request.sort.removeprefix("-")
        downwards = request.sort.startswith("-")
        heads = {}
        for column in columns:
            again = column == sorted_by
            heads[column] = {
                "href": to(sort=f"-{column}" if again and not downwards else column),
                "sorted": ("descending" if downwards else "ascending") if again else "",
            }
        before = to(sort=request.sort, offset=part.before) if part.before is not None else ""
        after = to(sort=request.sort, offset=part.after) if part.after is not None else ""
        return {"heads": heads, "before": before, "after": after}


class AdminPage(_AdminPage):
    """The panel; each tab is a page of its own."""

    async def get(self, tab: str = "") -> None:
        """Show a tab, the first one where none is named."""
        if not tab:
            tab = "sessions"
        if tab not in self.tabs:
            raise web.HTTPError(404, self.t("admin.refused.tab"))
        await getattr(self, f"_show_{tab}")()

    async def _show_sessions(self) -> None:
        await self.datalab.sessions.refresh_catalogue(self.current_user)
        overview = self.overview
        part = overview.sessions(self.listing(SESSION_FILTERS, SESSION_COLUMNS, "-started"))
        services = sorted(
            {row.service for row in overview.active_rows()} | {part.request.filters.get("service", "")}
        )
        await self.render_tab(
            "sessions",
            part=part,
            sessions=[overview.describe_session(row) for row in part.rows],
            services={one: overview.service_name(one) for one in services if one},
            groups=overview.group_names(),
            states=_STATES,
            sees_all=self.rights.everywhere("read:servers"),
            **self.links(part, SESSION_COLUMNS),
        )

    async def _show_people(self) -> None:
        overview = self.overview
        part = overview.people(self.listing(PERSON_FILTERS, PERSON_COLUMNS, "person"))
        people = await asyncio.to_thread(overview.describe_people, part.rows)
        await self.render_tab(
            "people",
            part=part,
            people=people,
            groups=overview.group_names(),
            fields=FIELDS,
            **self.links(part, PERSON_COLUMNS),
        )

    async def _show_groups(self) -> None:
        await self.render_tab("groups", groups=self.overview.groups(), fields=FIELDS)

    async def _show_announcement(self) -> None:
        shown = current_announcement(self.datalab)
        await self.render_tab(
            "announcement", shown=shown, most=MAX_ANNOUNCEMENT, levels=("info", "warning", "danger")
        )

    async def _show_catalogue(self) -> None:
        status = await catalogue_status(self.current_user.spawner)
        await self.render_tab("catalogue", status=describe_catalogue(status, self.datalab_language))

    async def _show_health(self) -> None:
        checks = await self.datalab.health.look(self.authenticator, self.db, self.proxy)
        messages = PageMessages(self.datalab_language)
        await self.render_tab("health", checks=[describe_check(check, messages) for check in checks])

    async def _show_idle(self) -> None:
        status = await catalogue_status(self.current_user.spawner)
        keeper = self.datalab.idle
        services = status.catalogue.services if status.catalogue is not None else ()
        rules = [
            {
                "name": service.name.in_language(self.datalab_language),
                "own": service.idle_stop is not None,
                "rule": self._rule(rule_for(service, keeper.default)),
            }
            for service in services
        ]
        hours = ", ".join(map(str, keeper.keep_alive_hours))
        await self.render_tab("idle", default=self._rule(keeper.default), rules=rules, hours=hours)

    def _rule(self, rule: Rule | None) -> Mapping[str, str] | None:
        if rule is None:
            return None
        return {"after": self._duration(rule.after), "warn": self._duration(rule.warn)}

    def _duration(self, duration: timedelta) -> str:
        seconds = int(duration.total_seconds())
        for size, several, one in _UNITS:
            if seconds >= size and seconds % size == 0:
                count = seconds // size
                return self.t(one if count == 1 else several, count=count)
        return self.t("admin.duration.seconds", count=seconds)


class AdminPersonPage(_AdminPage):
    """One person: sessions, groups, quota, messages."""

    async def get(self, name: str) -> None:
        """Show a person whom the request may see."""
        user = self.find_user(name)
        groups = tuple(group.name for group in user.groups) if user is not None else ()
        if user is None or not self.rights.sees_person(name, groups):
            raise web.HTTPError(404, self.t("admin.refused.no_person"))
        await self.datalab.sessions.refresh_catalogue(self.current_user)
        overview = self.overview
        wanted = Request(filters={"person": name, "state": "all"}, sort="-activity", limit=200)
        part = overview.sessions(wanted)
        person = await describe_person(self.datalab, overview, user, groups)
        person["left_texts"] = {
            one: {
                "used": amount_text(one, rule.used),
                "limit": None if rule.limit is None else amount_text(one, rule.limit),
                "by": rule.by,
            }
            for one, rule in self.datalab.quotas.rules_for(user).items()
        }
        await self.render_tab(
            "people",
            "person",
            person=person,
            sessions=[overview.describe_session(row) for row in part.rows],
            fields=FIELDS,
        )


class AdminOpenHandler(_AdminPage):
    """Leads to somebody's session, and writes down that it was opened. JupyterHub's scopes decide whether it opens."""

    async def get(self, person: str, session: str) -> None:
        """Go to the session."""
        name = server_name_of(session)
        user = self.find_user(person)
        groups = [group.name for group in user.groups] if user is not None else []
        found = user is not None and name in user.orm_spawners
        if user is None or not found or not self.rights.sees_session(person, groups, name):
            raise web.HTTPError(404, self.t("admin.refused.no_session"))
        allowed = self.rights.covers("access:servers", person, groups, name)
        self.datalab.audit.administered(
            self.current_user.name,
            "session-opened",
            "session",
            person,
            session=name,
            reason="" if allowed else "forbidden",
            request_id=new_request_id(),
        )
        if not allowed:
            raise web.HTTPError(403, self.t("admin.refused.forbidden"))
        self.redirect(url_path_join(user.server_url(name), "/"))


def admin_handlers() -> list[tuple[str, type]]:
    """Return the handlers of the panel; paths are relative to ``/hub/``."""
    return [
        (r"/datalab/admin", AdminPage),
        (r"/datalab/admin/open/([^/]+)/([^/]+)", AdminOpenHandler),
        (r"/datalab/admin/people/([^/]+)", AdminPersonPage),
        (r"/datalab/admin/([a-z]*)", AdminPage),
    ]
