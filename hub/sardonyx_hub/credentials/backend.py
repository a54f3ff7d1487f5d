"""Blocking calls to a backend from the event loop: bounded threads and queue, time limit, breaker."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from .breaker import CircuitBreaker
from .errors import SourceError
from .model import SourceName

T = TypeVar("T")
log = logging.getLogger("sardonyx.credentials")


class Backend:
    """One backend's threads. What hangs here slows no other backend and never the event loop.

    A thread cannot be stopped: a caller whose time is up goes away, while the thread keeps its place until
    its own time limits (of the HTTP client) end it. So waiting for a place counts toward the time limit, and
    the queue is bounded.

    Parameters
    ----------
    source, label
        For errors: which source it is and the backend's name in sentences.
    workers
        Threads.
    queue
        How many calls may wait for a thread; a further one fails at once.
    breaker
        By default one that opens after 5 failures in a row, for 5 seconds.
    """

    def __init__(
        self,
        source: SourceName,
        label: str,
        *,
        workers: int = 8,
        queue: int = 1000,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.source = source
        self.label = label
        self.breaker = breaker or CircuitBreaker()
        self._queue = queue
        self._waiting = 0
        self._cause = ""
        self._places = asyncio.Semaphore(workers)
        self._probe_over = asyncio.Event()
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=f"sardonyx-{source}")
        self._start_threads(workers)

    def _start_threads(self, workers: int) -> None:
        """Start all threads now: started one by one under load, each makes the event loop wait for the others."""
        gate = threading.Event()
        for _ in range(workers):
            self._executor.submit(gate.wait)
        gate.set()

    async def run(
        self, call: Callable[[], T], *, seconds: float, late: Callable[[T], None] | None = None
    ) -> T:
        """Run `call` in a thread and return what it returns.

        Parameters
        ----------
        seconds
            Time limit, waiting for a thread included.
        late
            Called on the event loop with the value of a call that ended after its caller had gone.

        Raises
        ------
        SourceError
            `timeout`; `circuit-open` if the backend is left alone or too many calls wait; what `call` raises.
        """
        started = False
        try:
            async with asyncio.timeout(seconds):
                await self._place()
                started = True
                return await self._in_thread(call, late)
        except TimeoutError:
            if started:
                self._settle(self.breaker.failed)
                message = self._cause = f"{self.label} did not answer within {seconds:.3g} seconds."
            else:
                message = f"{self.label} is slow: the request waited {seconds:.3g} seconds for its turn."
            raise SourceError(self.source, "timeout", message) from None
        except asyncio.CancelledError:
            if started:
                # Nobody learns what becomes of the call: a probe that is given up must not keep its place for ever.
                self._settle(self.breaker.cancelled)
            raise

    def close(self) -> None:
        """Take no further call; threads that run end by their own time limits."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _place(self) -> None:
        """Wait for a thread's place and the breaker's leave."""
        if self.breaker.state == "open":
            raise self._left_alone()
        if self._waiting >= self._queue:
            message = f"{self.label} is slow: too many requests are waiting for it. Try again in a moment."
            raise SourceError(self.source, "circuit-open", message)
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            while not self.breaker.acquire():
                if not self.breaker.probing:
                    raise self._left_alone()
                # The backend may be back: the probe's outcome is worth waiting for.
                await self._probe_over.wait()
        except BaseException:
            self._places.release()
            raise

    def _left_alone(self) -> SourceError:
        message = f"{self.label} has not answered several times in a row and is left alone for some seconds."
        if self._cause:  # what an administrator can do something about, such as unsealing
            message += f" The last time: {self._cause}"
        return SourceError(self.source, "circuit-open", message)

    async def _in_thread(self, call: Callable[[], T], late: Callable[[T], None] | None) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def ended(future: Future[T]) -> None:
            try:
                loop.call_soon_threadsafe(self._ended, future, answer, late)
            except RuntimeError:  # the loop is closed: nobody is left to tell
                return

        try:
            self._executor.submit(call).add_done_callback(ended)
        except RuntimeError:
            self._places.release()
            self._settle(self.breaker.cancelled)
            raise SourceError(self.source, "circuit-open", f"{self.label}: the hub is stopping.") from None
        return await answer

    def _ended(self, future: Future[T], answer: asyncio.Future[T], late: Callable[[T], None] | None) -> None:
        """On the loop, when a thread has ended, be it late."""
        self._places.release()
        gone = answer.done()  # the caller's time was up, or it was cancelled
        if future.cancelled():
            self._settle(self.breaker.cancelled)
            answer.cancel()
            return
        error = future.exception()
        if error is None:
            self._settle(self.breaker.succeeded)
            if not gone:
                answer.set_result(future.result())
            elif late is not None:
                late(future.result())
            return
        known = error if isinstance(error, SourceError) else self._unexpected(error)
        if not known.transport:
            self._settle(self.breaker.succeeded)
        elif not gone:  # a late failure was counted when its time was up
            self._settle(self.breaker.failed)
            self._cause = known.message
        if not gone:
            answer.set_exception(known)

    def _settle(self, outcome: Callable[[], None]) -> None:
        outcome()
        # Wakes those who wait for the probe, and no later ones.
        self._probe_over.set()
        self._probe_over = asyncio.Event()

    def _unexpected(self, error: BaseException) -> SourceError:
        # Neither the message nor the frames' values: both may hold a secret.
        where = traceback.extract_tb(error.__traceback__)[-1:]
        place = f"{where[0].filename}:{where[0].lineno}" if where else "?"
        log.error("%s failed with %s at %s", self.label, type(error).__name__, place)
        message = f"{self.label} failed in a way that the hub does not know ({type(error).__name__})."
        return SourceError(self.source, "invalid", message)
