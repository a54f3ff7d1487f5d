"""The credential broker before a backend that hangs: nobody else is slowed, and it is used again when it is back."""

import asyncio
import socket
import threading
import time
from contextlib import suppress

import broker_fakes
import pytest
from broker_fakes import ALICE, GRANT, FakeSource, fail

from sardonyx_hub.credentials.backend import Backend
from sardonyx_hub.credentials.breaker import CircuitBreaker
from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import (
    Credentials,
    Grant,
    Subject,
)
from sardonyx_hub.credentials.vault import VaultConfig, VaultSource

clock, make_broker = broker_fakes.clock, broker_fakes.make_broker


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
