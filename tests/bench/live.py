"""What open pages cost the hub: 500 of them follow live events (server-sent events), and nobody polls.

The pages are in a process of their own. The hub's is this one: the CPU seconds of the process are what is measured, beside
those of the same hub without a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from bench_hub import BenchHub
    from figures import Report

_PEOPLE, _PAGES_EACH = 50, 10
#: Seconds of a quiet measurement: longer than the pause between two signs of life, which is part of it.
_QUIET_SECONDS = 30.0
_EVENTS, _EVERY = 40, 0.25


def people() -> list[str]:
    """Return who looks at pages."""
    return [f"live{number}" for number in range(_PEOPLE)]


async def run(hub: BenchHub) -> Report:
    """Measure."""
    from figures import Figure, Goal, Report, Samples

    for name in people():
        await hub.sign_in(name)
    nobody = await _busy(_QUIET_SECONDS / 2)
    async with _pages(hub) as opened:
        quiet = await _busy(_QUIET_SECONDS)
        told, lags = await _tell(hub)
    core = 100.0  # shares become percents
    return Report(
        "live",
        [
            Figure(
                f"% of a core, {_PEOPLE * _PAGES_EACH} open pages, nothing happens",
                Samples.of([quiet], core),
                Samples.of([nobody], core),
                "no open page",
                Goal(5.0),
                "%",
            ),
            Figure(
                f"% of a core, {_PEOPLE * _PAGES_EACH} open pages, {1 / _EVERY:.0f} sessions change a second",
                Samples.of([told], core),
                Samples.of([nobody], core),
                "no open page",
                Goal(5.0),
                "%",
            ),
            Figure("CPU to open a page's stream", Samples.of([opened])),
            Figure("late start of a timer meanwhile", Samples.of(lags), goal=Goal(50.0, "p99")),
        ],
    )


async def _busy(seconds: float) -> float:
    """Return which share of a core this process uses."""
    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    return (time.process_time() - cpu) / (time.perf_counter() - begun)


async def _tell(hub: BenchHub) -> tuple[float, list[float]]:
    """Let sessions change one after the other, each with ten pages open; return the share of a core, and timers' delays."""
    lags = []
    begun, cpu = time.perf_counter(), time.process_time()
    for number in range(_EVENTS):
        spawner = hub.app.users[people()[number % _PEOPLE]].spawners[""]
        spawner.state_changed()
        due = time.perf_counter() + _EVERY
        await asyncio.sleep(_EVERY)
        lags.append(time.perf_counter() - due)
    return (time.process_time() - cpu) / (time.perf_counter() - begun), lags


@contextlib.asynccontextmanager
async def _pages(hub: BenchHub) -> AsyncIterator[float]:
    """Open all pages in another process; give the CPU seconds that each cost."""
    address = urlsplit(hub.settings.hub_url)
    tokens = [hub.app.users[name].new_api_token() for name in people()]
    task = {"host": address.hostname, "port": address.port, "tokens": tokens, "each": _PAGES_EACH}
    begun = time.process_time()
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the pages have no pipes")
    try:
        process.stdin.write(json.dumps(task).encode() + b"\n")
        async with asyncio.timeout(120):
            line = await process.stdout.readline()
        if line != b"open\n":
            raise RuntimeError(f"the pages could not be opened: {line!r}")
        yield (time.process_time() - begun) / (_PEOPLE * _PAGES_EACH)
        process.stdin.close()
        async with asyncio.timeout(30):
            heard = int(await process.stdout.readline())
        if heard < _EVENTS * _PAGES_EACH:
            raise RuntimeError(f"the pages heard of {heard} changes, not of {_EVENTS * _PAGES_EACH}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# The process of the pages ---------------------------------------------------------------------------------------------


class _Page:
    """One open page, as far as the hub can see."""

    heard = 0

    async def open(self, host: str, port: int, token: str) -> None:
        """Ask for the stream and wait for its first event."""
        self.reader, writer = await asyncio.open_connection(host, port)
        request = f"GET /hub/api/datalab/v1/live HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: token {token}\r\n\r\n"
        writer.write(request.encode())
        self.writer = writer
        while b"event: hello" not in await self._line():
            pass

    async def _line(self) -> bytes:
        line = await self.reader.readline()
        if not line or (line.startswith(b"HTTP/1.1 ") and b" 200 " not in line):
            raise RuntimeError(f"the hub does not stream: {line!r}")
        return line

    async def follow(self) -> None:
        """Count the sessions that change."""
        while True:
            self.heard += b"event: session" in await self._line()


async def _look_at_pages() -> None:
    task = json.loads(await asyncio.to_thread(sys.stdin.readline))
    pages = [(token, _Page()) for token in task["tokens"] for _ in range(task["each"])]
    for begin in range(0, len(pages), 25):  # a browser each, not an attack
        await asyncio.gather(
            *(page.open(task["host"], task["port"], token) for token, page in pages[begin : begin + 25])
        )
    following = [asyncio.create_task(page.follow()) for _, page in pages]
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.sleep(1)
    failed = [task for task in following if task.done()]
    print(-len(failed) if failed else sum(page.heard for _, page in pages), flush=True)


if __name__ == "__main__":
    asyncio.run(_look_at_pages())
