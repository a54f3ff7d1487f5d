"""The broker's memory of credentials: bounded, swept, never written anywhere."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from .model import SourceName, needs_replacement


class Expiring(Protocol):
    """Anything with a beginning and an end."""

    @property
    def issued_at(self) -> datetime: ...

    @property
    def expiration(self) -> datetime: ...


V = TypeVar("V", bound=Expiring)


@dataclass(frozen=True)
class CacheKey:
    """Whose credential it is, of which source and session (empty: of all), for which part of the grant."""

    handle: str
    source: SourceName
    session: str
    part: Hashable = field(repr=False)


class CredentialCache(Generic[V]):
    """Credentials that are still valid, the least recently used thrown out first.

    Parameters
    ----------
    clock
        Returns the present, with time zone.
    max_entries
        Bound of the cache.
    sweep_every
        After how many `put` calls expired entries are thrown out.
    """

    def __init__(
        self, clock: Callable[[], datetime], max_entries: int = 10_000, sweep_every: int = 500
    ) -> None:
        self._clock = clock
        self._max = max_entries
        self._sweep_every = sweep_every
        self._puts = 0
        self._entries: OrderedDict[CacheKey, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def valid(self, key: CacheKey) -> V | None:
        """Return the credential if it is valid now, be it near its end."""
        value = self._entries.get(key)
        if value is None:
            return None
        if value.expiration <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def fresh(self, key: CacheKey) -> V | None:
        """Return the credential if at least half of its life is left."""
        value = self.valid(key)
        if value is None or needs_replacement(value.issued_at, value.expiration, self._clock()):
            return None
        return value

    def put(self, key: CacheKey, value: V) -> None:
        """Keep `value`, unless one that was issued later is there."""
        known = self._entries.get(key)
        if known is not None and known.issued_at > value.issued_at:
            return
        self._entries[key] = value
        self._entries.move_to_end(key)
        self._puts += 1
        if self._puts % self._sweep_every == 0:
            self.sweep()
        while len(self._entries) > self._max:
            self._entries.popitem(last=False)

    def sweep(self) -> None:
        """Throw out what has expired."""
        now = self._clock()
        for key in [key for key, value in self._entries.items() if value.expiration <= now]:
            del self._entries[key]

    def drop(self, matches: Callable[[CacheKey], bool]) -> None:
        """Throw out every entry whose key `matches`."""
        for key in [key for key in self._entries if matches(key)]:
            del self._entries[key]
