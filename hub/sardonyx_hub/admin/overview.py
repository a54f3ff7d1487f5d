"""All people, their sessions and groups, as the admin panel shows them.

Sessions that run are in the hub's memory; of the database, each list asks a fixed number of queries however long it is.
Only the rows of the page that is shown are described in full.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from jupyterhub import orm

from ..credentials.model import Subject
from ..identity.handles import make_project_handle
from ..quotas import FIELDS, Field, add_up, amount_text, asked_of, held_sessions, write_limits
from ..sessions import State, state_of
from .listing import Part, Request, cut
from .rights import Rights

if TYPE_CHECKING:
    from ..datalab import Datalab

SESSION_COLUMNS: Final = ("person", "service", "state", "cpu", "memory", "gpu", "started", "activity")
SESSION_FILTERS: Final = ("state", "service", "group", "person")
PERSON_COLUMNS: Final = ("person", "sessions", "activity", "created")
PERSON_FILTERS: Final = ("group",)

#: JupyterHub's table without its own type of column for JSON, which SQLAlchemy compiles anew for each query.
_spawners = sa.table(
    "spawners",
    sa.column("user_id", sa.Integer),
    sa.column("name", sa.Unicode),
    sa.column("display_name", sa.Unicode),
    sa.column("user_options", sa.Text),
    sa.column("last_activity", sa.DateTime),
)
_STATE_ORDER: Final[Mapping[State, int]] = {
    "failed": 0,
    "starting": 1,
    "stopping": 2,
    "running": 3,
    "stopped": 4,
}


@dataclass(frozen=True)
class SessionRow:
    """A session, as much of it as lists are filtered and sorted by."""

    person: str
    name: str
    title: str
    service: str
    state: State
    groups: Collection[str]
    started: datetime | None = None
    activity: datetime | None = None
    spawner: Any = None

    @cached_property
    def held(self) -> Mapping[Field, Decimal]:
        """What the session holds; nothing if it does not run."""
        options = getattr(self.spawner, "launch_options", None)
        return (
            {name: amount for name, (amount, _) in asked_of(options).items()} if options is not None else {}
        )


@dataclass(frozen=True)
class PersonRow:
    """A person, as much of them as lists are filtered and sorted by."""

    name: str
    admin: bool
    groups: Collection[str]
    activity: datetime | None
    created: datetime | None
    sessions: int


class Overview:
    """What one request may see.

    Parameters
    ----------
    datalab
        The hub's datalab.
    db
        JupyterHub's database session.
    users
        JupyterHub's users in memory: at least all whose sessions run.
    rights
        Of the request.
    language
        Of the names of services.
    """

    def __init__(self, datalab: Datalab, db: Any, users: Any, rights: Rights, language: str = "en") -> None:
        self._datalab = datalab
        self._db = db
        self._users = users
        self._rights = rights
        self._language = language
        self._groups: dict[str, tuple[str, ...]] | None = None
        self._active: list[SessionRow] | None = None

    # Sessions ----------------------------------------------------------------------------------------------------

    def sessions(self, request: Request) -> Part[SessionRow]:
        """Return the sessions that are active or failed; with the filter ``state=stopped`` or ``state=all`` also others."""
        wanted = request.filters.get("state", "")
        rows = self.active_rows()
        if wanted in ("stopped", "all"):
            rows += self._stopped_rows({(row.person, row.name) for row in rows})
        return cut(
            rows,
            request,
            texts=lambda row: (row.person, row.title, row.name, row.service, self.service_name(row.service)),
            filters={
                "state": lambda row, value: value in ("all", row.state),
                "service": lambda row, value: row.service == value,
                "group": lambda row, value: value in row.groups,
                "person": lambda row, value: row.person == value,
            },
            columns={
                "person": lambda row: (row.person, row.name),
                "service": lambda row: (self.service_name(row.service), row.person),
                "state": lambda row: (_STATE_ORDER[row.state], row.person),
                "cpu": lambda row: row.held.get("cpu"),
                "memory": lambda row: row.held.get("memory"),
                "gpu": lambda row: row.held.get("gpu"),
                "started": lambda row: row.started,
                "activity": lambda row: row.activity,
            },
        )

    def active_rows(self) -> list[SessionRow]:
        """Return every visible session that starts, runs, stops or failed to start."""
        if self._active is None:
            self._active = self._find_active()
        return list(self._active)

    def _find_active(self) -> list[SessionRow]:
        rows = []
        for user in list(self._users.values()):
            for spawner in list(user.spawners.values()):
                state = state_of(spawner)
                groups = self.groups_of(user.name)
                if state != "stopped" and self._rights.sees_session(user.name, groups, spawner.name):
                    rows.append(_active_row(user.name, spawner, state, groups))
        return rows

    def _stopped_rows(self, active: Collection[tuple[str, str]]) -> list[SessionRow]:
        columns = _spawners.c
        query = sa.select(
            orm.User.name, columns.name, columns.display_name, columns.user_options, columns.last_activity
        ).join(_spawners, columns.user_id == orm.User.id)
        rows = []
        for person, name, title, options, activity in self._db.execute(query):
            groups = self.groups_of(person)
            if (person, name) in active or not (name or activity):
                continue
            if self._rights.sees_session(person, groups, name):
                service = _service_in(options)
                rows.append(
                    SessionRow(person, name, title or "", service, "stopped", groups, None, _utc(activity))
                )
        return rows

    def describe_session(self, row: SessionRow) -> dict[str, Any]:
        """Return one session as JSON data, without anything secret."""
        covers, person = self._rights.covers, row.person
        spawner = row.spawner
        running = row.state == "running"
        return {
            "person": person,
            "name": row.name,
            "title": row.title if row.title != row.name else "",
            "service": {"id": row.service, "name": self.service_name(row.service)},
            "state": row.state,
            "resources": {name: amount_text(name, row.held[name]) for name in row.held if name != "sessions"},
            "started": _iso(row.started),
            "last_activity": _iso(row.activity),
            "grant": self._grant(row) if spawner is not None else None,
            "idle_stop_at": self._datalab.idle.describe(spawner)["idle_stop_at"] if running else None,
            "may": {
                "stop": running and covers("delete:servers", person, row.groups, row.name),
                "warn": covers("delete:servers", person, row.groups, row.name),
                "open": running and covers("access:servers", person, row.groups, row.name),
            },
        }

    def _grant(self, row: SessionRow) -> dict[str, Any] | None:
        """Return what a session may have, by name, and until when its credentials are good."""
        grant = self._datalab.grant_for(row.spawner)
        if grant is None:
            return None
        # Made here from what is known, as a list must not ask the database for each row.
        handle = row.spawner.handle or self._datalab.handles.handle_for(row.person)
        groups = tuple(sorted(map(make_project_handle, row.groups)))
        subject = Subject(handle=handle, name=row.person, groups=groups)
        ends = self._datalab.broker.expirations(subject, grant)
        return {
            "s3": grant.s3,
            "bucket": subject.handle if grant.s3 != "none" else "",
            "secrets": list(grant.secrets),
            "git_hosts": list(grant.git_hosts),
            "vault_token": grant.vault_token,
            "expires_at": _iso(min(ends.values())) if ends else None,
        }

    def service_name(self, service_id: str) -> str:
        """Return what people call a service; its id if the catalogue does not have it any more."""
        catalogue = self._datalab.sessions.catalogue
        service = catalogue.get(service_id) if catalogue is not None and service_id else None
        return str(service.name.in_language(self._language)) if service is not None else service_id

    # People ------------------------------------------------------------------------------------------------------

    def people(self, request: Request) -> Part[PersonRow]:
        """Return the people whom the request may see."""
        counts: dict[str, int] = {}
        for row in self.active_rows():
            if row.state != "failed":
                counts[row.person] = counts.get(row.person, 0) + 1
        columns = (orm.User.name, orm.User.admin, orm.User.last_activity, orm.User.created)
        rows = []
        for name, admin, activity, created in self._db.execute(sa.select(*columns)):
            groups = self.groups_of(name)
            if self._rights.sees_person(name, groups):
                count = counts.get(name, 0)
                rows.append(PersonRow(name, bool(admin), groups, _utc(activity), _utc(created), count))
        return cut(
            rows,
            request,
            texts=lambda row: (row.name, *row.groups),
            filters={"group": lambda row, value: value in row.groups},
            columns={
                "person": lambda row: row.name,
                "sessions": lambda row: (row.sessions, row.name),
                "activity": lambda row: row.activity,
                "created": lambda row: row.created,
            },
        )

    def describe_people(self, rows: Iterable[PersonRow]) -> list[dict[str, Any]]:
        """Return people as JSON data; asks the registry of handles once, so call it in a thread."""
        rows = list(rows)
        handles = self._datalab.handles.lookup_many([row.name for row in rows])
        book = self._datalab.quotas.book
        return [
            {
                "name": row.name,
                "admin": row.admin,
                "groups": sorted(row.groups),
                "handle": handles.get(row.name),
                "last_activity": _iso(row.activity),
                "created": _iso(row.created),
                "sessions": row.sessions,
                "quota": {
                    one: {"limit": _text(one, allowance.limit), "by": allowance.by}
                    for one, allowance in book.allowances(row.name, row.groups).items()
                },
                "own_quota": write_limits(book.users.get(row.name, {})),
            }
            for row in rows
        ]

    # Groups ------------------------------------------------------------------------------------------------------

    def group_names(self) -> list[str]:
        """Return the names of the groups that the request may see."""
        names = self._db.scalars(sa.select(orm.Group.name).order_by(orm.Group.name))
        return [name for name in names if self._rights.sees_group(name)]

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups that the request may see, with their quotas and what their members hold."""
        book = self._datalab.quotas.book
        sizes: dict[str, int] = {}
        for names in self._memberships().values():
            for name in names:
                sizes[name] = sizes.get(name, 0) + 1
        held: dict[str, list[Any]] = {}
        for person, spawner in held_sessions(list(self._users.values())):
            for name in self.groups_of(person):
                held.setdefault(name, []).append(spawner.launch_options)
        found = []
        for name in self.group_names():
            quota = book.groups.get(name)
            used = add_up(held.get(name, ()))
            found.append(
                {
                    "name": name,
                    "people": sizes.get(name, 0),
                    "limits": write_limits(quota.member) if quota else {},
                    "total": write_limits(quota.total) if quota else {},
                    "used": {one: amount_text(one, used[one]) for one in FIELDS},
                }
            )
        return found

    def groups_of(self, person: str) -> tuple[str, ...]:
        """Return the names of the groups that a person is in."""
        return self._memberships().get(person, ())

    def _memberships(self) -> dict[str, tuple[str, ...]]:
        if self._groups is None:
            query = sa.select(orm.User.name, orm.Group.name).join(orm.User.groups)
            found: dict[str, list[str]] = {}
            for person, group in self._db.execute(query):
                found.setdefault(person, []).append(group)
            self._groups = {person: tuple(groups) for person, groups in found.items()}
        return self._groups


def _service_in(options: str | None) -> str:
    """Return the service that stored options are for."""
    try:
        found = json.loads(options or "{}")
    except ValueError:
        return ""
    return str(found.get("service") or "") if isinstance(found, dict) else ""


def _active_row(person: str, spawner: Any, state: State, groups: Collection[str]) -> SessionRow:
    row = spawner.orm_spawner
    service = getattr(getattr(spawner, "service", None), "id", "") or (row.user_options or {}).get(
        "service", ""
    )
    return SessionRow(
        person,
        spawner.name,
        row.display_name or "",
        str(service or ""),
        state,
        groups,
        _utc(row.started) if state != "failed" else None,
        _utc(row.last_activity),
        spawner,
    )


def _text(name: Field, limit: Decimal | None) -> str | None:
    return None if limit is None else amount_text(name, limit)


def _utc(moment: datetime | None) -> datetime | None:
    """Return a time of JupyterHub's database, which is UTC without saying so."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
