"""Quotas: how much CPU, memory, devices and sessions a person may use at once, and what of it is left.

A person's quota is found field by field: what was set for the person; else the most generous of what their groups give
each member (a sum would reward joining groups); else the datalab's default. Beside that a group can have a total, which
all sessions of all its members share: a session counts in every group of its owner that has one.

Counted is what sessions hold that start, run or stop: their limits of CPU and memory, or what they are guaranteed where the
service sets no limit; what a service leaves open counts nothing. A quota that is lowered stops nobody: it is asked at the
next launch.

Examples
--------
>>> book = Book(default=parse_limits({"cpu": "2"}), groups={"g": GroupQuota(member=parse_limits({"cpu": "4"}))})
>>> book.allowances("alice", ["g"])["cpu"]
Allowance(limit=Decimal('4'), by='group:g')
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa
from jupyterhub import orm

from sardonyx_spawner.errors import OptionProblem
from sardonyx_spawner.options import LaunchOptions
from sardonyx_spawner.paths import join_path
from sardonyx_spawner.quantities import parse_cpu, parse_memory
from sardonyx_spawner.service import Service

from .documents import DocumentStore

Field = Literal["cpu", "memory", "gpu", "sessions"]
FIELDS: Final[tuple[Field, ...]] = get_args(Field)
#: Field -> limit; None is without limit, a field that is not there is not set.
Limits = Mapping[Field, Decimal | None]
Amounts = Mapping[Field, Decimal]

#: Nobody means more than that, and everything that counts it has room for it.
_MOST_COUNT: Final = 100_000
_NONE: Final[Limits] = MappingProxyType({})
_log = logging.getLogger("sardonyx")

#: Who set a quota -> message key, for an amount and for the number of sessions.
_KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "user": ("quota.amount.user", "quota.sessions.user"),
    "group": ("quota.amount.group", "quota.sessions.group"),
    "default": ("quota.amount.default", "quota.sessions.default"),
    "total": ("quota.amount.total", "quota.sessions.total"),
}


class QuotaError(ValueError):
    """A quota cannot be used; the message names the field and what is allowed.

    Parameters
    ----------
    name
        The field, such as ``total.cpu``.
    """

    def __init__(self, name: str, message: str) -> None:
        self.field = name
        super().__init__(f"{name}: {message}" if name else message)


@dataclass(frozen=True)
class Allowance:
    """A limit, None for none, and who set it: ``user``, ``group:NAME``, ``total:NAME``, ``default`` or nobody."""

    limit: Decimal | None = None
    by: str = ""


@dataclass(frozen=True)
class GroupQuota:
    """What each member of a group may use, and all together."""

    member: Limits = field(default_factory=dict)
    total: Limits = field(default_factory=dict)


@dataclass(frozen=True)
class Left:
    """What is left of a quota."""

    limit: Decimal | None
    used: Decimal
    by: str = ""

    @property
    def left(self) -> Decimal | None:
        """What may still be asked for; None without limit. Never below zero."""
        return None if self.limit is None else max(Decimal(0), self.limit - self.used)


def parse_limits(data: object, where: str = "") -> dict[Field, Decimal | None]:
    """Read limits as they are written in documents and in the configuration.

    Parameters
    ----------
    data
        ``{"cpu": "4", "memory": "16Gi", "gpu": 1, "sessions": 3}``; a field may be left out, ``None`` is "without limit".
    where
        What stands before the field's name in messages.

    Raises
    ------
    QuotaError
        Naming the field that is wrong and what is allowed.
    """
    if not isinstance(data, Mapping):
        raise QuotaError(where, f"limits are an object with {', '.join(FIELDS)}")
    found: dict[Field, Decimal | None] = {}
    for name, value in data.items():
        path = f"{where}.{name}" if where else str(name)
        if name not in FIELDS:
            raise QuotaError(path[:80], f"is not known; the fields are {', '.join(FIELDS)}")
        try:
            found[name] = None if value is None else _amount(name, value)
        except ValueError as error:
            raise QuotaError(path, str(error)) from None
    return found


@lru_cache(maxsize=4096)
def _amount_of_text(name: Field, text: str) -> Decimal:
    """Return an amount of launch options, of which there are few and many sessions that have them."""
    return _amount(name, text)


def _amount(name: Field, value: object) -> Decimal:
    if name == "cpu":
        return parse_cpu(value)
    if name == "memory":
        return Decimal(parse_memory(value))
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10:
        text = int(text)
    if isinstance(text, bool) or not isinstance(text, int) or not 0 <= text <= _MOST_COUNT:
        raise ValueError(f"not a whole number from 0 to {_MOST_COUNT}")
    return Decimal(text)


def write_limits(limits: Limits) -> dict[str, str | int | None]:
    """Return limits as documents hold them; :func:`parse_limits` is the inverse."""
    found: dict[str, str | int | None] = {}
    for name, value in limits.items():
        counted = name in ("gpu", "sessions")
        found[name] = None if value is None else int(value) if counted else amount_text(name, value)
    return found


def amount_text(name: Field, value: Decimal) -> str:
    """Return an amount as people write it in the form.

    Examples
    --------
    >>> amount_text("memory", Decimal(1610612736)), amount_text("cpu", Decimal("0.50"))
    ('1.5Gi', '0.5')
    """
    if name != "memory":
        return _plain(value)
    for power, unit in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        amount = value / 1024**power
        if amount >= 1 and amount == round(amount, 3):
            return f"{_plain(amount)}{unit}"
    return _plain(value)


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def number(name: Field, value: Decimal) -> float | int:
    """Return an amount as a JSON number: cores, bytes, devices, sessions."""
    return float(value) if name == "cpu" else int(value)


# What sessions hold --------------------------------------------------------------------------------------------------


def asked_of(options: LaunchOptions) -> dict[Field, tuple[Decimal, str]]:
    """Return how much a session with `options` counts, and the path of the option that says so."""
    found: dict[Field, tuple[Decimal, str]] = {"sessions": (Decimal(1), "")}
    resources = options.resources
    for name in ("cpu", "memory"):
        for part, amounts in (("limits", resources.limits), ("requests", resources.requests)):
            text = getattr(amounts, name)
            if text is not None:
                found[name] = (_amount_of_text(name, text), f"resources.{part}.{name}")
                break
    devices = {device: count for device, count in resources.limits.devices.items() if count}
    if devices:
        most = max(devices, key=lambda device: devices[device])
        found["gpu"] = (Decimal(sum(devices.values())), join_path("resources", "limits", most))
    return found


def add_up(sessions: Iterable[LaunchOptions]) -> dict[Field, Decimal]:
    """Return what sessions hold together."""
    total = dict.fromkeys(FIELDS, Decimal(0))
    for options in sessions:
        for name, (amount, _) in asked_of(options).items():
            total[name] += amount
    return total


def held_sessions(users: Iterable[Any]) -> list[tuple[str, Any]]:
    """Return the name of the owner and the spawner of every session that holds something, starting ones included."""
    return [
        (user.name, spawner)
        for user in users
        for spawner in list(user.spawners.values())
        if getattr(spawner, "launch_options", None) is not None
        and (spawner.active or getattr(spawner, "_start_pending", False))
    ]


# Rules ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Book:
    """All quotas that were set."""

    default: Limits = field(default_factory=dict)
    users: Mapping[str, Limits] = field(default_factory=dict)
    groups: Mapping[str, GroupQuota] = field(default_factory=dict)

    def allowances(self, name: str, groups: Iterable[str]) -> dict[Field, Allowance]:
        """Return a person's own limits, totals of groups aside."""
        own = self.users.get(name, _NONE)
        given = [(group, self.groups[group].member) for group in sorted(groups) if group in self.groups]
        return {one: self._allowance(one, own, given) for one in FIELDS}

    def _allowance(self, one: Field, own: Limits, given: list[tuple[str, Limits]]) -> Allowance:
        if one in own:
            return Allowance(own[one], "user")
        offers = [(limits[one], group) for group, limits in given if one in limits]
        if offers:
            limit, group = max(offers, key=lambda offer: (offer[0] is None, offer[0] or Decimal(0)))
            return Allowance(limit, f"group:{group}")
        return Allowance(self.default[one], "default") if one in self.default else Allowance()

    def totals(self, groups: Iterable[str]) -> dict[str, Limits]:
        """Return the limits that whole groups share, for those of `groups` that have any."""
        return {
            name: self.groups[name].total
            for name in sorted(groups)
            if name in self.groups and self.groups[name].total
        }


