"""Which sessions and which of a person's things a request may touch, from its scopes alone. No I/O.

JupyterHub's ``needs_scope`` does not know custom scopes, so the expanded scopes of a request are read here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

CREDENTIALS: Final = "custom:datalab:credentials"
SECRETS: Final = "custom:datalab:secrets"
GIT: Final = "custom:datalab:git"


def covers_person(scopes: Collection[str], scope: str, person: str) -> bool:
    """Return whether `scopes` hold `scope` for all that is `person`'s."""
    return scope in scopes or f"{scope}!user={person}" in scopes


def sessions(scopes: Collection[str], scope: str, person: str) -> frozenset[str]:
    """Return the names of those of `person`'s sessions that `scopes` hold `scope` for, one by one.
    token.

    The default server's name is the empty string.
    """
    prefix = f"{scope}!server={person}/"
    return frozenset(held.removeprefix(prefix) for held in scopes if held.startswith(prefix))


@dataclass(frozen=True)
class Target:
    """Whose credentials a request gets: those of `session`, or with ``None`` the person's own for pages."""

    session: str | None


class ForbiddenError(Exception):
    """The scopes do not allow what was asked; the message says what is missing."""


class AmbiguousError(Exception):
    """The scopes are good for more than one session and the request names none."""


def credentials_target(scopes: Collection[str], person: str, session: str | None) -> Target:
    """Return what a request for credentials is about.

    Parameters
    ----------
    scopes
        Expanded scopes of the request.
    person
        Who makes it.
    session
        The session that it names, if it names one.

    Raises
    ------
    ForbiddenError, AmbiguousError

    Examples
    --------
    >>> credentials_target({"custom:datalab:credentials!server=alice/run1"}, "alice", None)
    Target(session='run1')
    """
    own = sessions(scopes, CREDENTIALS, person)
    if covers_person(scopes, CREDENTIALS, person):
        return Target(session)
    if session is not None and session in own:
        return Target(session)
    if session is None and len(own) == 1:
        return Target(next(iter(own)))
    if session is None and own:
        raise AmbiguousError("The token is good for several sessions: name one with ?session=.")
    raise ForbiddenError(f"The request has no scope {CREDENTIALS} for this.")
