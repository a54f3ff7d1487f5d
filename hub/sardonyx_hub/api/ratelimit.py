"""How often one person may ask: a token bucket for each (person, kind of request)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

RequestKind = Literal["read", "refresh", "write"]


@dataclass(frozen=True)
class Limit:
    """A bucket: `burst` requests at once, then one every ``1 / per_second`` seconds."""

    burst: int
    per_second: float

    def __post_init__(self) -> None:
        if self.burst < 1 or self.per_second <= 0:
            raise ValueError("A limit allows at least one request, and more with time.")


#: ``read`` is answered from the broker's cache nearly always: an agent asks a few times an hour, a page once.
#: ``refresh`` asks the backends each time; ten sessions of one person may do so at once. ``write`` is a
#: person who saves.
DEFAULT_LIMITS: Final[Mapping[RequestKind, Limit]] = MappingProxyType(
    {
        "read": Limit(burst=120, per_second=2.0),
        "refresh": Limit(burst=10, per_second=0.1),
        "write": Limit(burst=30, per_second=1.0),
    }
)


class RateLimit:
    """Token buckets in bounded memory.

    Parameters
    ----------
    limits
        The bucket of each kind of request.
    max_entries
        How many buckets are remembered. The one that was not used for the longest time is forgotten first: it
        has filled up again, unless more than `max_entries` people ask within the time a bucket takes to fill.
    clock
        Monotonic seconds, for tests.

    Examples
    --------
    >>> limiter = RateLimit({"write": Limit(burst=1, per_second=0.5)}, clock=lambda: 0.0)
    >>> limiter.take("alice", "write"), limiter.take("alice", "write"), limiter.take("bob", "write")
    (0.0, 2.0, 0.0)
    """

    def __init__(
        self,
        limits: Mapping[RequestKind, Limit] = DEFAULT_LIMITS,
        *,
        max_entries: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = dict(limits)
        self._max_entries = max_entries
        self._clock = clock
        # (person, kind) -> (tokens at the moment, the moment); the least recently used first.
        self._buckets: OrderedDict[tuple[str, RequestKind], tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, person: str, kind: RequestKind) -> float:
        """Count one request of `person`; return 0.0 if it may go on, else the seconds until one may.

        A refused request costs nothing, so that a client that asks too early is not put off for ever.
        """
        limit = self._limits[kind]
        now = self._clock()
        tokens, since = self._buckets.pop((person, kind), (float(limit.burst), now))
        tokens = min(limit.burst, tokens + max(0.0, now - since) * limit.per_second)
        allowed = tokens >= 1.0
        self._buckets[person, kind] = (tokens - 1.0 if allowed else tokens, now)
        while len(self._buckets) > self._max_entries:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / limit.per_second
