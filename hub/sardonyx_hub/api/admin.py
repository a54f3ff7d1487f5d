"""``/hub/api/datalab/v1/admin/...``: what administrators and managers of groups see and do.

What a request may see and do comes from JupyterHub's scopes (:mod:`..admin.rights`). What it may not see answers 404, as if
it were not there. Everything that is done is written to the audit log, refusals too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal

from jupyterhub import orm

from sardonyx_spawner.launch_catalogue import CatalogueStatus, catalogue_status

from .. import session_actions
from ..admin.announcing import KEY, AnnouncementError, announce, read_announcement
from ..admin.health import Check
from ..admin.listing import ListingError, Request, read_request
from ..admin.notices import NoticeError, clean
from ..admin.overview import (
    PERSON_COLUMNS,
    PERSON_FILTERS,
    SESSION_COLUMNS,
    SESSION_FILTERS,
    Overview,
    PersonRow,
)
from ..admin.rights import Rights
from ..documents import DocumentError
from ..home import MAX_ANNOUNCEMENT
from ..pages.language import language_of
from ..pages.markdown import render_line
from ..pages.messages import PageMessages
from ..quotas import QuotaError, parse_limits, write_limits
from ..session_actions import SessionRefusedError
from .base import ApiError, DatalabHandler, not_found
from .sessions import server_name_of
from .validation import InvalidRequestError, is_printable

Target = Literal["person", "group", "session", "datalab"]


class AdminHandler(DatalabHandler):
    """What the handlers of the panel share."""

    async def prepare(self) -> None:
        """Let in whoever administers the datalab or manages a group.

        Raises
        ------
        ApiError
            401 if nobody is signed in, 403 without the scopes.
        """
        await super().prepare()
        if not self.rights.enters:
            raise ApiError(403, "The request has no scope admin-ui and manages no group.", code="forbidden")

    @property
    def rights(self) -> Rights:
        """What the request may see and do."""
        return Rights(self.parsed_scopes)

    @property
    def overview(self) -> Overview:
        """All that the request may see."""
        return Overview(self.datalab, self.db, self.users, self.rights, language_of(self))

    def say(self, key: str, /, **params: object) -> str:
        """Return a sentence in the person's language."""
        return PageMessages(language_of(self)).translate(key, **params)

    def listing(self, filters: tuple[str, ...], columns: tuple[str, ...], sort: str) -> Request:
        """Read which part of a list is asked for.

        Raises
        ------
        InvalidRequestError
            Naming the argument that is wrong.
        """
        arguments = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        try:
            return read_request(arguments, filters, columns, sort)
        except ListingError as error:
            raise InvalidRequestError(str(error)) from None

    def require(self, allowed: bool, action: str, target: Target, name: str = "") -> None:
        """Refuse, and record, what the request may not do.

        Raises
        ------
        ApiError
            403.
        """
        if not allowed:
            self.record(action, target, name, reason="forbidden")
            raise ApiError(403, self.say("admin.refused.forbidden"), code="forbidden")

    def record(
        self,
        action: str,
        target: Target,
        name: str = "",
        *,
        session: str | None = None,
        detail: str = "",
        reason: str = "",
    ) -> None:
        """Write what was done, or refused, to the audit log."""
        self.datalab.audit.administered(
            self.person,
            action,
            target,
            name,
            session=session,
            detail=detail,
            reason=reason,
            request_id=self.request_id,
        )

    def seen_person(self, name: str) -> tuple[Any, tuple[str, ...]]:
        """Return a JupyterHub User whom the request may see, and the names of their groups.

        Raises
        ------
        ApiError
            404.
        """
        user = self.find_user(name)
        groups = tuple(group.name for group in user.groups) if user is not None else ()
        if user is None or not self.rights.sees_person(name, groups):
            not_found(self.say("admin.refused.no_person"))
        return user, groups

    def unavailable(self, error: DocumentError) -> ApiError:
        """Return the answer when something cannot be kept."""
        self.log.error("The state database: %s", error)
        return ApiError(
            503, self.say("admin.refused.database"), code="database", headers={"Retry-After": "5"}
        )


class AdminSessionsHandler(AdminHandler):
    """All sessions."""

    async def get(self) -> None:
        """Send ``{"sessions": [...], "total"}``; ``?search=&state=&service=&group=&person=&sort=&offset=&limit=``."""
        self.limit("read")
        await self.datalab.sessions.refresh_catalogue(self.current_user)
        overview = self.overview
        part = overview.sessions(self.listing(SESSION_FILTERS, SESSION_COLUMNS, "-started"))
        rows = [overview.describe_session(row) for row in part.rows]
        self.finish({"sessions": rows, "total": part.total, "offset": part.request.offset})


