"""People's accounts on Git hosts, kept in their own folder in Vault, and the source that reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from .errors import SourceError
from .model import GitAccount, GitCredentials, Grant, SourceName, SourceProblem, Subject
from .secret_store import GIT_FOLDER, SecretStore
from .source import SourceValue

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# `list` is also the name of a method here.
Hosts = list[str]
Accounts = list[GitAccount]
Found = list[tuple[str, GitAccount | None]]

_MAX_FIELD = 4096
_READERS = 4


def check_host(host: str) -> str:
    """Return a host name in lower case, with its port if it has one.

    Raises
    ------
    SourceError
        `invalid` if it is none: a URL, a path, an address with user.

    Examples
    --------
    >>> check_host("GitLab.example.org:8443")
    'gitlab.example.org:8443'
    """
    name, colon, port = host.strip().lower().partition(":")
    labels = name.split(".")
    good_port = not colon or (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536)
    if not good_port or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        message = "The Git host is not valid: it must be a name like gitlab.example.org, or with its port."
        raise SourceError("git", "invalid", message)
    return name + colon + port


class GitAccounts:
    """Lists, reads, writes and deletes a person's Git accounts. Its methods block, as :class:`SecretStore`'s.

    Parameters
    ----------
    store
        Keeps account ``host`` at ``.git/host`` in the person's folder.
    """

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sardonyx-git-read")

    def hosts(self, subject: Subject) -> Hosts:
        """Return the hosts on which the person has an account."""
        return sorted(name for name in self._store.names_internal(subject, GIT_FOLDER) if _is_host(name))

    def list(self, subject: Subject) -> Accounts:
        """Return all accounts, with their tokens."""
        return [account for _, account in self.read_all(subject, self.hosts(subject)) if account is not None]

    def get(self, subject: Subject, host: str) -> GitAccount | None:
        """Return the account on `host`, or None if there is none."""
        host = check_host(host)
        try:
            data = self._store.read_internal(subject, f"{GIT_FOLDER}/{host}").data
        except SourceError as error:
            if error.code == "missing":
                return None
            raise
        fields = {name: str(data.get(name) or "") for name in ("username", "token", "name", "email")}
        return GitAccount(host=host, **fields)

    def put(self, subject: Subject, account: GitAccount) -> None:
        """Write an account.

        Raises
        ------
        SourceError
            `invalid` if the host is none, or a field has a line break (it would add lines to what Git is
            told).
        """
        host = check_host(account.host)
        data = {
            "username": account.username,
            "token": account.token,
            "name": account.name,
            "email": account.email,
        }
        for name, value in data.items():
            if len(value) > _MAX_FIELD or not value.isprintable():
                message = f"The {name} of the Git account is too long or has a line break."
                raise SourceError("git", "invalid", message)
        self._store.write_internal(subject, f"{GIT_FOLDER}/{host}", data)

    def delete(self, subject: Subject, host: str) -> None:
        """Delete the account on `host` with all its earlier tokens."""
        self._store.delete_internal(subject, f"{GIT_FOLDER}/{check_host(host)}")

    def read_all(self, subject: Subject, hosts: Hosts) -> Found:
        """Return the account on each of `hosts`, None where there is none, several at a time."""
        if len(hosts) < 2:
            return [(host, self.get(subject, host)) for host in hosts]
        return list(zip(hosts, self._readers.map(lambda host: self.get(subject, host), hosts), strict=True))


class GitSource:
    """Gives a session the Git accounts that its grant names.

    They have no life of their own: they are read again before `reread_seconds` have passed, so that a token
    that a person has changed reaches sessions that run.

    Parameters
    ----------
    timeout
        Seconds for everything, retries included.
    clock
        Returns the present, with time zone.
    """

    name: SourceName = "git"
    label = "Vault (Git accounts)"
    per_session = False

    def __init__(
        self,
        accounts: GitAccounts,
        *,
        reread_seconds: float = 600.0,
        timeout: float = 5.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.timeout = timeout
        self._accounts = accounts
        self._reread = timedelta(seconds=reread_seconds)
        self._clock = clock

    def cache_key(self, subject: Subject, grant: Grant) -> Hashable | None:
        """Return the granted hosts, or None if there are none."""
        return tuple(sorted(grant.git_hosts)) or None

    def fetch(self, subject: Subject, grant: Grant) -> GitCredentials:
        """Read the accounts. A host named in the grant without an account is a problem; the others are read.

        Raises
        ------
        SourceError
            If Vault does not answer, is sealed, or refuses.
        """
        now = self._clock()
        everything = "*" in grant.git_hosts
        hosts = (
            self._accounts.hosts(subject) if everything else [check_host(name) for name in grant.git_hosts]
        )
        found = self._accounts.read_all(subject, hosts)
        problems = tuple(
            SourceProblem("git", "missing", f"You have no Git account on {host} any more.")
            for host, account in found
            if account is None and not everything
        )
        accounts = tuple(account for _, account in found if account is not None)
        return GitCredentials(accounts, now, now + self._reread, problems)

    def end(self, value: SourceValue) -> None:
        """Do nothing: the tokens are the person's own."""


def _is_host(name: str) -> bool:
    try:
        return check_host(name) == name
    except SourceError:
        return False
