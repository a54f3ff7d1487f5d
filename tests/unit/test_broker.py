"""The credential broker: parallel, bounded, remembered, healed; the circuit breaker and the cache."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sardonyx_hub.credentials.backend import Backend
from sardonyx_hub.credentials.breaker import CircuitBreaker
from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.cache import CacheKey, CredentialCache
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import (
    Credentials,
    GitCredentials,
    Grant,
    S3Credentials,
    SourceProblem,
    Subject,
    VaultCredentials,
)
from sardonyx_hub.credentials.vault import VaultConfig, VaultSource

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


# What is asked, and how long it is remembered -----------------------------------------------------


async def test_sources_answer_in_parallel(clock, make_broker):
    sources = [FakeSource(name, clock, behave=lambda: time.sleep(0.3)) for name in ("s3", "vault", "git")]
    broker = make_broker(*sources)
    start = time.monotonic()
    credentials = await broker.credentials(ALICE, Grant("s", secrets=("a",)))
    assert time.monotonic() - start < 0.6  # 0.9 s one after the other
    assert None not in (credentials.s3, credentials.vault, credentials.git)
    assert credentials.problems == ()


async def test_what_is_not_granted_is_not_asked(clock, make_broker):
    sources = [FakeSource(name, clock) for name in ("s3", "vault", "git")]
    broker = make_broker(*sources)
    credentials = await broker.credentials(ALICE, Grant("s", s3="none", git_hosts=()))
    assert credentials == Credentials()
    assert [source.calls for source in sources] == [0, 0, 0]


@pytest.mark.parametrize("life", [60, 900, 3600, 12 * 3600])
async def test_a_credential_is_made_again_at_half_of_its_life(clock, make_broker, life):
    source = FakeSource("s3", clock, life=life)
    broker = make_broker(source)
    for share, calls in ((0.0, 1), (0.49, 1), (0.02, 2), (0.49, 2), (0.02, 3)):
        clock.move(life * share)
        await broker.credentials(ALICE, GRANT)
        assert source.calls == calls


async def test_the_cache_key_is_person_source_and_grant(clock, make_broker):
    s3, vault = FakeSource("s3", clock), FakeSource("vault", clock, per_session=True)
    broker = make_broker(s3, vault)
    for subject, grant in [
        (ALICE, Grant("1", secrets=("a",))),
        (ALICE, Grant("2", secrets=("a",))),  # another session: its own Vault token, the same S3 keys
        (ALICE, Grant("1", s3="read-only", secrets=("a",))),  # read-only: never the keys that write
        (Subject("bob"), Grant("3", secrets=("a",))),
    ]:
        await broker.credentials(subject, grant)
    assert (s3.calls, vault.calls) == (3, 3)


async def test_refresh_makes_new_ones(clock, make_broker):
    source = FakeSource("s3", clock)
    broker = make_broker(source)
    first = await broker.credentials(ALICE, GRANT)
    second = await broker.credentials(ALICE, GRANT, refresh=True)
    third = await broker.credentials(ALICE, GRANT)
    assert first.s3 != second.s3 == third.s3


async def test_forget_lets_the_next_request_read_anew(clock, make_broker):
    s3, vault = FakeSource("s3", clock), FakeSource("vault", clock, per_session=True)
    broker = make_broker(s3, vault)
    await broker.credentials(ALICE, GRANT)
    broker.forget("bob", "vault")
    await broker.credentials(ALICE, GRANT)
    assert (s3.calls, vault.calls) == (1, 1)
    broker.forget("alice", "vault")
    await broker.credentials(ALICE, GRANT)
    assert (s3.calls, vault.calls) == (1, 2)


async def test_forget_covers_what_is_being_read_now(clock, make_broker):
    gate = threading.Event()
    source = FakeSource("s3", clock, behave=gate.wait)
    broker = make_broker(source)
    before = asyncio.create_task(broker.credentials(ALICE, GRANT))
    await asyncio.sleep(0.05)
    broker.forget("alice")
    after = asyncio.create_task(broker.credentials(ALICE, GRANT))
    await asyncio.sleep(0.05)
    gate.set()
    assert (await before).s3 != (await after).s3
    assert (await broker.credentials(ALICE, GRANT)).s3 == (await after).s3


# Single flight ------------------------------------------------------------------------------------


async def test_twenty_at_once_make_one_call(clock, make_broker):
    source = FakeSource("s3", clock, behave=lambda: time.sleep(0.1))
    broker = make_broker(source)
    answers = await asyncio.gather(*(broker.credentials(ALICE, GRANT) for _ in range(20)))
    assert source.calls == 1
    assert len({answer.s3 for answer in answers}) == 1


async def test_who_stops_waiting_does_not_stop_the_others(clock, make_broker):
    source = FakeSource("s3", clock, behave=lambda: time.sleep(0.2))
    broker = make_broker(source)
    waiting = [asyncio.create_task(broker.credentials(ALICE, GRANT)) for _ in range(3)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(isinstance(answer, Credentials) and answer.s3 for answer in answers[1:])
    assert source.calls == 1


async def test_errors_are_not_remembered(clock, make_broker):
    source = FakeSource("s3", clock, behave=fail("denied"))
    broker = make_broker(source)
    assert [p.code for p in (await broker.credentials(ALICE, GRANT)).problems] == ["denied"]
    source.behave = lambda: None
    assert (await broker.credentials(ALICE, GRANT)).problems == ()


# Failures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "calls"), [("timeout", 3), ("unreachable", 3), ("denied", 1), ("invalid", 1), ("missing", 1)]
)
async def test_only_transport_errors_are_tried_again(clock, make_broker, code, calls):
    source = FakeSource("s3", clock, behave=fail(code))
    credentials = await make_broker(source).credentials(ALICE, GRANT)
    assert source.calls == calls
    assert credentials.s3 is None
    assert credentials.problems == (SourceProblem("s3", code, f"It failed: {code}."),)


async def test_a_second_try_that_works_leaves_no_problem(clock, make_broker):
    source = FakeSource("s3", clock)
    source.behave = lambda: fail("unreachable")() if source.calls == 1 else None
    credentials = await make_broker(source).credentials(ALICE, GRANT)
    assert credentials.s3 is not None
    assert credentials.problems == ()


async def test_one_source_that_hangs_takes_its_own_time_limit_only(clock, make_broker):
    gate = threading.Event()
    vault = FakeSource("vault", clock, timeout=0.3, behave=lambda: gate.wait(3) and None)
    broker = make_broker(FakeSource("s3", clock), vault)
    start = time.monotonic()
    credentials = await broker.credentials(ALICE, GRANT)
    assert 0.25 < time.monotonic() - start < 1.0
    assert credentials.s3 is not None
    assert [(p.source, p.code) for p in credentials.problems] == [("vault", "timeout")]
    gate.set()


async def test_the_deadline_is_over_all_and_the_late_answer_serves_the_next(clock, make_broker):
    gate = threading.Event()
    source = FakeSource("s3", clock, timeout=5.0, behave=lambda: gate.wait(3) and None)
    broker = make_broker(source, deadline=0.2)
    credentials = await broker.credentials(ALICE, GRANT)
    assert [p.code for p in credentials.problems] == ["timeout"]
    gate.set()
    await asyncio.sleep(0.1)
    assert (await broker.credentials(ALICE, GRANT)).s3 is not None
    assert source.calls == 1


async def test_a_value_that_comes_after_the_sources_time_limit_is_kept(clock, make_broker):
    gate = threading.Event()
    source = FakeSource("s3", clock, timeout=0.2, behave=lambda: gate.wait(3) and None)
    broker = make_broker(source)
    assert (await broker.credentials(ALICE, GRANT)).s3 is None
    gate.set()
    await asyncio.sleep(0.1)
    assert (await broker.credentials(ALICE, GRANT)).s3 is not None
    assert source.calls == 1


async def test_what_is_still_valid_is_given_together_with_the_problem(clock, make_broker):
    source = FakeSource("s3", clock)
    broker = make_broker(source, retries=0)
    known = (await broker.credentials(ALICE, GRANT)).s3
    source.behave = fail("unreachable")
    clock.move(2000)
    credentials = await broker.credentials(ALICE, GRANT)
    assert credentials.s3 == known
    assert [p.code for p in credentials.problems] == ["unreachable"]
    assert "09:00 UTC" in credentials.problems[0].message
    clock.move(1600)  # now it has expired
    assert (await broker.credentials(ALICE, GRANT)).s3 is None


async def test_an_error_that_nobody_expects_names_no_value(clock, make_broker, caplog):
    def behave() -> None:
        raise ValueError("the token is hvs.SECRET")

    credentials = await make_broker(FakeSource("s3", clock, behave=behave)).credentials(ALICE, GRANT)
    assert [p.code for p in credentials.problems] == ["invalid"]
    assert "ValueError" in credentials.problems[0].message
    assert "SECRET" not in str(credentials.problems) + caplog.text


async def test_problems_of_a_value_are_passed_on_every_time(clock, make_broker):
    problem = SourceProblem("vault", "missing", "The secret x is not there.")
    broker = make_broker(FakeSource("vault", clock, problems=(problem,)))
    for _ in range(2):
        credentials = await broker.credentials(ALICE, GRANT)
        assert credentials.vault is not None
        assert credentials.problems == (problem,)


@pytest.mark.parametrize(("required", "raises"), [({"s3"}, True), ({"vault"}, False), (set(), False)])
async def test_raise_if_required(clock, make_broker, required, raises):
    grant = Grant("1", secrets=("a",), git_hosts=(), required=frozenset(required))
    partial = (SourceProblem("vault", "missing", "One secret is not there."),)
    broker = make_broker(
        FakeSource("s3", clock, behave=fail("denied")), FakeSource("vault", clock, problems=partial)
    )
    credentials = await broker.credentials(ALICE, grant)
    assert len(credentials.problems) == 2
    if raises:
        with pytest.raises(SourceError, match="It failed: denied") as caught:
            broker.raise_if_required(grant, credentials)
        assert caught.value.code == "denied"
    else:
        broker.raise_if_required(grant, credentials)


async def test_progress_is_told_on_the_loop(clock, make_broker):
    told: list[tuple[str, str]] = []
    threads = set()

    def on_progress(source: str, state: str, message: str) -> None:
        threads.add(threading.get_ident())
        told.append((source, state))
        assert message
        raise RuntimeError("a page that is gone must not matter")

    broker = make_broker(FakeSource("s3", clock), FakeSource("vault", clock, behave=fail("denied", "vault")))
    await broker.credentials(ALICE, GRANT, on_progress=on_progress)
    assert set(told) == {("s3", "running"), ("s3", "ok"), ("vault", "running"), ("vault", "warning")}
    assert threads == {threading.get_ident()}


async def test_other_calls_to_a_backend_share_its_bounds(clock, make_broker):
    gate = threading.Event()
    broker = make_broker(FakeSource("vault", clock, timeout=0.2))
    assert await broker.call("vault", lambda x, *, y: x + y, 1, y=2) == 3
    with pytest.raises(SourceError) as caught:
        await broker.call("vault", gate.wait, 3)
    assert caught.value.code == "timeout"
    gate.set()


# The end of a session -----------------------------------------------------------------------------


async def test_the_end_of_a_session_ends_its_tokens_and_no_others(clock, make_broker):
    vault = FakeSource("vault", clock, per_session=True)
    broker = make_broker(FakeSource("s3", clock), vault)
    one, two = Grant("1", secrets=("a",)), Grant("2", secrets=("a",))
    await broker.credentials(ALICE, one)
    await broker.credentials(ALICE, two)
    await broker.credentials(ALICE, one, refresh=True)
    await broker.end_session("1")
    await broker.settle()
    assert sorted(vault.ended) == ["vault-1", "vault-3"]
    assert (await broker.credentials(ALICE, two)).vault is not None


async def test_a_session_that_ends_while_its_token_is_being_made(clock, make_broker):
    gate = threading.Event()
    vault = FakeSource("vault", clock, per_session=True, behave=lambda: gate.wait(3) and None)
    broker = make_broker(vault)
    asking = asyncio.create_task(broker.credentials(ALICE, GRANT))
    await asyncio.sleep(0.05)
    await broker.end_session(GRANT.session)
    gate.set()
    credentials = await asking
    assert credentials.vault is None
    assert "session has ended" in credentials.problems[0].message
    await broker.settle()
    assert vault.ended == ["vault-1"]


async def test_a_token_that_comes_after_time_limit_and_end_is_ended_too(clock, make_broker):
    gate = threading.Event()
    vault = FakeSource("vault", clock, per_session=True, timeout=0.1, behave=lambda: gate.wait(3) and None)
    broker = make_broker(vault)
    await broker.credentials(ALICE, GRANT)
    await broker.end_session(GRANT.session)
    gate.set()
    await asyncio.sleep(0.1)
    await broker.settle()
    assert vault.ended == ["vault-1"]


async def test_an_ended_session_gets_nothing_any_more(clock, make_broker):
    vault = FakeSource("vault", clock, per_session=True)
    broker = make_broker(vault)
    await broker.end_session(GRANT.session)
    credentials = await broker.credentials(ALICE, GRANT)
    assert credentials.vault is None
    assert vault.calls == 0


async def test_ending_is_tried_again_behind(clock, make_broker):
    vault = FakeSource("vault", clock, per_session=True)
    tries = []

    def end(value: Any) -> None:
        tries.append(value)
        if len(tries) == 1:
            raise SourceError("vault", "unreachable", "Down.")

    vault.end = end  # type: ignore[method-assign]
    broker = make_broker(vault)
    await broker.credentials(ALICE, GRANT)
    start = time.monotonic()
    await broker.end_session(GRANT.session)
    assert time.monotonic() - start < 0.1
    await broker.settle()
    assert len(tries) == 2


# A backend that hangs -----------------------------------------------------------------------------


class BlackHole:
    """A server that takes connections and never answers."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.taken: list[socket.socket] = []
        self.thread = threading.Thread(target=self._take, daemon=True)
        self.thread.start()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                self.taken.append(self.listener.accept()[0])

    def close(self) -> None:
        self.listener.close()
        for connection in self.taken:
            connection.close()


