"""``/hub/api/datalab/v1/git-accounts``: one's accounts on Git hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..credentials.errors import SourceError
from ..credentials.git import GitAccounts, check_host
from ..credentials.model import GitAccount, Subject
from . import scopes
from .base import ApiError, DatalabHandler, not_found
from .validation import checked, parse_git_account


def describe(account: GitAccount, *, reveal: bool = False) -> dict[str, Any]:
    """Return an account as JSON; the token itself only with `reveal`, else whether there is one."""
    shown: dict[str, Any] = {
        "host": account.host,
        "username": account.username,
        "name": account.name,
        "email": account.email,
        "token_set": bool(account.token),
    }
    return {**shown, "token": account.token} if reveal else shown


class _GitHandler(DatalabHandler):
    scope = scopes.GIT

    @property
    def accounts(self) -> GitAccounts:
        """The store of Git accounts.

        Raises
        ------
        ApiError
            404 if the datalab has no secret store to keep them in.
        """
        store = self.datalab.git_accounts
        if store is None:
            raise ApiError(404, "This datalab has no secret store to keep Git accounts in.", code="missing")
        return store


class GitAccountsHandler(_GitHandler):
    """The list of one's Git accounts."""

    async def get(self) -> None:
        """Send ``{"accounts": [{host, username, name, email, token_set}]}``."""
        self.limit("read")
        known = await self.call("vault", self.accounts.list, self.subject())
        self.finish({"accounts": [describe(account) for account in known]})


class GitAccountHandler(_GitHandler):
    """One's account on one host."""

    async def get(self, host: str) -> None:
        """Send the account; with ``?reveal=1`` its token too, which is recorded."""
        self.limit("read")
        host, subject = checked(check_host, host), self.subject()
        account = await self.call("vault", self.accounts.get, subject, host)
        if account is None:
            not_found("There is no Git account of yours on this host.")
        reveal = self.get_query_argument("reveal", "0") == "1"
        if reveal:
            self.datalab.audit.git_account(subject, "reveal", host, request_id=self.request_id)
        self.finish(describe(account, reveal=reveal))

    async def put(self, host: str) -> None:
        """Set the account; a field that is not sent keeps what it was, an empty token removes the token."""
        self.limit("write")
        host, fields, subject = (
            checked(check_host, host),
            parse_git_account(self.json_object()),
            self.subject(),
        )
        try:
            known = await self.call("vault", self.accounts.get, subject, host)
            account = replace(known or GitAccount(host), **fields)
            await self.call("vault", self.accounts.put, subject, account)
        except SourceError as error:
            self._record(subject, "write", host, error)
            raise
        self._record(subject, "write", host)
        self.finish(describe(account))

    async def delete(self, host: str) -> None:
        """Remove the account; one that is not there is removed already."""
        self.limit("write")
        host, subject = checked(check_host, host), self.subject()
        try:
            await self.call("vault", self.accounts.delete, subject, host)
        except SourceError as error:
            self._record(subject, "delete", host, error)
            raise
        self._record(subject, "delete", host)
        self.set_status(204)

    def _record(self, subject: Subject, action: Any, host: str, error: SourceError | None = None) -> None:
        reason = error.code if error else ""
        self.datalab.audit.git_account(subject, action, host, reason=reason, request_id=self.request_id)
        # Also after an error: a call whose time was up may have written.
        self.datalab.broker.forget(subject.handle, "git")
