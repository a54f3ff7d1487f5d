"""``/hub/api/datalab/v1/vault-tokens``: a Vault token of one's own, for the command line on one's own computer."""

from __future__ import annotations

import re
import secrets

from ..credentials.environment import timestamp
from ..credentials.errors import SourceError
from ..credentials.model import Grant, Subject
from . import scopes
from .base import ApiError, DatalabHandler

_IDENTIFIER = re.compile(r"[0-9a-f]{16}")


def token_grant(subject: Subject, identifier: str) -> Grant:
    """Return the grant of one such token: nothing else, and an identifier of its own to end it by."""
    session = f"personal/{subject.handle}/{identifier}"
    return Grant(session=session, s3="none", git_hosts=(), vault_token=True)


class _VaultTokenHandler(DatalabHandler):
    # It reads and writes one's secrets, and does nothing else.
    scope = scopes.SECRETS

    def check_allowed(self) -> None:
        """Refuse where the operator gives no tokens to people.

        Raises
        ------
        ApiError
            404 without a secret store, 403 if it is not allowed.
        """
        if self.datalab.secrets is None:
            raise ApiError(404, "This datalab has no secret store.", code="missing")
        if not self.datalab.vault_tokens:
            raise ApiError(403, "This datalab gives no Vault tokens to people.", code="forbidden")


class VaultTokensHandler(_VaultTokenHandler):
    """Makes tokens. They are shown once and kept nowhere."""

    async def post(self) -> None:
        """Send ``{"id", "token", "expiration"}`` with status 201; each is in the audit log."""
        self.limit("refresh")
        self.check_allowed()
        subject = self.subject()
        identifier = secrets.token_hex(8)
        grant = token_grant(subject, identifier)
        credentials = await self.datalab.credentials(subject, grant, request_id=self.request_id)
        vault = credentials.vault
        if vault is None:
            problem = next((one for one in credentials.problems if one.source == "vault"), None)
            raise SourceError("vault", "unreachable", problem.message if problem else "Vault gave no token.")
        self.set_status(201)
        expiration = timestamp(vault.expiration)
        self.finish({"id": identifier, "token": vault.token, "expiration": expiration})


class VaultTokenHandler(_VaultTokenHandler):
    """One of one's tokens, by the `id` that came with it."""

    async def delete(self, identifier: str) -> None:
        """End the token; one that has ended already is fine."""
        self.limit("write")
        self.check_allowed()
        if _IDENTIFIER.fullmatch(identifier) is None:
            raise ApiError(404, "There is no such token.", code="missing")
        await self.datalab.broker.end_session(token_grant(self.subject(), identifier).session)
        self.set_status(204)