class NoIssuer:
    def token(self, subject: Subject, audience: str) -> str:
        return "header.payload.signature"


async def lags(stop: asyncio.Event) -> list[float]:
    """Return by how much the event loop was late, measured every 5 ms."""
    late = []
    while not stop.is_set():
        start = time.perf_counter()
        await asyncio.sleep(0.005)
        late.append(time.perf_counter() - start - 0.005)
    return late


async def test_a_vault_that_hangs_slows_nobody(clock, make_broker):
    """200 requests at once: the loop stays free, threads bounded, S3 answers, the rest fails in time."""
    hole = BlackHole()
    config = VaultConfig(f"http://127.0.0.1:{hole.port}", read_timeout=1.0, timeout=1.0)
    s3 = FakeSource("s3", clock, behave=lambda: time.sleep(0.001))
    broker = Broker({"s3": s3, "vault": VaultSource(config, NoIssuer())}, clock=clock)
    stop = asyncio.Event()
    measured = asyncio.create_task(lags(stop))
    threads = threading.active_count()

    async def ask(number: int, secrets: tuple[str, ...]) -> tuple[float, Credentials]:
        subject = Subject(f"person-{number}")
        start = time.perf_counter()
        answer = await broker.credentials(subject, Grant(f"{number}", secrets=secrets, git_hosts=()))
        return time.perf_counter() - start, answer

    with_vault = [asyncio.create_task(ask(number, ("a",))) for number in range(200)]
    await asyncio.sleep(0.2)
    s3_only = await asyncio.gather(*(ask(1000 + number, ()) for number in range(20)))
    most_threads = threading.active_count()
    answers = await asyncio.gather(*with_vault)
    stop.set()
    late = sorted(await measured)
    try:
        assert late[int(len(late) * 0.99)] < 0.05
        assert most_threads - threads <= 2 * 8 + 1  # the broker's workers, and the black hole's own
        assert max(seconds for seconds, _ in s3_only) < 0.5
        assert all(answer.s3 and not answer.problems for _, answer in s3_only)
        assert max(seconds for seconds, _ in answers) < 2.0
        assert all(answer.s3 is not None and answer.vault is None for _, answer in answers)
        assert {answer.problems[0].code for _, answer in answers} <= {"timeout", "circuit-open"}
        # From now on nobody waits for it at all.
        seconds, _ = await ask(5000, ("a",))
        assert seconds < 0.1
    finally:
        hole.close()
        await broker.close(seconds=0.1)


