"""A circuit breaker: a backend that does not answer is left alone for a while.

Pure: the clock is given, nothing waits here. Used on the event loop only, so it has no lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Counts the transport failures of one backend in a row.

    Closed: calls pass. After `failures` failures in a row it opens, and calls are refused for
    `reset_seconds`. Then it is half-open: one call, the probe, may pass; its success closes the circuit, its
    failure opens it again.

    Parameters
    ----------
    failures
        How many failures in a row open the circuit.
    reset_seconds
        How long an open circuit refuses calls.
    clock
        Seconds that only grow.
    """

    def __init__(
        self, failures: int = 5, reset_seconds: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._reset = reset_seconds
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """`closed`, `open` or `half-open`."""
        if self._opened_at is None:
            return "closed"
        return "half-open" if self._clock() - self._opened_at >= self._reset else "open"

    @property
    def probing(self) -> bool:
        """Whether the one call that a half-open circuit lets pass is under way."""
        return self._probing

    def acquire(self) -> bool:
        """Return whether a call may be made now; after a True tell `succeeded`, `failed` or `cancelled`."""
        state = self.state
        if state == "closed":
            return True
        if state == "open" or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Tell that the backend answered, be it with a refusal: the circuit closes."""
        self._failures = 0
        self._opened_at = None
        self._probing = False

    def failed(self) -> None:
        """Tell that the backend did not answer."""
        self._failures += 1
        if self._probing or (self._opened_at is None and self._failures >= self._limit):
            self._opened_at = self._clock()
        self._probing = False

    def cancelled(self) -> None:
        """Tell that a call ended without an outcome: a probe's place is free again."""
        self._probing = False
