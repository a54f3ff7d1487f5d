"""When the agent asks the hub again. Pure; `spread` is a number of [0, 1), random in use and fixed in
tests."""

from __future__ import annotations

from typing import Optional

#: Delay when nothing in the document ever ends: changed secrets and Git tokens are still read again.
NO_END_DELAY = 900.0
#: The hub or a backend that comes back is noticed within 10 s (a request on loopback takes far less than the
#: rest).
MAX_BACKOFF = 8.0
#: A refusal (401, 403) does not pass by itself; asking on would only fill the hub's log.
DENIED_DELAY = 600.0
MAX_DENIED_DELAY = 3600.0


def renewal_delay(life: Optional[float], spread: float) -> float:
    """Return the seconds until the next request: 60 % of the shortest life, +-5 %, at least one second."""
    if life is None:
        return NO_END_DELAY * (0.95 + 0.1 * spread)
    return max(1.0, life * (0.55 + 0.1 * spread))


def backoff_delay(failures: int, spread: float, cap: float = MAX_BACKOFF) -> float:
    """Return the seconds to wait after the n-th failure in a row: doubling from 0.5 s, with jitter, at most
    `cap`."""
    full = min(cap, 0.5 * 2.0 ** min(max(failures, 1) - 1, 16))
    return full * (0.6 + 0.4 * spread)


def denied_delay(failures: int, spread: float) -> float:
    """Return the seconds to wait after the n-th refusal in a row: from 10 minutes to an hour."""
    full = min(MAX_DENIED_DELAY, DENIED_DELAY * 2.0 ** min(max(failures, 1) - 1, 4))
    return full * (0.9 + 0.1 * spread)


def retry_after_delay(seconds: float, spread: float) -> float:
    """Return the seconds to wait when the hub named a time: never less, at most 10 minutes, up to 10 %
    more."""
    return min(600.0, max(1.0, seconds)) * (1 + 0.1 * spread)
