"""Sources work side by side: what a slow one adds to a launch, and what three slow ones add."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from bench_hub import EVERYTHING, MARKS, SECRET, BenchHub
from figures import Figure, Goal, Report, Samples

from sardonyx_hub.credentials.model import Grant, Subject
from sardonyx_hub.credentials.secret_store import GIT_FOLDER
from sardonyx_hub.datalab import Datalab

DELAY = 0.5
_ROUNDS = 5
#: First line of the one request of each source that is held up: login and reads are several, and 500 ms are wanted
#: once.
_HELD = {
    "s3": re.compile(rb"POST / "),
    "vault": re.compile(rb"GET /v1/[^/]+/data/[^/]+/" + SECRET.encode()),
    "git": re.compile(rb"LIST /v1/[^/]+/metadata/[^/]+/" + re.escape(GIT_FOLDER).encode()),
}
CASES = {"none": (), "s3": ("s3",), "vault": ("vault",), "git": ("git",), "all": ("s3", "vault", "git")}


def people() -> Iterator[str]:
    """Yield everybody who signs in here."""
    yield "delay-warm-up"
    for case in CASES:
        for number in range(_ROUNDS):
            yield from (f"delay-{case}-{number}", f"in-turn-{case}-{number}")


@dataclass
class SlowGateway:
    """A loopback TCP proxy that holds up requests of the sources in `slow`."""

    port: int
    slow: set[str] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        with contextlib.suppress(OSError, asyncio.CancelledError):
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self.port)
            await asyncio.gather(
                self._carry(reader, onward_writer, held=True),
                self._carry(onward_reader, writer, held=False),
            )

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
        try:
            while data := await reader.read(65536):
                if held and any(_HELD[source].match(data) for source in self.slow):
                    await asyncio.sleep(DELAY)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def _gateway(port: int) -> AsyncIterator[tuple[SlowGateway, str]]:
    gateway = SlowGateway(port)
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    try:
        yield gateway, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def run(hub: BenchHub) -> Report:
    """Launch with no slow source, with each and with all of them, by turns, a new person each time."""
    names = list(people())
    for name in names:
        await hub.sign_in(name)
    await hub.give(*names)
    together: dict[str, list[float]] = {case: [] for case in CASES}
    in_turn: dict[str, list[float]] = {case: [] for case in CASES}
    async with contextlib.AsyncExitStack() as stack:
        sts, sts_url = await stack.enter_async_context(_gateway(hub.settings.ports.seaweedfs.s3))
        vault, vault_url = await stack.enter_async_context(_gateway(hub.settings.ports.vault))
        datalab = await stack.enter_async_context(
            hub.other_datalab(s3_sts_endpoint_url=sts_url, vault_url=vault_url)
        )
        await _hook_seconds(hub, datalab, "delay-warm-up")
        for number in range(_ROUNDS):
            for case, slow in CASES.items():
                sts.slow, vault.slow = set(slow) & {"s3"}, set(slow) - {"s3"}
                together[case].append(await _hook_seconds(hub, datalab, f"delay-{case}-{number}"))
                in_turn[case].append(await _one_after_the_other(hub, datalab, f"in-turn-{case}-{number}"))
    return _report(together, in_turn)


def _report(together: dict[str, list[float]], in_turn: dict[str, list[float]]) -> Report:
    labels = {"s3": "S3", "vault": "Vault", "git": "Git", "all": "each of the three"}

    def added(seconds: dict[str, list[float]], case: str) -> Samples:
        return Samples.of(slow - usual for slow, usual in zip(seconds[case], seconds["none"], strict=True))

    # What a launch would wait for three sources that are asked one after the other is 1,500.
    return Report(
        "delays",
        [
            Figure(
                f"{DELAY * 1000:.0f} ms put into {label} add",
                added(together, case),
                added(in_turn, case),
                "sources asked in turn",
                Goal(DELAY * 1000 + 100),
            )
            for case, label in labels.items()
        ],
    )


async def _hook_seconds(hub: BenchHub, datalab: Datalab, name: str) -> float:
    """Launch; return the seconds of the credentials step."""
    spawner = hub.spawner(name)
    spawner.bundle_hook, spawner.end_hook = datalab.make_bundle, datalab.end_session
    await hub.launch(name, EVERYTHING)
    if ("credentials", "warning") in MARKS.seen:
        raise RuntimeError(f"credentials are missing: {spawner.launch_progress.events}")
    await hub.stop(name)
    await datalab.broker.settle()
    return float(spawner.hook_seconds)


async def _one_after_the_other(hub: BenchHub, datalab: Datalab, name: str) -> float:
    """Ask for the same credentials, for one source at a time; return the seconds."""
    subject = Subject(hub.datalab.handles.handle_for(name), name)
    session = f"{subject.handle}/default/1"
    grants = (
        Grant(session, git_hosts=()),
        Grant(session, s3="none", secrets=(SECRET,), git_hosts=()),
        Grant(session, s3="none"),
    )
    begun = time.perf_counter()
    for grant in grants:
        credentials = await datalab.credentials(subject, grant)
        if credentials.problems:
            raise RuntimeError(f"credentials are missing: {credentials.problems}")
    seconds = time.perf_counter() - begun
    await datalab.broker.end_session(session)
    await datalab.broker.settle()
    return seconds
