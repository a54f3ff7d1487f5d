"""Idle stop: the rules by tables, and what the keeper does to sessions as time goes by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from sardonyx_hub import session_actions
from sardonyx_hub.idle import IdleKeeper, KeepAliveError, Rule, make_plan, rule_for, rule_from_settings
from sardonyx_hub.session_probe import Activity, computes
from sardonyx_spawner.catalogue import Service
from sardonyx_spawner.idle_stop import IdleStop, parse_duration

NOON = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)  # the night in which clocks change in Paris
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("4h", 14_400), ("7d", 604_800), ("999999d", 86_399_913_600)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "0h", "4", "h", "-4h", "4 h", "4H", "1.5h", "1h30m", "٤h", "4h\n", "1000000s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90s, 15m, 4h or 7d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"after": "4h", "warn": "4h"}, "warn"),
        ({"after": "soon"}, "after"),
        ({}, "after"),
        ({"after": "4h", "x": 1}, "x"),
    ],
)
def test_a_wrong_rule_names_what_is_wrong(given: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError, match=where):
        IdleStop.model_validate(given)


def service(**idle_stop: str) -> Service:
    more = {"idle_stop": idle_stop} if idle_stop else {}
    return Service.model_validate({"id": "lab", "name": "Lab", **more})


DEFAULT = Rule(12 * HOUR, 30 * MINUTE)


@pytest.mark.parametrize(
    ("of", "default", "expected"),
    [
        (None, None, None),
        (None, DEFAULT, DEFAULT),
        (service(), DEFAULT, DEFAULT),
        (service(), None, None),
        (service(after="4h"), DEFAULT, Rule(4 * HOUR, 15 * MINUTE)),
        (service(after="4h", warn="1h"), None, Rule(4 * HOUR, HOUR)),
        (service(after="never"), DEFAULT, None),
    ],
)
def test_whose_rule_counts(of: Service | None, default: Rule | None, expected: Rule | None) -> None:
    assert rule_for(of, default) == expected


def test_the_operators_rule() -> None:
    assert rule_from_settings({}) is None
    assert rule_from_settings({"after": "never"}) is None
    assert rule_from_settings({"after": "12h", "warn": "30m"}) == DEFAULT


RULE = Rule(4 * HOUR, 15 * MINUTE)


@pytest.mark.parametrize(
    ("kept", "stop_at"),
    [
        (None, NOON + 4 * HOUR),
        (NOON + HOUR, NOON + 4 * HOUR),  # kept for less than it may be idle anyway
        (NOON + 24 * HOUR, NOON + 24 * HOUR),
        (NOON - HOUR, NOON + 4 * HOUR),
    ],
)
def test_when_a_session_is_stopped(kept: datetime | None, stop_at: datetime) -> None:
    plan = make_plan(RULE, NOON, kept)
    assert (plan.warn_at, plan.stop_at) == (stop_at - 15 * MINUTE, stop_at)


@pytest.mark.parametrize(
    ("kernels", "busy"),
    [
        ([], False),
        (None, False),
        ({"message": "Forbidden"}, False),
        ([{"execution_state": "idle"}, {"execution_state": "starting"}], False),
        ([{"execution_state": "idle"}, {"execution_state": "busy"}], True),
        (["busy"], False),
    ],
)
def test_a_kernel_that_computes(kernels: Any, busy: bool) -> None:
    assert computes(kernels) is busy


class World:
    """A datalab with one session, whose clocks move when told to."""

    def __init__(self) -> None:
        self.now, self.seconds = NOON, 0.0
        self.activity: Activity | None = None
        self.asked = 0
        self.stopped: list[str] = []
        self.endings: list[tuple[str, dict[str, Any]]] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.kept: dict[tuple[str, str], dict[str, Any]] = {}
        times = {"last_activity": NOON.replace(tzinfo=None), "started": None}
        row = SimpleNamespace(display_name="", name="run1", state={}, **times)
        self.session = SimpleNamespace(
            user=SimpleNamespace(name="alice"),
            name="run1",
            orm_spawner=row,
            ready=True,
            service=service(after="4h"),
        )
        self.keeper = self.new_keeper()

    def new_keeper(self) -> IdleKeeper:
        """Return what a hub that has just started has."""
        datalab: Any = SimpleNamespace(documents=self, live=self, sessions=self)
        return IdleKeeper(datalab, now=lambda: self.now, clock=lambda: self.seconds, probe=self._probe)

    async def after(self, time: timedelta) -> None:
        """Let time pass, then let the keeper look."""
        self.now, self.seconds = self.now + time, self.seconds + time.total_seconds()
        await self.keeper.look()

    async def _probe(self, _spawner: Any) -> Activity | None:
        self.asked += 1
        return self.activity

    async def stop(self, spawner: Any) -> None:
        self.stopped.append(spawner.name)
        spawner.ready = False

    # What the keeper uses of sessions, live events and documents.

    catalogue = None

    @property
    def active(self) -> dict[Any, Any]:
        return {("alice", "run1"): self.session}

    async def refresh_catalogue(self, _user: Any) -> None: ...

    def changed(self, _spawner: Any) -> None: ...

    async def ended(self, _spawner: Any, reason: str, **more: Any) -> None:
        self.endings.append((reason, more))

    def forget_ending(self, _key: Any) -> None:
        self.endings.clear()

    def publish(self, _user: str, event: str, data: dict[str, Any]) -> None:
        self.told.append((event, data))

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        return self.kept.get((kind, key))

    async def put(self, kind: str, key: str, value: dict[str, Any]) -> None:
        self.kept[kind, key] = value


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(session_actions, "stop_now", made.stop)
    return made


async def test_an_idle_session_is_warned_about_and_then_stopped(world: World) -> None:
    await world.after(3 * HOUR)
    assert (world.told, world.asked) == ([], 0)
    await world.after(46 * MINUTE)
    assert [(event, data["kind"], data["name"]) for event, data in world.told] == [
        ("warning", "idle", "run1")
    ]
    assert world.keeper.describe(world.session)["idle_warning"] is True
    await world.after(10 * MINUTE)
    assert (world.stopped, len(world.told)) == ([], 1)
    await world.after(6 * MINUTE)
    assert world.stopped == ["run1"]
    assert world.endings == [("idle", {"since": NOON.isoformat()})]


async def test_use_after_the_warning_takes_it_back(world: World) -> None:
    await world.after(230 * MINUTE)
    assert world.told
    world.session.orm_spawner.last_activity = world.now.replace(tzinfo=None)
    await world.after(HOUR)
    assert world.keeper.describe(world.session)["idle_warning"] is False
    assert world.stopped == []
    await world.after(170 * MINUTE)
    assert len(world.told) == 2


@pytest.mark.parametrize("last", [None, NOON + 3 * HOUR])
async def test_what_computes_is_not_idle(world: World, last: datetime | None) -> None:
    world.activity = Activity(last, busy=True)
    for _ in range(30):
        await world.after(HOUR)
    assert (world.told, world.stopped) == ([], [])
    world.activity = Activity(None, busy=False)
    await world.after(225 * MINUTE)
    assert len(world.told) == 1


async def test_activity_that_the_hub_does_not_know_yet_counts(world: World) -> None:
    world.activity = Activity(NOON + 3 * HOUR, busy=False)
    await world.after(4 * HOUR)
    assert world.told == []
    assert world.keeper.describe(world.session)["idle_stop_at"] == (NOON + 7 * HOUR).isoformat()


async def test_a_session_that_speaks_of_times_to_come_is_used_now(world: World) -> None:
    """From the last day of all calendars nothing can be counted: it would keep the keeper from all sessions."""
    world.activity = Activity(datetime.max.replace(tzinfo=UTC), busy=False)
    await world.after(4 * HOUR)
    assert world.keeper.describe(world.session)["idle_stop_at"] == (NOON + 8 * HOUR).isoformat()
    world.activity = None
    await world.after(4 * HOUR)
    await world.after(16 * MINUTE)
    assert world.stopped == ["run1"]


async def test_one_session_keeps_no_other_from_being_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = SimpleNamespace(user=SimpleNamespace(name="mallory"), name="x", ready=True)
    both = {("mallory", "x"): broken, ("alice", "run1"): world.session}
    monkeypatch.setattr(World, "active", both)
    await world.after(230 * MINUTE)
    assert len(world.told) == 1


async def test_who_was_faster_than_the_stop_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """To write down why a session was stopped takes a moment, in which somebody may press "keep"."""
    await world.after(230 * MINUTE)

    async def ended(_self: World, _spawner: Any, reason: str, **more: Any) -> None:
        world.endings.append((reason, more))
        await world.keeper.keep_alive(world.session, 4)

    monkeypatch.setattr(World, "ended", ended)
    await world.after(16 * MINUTE)
    assert (world.stopped, world.endings) == ([], [])


async def test_keep_alive(world: World) -> None:
    await world.after(230 * MINUTE)
    until = await world.keeper.keep_alive(world.session, 12)
    assert until == world.now + 12 * HOUR
    described = world.keeper.describe(world.session)
    assert (described["idle_warning"], described["kept_until"]) == (False, until.isoformat())
    await world.after(11 * HOUR)
    assert world.stopped == []
    await world.after(46 * MINUTE)
    await world.after(16 * MINUTE)
    assert world.stopped == ["run1"]


@pytest.mark.parametrize("hours", [0, -4, 5, 10_000])
async def test_keep_alive_only_for_what_the_operator_allows(world: World, hours: int) -> None:
    with pytest.raises(KeepAliveError, match="4, 12, 24"):
        await world.keeper.keep_alive(world.session, hours)
    assert world.kept == {}


async def test_a_restarted_hub_goes_on_but_warns_again_first(world: World) -> None:
    await world.keeper.keep_alive(world.session, 12)
    world.keeper = world.new_keeper()
    await world.after(11 * HOUR)
    assert (world.told, world.stopped) == ([], [])
    world.keeper = world.new_keeper()
    await world.after(24 * HOUR)
    assert (len(world.told), world.stopped) == (1, [])
    assert world.told[0][1]["stop_at"] == (world.now + 15 * MINUTE).isoformat()
    await world.after(16 * MINUTE)
    assert world.stopped == ["run1"]


async def test_a_clock_that_jumps_stops_nothing_without_a_warning(world: World) -> None:
    await world.after(MINUTE)
    world.now += timedelta(days=2)
    await world.keeper.look()
    world.now += timedelta(days=2)
    await world.keeper.look()
    assert (len(world.told), world.stopped) == (1, [])
    world.seconds += 15 * 60
    await world.keeper.look()
    assert world.stopped == ["run1"]


async def test_without_a_rule_nothing_happens(world: World) -> None:
    world.session.service = service(after="never")
    await world.after(timedelta(days=300))
    assert (world.told, world.asked, world.stopped) == ([], 0, [])
    assert world.keeper.describe(world.session)["idle_stop_at"] is None


@pytest.mark.parametrize("kept", [{}, {"until": 4}, {"until": "soon"}])
def test_a_keep_alive_that_cannot_be_read_counts_nothing(world: World, kept: dict[str, Any]) -> None:
    world.kept["keepalive", "alice/run1"] = kept
    assert world.keeper.describe(world.session)["idle_stop_at"] == (NOON + 4 * HOUR).isoformat()
