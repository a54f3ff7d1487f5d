"""A Vault that hangs: how responsive the hub stays while many ask for credentials, and S3-only launches with it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench_hub import SECRET, BenchHub
from figures import Figure, Goal, Report, Samples

from sardonyx_hub.credentials.model import Grant, Subject
from sardonyx_hub.datalab import Datalab

REQUESTS = 200
_ROUNDS = 3
#: Seconds between two looks at the event loop.
_TICK = 0.005
#: S3-only requests that are made beside the others, one every so many seconds.
_BESIDE, _EVERY = 20, 0.1
_IDLE_SECONDS = 5.0


@dataclass
class Storm:
    """What came of many requests at once, in seconds.

    By how much the loop was late; S3-only requests beside; when each had its S3 keys; the whole.
    """

    lags: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    s3: list[float] = field(default_factory=list)
    seconds: float = 0.0
    answered: int = 0


async def run(hub: BenchHub) -> Report:
    """Ask for 200 people's credentials at once, with a Vault that never answers and with a healthy one, by turns."""
    await hub.give(*(f"storm-{number:03}" for number in range(REQUESTS)))
    hung, usual, idle = [], [], []
    with _black_hole() as url:
        for _ in range(_ROUNDS):
            # Buckets are made at sign-in, not here: an account that makes them is not needed.
            async with hub.other_datalab(s3_admin_file="", vault_url=url) as datalab:
                hung.append(await _storm(datalab))
            async with hub.other_datalab(s3_admin_file="") as datalab:
                usual.append(await _storm(datalab))
            idle.append(await _nothing())
    if any(storm.answered for storm in hung):
        raise RuntimeError("a Vault that hangs has answered")

    def figure(
        name: str, what: Callable[[Storm], Sequence[float]], goal: Goal | None = None, unit: str = "ms"
    ) -> Figure:
        ours, peer = (
            Samples.of((value for storm in storms for value in what(storm)), 1000.0 if unit == "ms" else 1.0)
            for storms in (hung, usual)
        )
        return Figure(f"Vault hangs: {name}", ours, peer, "healthy Vault", goal, unit)

    return Report(
        "broker",
        [
            figure(f"event loop late, {REQUESTS} requests at once", lambda storm: storm.lags),
            figure(
                "its p99 in each round", lambda storm: [Samples(tuple(storm.lags)).percentile(0.99)], Goal(50)
            ),
            figure("its worst in each round", lambda storm: [max(storm.lags)]),
            # What the machine itself does to an event loop that has nothing to do.
            Figure(
                "Vault hangs: event loop's worst in each round",
                Samples.of((max(storm.lags) for storm in hung), 1000.0),
                Samples.of((max(storm.lags) for storm in idle), 1000.0),
                "hub that does nothing",
            ),
            figure("S3-only requests meanwhile", lambda storm: storm.beside),
            figure("S3 keys of the others", lambda storm: storm.s3),
            figure(f"until all {REQUESTS} are answered", lambda storm: [storm.seconds]),
            # A machine that is busy otherwise may take longer for so many than a source's time limit.
            figure(
                f"people of {REQUESTS} with Vault credentials (count)",
                lambda storm: [storm.answered],
                unit="people",
            ),
        ],
    )


async def _storm(datalab: Datalab) -> Storm:
    storm = Storm()
    gc.collect()  # the pause of what was made before belongs to neither
    watching = asyncio.create_task(_watch(storm.lags))
    beside = asyncio.create_task(_s3_only(datalab, storm))
    begun = time.perf_counter()

    def told(source: str, state: str, _message: str) -> None:
        if (source, state) == ("s3", "ok"):
            storm.s3.append(time.perf_counter() - begun)

    async def ask(number: int) -> None:
        handle = f"storm-{number:03}"
        grant = Grant(f"{handle}/default/1", secrets=(SECRET,))
        credentials = await datalab.credentials(Subject(handle, handle), grant, on_progress=told)
        storm.answered += credentials.vault is not None
        if credentials.s3 is None:
            raise RuntimeError(f"no S3 keys: {credentials.problems}")

    try:
        await asyncio.gather(*(ask(number) for number in range(REQUESTS)))
        storm.seconds = time.perf_counter() - begun
        watching.cancel()
        await beside
    finally:
        for task in (watching, beside):
            task.cancel()
        await asyncio.gather(watching, beside, return_exceptions=True)
    return storm


async def _nothing() -> Storm:
    """Look at the event loop of a hub that nobody asks, for as long as a storm takes."""
    storm = Storm()
    gc.collect()
    watching = asyncio.create_task(_watch(storm.lags))
    await asyncio.sleep(_IDLE_SECONDS)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return storm


async def _watch(lags: list[float]) -> None:
    """Note how long something that is due at a moment has waited, for moments at equal distances.

    Also for those that passed while the loop was busy: else a long stall would count as one late moment among many.
    """
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due += _TICK
        await asyncio.sleep(due - loop.time())
        now = loop.time()
        while due <= now:
            lags.append(now - due)
            due += _TICK
        due -= _TICK


async def _s3_only(datalab: Datalab, storm: Storm) -> None:
    for number in range(_BESIDE):
        handle = f"s3-only-{number:03}"
        begun = time.perf_counter()
        grant = Grant(f"{handle}/default/1", git_hosts=())
        credentials = await datalab.credentials(Subject(handle, handle), grant)
        storm.beside.append(time.perf_counter() - begun)
        if credentials.s3 is None:
            raise RuntimeError(f"no S3 keys: {credentials.problems}")
        await asyncio.sleep(_EVERY)


@contextlib.contextmanager
def _black_hole() -> Iterator[str]:
    """Listen, and never answer: the kernel takes connections that nobody accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
