"""Token buckets: a burst, then one in a while, each person for themselves, in bounded memory."""

from __future__ import annotations

import pytest

from sardonyx_hub.api.ratelimit import DEFAULT_LIMITS, Limit, RateLimit


class Clock:
    """Monotonic seconds, moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> RateLimit:
    limits = {"read": Limit(5, 1.0), "refresh": Limit(1, 0.1), "write": Limit(3, 0.5)}
    return RateLimit(limits, max_entries=4, clock=clock)  # type: ignore[arg-type]


def test_burst_then_one_in_a_while(limiter: RateLimit, clock: Clock) -> None:
    assert [limiter.take("alice", "write") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.take("alice", "write") == 2.0
    clock.now += 1.0
    assert limiter.take("alice", "write") == 1.0
    clock.now += 1.0
    assert limiter.take("alice", "write") == 0.0
    assert limiter.take("alice", "write") == 2.0


def test_waiting_as_told_is_enough(limiter: RateLimit, clock: Clock) -> None:
    for _ in range(50):
        wait = limiter.take("alice", "write")
        clock.now += wait
        if wait:
            assert limiter.take("alice", "write") == 0.0


def test_a_bucket_never_holds_more_than_its_burst(limiter: RateLimit, clock: Clock) -> None:
    limiter.take("alice", "write")
    clock.now += 86_400
    assert [limiter.take("alice", "write") > 0 for _ in range(4)] == [False, False, False, True]


def test_a_clock_set_back_gives_nothing(limiter: RateLimit, clock: Clock) -> None:
    limiter.take("alice", "refresh")
    clock.now -= 500
    assert limiter.take("alice", "refresh") == 10.0


def test_people_and_kinds_do_not_share(limiter: RateLimit) -> None:
    assert limiter.take("alice", "refresh") == 0.0
    assert limiter.take("alice", "refresh") == 10.0
    assert limiter.take("bob", "refresh") == 0.0
    assert limiter.take("alice", "write") == 0.0


def test_memory_is_bounded_and_the_busy_are_remembered(limiter: RateLimit) -> None:
    limiter.take("busy", "refresh")
    for number in range(100):
        limiter.take(f"person-{number}", "refresh")
        assert limiter.take("busy", "refresh") > 0
        assert len(limiter) <= 4


@pytest.mark.parametrize(("burst", "rate"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_limits_that_allow_nothing_are_refused(burst: int, rate: float) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Limit(burst, rate)


def test_ten_sessions_may_refresh_at_once_by_default() -> None:
    limiter = RateLimit(DEFAULT_LIMITS, clock=lambda: 0.0)
    assert [limiter.take("alice", "refresh") for _ in range(10)] == [0.0] * 10
    assert limiter.take("alice", "refresh") > 0