def tightest(
    allowances: Mapping[Field, Allowance],
    used: Amounts,
    totals: Mapping[str, Limits],
    used_by_group: Mapping[str, Amounts],
) -> dict[Field, Left]:
    """Return for each field the limit of which the least is left: the person's own, or that of one of their groups."""
    found: dict[Field, Left] = {}
    for one in FIELDS:
        own = allowances[one]
        choices = [Left(own.limit, used[one], own.by)]
        for group, limits in totals.items():
            if limits.get(one) is not None:
                choices.append(Left(limits[one], used_by_group[group][one], f"total:{group}"))
        found[one] = min(choices, key=_order)
    return found


def _order(choice: Left) -> Decimal:
    left = choice.left
    return Decimal("Infinity") if left is None else left


def check(left: Mapping[Field, Left], options: LaunchOptions) -> list[OptionProblem]:
    """Return a problem for each field of which more is asked than is left."""
    problems = []
    for name, (amount, path) in asked_of(options).items():
        rule = left[name]
        if rule.left is None or rule.limit is None or amount <= rule.left or not amount:
            continue
        kind, _, group = rule.by.partition(":")
        amount_key, sessions_key = _KEYS[kind]
        params = {
            "asked": amount_text(name, amount),
            "left": amount_text(name, rule.left),
            "limit": amount_text(name, rule.limit),
            "used": amount_text(name, rule.used),
        } | ({"group": group} if group else {})
        problems.append(OptionProblem(path, sessions_key if name == "sessions" else amount_key, params))
    return problems


