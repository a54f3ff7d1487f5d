"""Live events: what each reader gets, what a slow one loses, when streams end."""

from __future__ import annotations

import asyncio
import json

import pytest

from sardonyx_hub import live as module
from sardonyx_hub.live import Live, Subscription, encode


class Clock:
    """Seconds that only move when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live(clock: Clock) -> Live:
    return Live(clock)


async def events(subscription: Subscription) -> list[tuple[str, dict[str, object]]]:
    """Return what waits for a reader, who then has read it."""
    chunks = subscription.chunks()
    async with asyncio.timeout(1):
        text = (await anext(chunks)).decode()
    await chunks.aclose()
    found = []
    for block in text.split("\n\n"):
        lines = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(("retry", ":"))
        )
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


@pytest.mark.parametrize("text", ["a\nb", "a\r\nevent: x\n\n", "\u2028", "é", "</script>"])
def test_an_event_is_one_whatever_is_in_it(text: str) -> None:
    chunk = encode("session", {"name": text}).decode()
    assert chunk.endswith("\n\n")
    first, second = chunk[:-2].split("\n")
    assert first == "event: session"
    assert json.loads(second.removeprefix("data: ")) == {"name": text}
    assert "\r" not in chunk


async def test_the_first_event_is_hello(live: Live) -> None:
    assert [name for name, _ in await events(live.subscribe("alice"))] == ["hello"]


async def test_people_get_their_own_events_and_those_for_all(live: Live) -> None:
    alice, other_page, bob = live.subscribe("alice"), live.subscribe("alice"), live.subscribe("bob")
    live.publish("alice", "session", {"name": "run1"})
    live.publish_all("announcement", {"text": "hello"})
    expected = ["hello", "session", "announcement"]
    assert [name for name, _ in await events(alice)] == expected
    assert [name for name, _ in await events(other_page)] == expected
    assert [name for name, _ in await events(bob)] == ["hello", "announcement"]


async def test_who_sees_all_gets_each_event_once(live: Live) -> None:
    admin = live.subscribe("admin", sees_all=True)
    for name in ("alice", "admin"):
        live.publish(name, "session", {"user": name})
    assert [data.get("user") for _, data in await events(admin)] == [None, "alice", "admin"]


async def test_a_slow_reader_is_told_to_ask_again(live: Live) -> None:
    slow, quick = live.subscribe("alice"), live.subscribe("alice")
    await events(quick)
    for number in range(module._QUEUE + 3):
        live.publish("alice", "session", {"number": number})
        await events(quick)
    got = await events(slow)
    assert got[0] == ("resync", {})
    assert got[-1] == ("session", {"number": module._QUEUE + 2})
    assert len(got) <= module._QUEUE


async def test_signing_out_ends_the_streams_of_that_browser_only(live: Live) -> None:
    here, there = live.subscribe("alice", browser="one"), live.subscribe("alice", browser="two")
    bob = live.subscribe("bob", browser="one")
    live.sign_out("alice", "one")
    assert (here.closed, there.closed, bob.closed) == (True, False, False)
    assert [name for name, _ in await events(here)] == ["hello", "bye"]
    assert live.count == 2


async def test_a_closed_stream_ends_after_what_waits(live: Live) -> None:
    subscription = live.subscribe("alice")
    live.close()
    assert [chunk async for chunk in subscription.chunks()] != []
    assert not live.watched("alice")


async def test_too_many_streams_of_one_person_end_the_oldest(live: Live) -> None:
    streams = [live.subscribe("alice") for _ in range(module._STREAMS + 1)]
    assert [stream.closed for stream in streams] == [True] + [False] * module._STREAMS
    assert live.count == module._STREAMS


async def test_one_timer_keeps_all_alive_and_ends_the_old(live: Live, clock: Clock) -> None:
    old = live.subscribe("alice")
    clock.now += module._LIFE
    young = live.subscribe("bob")
    await events(young)
    clock.now += 1
    live._beat()
    assert (old.closed, young.closed) == (True, False)
    assert await anext(young.chunks()) == b": alive\n\n"
    live.close()


async def test_who_is_blocked_hears_nothing_more(live: Live) -> None:
    blocked, allowed = live.subscribe("mallory"), live.subscribe("alice")
    live.allowed = lambda name: name != "mallory"
    live._beat()
    assert (blocked.closed, allowed.closed) == (True, False)
    live.close()


async def test_nobody_is_watched_without_pages(live: Live) -> None:
    assert not live.watched("alice")
    subscription = live.subscribe("alice")
    assert live.watched("alice")
    assert not live.watched("bob")
    live.unsubscribe(subscription)
    assert not live.watched("alice")
    watcher = live.subscribe("admin", sees_all=True)
    assert live.watched("bob")
    live.unsubscribe(watcher)
    assert not live.watched("bob")
