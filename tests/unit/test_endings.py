"""What has to end with a session, written down for a hub that is restarted: nothing secret, nothing lost, nobody held up."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sardonyx_hub.credentials.ending_notes import EndingNotes, Note
from sardonyx_hub.credentials.endings import Endings
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import VaultCredentials
from sardonyx_hub.documents import DocumentError, DocumentStore

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Source:
    """A source whose tokens are ended by themselves or by their marks."""

    name: Any = "vault"
    label: str = "Vault"
    timeout: float = 2.0
    per_session: bool = True
    ended: list[str] = field(default_factory=list)
    failure: SourceError | None = None
    seconds: float = 0.0

    def cache_key(self, subject: Any, grant: Any) -> Any:
        return None

    def fetch(self, subject: Any, grant: Any) -> Any:
        raise NotImplementedError

    def end(self, value: Any) -> None:
        self._end(f"token {value.token}")

    def mark(self, value: Any) -> str:
        return str(value.accessor)

    def end_marked(self, mark: str) -> None:
        self._end(f"mark {mark}")

    def _end(self, what: str) -> None:
        if self.seconds:
            import time

            time.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        self.ended.append(what)


def token(number: int, life: float = 3600.0) -> VaultCredentials:
    end = NOW + timedelta(seconds=life)
    return VaultCredentials(f"hvs.{number}", NOW, end, "http://v", "kv", "alice", accessor=f"a{number}")


@pytest.fixture
def store(tmp_path: Path):
    kept = DocumentStore(tmp_path / "state.sqlite")
    yield kept
    kept.close()


def endings(source: Source, store: Any, clock: Any = None) -> Endings:
    clock = clock or Clock()
    return Endings([source], clock, EndingNotes(store, clock))


async def test_what_lives_is_written_down_without_the_token(store: DocumentStore) -> None:
    before = endings(Source(), store)
    for number in (1, 2):
        before.track("alice/x/1", Source(), token(number))
    await before.settle(5)
    kept = json.dumps(store.items("credential"))
    assert set(store.items("credential")) == {"alice/x/1"}
    assert '"a1"' in kept
    assert '"a2"' in kept
    assert "hvs." not in kept


async def test_a_session_of_before_a_restart_ends_by_marks_and_is_forgotten(store: DocumentStore) -> None:
    first = endings(Source(), store)
    first.track("alice/x/1", Source(), token(1))
    await first.settle(5)
    source = Source()
    second = endings(source, store)
    second.track("alice/x/1", source, token(2))
    second.end_session("alice/x/1")
    await second.settle(5)
    assert sorted(source.ended) == ["mark a1", "token hvs.2"]
    assert store.items("credential") == {}
    assert second.sessions() == set()


async def test_what_has_ended_by_itself_is_neither_asked_for_nor_kept(store: DocumentStore) -> None:
    first = endings(Source(), store)
    first.track("alice/x/1", Source(), token(1, life=60))
    await first.settle(5)
    source = Source()
    second = endings(source, store, Clock(NOW + timedelta(seconds=61)))
    assert second.sessions() == set()
    second.end_session("alice/x/1")
    await second.settle(5)
    assert source.ended == []
    assert store.items("credential") == {}


async def test_what_could_not_be_ended_is_still_known_to_the_next_hub(store: DocumentStore) -> None:
    source = Source(failure=SourceError("vault", "denied", "Vault refused."))
    first = endings(source, store)
    first.track("alice/x/1", source, token(1))
    first.end_session("alice/x/1")
    await first.settle(5)
    assert source.ended == []
    source.failure = None
    second = endings(source, store)
    assert second.sessions() == {"alice/x/1"}
    second.end_session("alice/x/1")
    await second.settle(5)
    assert source.ended == ["mark a1"]


async def test_a_hub_that_stops_tries_what_was_cancelled_once_more(store: DocumentStore) -> None:
    source = Source()
    stopping = endings(source, store)
    for number in range(3):
        stopping.track(f"alice/x/{number}", source, token(number))
        stopping.end_session(f"alice/x/{number}")
    await asyncio.sleep(0)
    for task in list(stopping._tasks):
        task.cancel()
    await asyncio.sleep(0)
    await stopping.close(5)
    assert sorted(set(source.ended)) == ["token hvs.0", "token hvs.1", "token hvs.2"]
    assert store.items("credential") == {}


async def test_a_hub_that_stops_waits_no_longer_than_it_may(store: DocumentStore) -> None:
    source = Source(seconds=3.0)
    stopping = endings(source, store)
    stopping.track("alice/x/1", source, token(1))
    stopping.end_session("alice/x/1")
    async with asyncio.timeout(1.5):
        await stopping.close(0.2)
    assert set(store.items("credential")) == {"alice/x/1"}, "the next hub ends it"


class BrokenStore:
    """A database that fails."""

    def items(self, kind: str) -> dict[str, Any]:
        return {"bob/x/1": {"notes": [{"source": "vault"}]}, "bob/x/2": {}}

    async def put(self, kind: str, key: str, value: Any) -> None:
        raise DocumentError("The state database does not answer in time.")

    async def delete(self, kind: str, key: str) -> None:
        raise DocumentError("The state database does not answer in time.")


async def test_a_database_that_fails_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    source: Any = Source()
    working = endings(source, BrokenStore())
    working.track("alice/x/1", source, token(1))
    working.end_session("alice/x/1")
    await working.settle(5)
    assert source.ended == ["token hvs.1"]
    assert "could not be noted" in caplog.text
    assert "hvs." not in caplog.text


async def test_a_slow_database_gets_the_last_state_only() -> None:
    written: list[tuple[str, int]] = []

    class Slow(BrokenStore):
        def items(self, kind: str) -> dict[str, Any]:
            return {}

        async def put(self, kind: str, key: str, value: Any) -> None:
            await asyncio.sleep(0.05)
            written.append((key, len(value["notes"])))

    notes = EndingNotes(Slow(), Clock())
    for number in range(20):
        notes.add("alice/x/1", Note("vault", f"a{number}", NOW + timedelta(hours=1)))
        await asyncio.sleep(0.001)
    await notes.settle(5)
    assert written[-1] == ("alice/x/1", 20)
    assert len(written) < 5