# Quotas of a hub -----------------------------------------------------------------------------------------------------


class Quotas:
    """The quotas of a hub: documents of kind ``quota``, below them the configured default.

    Parameters
    ----------
    documents
        Keys are ``user:NAME`` (``{"limits": {...}}``) and ``group:NAME`` (``{"limits": {...}, "total": {...}}``).
    default
        Limits of a person for whom nothing else is set.
    members
        Returns the names of the members of a group; for tests.
    """

    def __init__(
        self,
        documents: DocumentStore,
        default: Limits = _NONE,
        members: Callable[[Any, str], set[str]] | None = None,
    ) -> None:
        self._documents = documents
        self._default = default
        self._members = members or members_of
        self._read: tuple[int, Book] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Quotas:
        """Return the quotas themselves: traitlets copies configuration, and with it the hook that is a method of theirs."""
        return self

    @property
    def book(self) -> Book:
        """The quotas as they are set now."""
        revision = self._documents.revision("quota")
        if self._read is None or self._read[0] != revision:
            self._read = (revision, self._make_book())
        return self._read[1]

    def left_for(self, user: Any, exclude: Any = None) -> dict[str, dict[str, Any]]:
        """Return what is left for a person, as JSON data.

        Parameters
        ----------
        user
            A JupyterHub User.
        exclude
            A spawner whose session is not counted.

        Returns
        -------
        dict
            ``{"cpu": {"limit", "used", "left", "by"}, "memory": ..., "gpu": ..., "sessions": ...}`` in cores, bytes, devices
            and sessions; ``limit`` and ``left`` are ``None`` without limit.
        """
        return {name: left_data(name, rule) for name, rule in self.rules_for(user, exclude).items()}

    def rules_for(self, user: Any, exclude: Any = None) -> dict[Field, Left]:
        """Return for each field the limit that binds a person now. Does no I/O but one small query a group with a total."""
        book = self.book
        groups = [group.name for group in user.groups]
        held = [
            (name, spawner.launch_options)
            for name, spawner in held_sessions(list(user.settings["users"].values()))
            if spawner is not exclude
        ]
        totals = book.totals(groups)
        used_by_group = {}
        for group in totals:
            members = self._members(user, group)
            used_by_group[group] = add_up(options for name, options in held if name in members)
        used = add_up(options for name, options in held if name == user.name)
        return tightest(book.allowances(user.name, groups), used, totals, used_by_group)

    async def check(self, spawner: Any, _service: Service, options: LaunchOptions) -> list[OptionProblem]:
        """Return what of a launch the quotas do not allow (the spawner's `quota_hook`).

        There is no `await` in here: two launches at once cannot both be given what is left for one.
        """
        return check(self.rules_for(spawner.user), options)

    def _make_book(self) -> Book:
        users: dict[str, Limits] = {}
        groups: dict[str, GroupQuota] = {}
        for key, document in self._documents.items("quota").items():
            kind, _, name = key.partition(":")
            try:
                limits = parse_limits(document.get("limits", {}))
                if kind == "user":
                    users[name] = limits
                elif kind == "group":
                    groups[name] = GroupQuota(limits, parse_limits(document.get("total", {}), "total"))
            except QuotaError as error:
                _log.error("The quota %s cannot be used: %s", key, error)
        return Book(self._default, users, groups)


def left_data(name: Field, rule: Left) -> dict[str, Any]:
    """Return what is left as JSON data."""
    return {
        "limit": None if rule.limit is None else number(name, rule.limit),
        "used": number(name, rule.used),
        "left": None if rule.left is None else number(name, rule.left),
        "by": rule.by,
    }


def members_of(user: Any, group: str) -> set[str]:
    """Return the names of the members of a group, in one query."""
    query = sa.select(orm.User.name).join(orm.User.groups).where(orm.Group.name == group)
    return set(user.db.scalars(query))
