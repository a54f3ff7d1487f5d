"""The circuit breaker and the cache of credentials, which the broker is made of."""

from datetime import timedelta

import broker_fakes
from broker_fakes import Clock

from sardonyx_hub.credentials.breaker import CircuitBreaker
from sardonyx_hub.credentials.cache import CacheKey, CredentialCache
from sardonyx_hub.credentials.model import (
    GitCredentials,
)

clock, make_broker = broker_fakes.clock, broker_fakes.make_broker


def test_breaker_opens_after_failures_in_a_row(clock):
    breaker = CircuitBreaker(3, 5.0, clock.seconds)
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        assert breaker.acquire()
        outcome()
    assert breaker.state == "closed"
    assert breaker.acquire()
    breaker.failed()
    assert breaker.state == "open"
    assert not breaker.acquire()


def test_breaker_lets_one_probe_pass(clock):
    breaker = CircuitBreaker(1, 5.0, clock.seconds)
    breaker.failed()
    clock.move(4.9)
    assert not breaker.acquire()
    clock.move(0.2)
    assert breaker.state == "half-open"
    assert breaker.acquire()
    assert not breaker.acquire()
    breaker.failed()
    assert not breaker.acquire()
    clock.move(5.1)
    assert breaker.acquire()
    breaker.cancelled()
    assert breaker.acquire()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.acquire()


def test_failures_that_come_late_do_not_keep_it_open(clock):
    breaker = CircuitBreaker(1, 5.0, clock.seconds)
    breaker.failed()
    clock.move(4)
    breaker.failed()
    clock.move(1.1)
    assert breaker.acquire()


def credential(clock: Clock, life: float) -> GitCredentials:
    return GitCredentials((), clock(), clock() + timedelta(seconds=life))


def test_cache_is_bounded_and_forgets_the_least_used(clock):
    cache: CredentialCache[GitCredentials] = CredentialCache(clock, max_entries=3)
    keys = [CacheKey(f"person-{number}", "git", "", ()) for number in range(5)]
    for key in keys[:3]:
        cache.put(key, credential(clock, 60))
    assert cache.valid(keys[0]) is not None
    for key in keys[3:]:
        cache.put(key, credential(clock, 60))
    assert [cache.valid(key) is not None for key in keys] == [True, False, False, True, True]


def test_cache_sweeps_what_has_expired(clock):
    cache: CredentialCache[GitCredentials] = CredentialCache(clock, sweep_every=10)
    for number in range(9):
        cache.put(CacheKey(f"person-{number}", "git", "", ()), credential(clock, 60))
    clock.move(61)
    cache.put(CacheKey("last", "git", "", ()), credential(clock, 60))
    assert len(cache) == 1


def test_cache_keeps_the_newer_of_two(clock):
    cache: CredentialCache[GitCredentials] = CredentialCache(clock)
    key = CacheKey("alice", "git", "", ())
    older = credential(clock, 60)
    clock.move(1)
    newer = credential(clock, 60)
    cache.put(key, newer)
    cache.put(key, older)
    assert cache.valid(key) is newer


def test_the_key_shows_no_secret_path():
    assert "patate" not in repr(CacheKey("alice", "vault", "1", ("patate",)))
