"""The datalab: one object that the handlers, the authenticator and the spawners of a hub share.

It joins JupyterHub (users, spawners) to what knows nothing of JupyterHub (handles, issuer, broker, secret store).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyterhub.spawner import Spawner

from sardonyx_spawner.bundle import SessionBundle
from sardonyx_spawner.catalogue import Service
from sardonyx_spawner.options import LaunchOptions

from .credentials.broker import Broker
from .credentials.document import credentials_document
from .credentials.errors import SourceError
from .credentials.git import GitAccounts
from .credentials.model import Credentials, Grant, Subject
from .credentials.provision import BucketProvisioner
from .credentials.secret_store import SecretStore
from .identity.handles import HandleRegistry, make_project_handle
from .identity.issuer import Issuer

if TYPE_CHECKING:
    from .api.audit import Audit
    from .api.ratelimit import RateLimit

log = logging.getLogger("sardonyx")

#: Seconds that a sign-in waits for the person's bucket; it is made again, without hurry, before the first credentials.
_WELCOME_SECONDS = 5.0
#: Seconds that the launch form waits for the list of secrets and Git hosts.
_FORM_SECONDS = 3.0


@dataclass
class Datalab:
    """What the parts of the hub share; made by :func:`sardonyx_hub.config.build_datalab`.

    Parameters
    ----------
    provisioner, secrets, git_accounts
        None where the operator configured no S3 or no Vault.
    disk
        A folder on the disk that sessions and the hub's database share; None where they share none.
    """

    handles: HandleRegistry
    issuer: Issuer
    broker: Broker
    audit: Audit
    rate_limit: RateLimit
    provisioner: BucketProvisioner | None = None
    secrets: SecretStore | None = None
    git_accounts: GitAccounts | None = None
    disk: Path | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Datalab:
        """Return the datalab itself: traitlets copies configuration, and there is one datalab a hub."""
        return self

    # People ------------------------------------------------------------------------------------------------------

    def subject_for(self, user: Any) -> Subject:
        """Return `user` (a JupyterHub User) as backends see them."""
        handle = self.handles.handle_for(user.name)
        groups = tuple(sorted(make_project_handle(group.name) for group in user.groups))
        return Subject(handle=handle, name=user.name, groups=groups)

    async def welcome(self, name: str, subject: str | None) -> None:
        """Give a person who signs in a handle and a bucket. A backend that is down is logged, not raised."""
        handle = self.handles.handle_for(name, subject)
        if self.provisioner is None:
            return
        try:
            async with asyncio.timeout(_WELCOME_SECONDS):
                await self.broker.call("s3", self.provisioner.ensure, handle)
        except (SourceError, TimeoutError) as error:
            log.warning("The bucket of %s is not there yet: %s", handle, error or "no answer in time")

    def farewell(self, name: str) -> None:
        """Retire the handle of a deleted person."""
        self.handles.retire(name)

    # Sessions ----------------------------------------------------------------------------------------------------

    def handle_of_spawner(self, spawner: Spawner) -> str:
        """Return the handle of the session's owner (the spawner's `handle_hook`)."""
        return self.handles.handle_for(spawner.user.name)

    def grant_for(self, spawner: Any) -> Grant | None:
        """Return the grant of a session, fixed at its launch, or None if it has none."""
        data = getattr(spawner, "grant", None)
        return Grant.from_dict(data) if data else None

    def environment_options(self, spawner: Any) -> Mapping[str, Any]:
        """Return the launch options of a session, some of which show in its environment."""
        options = spawner.launch_options
        return {} if options is None else options.to_dict()

    async def services_for(self, user: Any) -> list[Service]:
        """Return the services of the catalogue that a person sees."""
        catalogue = await user.spawner.get_catalogue()
        groups = {group.name for group in user.groups}
        services: list[Service] = catalogue.visible_to(groups)
        return services

    async def make_bundle(self, spawner: Any, _service: Service, options: LaunchOptions) -> SessionBundle:
        """Make the credentials of a session that starts (the spawner's `bundle_hook`).

        Raises
        ------
        SourceError
            If a source that the service requires has no credentials.
        """
        grant = self.grant_for(spawner)
        if grant is None:
            return SessionBundle()
        subject = self.subject_for(spawner.user)
        credentials = await self.credentials(subject, grant, on_progress=spawner.report)
        Broker.raise_if_required(grant, credentials)
        document = credentials_document(subject, grant, credentials, options.to_dict())
        warnings = tuple(problem.message for problem in credentials.problems)
        return SessionBundle(environment=document["environment"], document=document, warnings=warnings)

    async def credentials(
        self,
        subject: Subject,
        grant: Grant,
        *,
        refresh: bool = False,
        on_progress: Callable[..., Any] | None = None,
        request_id: str = "",
    ) -> Credentials:
        """Ask the broker and write the outcome of each source to the audit log."""
        credentials = await self.broker.credentials(subject, grant, refresh=refresh, on_progress=on_progress)
        self.audit.credentials(subject, grant, credentials, request_id=request_id)
        return credentials

    async def end_session(self, spawner: Any) -> None:
        """End what belongs to a session that stops (the spawner's `end_hook`)."""
        grant = self.grant_for(spawner)
        if grant is not None:
            await self.broker.end_session(grant.session)

    async def form_context(self, spawner: Any) -> Mapping[str, Any]:
        """Return what the launch form offers of the person's own: secrets and Git hosts; None for what is down."""
        subject = self.subject_for(spawner.user)
        secrets, hosts = await asyncio.gather(
            self._listed(self.secrets.tree, subject) if self.secrets else _nothing(),
            self._listed(self.git_accounts.hosts, subject) if self.git_accounts else _nothing(),
        )
        return {"secrets": secrets, "git_hosts": hosts}

    async def _listed(self, function: Callable[[Subject], list[str]], subject: Subject) -> list[str] | None:
        try:
            async with asyncio.timeout(_FORM_SECONDS):
                return await self.broker.call("vault", function, subject)
        except (SourceError, TimeoutError):
            return None


async def _nothing() -> list[str]:
    return []
