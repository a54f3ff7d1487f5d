"""What the broker asks of a credential source, and what a source asks of the issuer."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol, runtime_checkable

from .model import GitCredentials, Grant, S3Credentials, SourceName, Subject, VaultCredentials

SourceValue = S3Credentials | VaultCredentials | GitCredentials


class TokenIssuer(Protocol):
    """Signs a short-lived token that a backend trusts (:class:`sardonyx_hub.identity.issuer.Issuer`)."""

    def token(self, subject: Subject, audience: str) -> str:
        """Return a signed token for `subject`, good at `audience` only."""
        ...


class CredentialSource(Protocol):
    """Makes the credentials of one backend. Its methods block and run in the broker's threads.

    Attributes
    ----------
    name
        Which field of :class:`~.model.Credentials` the source fills.
    label
        The backend's name in sentences for people.
    timeout
        Seconds that one answer may take, waiting for a thread and retries included.
    per_session
        Whether a value belongs to one session and ends with it.
    """

    @property
    def name(self) -> SourceName: ...

    @property
    def label(self) -> str: ...

    @property
    def timeout(self) -> float: ...

    @property
    def per_session(self) -> bool: ...

    def cache_key(self, subject: Subject, grant: Grant) -> Hashable | None:
        """Return the part of the grant that the value depends on, or None if it has none of it."""
        ...

    def fetch(self, subject: Subject, grant: Grant) -> SourceValue:
        """Make new credentials. Every call it makes has a time limit.

        Raises
        ------
        SourceError
            If there are none.
        """
        ...

    def end(self, value: SourceValue) -> None:
        """End credentials before their time, where the backend can.

        Raises
        ------
        SourceError
            If the backend did not answer or refused.
        """
        ...


@runtime_checkable
class MarkedSource(Protocol):
    """A source whose credentials can also be ended by who does not hold them, for example a hub that was restarted.

    A mark names one credential and is good for nothing else, so it may be written to a database.
    """

    def mark(self, value: SourceValue) -> str:
        """Return the mark of `value`; empty if it has none."""
        ...

    def end_marked(self, mark: str) -> None:
        """End the credential of that mark; one that has ended already is fine.

        Raises
        ------
        SourceError
            If the backend did not answer or refused.
        """
        ...
