"""The datalab: one object that the handlers, the authenticator and the spawners of a hub share.

It joins JupyterHub (users, spawners) to what knows nothing of JupyterHub (handles, issuer, broker, secret store).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from jupyterhub.spawner import Spawner

from sardonyx_spawner.bundle import SessionBundle
from sardonyx_spawner.catalogue import Service
from sardonyx_spawner.options import LaunchOptions

from .admin.announcing import has_ended
from .admin.health import Backends, Health
from .admin.notices import Notices
from .api.audit import new_request_id
from .credentials.broker import Broker
from .credentials.document import credentials_document
from .credentials.errors import SourceError
from .credentials.git import GitAccounts
from .credentials.model import Credentials, Grant, Subject
from .credentials.provision import BucketProvisioner
from .credentials.s3 import S3Config
from .credentials.secret_store import SecretStore
from .credentials.session_values import keep_values, move_values, values_path
from .documents import DocumentError, DocumentStore
from .home import Announcement, Home
from .identity.handles import HandleRegistry, make_project_handle
from .identity.issuer import Issuer
from .identity.successor import remove_predecessor
from .idle import IdleKeeper
from .live import Live
from .quotas import Limits, Quotas
from .saved import SavedConfigurations
from .sessions import Sessions

if TYPE_CHECKING:
    from .api.audit import Audit
    from .api.ratelimit import RateLimit

T = TypeVar("T")
log = logging.getLogger("sardonyx")

#: Seconds that a sign-in waits for the person's bucket; it is made again, without hurry, before the first credentials.
_WELCOME_SECONDS = 5.0
#: Seconds after which a hub that starts has found again the sessions that still run.
_RESTORED_SECONDS = 60.0
#: Seconds that a hub which stops spends on what was about to end; the next one ends the rest.
_CLOSE_SECONDS = 2.0
#: What the identifiers of people's own credentials begin with; reserved, so no session's does.
PERSONAL = "personal"
#: Seconds that the launch form waits for the list of secrets and Git hosts.
_FORM_SECONDS = 3.0


@dataclass
class Datalab:
    """What the parts of the hub share; made by :func:`sardonyx_hub.build.build_datalab`.

    Parameters
    ----------
    provisioner, secrets, git_accounts, saved
        None where the operator configured no S3 or no Vault.
    s3_config
        Where S3 is, for the snippets of the account page; None where there is no S3.
    public_ca_file
        Authorities (PEM) that people's own computers have to trust to reach S3 and Vault; None if they do anyway.
    vault_tokens
        Whether people may have a Vault token of their own.
    disk
        A folder on the disk that sessions and the hub's database share; None where they share none.
    """

    handles: HandleRegistry
    issuer: Issuer
    broker: Broker
    audit: Audit
    rate_limit: RateLimit
    documents: DocumentStore
    provisioner: BucketProvisioner | None = None
    secrets: SecretStore | None = None
    git_accounts: GitAccounts | None = None
    saved: SavedConfigurations | None = None
    home: Home = field(default_factory=Home)
    title: str = "Sardonyx"
    disk: Path | None = None
    s3_config: S3Config | None = None
    public_ca_file: Path | None = None
    vault_tokens: bool = True
    live: Live = field(default_factory=Live)
    #: Made with the datalab: the sessions of the hub, and what stops them when nobody uses them.
    sessions: Sessions = field(init=False, repr=False)
    idle: IdleKeeper = field(init=False, repr=False)
    default_quota: Limits = field(default_factory=dict)
    quotas: Quotas = field(init=False)
    backends: Backends = field(default_factory=Backends)
    notices: Notices = field(init=False)
    health: Health = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False, repr=False)

    _app: Any = field(default=None, init=False, repr=False)
    _welcoming: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)
    _keeper: asyncio.Task[None] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.quotas = Quotas(self.documents, self.default_quota)
        self.notices = Notices(self.documents, self.live)
        self.health = Health(self)
        self.sessions = Sessions(self)
        self.idle = IdleKeeper(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Datalab:
        """Return the datalab itself: traitlets copies configuration, and there is one datalab a hub."""
        return self

    # The hub -----------------------------------------------------------------------------------------------------

    def attach(self, app: Any) -> None:
        """Serve `app`, the JupyterHub that starts, until it stops. Call on its event loop."""
        self._app = app
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(app))
            self.idle.start()
            self.live.allowed = lambda name: name not in app.authenticator.blocked_users

    async def _keep(self, app: Any) -> None:
        """End what nobody ends since a restart; close when the hub stops, which cancels all tasks and waits for them."""
        try:
            await asyncio.sleep(_RESTORED_SECONDS)
            # What is somebody's own (a Vault token for their computer) belongs to no session.
            kept = self._running_sessions(app)
            await self.broker.end_where(lambda name: name not in kept and not name.startswith(f"{PERSONAL}/"))
            await asyncio.Event().wait()
        finally:
            self.live.close()
            await self.broker.close(_CLOSE_SECONDS)

    def _running_sessions(self, app: Any) -> set[str]:
        spawners = [spawner for user in app.users.values() for spawner in user.spawners.values()]
        grants = [self.grant_for(spawner) for spawner in spawners]
        return {grant.session for grant in grants if grant is not None}

    async def _end_all_of(self, handle: str) -> None:
        """End the credentials of a person who is no more, also what is theirs beside sessions."""
        await self.broker.end_where(lambda name: name.startswith((f"{handle}/", f"{PERSONAL}/{handle}/")))

    # People ------------------------------------------------------------------------------------------------------

    def subject_for(self, user: Any) -> Subject:
        """Return `user` (a JupyterHub User) as backends see them."""
        handle = self.handles.handle_for(user.name)
        groups = tuple(sorted(make_project_handle(group.name) for group in user.groups))
        return Subject(handle=handle, name=user.name, groups=groups)

    async def welcome(self, name: str, subject: str | None) -> None:
        """Give a person who signs in a handle and a bucket. A backend that is down is logged, not raised.

        If the name was another person's (another `subject`), what the hub keeps of that one goes first.
        """
        async with self._welcoming:
            if self._app is not None and self.handles.is_successor(name, subject):
                earlier = self.handles.lookup(name)
                self.live.sign_out(name)
                await remove_predecessor(self._app, name)
                await self._forget(name, earlier)
            handle = self.handles.handle_for(name, subject)
        if self.provisioner is None:
            return
        try:
            async with asyncio.timeout(_WELCOME_SECONDS):
                await self.broker.call("s3", self.provisioner.ensure, handle)
        except (SourceError, TimeoutError) as error:
            log.warning("The bucket of %s is not there yet: %s", handle, error or "no answer in time")

    def farewell(self, name: str) -> None:
        """Retire the handle of a deleted person and forget what was kept about them."""
        self.live.sign_out(name)
        earlier = self.handles.lookup(name)
        self.handles.retire(name)
        try:
            task = asyncio.get_running_loop().create_task(self._forget(name, earlier))
        except RuntimeError:  # no event loop: nobody uses the hub then
            return
        # The loop itself holds tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forget(self, name: str, handle: str | None) -> None:
        """Forget what was kept about a person who is no more, and end what they still hold."""
        self.sessions.launches.forget_person(name)
        if handle is not None:
            await self._end_all_of(handle)
        try:
            await self.documents.forget_person(name)
        except DocumentError as error:
            log.error("What was kept about the deleted %s could not be deleted: %s", name, error)

    def announcement(self) -> Announcement | None:
        """Return the sentence on every page: the one that an administrator wrote, else the configured one."""
        written = self.documents.get("announcement", "current")
        if written is None:
            return self.home.announcement
        if written.get("hidden") or has_ended(written):
            return None
        return Announcement.read(written)

    def terms_due(self, user: Any) -> bool:
        """Return whether a person (a JupyterHub User) still has to accept the terms of use."""
        terms = self.home.terms
        if terms is None:
            return False
        return not terms.accepted_by(self.documents.get("terms", self.handles.handle_for(user.name)))

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
        self.broker.raise_if_required(grant, credentials)
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
        self.sessions.note_exit(spawner)
        grant = self.grant_for(spawner)
        if grant is not None:
            await self.broker.end_session(grant.session)

    async def keep_session_values(
        self, spawner: Any, server_name: str, values: Mapping[str, str | None]
    ) -> None:
        """Keep what a person marked secret in the options of a session (the spawner's `secret_values_hook`).

        Raises
        ------
        SourceError
            If there is no secret store, or it does not answer.
        """
        if self.secrets is None:
            if values:
                raise SourceError("vault", "missing", "This datalab has no secret store.")
            return
        if not values and self.handles.lookup(spawner.user.name) is None:
            # A deleted person's: what asks for the handle would give the dead name a new one.
            return
        action: Literal["write", "delete"] = "write" if values else "delete"
        await self._with_values(spawner, action, server_name, keep_values, server_name, values)

    async def rename_session_values(self, spawner: Any, old_name: str, new_name: str) -> None:
        """Keep the values of a session that gets another name (the spawner's `secret_rename_hook`)."""
        await self._with_values(spawner, "write", new_name, move_values, old_name, new_name)

    async def _with_values(
        self,
        spawner: Any,
        action: Literal["write", "delete"],
        server_name: str,
        function: Callable[..., None],
        *args: Any,
    ) -> None:
        """Do `function` with the secret store, as the session's owner, and record what came of it."""
        subject = self.subject_for(spawner.user)
        reason = "error"
        try:
            await self.broker.call("vault", function, self.secrets, subject, *args)
            reason = ""
        except SourceError as error:
            reason = error.code
            if action == "write" or error.code != "missing":
                raise
        finally:
            path, request = values_path(server_name), new_request_id()
            self.audit.secret(subject, action, path, reason=reason, request_id=request)
            self.broker.forget(subject.handle, "vault")

    async def form_context(self, spawner: Any) -> Mapping[str, Any]:
        """Return what the launch form offers of the person's own: secrets and Git hosts; None for what is down."""
        subject = self.subject_for(spawner.user)
        listing, hosts = await asyncio.gather(
            self._listed(self.secrets.listing, subject) if self.secrets else _constant(([], True)),
            self._listed(self.git_accounts.hosts, subject) if self.git_accounts else _constant([]),
        )
        secrets, complete = listing or (None, False)
        quota = self.quotas.left_for(spawner.user)
        return {"secrets": secrets, "secrets_complete": complete, "git_hosts": hosts, "quota": quota}

    async def _listed(self, function: Callable[[Subject], T], subject: Subject) -> T | None:
        try:
            async with asyncio.timeout(_FORM_SECONDS):
                return await self.broker.call("vault", function, subject)
        except (SourceError, TimeoutError):
            return None


async def _constant(value: T) -> T:
    return value