class AdminSessionStopHandler(AdminHandler):
    """Stops somebody's session."""

    async def post(self, person: str, session: str) -> None:
        """Stop it; ``{"message": text?}`` is what the person reads. Send 200, or 202 while it still stops."""
        self.limit("write")
        name = server_name_of(session)
        user = self.find_user(person)
        groups = [group.name for group in user.groups] if user is not None else []
        if (
            user is None
            or name not in user.orm_spawners
            or not self.rights.sees_session(person, groups, name)
        ):
            not_found(self.say("admin.refused.no_session"))
        self.require(
            self.rights.covers("delete:servers", person, groups, name), "session-stopped", "session", person
        )
        text = self._message()
        try:
            done = await session_actions.stop(self, user, name)
        except SessionRefusedError as error:
            self.record("session-stopped", "session", person, session=name, reason=error.code)
            sentence = self.say(f"services.refused.{error.code}", **error.params)
            raise ApiError(error.status, error.message or sentence, code=error.code) from None
        self.record("session-stopped", "session", person, session=name, detail=text)
        try:
            # The person finds out in My services, and by the message.
            await self.datalab.sessions.ended(user.spawners[name], "administrator")
            if text:
                await self.datalab.notices.send(person, text, by=self.person, session=name)
        except DocumentError as error:
            # It was stopped all the same, and must not be told otherwise.
            self.log.error("The owner of %s of %s was not told: %s", name, person, error)
            raise ApiError(503, self.say("admin.refused.not_told"), code="not-told") from None
        self.set_status(200 if done else 202)
        self.finish({"stopped": done})

    def _message(self) -> str:
        data = self.json_object() if self.request.body else {}
        if set(data) - {"message"} or not isinstance(data.get("message", ""), str):
            raise InvalidRequestError("The only field is 'message', a text.")
        try:
            return clean(data["message"]) if data.get("message", "").strip() else ""
        except NoticeError as error:
            raise InvalidRequestError(str(error).replace("'text'", "'message'")) from None


class AdminPeopleHandler(AdminHandler):
    """All people."""

    async def get(self) -> None:
        """Send ``{"people": [...], "total"}``; ``?search=&group=&sort=&offset=&limit=``."""
        self.limit("read")
        overview = self.overview
        part = overview.people(self.listing(PERSON_FILTERS, PERSON_COLUMNS, "person"))
        people = await asyncio.to_thread(overview.describe_people, part.rows)
        self.finish({"people": people, "total": part.total, "offset": part.request.offset})


class AdminPersonHandler(AdminHandler):
    """One person."""

    async def get(self, name: str) -> None:
        """Send a person with what is left of their quota and the messages that they have not closed."""
        self.limit("read")
        user, groups = self.seen_person(name)
        overview = self.overview
        self.finish(await describe_person(self.datalab, overview, user, groups))


async def describe_person(
    datalab: Any, overview: Overview, user: Any, groups: tuple[str, ...]
) -> dict[str, Any]:
    """Return a person as the panel shows them."""
    active = sum(row.person == user.name and row.state != "failed" for row in overview.active_rows())
    moments = (user.orm_user.last_activity, user.orm_user.created)
    row = PersonRow(user.name, bool(user.admin), groups, *moments, active)
    (found,) = await asyncio.to_thread(overview.describe_people, [row])
    return {**found, "left": datalab.quotas.left_for(user), "messages": datalab.notices.for_person(user.name)}


class AdminPersonQuotaHandler(AdminHandler):
    """The quota that is set for one person."""

    async def put(self, name: str) -> None:
        """Set ``{"limits": {"cpu", "memory", "gpu", "sessions"}}``; null is no limit, what is left out is not set."""
        self.limit("write")
        user, _ = self.seen_person(name)
        self.require(self.rights.sets_quotas_of_people, "quota-set", "person", name)
        document = read_quota(self.json_object(), ("limits",))
        await self._keep("quota-set", name, document)
        self.finish({**document, "left": self.datalab.quotas.left_for(user)})

    async def delete(self, name: str) -> None:
        """Take away what is set for the person; groups and the default count again."""
        self.limit("write")
        self.seen_person(name)
        self.require(self.rights.sets_quotas_of_people, "quota-removed", "person", name)
        await self._keep("quota-removed", name, None)
        self.set_status(204)

    async def _keep(self, action: str, name: str, document: dict[str, Any] | None) -> None:
        await keep_quota(self, action, "person", name, document)


