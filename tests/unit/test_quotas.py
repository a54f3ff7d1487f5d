"""Quotas: whose limit counts, what is left of it, and what a launch is told that asks for more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sardonyx_hub.documents import DocumentStore
from sardonyx_hub.quotas import (
    Allowance,
    Book,
    GroupQuota,
    QuotaError,
    Quotas,
    amount_text,
    parse_limits,
    write_limits,
)
from sardonyx_spawner.options import LaunchOptions
from sardonyx_spawner.service import Service

SERVICE = Service.model_validate({"id": "lab", "name": "Lab"})
GIB = 1024**3


def options(cpu: str | None = "1", memory: str | None = "2Gi", **devices: int) -> LaunchOptions:
    limits = {"cpu": cpu, "memory": memory, **{f"example.com/{name}": n for name, n in devices.items()}}
    amounts = {name: value for name, value in limits.items() if value is not None}
    return LaunchOptions.model_validate({"resources": {"limits": amounts}})


@dataclass
class Session:
    """As much of a spawner as quotas look at."""

    user: Any
    launch_options: LaunchOptions | None = None
    active: bool = True


@dataclass
class Named:
    name: str


@dataclass
class Person:
    """As much of a JupyterHub User as quotas look at."""

    name: str
    groups: list[Named] = field(default_factory=list)
    spawners: dict[str, Session] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def runs(self, name: str, asked: LaunchOptions | None = None) -> Session:
        self.spawners[name] = Session(self, asked or options())
        return self.spawners[name]


class Hub:
    """People, their groups and the quotas set for them."""

    def __init__(self, file: Path, default: Mapping[str, Any], **groups: list[str]) -> None:
        names = sorted({name for members in groups.values() for name in members} | {"alice", "bob"})
        self.people: dict[int, Person] = {}
        for number, name in enumerate(names):
            own = [Named(group) for group, members in groups.items() if name in members]
            self.people[number] = Person(name, own, settings={"users": self.people})
        self.documents = DocumentStore(file)
        self.quotas = Quotas(self.documents, parse_limits(default), lambda _, group: set(groups[group]))

    def __getitem__(self, name: str) -> Person:
        return next(person for person in self.people.values() if person.name == name)


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    found = Hub(
        tmp_path / "state.sqlite",
        {"cpu": "4", "memory": "8Gi", "sessions": 3},
        team=["alice", "bob"],
        rich=["alice"],
    )
    yield found
    found.documents.close()


# Reading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "field_name", "allowed"),
    [
        ({"cpu": "many"}, "cpu", "cores"),
        ({"cpu": -1}, "cpu", "cores"),
        ({"memory": "2 gigs"}, "memory", "512Mi"),
        ({"gpu": 1.5}, "gpu", "whole number from 0"),
        ({"gpu": True}, "gpu", "whole number from 0"),
        ({"sessions": -1}, "sessions", "whole number from 0"),
        ({"sessions": "9" * 12}, "sessions", "whole number from 0"),
        ({"ram": "2Gi"}, "ram", "the fields are cpu, memory, gpu, sessions"),
        ([], "limits", "an object"),
    ],
)
def test_a_wrong_limit_is_told_by_its_field(data: Any, field_name: str, allowed: str) -> None:
    with pytest.raises(QuotaError, match=field_name) as error:
        parse_limits(data)
    assert allowed in str(error.value)


def test_limits_are_written_as_they_are_read() -> None:
    data = {"cpu": "0.5", "memory": "1.5Gi", "gpu": 2, "sessions": None}
    assert write_limits(parse_limits(data)) == data
    assert parse_limits({"gpu": " 3 "}) == {"gpu": Decimal(3)}


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (1, "1"),
        (1536, "1.5Ki"),
        (10 * 1000**3, "9765625Ki"),
        (100 * GIB, "100Gi"),
        (1024 * GIB, "1Ti"),
    ],
)
def test_memory_is_written_so_that_it_can_be_read_again(amount: int, text: str) -> None:
    assert amount_text("memory", Decimal(amount)) == text
    assert parse_limits({"memory": text}) == {"memory": Decimal(amount)}


# Whose limit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "team", "rich", "expected"),
    [
        ({}, {}, {}, Allowance(Decimal(4), "default")),
        ({}, {"cpu": "2"}, {}, Allowance(Decimal(2), "group:team")),
        ({}, {"cpu": "6"}, {"cpu": "16"}, Allowance(Decimal(16), "group:rich")),
        ({}, {"cpu": "16"}, {"cpu": "6"}, Allowance(Decimal(16), "group:team")),
        ({}, {"cpu": None}, {"cpu": "99"}, Allowance(None, "group:team")),
        ({"cpu": "1"}, {"cpu": "6"}, {"cpu": None}, Allowance(Decimal(1), "user")),
        ({"cpu": None}, {"cpu": "6"}, {}, Allowance(None, "user")),
        ({"memory": "1Gi"}, {}, {"memory": "3Gi"}, Allowance(Decimal(4), "default")),
    ],
)
def test_the_persons_own_entry_wins_else_the_most_generous_group_else_the_default(
    own: Any, team: Any, rich: Any, expected: Allowance
) -> None:
    book = Book(
        default=parse_limits({"cpu": "4"}),
        users={"alice": parse_limits(own)},
        groups={"team": GroupQuota(parse_limits(team)), "rich": GroupQuota(parse_limits(rich))},
    )
    assert book.allowances("alice", ["team", "rich"])["cpu"] == expected


def test_nothing_set_is_without_limit() -> None:
    assert set(Book().allowances("alice", ["team"]).values()) == {Allowance(None, "")}


# What is left --------------------------------------------------------------------------------------------------------


async def test_what_sessions_hold_is_taken_off(hub: Hub) -> None:
    alice = hub["alice"]
    alice.runs("one", options("1.5", "2Gi", gpu=1, tpu=2))
    starting = alice.runs("two", options("1", None))
    starting.active = False
    starting._start_pending = True  # type: ignore[attr-defined]
    alice.runs("stopped").active = False
    alice.spawners["not-resolved"] = Session(alice)
    hub["bob"].runs("his")
    left = hub.quotas.left_for(alice)
    assert left == {
        "cpu": {"limit": 4.0, "used": 2.5, "left": 1.5, "by": "default"},
        "memory": {"limit": 8 * GIB, "used": 2 * GIB, "left": 6 * GIB, "by": "default"},
        "gpu": {"limit": None, "used": 3, "left": None, "by": ""},
        "sessions": {"limit": 3, "used": 2, "left": 1, "by": "default"},
    }
    assert hub.quotas.left_for(alice, exclude=starting)["cpu"]["used"] == 1.5


async def test_a_lowered_quota_leaves_nothing_and_not_less(hub: Hub) -> None:
    alice = hub["alice"]
    alice.runs("one", options("3"))
    await hub.documents.put("quota", "user:alice", {"limits": {"cpu": "2"}})
    assert hub.quotas.left_for(alice)["cpu"] == {"limit": 2.0, "used": 3.0, "left": 0.0, "by": "user"}


async def test_a_service_without_limit_counts_what_it_is_guaranteed(hub: Hub) -> None:
    resources = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
    hub["alice"].runs("one", LaunchOptions.model_validate({"resources": resources}))
    left = hub.quotas.left_for(hub["alice"])
    assert (left["cpu"]["used"], left["memory"]["used"]) == (2.0, 3 * GIB)


async def test_members_share_the_total_of_their_group(hub: Hub) -> None:
    await hub.documents.put("quota", "group:team", {"total": {"cpu": "3", "sessions": None}})
    hub["bob"].runs("his", options("2.5"))
    assert hub.quotas.left_for(hub["alice"])["cpu"] == {
        "limit": 3.0,
        "used": 2.5,
        "left": 0.5,
        "by": "total:team",
    }
    # The person's own limit binds where less is left of it.
    await hub.documents.put("quota", "user:alice", {"limits": {"cpu": "0.25"}})
    assert hub.quotas.left_for(hub["alice"])["cpu"]["by"] == "user"


async def test_a_quota_that_cannot_be_used_is_logged_and_the_others_hold(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    await hub.documents.put("quota", "user:alice", {"limits": {"cpu": "lots"}})
    await hub.documents.put("quota", "user:bob", {"limits": {"cpu": "1"}})
    assert hub.quotas.left_for(hub["alice"])["cpu"]["by"] == "default"
    assert hub.quotas.left_for(hub["bob"])["cpu"]["by"] == "user"
    assert "user:alice" in caplog.text


# Launches ------------------------------------------------------------------------------------------------------------


async def refused(hub: Hub, asked: LaunchOptions) -> dict[str, str]:
    problems = await hub.quotas.check(Session(hub["alice"]), SERVICE, asked)
    return {problem.path: problem.message for problem in problems}


async def test_a_launch_that_fits_is_let_through(hub: Hub) -> None:
    assert await refused(hub, options("4", "8Gi", gpu=9)) == {}


async def test_what_is_too_much_is_told_by_field_with_what_is_left_and_by_whom(hub: Hub) -> None:
    hub["alice"].runs("one", options("1", "6Gi"))
    await hub.documents.put("quota", "user:alice", {"limits": {"gpu": 0}})
    await hub.documents.put("quota", "group:rich", {"limits": {"memory": "7Gi"}})
    problems = await refused(hub, options("3.5", "2Gi", gpu=1))
    assert problems.keys() == {
        "resources.limits.cpu",
        "resources.limits.memory",
        'resources.limits."example.com/gpu"',
    }
    cpu = problems["resources.limits.cpu"]
    assert "You ask for 3.5, and 3 is left of your quota of 4 (1 in use)" in cpu
    assert "everybody" in cpu
    memory = problems["resources.limits.memory"]
    assert "You ask for 2Gi, and 1Gi is left of your quota of 7Gi (6Gi in use)" in memory
    assert "group rich" in memory
    assert "An administrator" in problems['resources.limits."example.com/gpu"']


async def test_the_number_of_sessions_is_limited(hub: Hub) -> None:
    await hub.documents.put("quota", "user:alice", {"limits": {"cpu": None, "memory": None, "sessions": 1}})
    assert await refused(hub, options()) == {}
    hub["alice"].runs("one")
    problems = await refused(hub, options())
    assert "quota of 1 sessions at once is reached (1 in use)" in problems[""]


async def test_a_field_of_which_nothing_is_asked_is_not_refused(hub: Hub) -> None:
    hub["alice"].runs("one", options("9", "1Gi", gpu=3))
    await hub.documents.put("quota", "user:alice", {"limits": {"gpu": 1}})
    assert await refused(hub, options(None, "1Gi", gpu=0)) == {}


async def test_of_two_launches_at_once_only_one_gets_what_is_left(hub: Hub) -> None:
    """The mixin takes the options right after the check; nothing may come between the two."""
    await hub.documents.put("quota", "user:alice", {"limits": {"sessions": 1}})

    async def launch(name: str) -> bool:
        session = hub["alice"].spawners[name] = Session(hub["alice"])
        await asyncio.sleep(0)
        if await hub.quotas.check(session, SERVICE, options()):
            return False
        session.launch_options = options()
        return True

    assert sorted(await asyncio.gather(*(launch(str(n)) for n in range(5)))) == [False] * 4 + [True]
