"""``GET /hub/api/datalab/v1/credentials``: the credentials of a session, or a person's own for our pages."""

from __future__ import annotations

from typing import Any

from ..credentials.document import credentials_document
from ..credentials.model import Grant, Subject
from . import scopes
from .base import ApiError, DatalabHandler, not_found


def personal_grant(subject: Subject) -> Grant:
    """Return the grant of a person's own pages: their S3 storage, and nothing that belongs to a session.

    No Vault token and no secret: pages read secrets through the API, where each access is recorded. No Git
    account: pages have their own route, which shows a token only when asked to.
    """
    # "personal" is a reserved name, so no session's identifier begins with it.
    return Grant(session=f"personal/{subject.handle}", s3="read-write", git_hosts=(), vault_token=False)


class CredentialsHandler(DatalabHandler):
    """Credentials within the grant that was fixed when the session was launched.

    A session's token (``custom:datalab:credentials!server=alice/run1``) gets that session's. A person
    (cookie, or a token with ``custom:datalab:credentials!user=alice``) gets their own, or with
    ``?session=run1`` that session's (an empty name is the default server). ``?refresh=1`` makes new ones,
    whatever is left of the known ones' life.

    Answers: 401 anonymous; 403 without the scope or for someone else; 404 for a session that does not run or
    has no grant; 429 with ``Retry-After``. A source that has nothing to give is named in ``problems`` of a
    200.
    """

    for_sessions = True

    async def get(self) -> None:
        """Send the credentials document."""
        session = self.get_query_argument("session", None)
        try:
            target = self._target(session)
            refresh = self.get_query_argument("refresh", "0") not in {"", "0", "false"}
            self.limit("refresh" if refresh else "read")
            subject = self.subject()
            spawner = None if target.session is None else self._spawner(target.session)
            grant = personal_grant(subject) if spawner is None else self.datalab.grant_for(spawner)
            if grant is None:
                not_found("This session has no credentials.")
            if spawner is not None and not grant.session.startswith(f"{subject.handle}/"):
                # The name has passed to another person; whoever started the session holds its token still.
                not_found("This session belongs to somebody who had this name before.")
        except ApiError as error:
            reason = "unknown-session" if error.status_code == 404 else error.extra.get("code", "forbidden")
            self.datalab.audit.refused(self.person, reason, session=session or "", request_id=self.request_id)
            raise
        credentials = await self.datalab.credentials(
            subject, grant, refresh=refresh, request_id=self.request_id
        )
        options = {} if spawner is None else self.datalab.environment_options(spawner)
        self.finish(credentials_document(subject, grant, credentials, options))

    def _target(self, session: str | None) -> scopes.Target:
        if self.get_query_argument("user", self.person) != self.person:
            raise ApiError(403, "These are the credentials of someone else.", code="forbidden")
        try:
            return scopes.credentials_target(self.expanded_scopes, self.person, session)
        except scopes.ForbiddenError as error:
            raise ApiError(403, str(error), code="forbidden") from None
        except scopes.AmbiguousError as error:
            raise ApiError(400, str(error), code="invalid") from None

    def _spawner(self, name: str) -> Any:
        """Return the spawner of a session that runs or starts."""
        # Not user.spawners[name] at once: that makes a spawner for any name.
        if name not in self.current_user.orm_user.orm_spawners:
            not_found("There is no such session.")
        spawner = self.current_user.spawners[name]
        if not spawner.active:
            not_found("This session does not run.")
        return spawner