class AdminGroupsHandler(AdminHandler):
    """All groups."""

    async def get(self) -> None:
        """Send ``{"groups": [{"name", "people", "limits", "total", "used"}]}``."""
        self.limit("read")
        self.finish({"groups": self.overview.groups()})


class AdminGroupQuotaHandler(AdminHandler):
    """The quotas of a group: of each member, and of all together."""

    async def put(self, name: str) -> None:
        """Set ``{"limits": {...}, "total": {...}}``."""
        self.limit("write")
        self._seen(name)
        self.require(self.rights.sets_quotas_of_groups, "quota-set", "group", name)
        document = read_quota(self.json_object(), ("limits", "total"))
        await keep_quota(self, "quota-set", "group", name, document)
        self.finish(document)

    async def delete(self, name: str) -> None:
        """Take both away."""
        self.limit("write")
        self._seen(name)
        self.require(self.rights.sets_quotas_of_groups, "quota-removed", "group", name)
        await keep_quota(self, "quota-removed", "group", name, None)
        self.set_status(204)

    def _seen(self, name: str) -> None:
        if orm.Group.find(self.db, name) is None or not self.rights.sees_group(name):
            not_found(self.say("admin.refused.no_group"))


def read_quota(data: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """Check quotas that were sent, and return the document to keep.

    Raises
    ------
    InvalidRequestError
        With the field that is wrong as ``field``.
    """
    if unknown := sorted(set(data) - set(fields)):
        raise InvalidRequestError(f"{unknown[0][:40]!r} is not known; the fields are {', '.join(fields)}.")
    try:
        return {name: write_limits(parse_limits(data.get(name, {}), name)) for name in fields}
    except QuotaError as error:
        raise InvalidRequestError(str(error), field=error.field) from None


async def keep_quota(
    handler: AdminHandler, action: str, target: Literal["person", "group"], name: str, document: Any
) -> None:
    """Write a quota, or with ``None`` take it away.

    Raises
    ------
    ApiError
        503 if it cannot be kept.
    """
    key = f"{'user' if target == 'person' else 'group'}:{name}"
    documents = handler.datalab.documents
    detail = "" if document is None else json.dumps(document)
    try:
        await (documents.delete("quota", key) if document is None else documents.put("quota", key, document))
    except DocumentError as error:
        handler.record(action, target, name, detail=detail, reason="database")
        raise handler.unavailable(error) from None
    handler.record(action, target, name, detail=detail)


class AdminMessagesHandler(AdminHandler):
    """Messages to one person."""

    async def post(self, name: str) -> None:
        """Send ``{"text", "session"?}`` to a person; answer 201 with the message."""
        self.limit("write")
        user = self.find_user(name)
        groups = [group.name for group in user.groups] if user is not None else []
        data = self.json_object()
        session = data.get("session")
        if set(data) - {"text", "session"} or not isinstance(data.get("text"), str):
            raise InvalidRequestError("The fields are 'text' and 'session', both texts.")
        if session is not None and (
            not isinstance(session, str) or not is_printable(session) or len(session) > 255
        ):
            raise InvalidRequestError("'session' is the name of a session.")
        seen = user is not None and (
            self.rights.sees_person(name, groups) or self.rights.sees_session(name, groups, session or "")
        )
        if not seen:
            not_found(self.say("admin.refused.no_person"))
        self.require(
            self.rights.covers("delete:servers", name, groups, session), "person-warned", "person", name
        )
        try:
            notice = await self.datalab.notices.send(name, data["text"], by=self.person, session=session)
        except NoticeError as error:
            raise InvalidRequestError(str(error), field="text") from None
        except DocumentError as error:
            self.record("person-warned", "person", name, session=session, reason="database")
            raise self.unavailable(error) from None
        self.record("person-warned", "person", name, session=session, detail=notice["text"])
        self.set_status(201)
        self.finish(notice)


class AdminAnnouncementHandler(AdminHandler):
    """The announcement on every page."""

    async def get(self) -> None:
        """Send ``{"announcement": {"text", "level", "dismissable", "until"} or null}``: what is shown now."""
        self.limit("read")
        self.finish({"announcement": current_announcement(self.datalab)})

    async def put(self) -> None:
        """Show ``{"text": {"en", "fr"}, "level", "dismissable", "until"}`` to everybody."""
        self.limit("write")
        self.require(self.rights.runs_the_datalab, "announcement-set", "datalab")
        try:
            document = read_announcement(self.json_object())
        except AnnouncementError as error:
            raise InvalidRequestError(str(error)) from None
        await self._announce("announcement-set", document)
        self.finish({"announcement": current_announcement(self.datalab)})

    async def post(self) -> None:
        """Show it to nobody: send ``{"html": {"en", "fr"}}`` of ``{"text": {"en", "fr"}}``, for a preview."""
        self.limit("read")
        data = self.json_object()
        text = data.get("text")
        texts: dict[str, Any] = {}
        if set(data) == {"text"} and isinstance(text, dict) and set(text) <= {"en", "fr"}:
            texts = {name: text.get(name, "") for name in ("en", "fr")}
        if not texts or not all(
            isinstance(one, str) and len(one) <= MAX_ANNOUNCEMENT for one in texts.values()
        ):
            raise InvalidRequestError(
                f"'text' has 'en' and 'fr', each of at most {MAX_ANNOUNCEMENT} characters."
            )
        self.finish({"html": {name: str(render_line(one)) for name, one in texts.items()}})

    async def delete(self) -> None:
        """Show none."""
        self.limit("write")
        self.require(self.rights.runs_the_datalab, "announcement-removed", "datalab")
        await self._announce("announcement-removed", None)
        self.set_status(204)

    async def _announce(self, action: str, document: dict[str, Any] | None) -> None:
        detail = "" if document is None else json.dumps(document, ensure_ascii=False)
        try:
            await announce(self.datalab, document)
        except DocumentError as error:
            self.record(action, "datalab", detail=detail, reason="database")
            raise self.unavailable(error) from None
        self.record(action, "datalab", detail=detail)


def current_announcement(datalab: Any) -> dict[str, Any] | None:
    """Return the announcement that is shown now, with the time until which it is."""
    shown = datalab.announcement()
    if shown is None:
        return None
    written = datalab.documents.get("announcement", KEY) or {}
    return {**shown.model_dump(), "until": written.get("until")}


class AdminCatalogueHandler(AdminHandler):
    """How it stands with the catalogue."""

    async def get(self) -> None:
        """Send ``{"file", "loaded_at", "services": [...], "problems": [{"file", "line", "key", "message"}]}``."""
        await self._send(again=False)

    async def post(self) -> None:
        """Read the file again, and send the same."""
        await self._send(again=True)

    async def _send(self, *, again: bool) -> None:
        self.limit("write" if again else "read")
        if again:
            self.require(self.rights.runs_the_datalab, "catalogue-reloaded", "datalab")
        elif not self.rights.administers:
            raise ApiError(403, self.say("admin.refused.forbidden"), code="forbidden")
        status = await catalogue_status(self.current_user.spawner, again=again)
        if again:
            self.record("catalogue-reloaded", "datalab", reason="invalid" if status.problems else "")
            await self.datalab.sessions.refresh_catalogue(self.current_user)
        self.finish(describe_catalogue(status, language_of(self)))


def describe_catalogue(status: CatalogueStatus, language: str) -> dict[str, Any]:
    """Return how it stands with the catalogue as JSON data."""
    services = status.catalogue.services if status.catalogue is not None else ()
    return {
        "file": status.file,
        "loaded_at": status.loaded_at.isoformat(timespec="seconds") if status.loaded_at else None,
        "services": [
            {
                "id": service.id,
                "name": service.name.in_language(language),
                "category": service.category.in_language(language),
                "groups": sorted(service.groups or ()),
                "default": service.default,
            }
            for service in services
        ],
        "problems": [
            {"file": problem.file, "line": problem.line, "key": problem.key, "message": problem.message}
            for problem in status.problems
        ],
    }


class AdminHealthHandler(AdminHandler):
    """Whether the parts of the datalab work."""

    async def get(self) -> None:
        """Send ``{"checks": [{"part", "verdict", "finding", "text", "milliseconds"}]}``."""
        self.limit("read")
        if not self.rights.administers:
            raise ApiError(403, self.say("admin.refused.forbidden"), code="forbidden")
        checks = await self.datalab.health.look(self.authenticator, self.db, self.proxy)
        self.finish({"checks": [describe_check(check, PageMessages(language_of(self))) for check in checks]})


def describe_check(check: Check, messages: PageMessages) -> dict[str, Any]:
    """Return what was seen of one part, in words."""
    return {
        "part": check.part,
        "verdict": check.verdict,
        "finding": check.finding,
        "text": messages.translate(check.key, **check.params),
        "milliseconds": check.milliseconds,
    }