async def test_a_backend_that_comes_back_is_used_again(clock, make_broker):
    source = FakeSource("s3", clock, behave=fail("unreachable"))
    broker = make_broker(source, retries=0, make_breaker=lambda: CircuitBreaker(3, 5.0, clock.seconds))
    for _ in range(3):
        await broker.credentials(ALICE, GRANT)
    assert [p.code for p in (await broker.credentials(ALICE, GRANT)).problems] == ["circuit-open"]
    assert source.calls == 3
    source.behave = lambda: time.sleep(0.05)
    clock.move(6)
    subjects = [Subject(f"person-{number}") for number in range(10)]
    answers = await asyncio.gather(*(broker.credentials(subject, GRANT) for subject in subjects))
    assert all(answer.s3 for answer in answers)  # those who came during the probe waited for it


async def test_waiting_for_a_thread_counts_toward_the_time_limit():
    backend = Backend("s3", "S3", workers=1, queue=1)
    gate = threading.Event()
    first = asyncio.create_task(backend.run(lambda: gate.wait(3), seconds=2))
    await asyncio.sleep(0.05)
    start = time.monotonic()
    second = asyncio.create_task(backend.run(lambda: 2, seconds=0.2))
    await asyncio.sleep(0.05)
    with pytest.raises(SourceError, match="too many requests") as refused:
        await backend.run(lambda: 3, seconds=2)
    assert time.monotonic() - start < 0.2
    with pytest.raises(SourceError, match="waited") as late:
        await second
    assert (refused.value.code, late.value.code) == ("circuit-open", "timeout")
    gate.set()
    assert await first is True
    assert await backend.run(lambda: 4, seconds=2) == 4
    assert backend.breaker.state == "closed"  # the queue's fault, not the backend's
    backend.close()
    with pytest.raises(SourceError, match="stopping"):
        await backend.run(lambda: 5, seconds=2)


