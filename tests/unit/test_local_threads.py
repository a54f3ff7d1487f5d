"""Sessions that are slow to end keep nobody from signing in."""

from __future__ import annotations

import asyncio
import threading
import time

from sardonyx_spawner.local import LocalDatalabSpawner


async def test_slow_endings_leave_the_event_loops_own_threads_free() -> None:
    over = threading.Event()
    endings = [
        asyncio.ensure_future(LocalDatalabSpawner._in_thread(over.wait, 30))
        # More than the threads that the event loop has on any machine.
        for _ in range(40)
    ]
    await asyncio.sleep(0.1)
    start = time.monotonic()
    try:
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "signed in"), 5) == "signed in"
        assert time.monotonic() - start < 2
    finally:
        over.set()
    assert all(await asyncio.gather(*endings))
