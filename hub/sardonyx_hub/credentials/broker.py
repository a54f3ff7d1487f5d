"""The credential broker: from a grant to credentials, in parallel, within a time limit, remembered.

It knows no backend: :mod:`~.s3`, :mod:`~.vault` and :mod:`~.git` are its sources.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import ParamSpec, TypeVar

from .backend import Backend
from .breaker import CircuitBreaker
from .cache import CacheKey, CredentialCache
from .ending_notes import EndingNotes
from .endings import Endings
from .errors import PROBLEM_CODES, ProblemCode, SourceError
from .model import (
    Credentials,
    GitCredentials,
    Grant,
    S3Credentials,
    SourceName,
    SourceProblem,
    Subject,
    VaultCredentials,
)
from .source import CredentialSource, SourceValue

P = ParamSpec("P")
R = TypeVar("R")
OnProgress = Callable[[SourceName, str, str], object]

log = logging.getLogger("sardonyx.credentials")

#: What sources are called where they are not there to say it themselves.
_LABELS: dict[SourceName, str] = {"s3": "S3 storage", "vault": "a secret store", "git": "Git accounts"}
#: How many ended sessions are remembered, so that a call that was under way when its session ended leaves
#: nothing.
_ENDED_REMEMBERED = 10_000


@dataclass
class _Flight:
    """One making of credentials that several may wait for."""

    source: CredentialSource
    key: CacheKey
    session: str
    keep: bool = True
    task: asyncio.Task[SourceValue] = field(init=False)


@dataclass(frozen=True)
class _Answer:
    value: SourceValue | None = None
    problems: tuple[SourceProblem, ...] = ()


class Broker:
    """Gives a session its credentials.

    Each source has its own threads and circuit breaker (:class:`~.backend.Backend`). For one key there is one
    call under way at a time, however many ask; who stops waiting does not stop it for the others. Errors are
    not remembered.

    Parameters
    ----------
    sources
        By name; a source that is not there has no credentials and no problem.
    deadline
        Seconds for everything. A source that takes longer has a problem; its call goes on and serves the next
        request.
    workers, queue
        Threads of each source, and how many calls may wait for one: a class that launches at once waits its
        turn, each no longer than the source's time limit.
    retries, retry_delay
        How often a call that was not answered is tried again within the source's time limit, and the seconds
        (with jitter, doubled each time) before that.
    clock
        Returns the present, with time zone.
    make_breaker
        Makes the circuit breaker of a source.
    notes
        Where is written which credentials have to end with their sessions, for a hub that is restarted.

    Examples
    --------
    >>> broker = Broker({"s3": s3_source, "vault": vault_source})  # doctest: +SKIP
    >>> credentials = await broker.credentials(subject, grant)  # doctest: +SKIP
    """

    def __init__(
        self,
        sources: Mapping[SourceName, CredentialSource],
        *,
        deadline: float = 8.0,
        workers: int = 8,
        queue: int = 1000,
        retries: int = 2,
        retry_delay: float = 0.1,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        make_breaker: Callable[[], CircuitBreaker] = CircuitBreaker,
        notes: EndingNotes | None = None,
    ) -> None:
        self._sources = dict(sources)
        self._deadline = deadline
        self._retries = retries
        self._retry_delay = retry_delay
        self._backends = {
            name: Backend(name, source.label, workers=workers, queue=queue, breaker=make_breaker())
            for name, source in self._sources.items()
        }
        self._cache: CredentialCache[SourceValue] = CredentialCache(clock)
        self._flights: dict[CacheKey, _Flight] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._closed = False
        self._endings = Endings(self._sources.values(), clock, notes)

    # Asking -------------------------------------------------------------------------------------------------

    async def credentials(
        self,
        subject: Subject,
        grant: Grant,
        *,
        refresh: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Credentials:
        """Return the credentials of a session; what is missing is named in `problems`, nothing is raised.

        Parameters
        ----------
        refresh
            Make new ones, whatever is left of the known ones' life.
        on_progress
            Called on the event loop with (source, ``running``, ``ok`` or ``warning``, sentence).
        """
        asked = [
            self._ask(source, subject, grant, refresh, on_progress or _no_progress)
            for source in self._sources.values()
        ]
        answers = dict(zip(self._sources, await asyncio.gather(*asked), strict=True))
        s3, vault, git = (answers.get(name, _Answer()).value for name in ("s3", "vault", "git"))
        return Credentials(
            s3=s3 if isinstance(s3, S3Credentials) else None,
            vault=vault if isinstance(vault, VaultCredentials) else None,
            git=git if isinstance(git, GitCredentials) else None,
            problems=tuple(problem for answer in answers.values() for problem in answer.problems),
        )

    def raise_if_required(self, grant: Grant, credentials: Credentials) -> None:
        """Raise the problem of a source that the grant requires and that gave nothing, or is not there at all.

        Raises
        ------
        SourceError
            The first such problem.
        """
        given = {"s3": credentials.s3, "vault": credentials.vault, "git": credentials.git}
        for problem in credentials.problems:
            if problem.source in grant.required and given[problem.source] is None:
                raise SourceError(problem.source, _code(problem.code), problem.message)
        for name in sorted(grant.required - self._sources.keys()):
            message = (
                f"This service requires {_LABELS[name]}, and this datalab has none: tell an administrator."
            )
            raise SourceError(name, "missing", message)

    async def call(self, name: SourceName, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run another blocking call to a source's backend in its threads, under its time limit and breaker.

        For example ``await broker.call("vault", secrets.tree, subject)``. It is not tried again.

        Raises
        ------
        SourceError
            If the backend does not answer, or what `function` raises.
        KeyError
            If there is no such source.
        """
        seconds = self._sources[name].timeout
        return await self._backends[name].run(partial(function, *args, **kwargs), seconds=seconds)

    # Ending -------------------------------------------------------------------------------------------------

    async def end_session(self, session: str) -> None:
        """End what belongs to a session, also what is being made for it now. Returns at once.

        A session that has ended gets nothing of its own any more: its identifier must not be used again.
        """
        self._ended[session] = None
        self._ended.move_to_end(session)
        while len(self._ended) > _ENDED_REMEMBERED:
            self._ended.popitem(last=False)
        if session:
            self._cache.drop(lambda key: key.session == session)
            self._endings.end_session(session)

    async def end_where(self, ends: Callable[[str], bool]) -> None:
        """End what belongs to each session, also of before a restart, whose identifier `ends` says so. Returns at once."""
        for session in self._endings.sessions():
            if ends(session):
                await self.end_session(session)

    def forget(self, handle: str, *names: SourceName) -> None:
        """Let the next request read anew what a person has just changed (a secret, a Git account).

        Parameters
        ----------
        names
            Which sources; all of them by default.
        """

        def changed(key: CacheKey) -> bool:
            return key.handle == handle and (not names or key.source in names)

        self._cache.drop(changed)
        for key in [key for key in self._flights if changed(key)]:
            # It may have read the old value already; who waits for it gets that, nobody else does.
            self._flights.pop(key).keep = False

    async def settle(self, seconds: float = 10.0) -> None:
        """Wait until what `end_session` left to do is done, or `seconds`."""
        await self._endings.settle(seconds)

    async def close(self, seconds: float = 5.0) -> None:
        """Finish endings within `seconds`, stop what is under way, take no further request."""
        if self._closed:
            return
        self._closed = True
        await self.settle(seconds)
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._endings.close(seconds)
        for backend in self._backends.values():
            backend.close()
        for source in self._sources.values():
            # Sources with threads of their own.
            if callable(close := getattr(source, "close", None)):
                close()

    def expirations(self, subject: Subject, grant: Grant) -> dict[SourceName, datetime]:
        """Return until when what is known of a session's S3 keys and Vault token is good. Asks no source."""
        found: dict[SourceName, datetime] = {}
        for source in self._sources.values():
            # A Git account's token does not expire by our doing.
            if source.name == "git":
                continue
            try:
                key = self._key(source, subject, grant)
            except SourceError:
                continue
            known = self._cache.valid(key) if key is not None else None
            if known is not None:
                found[source.name] = known.expiration
        return found

    @staticmethod
    def _key(source: CredentialSource, subject: Subject, grant: Grant) -> CacheKey | None:
        part = source.cache_key(subject, grant)
        session = grant.session if source.per_session else ""
        return None if part is None else CacheKey(subject.handle, source.name, session, part)

    # One source ---------------------------------------------------------------------------------------------

    async def _ask(
        self,
        source: CredentialSource,
        subject: Subject,
        grant: Grant,
        refresh: bool,
        on_progress: OnProgress,
    ) -> _Answer:
        try:
            key = self._key(source, subject, grant)
        except SourceError as error:
            _report(on_progress, source.name, "warning", error.message)
            return _Answer(problems=(SourceProblem(source.name, error.code, error.message),))
        if key is None:
            return _Answer()
        _report(on_progress, source.name, "running", f"Asking {source.label}.")
        try:
            value = None if refresh else self._cache.fresh(key)
            if value is None:
                value = await self._make(source, key, subject, grant)
        except SourceError as error:
            _report(on_progress, source.name, "warning", error.message)
            return self._without(key, error)
        for problem in value.problems:
            _report(on_progress, source.name, "warning", problem.message)
        if not value.problems:
            _report(on_progress, source.name, "ok", f"{source.label} answered.")
        return _Answer(value, value.problems)

    def _without(self, key: CacheKey, error: SourceError) -> _Answer:
        """Return the answer when there is nothing new: what was given before, if it is still good."""
        # The source's own name: Git accounts are read through a store whose errors say "vault".
        known = self._cache.valid(key)
        if known is None:
            return _Answer(problems=(SourceProblem(key.source, error.code, error.message),))
        until = known.expiration.astimezone(UTC).strftime("%H:%M")
        message = f"{error.message} What was given before is good until {until} UTC."
        return _Answer(known, (*known.problems, SourceProblem(key.source, error.code, message)))

    async def _make(
        self, source: CredentialSource, key: CacheKey, subject: Subject, grant: Grant
    ) -> SourceValue:
        """Wait, within the deadline, for the one call under way for `key`; begin it if there is none."""
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(source, key, key.session)
            flight.task = asyncio.create_task(self._fly(flight, subject, grant))
            self._flights[key] = flight
            flight.task.add_done_callback(partial(self._landed, flight))
        try:
            async with asyncio.timeout(self._deadline):
                # The shield: a person who closes the page must not end the call that others wait for.
                return await asyncio.shield(flight.task)
        except TimeoutError:
            message = f"{source.label} did not answer within {self._deadline:.3g} seconds."
            raise SourceError(source.name, "timeout", message) from None

    def _landed(self, flight: _Flight, task: asyncio.Task[SourceValue]) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        if not task.cancelled():
            task.exception()  # marks it as seen: its waiters may all have gone

    async def _fly(self, flight: _Flight, subject: Subject, grant: Grant) -> SourceValue:
        """Call the source, again if it was not answered, within its time limit."""
        source = flight.source
        backend = self._backends[source.name]
        loop = asyncio.get_running_loop()
        end = loop.time() + source.timeout
        attempt = 0
        while True:
            self._refuse_ended(flight)
            try:
                value: SourceValue = await backend.run(
                    partial(source.fetch, subject, grant),
                    seconds=end - loop.time(),
                    late=partial(self._arrived, flight),
                )
            except SourceError as error:
                pause = self._retry_delay * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311
                attempt += 1
                if not error.transport or attempt > self._retries or loop.time() + pause >= end:
                    raise
                await asyncio.sleep(pause)
                continue
            self._arrived(flight, value)
            self._refuse_ended(flight)
            return value

    def _arrived(self, flight: _Flight, value: SourceValue) -> None:
        """Keep a new value, or end it at once if its session has ended meanwhile."""
        if flight.session:
            self._endings.track(flight.session, flight.source, value)
            if flight.session in self._ended:
                self._endings.end_session(flight.session)
                return
        if flight.keep:
            self._cache.put(flight.key, value)

    def _refuse_ended(self, flight: _Flight) -> None:
        if flight.session and flight.session in self._ended:
            message = f"{flight.source.label} gives nothing: the session has ended."
            raise SourceError(flight.source.name, "denied", message)


def _no_progress(_source: SourceName, _state: str, _message: str) -> None:
    return None


def _report(on_progress: OnProgress, source: SourceName, state: str, message: str) -> None:
    try:
        on_progress(source, state, message)
    except Exception as error:
        log.warning("The progress of %s could not be told: %s", source, type(error).__name__)


def _code(code: str) -> ProblemCode:
    if code in PROBLEM_CODES:
        return code  # type: ignore[return-value]
    return "invalid"