async def test_a_probe_whose_caller_went_away_does_not_keep_the_circuit_half_open():
    backend = Backend("vault", "Vault", breaker=CircuitBreaker(failures=1, reset_seconds=0.05))

    def hang() -> None:
        time.sleep(0.2)
        raise SourceError("vault", "timeout", "Vault did not answer in time.")

    with pytest.raises(SourceError):
        await backend.run(hang, seconds=2)
    await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):  # the launch form waits less long than the source's own time limit
        async with asyncio.timeout(0.05):
            await backend.run(hang, seconds=2)
    await asyncio.sleep(0.3)
    assert await backend.run(lambda: "back", seconds=1) == "back"
    assert backend.breaker.state == "closed"
    backend.close()


# Breaker and cache --------------------------------------------------------------------------------


def test_breaker_opens_after_failures_in_a_row(clock):
    breaker = CircuitBreaker(3, 5.0, clock.seconds)
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        assert breaker.acquire()
        outcome()
    assert breaker.state == "closed"
    assert breaker.acquire()
    breaker.failed()
    assert breaker.state == "open"
    assert not breaker.acquire()


def test_breaker_lets_one_probe_pass(clock):
    breaker = CircuitBreaker(1, 5.0, clock.seconds)
    breaker.failed()
    clock.move(4.9)
    assert not breaker.acquire()
    clock.move(0.2)
    assert breaker.state == "half-open"
    assert breaker.acquire()
    assert not breaker.acquire()
    breaker.failed()
    assert not breaker.acquire()
    clock.move(5.1)
    assert breaker.acquire()
    breaker.cancelled()
    assert breaker.acquire()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.acquire()


