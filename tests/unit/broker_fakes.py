"""What the tests of the broker share: a clock moved by hand, sources that behave as a test says."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import (
    GitCredentials,
    Grant,
    S3Credentials,
    SourceProblem,
    Subject,
    VaultCredentials,
)

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
ALICE = Subject("alice")
GRANT = Grant("alice//1", secrets=("patate",), git_hosts=())


class Clock:
    """A wall clock and a monotonic one, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class FakeSource:
    """A source whose answers a test chooses: `behave` is called in the broker's thread."""

    name: Any
    clock: Clock
    per_session: bool = False
    timeout: float = 2.0
    life: float = 3600.0
    behave: Callable[[], None] = lambda: None
    problems: tuple[SourceProblem, ...] = ()
    calls: int = 0
    ended: list[str] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    @property
    def label(self) -> str:
        return f"The {self.name} server"

    def cache_key(self, subject: Subject, grant: Grant) -> Any:
        return {
            "s3": grant.s3 if grant.s3 != "none" else None,
            "vault": grant.secrets or None,
            "git": grant.git_hosts or None,
        }[self.name]

    def fetch(self, subject: Subject, grant: Grant) -> Any:
        with self._lock:
            self.calls += 1
            number = self.calls
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        issued = self.clock()
        try:
            self.behave()
        finally:
            with self._lock:
                self.running -= 1
        end = issued + timedelta(seconds=self.life)
        match self.name:
            case "s3":
                return S3Credentials(
                    f"s3-{number}", "", "", issued, end, "http://s3", "", True, "b", grant.s3, self.problems
                )
            case "vault":
                return VaultCredentials(
                    f"vault-{number}", issued, end, "http://v", "kv", "alice", problems=self.problems
                )
        return GitCredentials((), issued, end, self.problems)

    def end(self, value: Any) -> None:
        self.ended.append(value.token)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def make_broker(clock):
    """Returns a function from sources to a broker that is closed at the end."""
    brokers: list[Broker] = []

    def make(*sources: FakeSource, **options: Any) -> Broker:
        options = {"clock": clock, "retry_delay": 0.01} | options
        broker = Broker({source.name: source for source in sources}, **options)
        brokers.append(broker)
        return broker

    yield make
    for broker in brokers:
        await broker.close(seconds=0.5)


def fail(code: Any, source: Any = "s3") -> Callable[[], None]:
    def behave() -> None:
        raise SourceError(source, code, f"It failed: {code}.")

    return behave