def test_failures_that_come_late_do_not_keep_it_open(clock):
    breaker = CircuitBreaker(1, 5.0, clock.seconds)
    breaker.failed()
    clock.move(4)
    breaker.failed()
    clock.move(1.1)
    assert breaker.acquire()


def credential(clock: Clock, life: float) -> GitCredentials:
    return GitCredentials((), clock(), clock() + timedelta(seconds=life))


def test_cache_is_bounded_and_forgets_the_least_used(clock):
    cache: CredentialCache[GitCredentials] = CredentialCache(clock, max_entries=3)
    keys = [CacheKey(f"person-{number}", "git", "", ()) for number in range(5)]
    for key in keys[:3]:
        cache.put(key, credential(clock, 60))
    assert cache.valid(keys[0]) is not None
    for key in keys[3:]:
        cache.put(key, credential(clock, 60))
    assert [cache.valid(key) is not None for key in keys] == [True, False, False, True, True]


def test_cache_sweeps_what_has_expired(clock):
    cache: CredentialCache[GitCredentials] = CredentialCache(clock, sweep_every=10)
    for number in range(9):
        cache.put(CacheKey(f"person-{number}", "git", "", ()), credential(clock, 60))
    clock.move(61)
    cache.put(CacheKey("last", "git", "", ()), credential(clock, 60))
    assert len(cache) == 1


def test_cache_keeps_the_newer_of_two(clock):
    cache: CredentialCache[GitCredentials] = CredentialCache(clock)
    key = CacheKey("alice", "git", "", ())
    older = credential(clock, 60)
    clock.move(1)
    newer = credential(clock, 60)
    cache.put(key, newer)
    cache.put(key, older)
    assert cache.valid(key) is newer


def test_the_key_shows_no_secret_path():
    assert "patate" not in repr(CacheKey("alice", "vault", "1", ("patate",)))
