"""What every spawner of a datalab does, wherever its sessions run: form, launch options, grant, bundle,
progress.

Nothing in here knows how a session is run. JupyterHub calls, in this order: ``clear_state``,
``_run_apply_user_options``, ``run_pre_spawn_hook``, ``start``. Hooks and options of the operator
(``pre_spawn_hook``, ``apply_user_options``, ``options_form``, ...) stay the operator's: methods are
overridden, their traits are not used.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from jupyterhub.utils import maybe_future
from traitlets import Any as AnyTrait
from traitlets import Callable, Unicode
from traitlets.config import LoggingConfigurable

from . import launch_form
from .bundle import SessionBundle
from .catalogue import Catalogue, Service
from .errors import LaunchOptionsError
from .known_secrets import validate_with_secrets
from .launch_catalogue import catalogue_from
from .launch_errors import LaunchError, LinkNotLaunchedError, options_error
from .launch_form import FormAttempt
from .launch_progress import LaunchProgress, State
from .messages import Messages, pick_language
from .options import LaunchOptions, options_from_form, parse_options
from .quantities import parse_cpu, parse_memory
from .session_state import SessionState
from .session_values import SessionValuesMixin

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner as _Base
else:
    # Not Spawner itself: its subclasses have to be able to start something.
    _Base = LoggingConfigurable

_STATES = ("running", "ok", "warning", "failed")
#: Seconds that the end of a session waits for what belongs to it to be ended.
_END_SECONDS = 15.0


class DatalabSpawnerMixin(SessionState, SessionValuesMixin, _Base):  # type: ignore[misc]
    """Mixed in before a JupyterHub spawner class.

    Attributes
    ----------
    service
        The service of the launch, once its options were resolved.
    launch_options
        Its complete options.
    grant
        What the session may have, as JSON data; kept in the spawner's state for as long as the session runs.
    handle
        What backends and folders call the session's owner.
    bundle
        The initial environment of the session; only between ``run_pre_spawn_hook`` and the end of ``start``.
    """

    catalogue_file = Unicode(
        "",
        config=True,
        help="""
        YAML file with the services on offer; empty is the catalogue that comes with Sardonyx.

        A changed file is used for the next form without a restart. If it has an error, the hub's log says
        where, and the catalogue before it stays.

        Example::

            c.DatalabSpawnerMixin.catalogue_file = "/srv/sardonyx/catalogue.yaml"

        .. versionadded:: 0.1
        """,
    )

    catalogue = AnyTrait(
        None,
        allow_none=True,
        config=True,
        help="""
        The services on offer as an object instead of a file. Wins over `catalogue_file`.

        A :class:`~sardonyx_spawner.catalogue.Catalogue`, text in YAML, or a `profile_list` as KubeSpawner takes it:
        list, dict, or a callable that takes the spawner and returns one of these (may be async; asked once for each
        form that is shown and once for each check of options).

        Example::

            c.DatalabSpawnerMixin.catalogue = [{"display_name": "Small", "kubespawner_override": {"mem_limit": "1G"}}]

        .. versionadded:: 0.1
        """,
    )

    bundle_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""
        Makes the bundle of a session that starts: async callable `(spawner, service, options) ->
        SessionBundle`.

        It runs before the operator's `pre_spawn_hook`, may call `spawner.report(step, state, message)`, and
        has to keep to time limits of its own. An exception with an attribute `message` ends the launch with
        that sentence.

        Example::

            c.DatalabSpawnerMixin.bundle_hook = datalab.make_bundle

        .. versionadded:: 0.1
        """,
    )

    end_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""
        Ends what belongs to a session that has stopped: async callable `(spawner) -> None`.

        `spawner.grant` is still there. It runs before the operator's `post_stop_hook`.

        Example::

            c.DatalabSpawnerMixin.end_hook = datalab.end_session

        .. versionadded:: 0.1
        """,
    )

    handle_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""
        Returns the handle of the session's owner: callable `(spawner) -> str`, may be async.

        Default: the user name, escaped as in URLs.

        Example::

            c.DatalabSpawnerMixin.handle_hook = datalab.handle_of_spawner

        .. versionadded:: 0.1
        """,
    )

    form_context_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""
        Returns what the launch form offers of the person's own: async callable `(spawner) -> dict` with
        `secrets` and `git_hosts`, lists or `None` where they are not known (`secrets_complete`: whether no secret is
        left out). After 4 seconds the form is shown without.

        Example::

            c.DatalabSpawnerMixin.form_context_hook = datalab.form_context

        .. versionadded:: 0.1
        """,
    )

    #: Whether options that only a cluster honours are refused.
    sessions_are_local = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Before the parent's: it may call clear_state or load_state.
        self._reset()
        self.handle = ""
        self._accepted = ""
        self._set_by_options: dict[str, tuple[Any, Any]] = {}
        self._resolving = asyncio.Lock()
        super().__init__(*args, **kwargs)

    def _reset(self) -> None:
        self.service: Service | None = None
        self.launch_options: LaunchOptions | None = None
        self.grant: dict[str, Any] | None = None
        self.bundle: SessionBundle | None = None
        self._resolved_for: str | None = None
        self.launch_progress = LaunchProgress(self.state_changed)

    # State ------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Add service, options, grant and handle; all of them are free of secrets of the datalab's."""
        state: dict[str, Any] = super().get_state()
        if self.handle:
            state["handle"] = self.handle
        if self._accepted:
            state["accepted"] = self._accepted
        if self.service is not None and self.launch_options is not None:
            state |= {
                "service": self.service.id,
                "options": self.launch_options.to_dict(),
                "grant": self.grant,
            }
        elif self.grant is not None:
            state["grant"] = self.grant
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the grant, the handle and the options of a session that still runs from the hub's database."""
        super().load_state(state)
        self.handle = state.get("handle", "")
        self._accepted = state.get("accepted", "")
        self.grant = state.get("grant")
        if self.grant is not None:
            self.launch_options = (
                LaunchOptions.model_validate(state["options"]) if "options" in state else None
            )

    def clear_state(self) -> None:
        """Forget the launch. The handle stays, and which options were good: a restart with the same is
        lenient."""
        super().clear_state()
        self.launch_progress.close()
        self._reset()

    # Language ---------------------------------------------------------------------------------------------

    @property
    def messages(self) -> Messages:
        """The sentences in the language of the person whose request is being answered, else of their last
        one."""
        handler = getattr(self, "handler", None)
        if handler is not None:
            header = handler.request.headers.get("Accept-Language")
            launch_form.remember_language(
                self.user, pick_language(header, handler.get_cookie("datalab-lang"))
            )
        return Messages(launch_form.language_of(self.user))

    # Form -------------------------------------------------------------------------------------------------

    async def get_options_form(self) -> str:
        """Return the launch form, or the operator's own where `options_form` is set."""
        if self.options_form:
            form: str = await super().get_options_form()
            return form
        return await launch_form.build_form(self)

    async def people_are_isolated(self) -> bool:
        """Return whether sessions of different people cannot reach each other; if not, the form says so."""
        return True

    def run_options_from_form(self, form_data: Mapping[str, Any]) -> Any:
        """Read and check a posted form; nothing is stored if something is wrong.

        Raises
        ------
        LaunchError
            Naming the fields; the form that follows shows the problems beside them.
        """
        if self.options_form:
            return super().run_options_from_form(form_data)
        # Here and not in the coroutine below, which runs in a context of its own.
        return self._options_from_form_now(launch_form.begin_attempt(self, form_data))

    async def _options_from_form_now(self, attempt: FormAttempt) -> dict[str, Any]:
        try:
            attempt.secrets = await self.check_options(options_from_form(attempt.form), attempt.kept)
        except LaunchOptionsError as error:
            attempt.problems = tuple(error.problems)
            raise options_error(error, self.messages) from None
        attempt.options = attempt.secrets.user_options
        return attempt.options

    def options_from_query(self, query_data: Mapping[str, Any]) -> Any:
        """Never launch by a link: JupyterHub then shows the form, which is filled from the query.

        Raises
        ------
        LinkNotLaunchedError
            Always, unless the operator has a form of their own.
        """
        if self.options_form:
            return super().options_from_query(query_data)
        raise LinkNotLaunchedError

    # Launch -----------------------------------------------------------------------------------------------

    async def get_catalogue(self) -> Catalogue:
        """Return the catalogue as it is now.

        Raises
        ------
        LaunchError
            If it cannot be used and never could.
        """
        try:
            return await catalogue_from(self.catalogue, self.catalogue_file, self)
        except (ValueError, TypeError, OSError) as error:
            self.log.error("There is no catalogue: %s", error)
            raise LaunchError(
                self.messages.translate("launch.catalogue"), reason="catalogue", status_code=500
            ) from None

    def groups_of_owner(self) -> frozenset[str]:
        """Return the names of the groups of the session's owner."""
        return frozenset(group.name for group in self.user.groups)

    async def _find_service(self, user_options: Mapping[str, Any]) -> tuple[Service, dict[str, Any]]:
        """Return the service that options are for, and the rest of the options."""
        service_id, raw = parse_options(user_options)
        catalogue = await self.get_catalogue()
        groups = self.groups_of_owner()
        service = catalogue.default_for(groups) if service_id is None else catalogue.get(service_id)
        if service is not None and service.visible_to(groups):
            return service, raw
        allowed = [known.id for known in catalogue.visible_to(groups)]
        key = "launch.no_service" if allowed else "launch.no_services"
        params = {"service": str(service_id)[:80], "allowed": ", ".join(allowed)}
        raise LaunchError(self.messages.translate(key, **params), reason="service")

    async def _run_apply_user_options(self, user_options: Mapping[str, Any]) -> None:
        try:
            await self.load_user_options()
        except LaunchError:
            self._forget_refused()
            raise
        if self.apply_user_options:
            await super()._run_apply_user_options(user_options)

    def _forget_refused(self) -> None:
        """Take options that were never good out of the database, where JupyterHub put them before they were
        checked: a later launch with none would get them. JupyterHub commits when it cleans up."""
        if self.orm_spawner is not None and _digest(self.user_options) != self._accepted:
            self.user_options: dict[str, Any] = {}
            self.orm_spawner.user_options = {}

    async def load_user_options(self) -> None:
        """Resolve ``user_options``: service, complete options, grant. Once a launch, whoever calls first.

        Options that the person has just sent have to be right. Those of a session that ran with them before,
        and whose service may have changed since, are made to fit, with a warning for each change.

        Raises
        ------
        LaunchError
            Naming the field that is wrong and what is allowed.
        """
        async with self._resolving:
            digest = _digest(self.user_options)
            if self._resolved_for == digest:
                return
            self.handle = await self._find_handle()
            service, raw = await self._find_service_or_explain()
            lenient = digest == self._accepted and not launch_form.is_fresh(self)
            try:
                valid = await validate_with_secrets(self, service, raw, lenient=lenient)
                self.refuse_secret_values(valid.options)
            except LaunchOptionsError as error:
                raise options_error(error, self.messages) from None
            await self._keep_attempt()
            # Nothing may be awaited between these two: the quota counts what was taken.
            await self.stay_in_quota(service, valid.options)
            self._take(service, valid.options)
            self._accepted = self._resolved_for = digest
        messages = self.messages
        self._say("options", "ok", service=service.name.in_language(messages.language))
        for problem in valid.warnings:
            sentence = messages.translate(problem.key, **problem.params)
            self._say("options", "warning", field=problem.path, problem=sentence)

    async def _find_service_or_explain(self) -> tuple[Service, dict[str, Any]]:
        try:
            return await self._find_service(self.user_options)
        except LaunchOptionsError as error:
            raise options_error(error, self.messages) from None

    async def _find_handle(self) -> str:
        found = (
            await maybe_future(self.handle_hook(self))
            if self.handle_hook is not None
            else self.user.escaped_name
        )
        return str(found)

    def _take(self, service: Service, options: LaunchOptions) -> None:
        self.service, self.launch_options = service, options
        # A session may be called "default", which is not the one without a name.
        name = {"": "default", "default": "default-"}.get(self.name, self.name)
        session = f"{self.handle}/{name}/{secrets.token_hex(8)}"
        self.grant = {**service.to_grant_data(options), "session": session}
        amounts = options.resources
        self._set_traits(
            mem_limit=parse_memory(amounts.limits.memory) if amounts.limits.memory else None,
            mem_guarantee=parse_memory(amounts.requests.memory) if amounts.requests.memory else None,
            cpu_limit=float(parse_cpu(amounts.limits.cpu)) if amounts.limits.cpu else None,
            cpu_guarantee=float(parse_cpu(amounts.requests.cpu)) if amounts.requests.cpu else None,
        )

    def _set_traits(self, **values: Any) -> None:
        """Set traits for this launch; ``None`` leaves the operator's, also if an earlier launch had set
        it."""
        for name, (before, ours) in self._set_by_options.items():
            if getattr(self, name) == ours:
                setattr(self, name, before)
        self._set_by_options = {}
        for name, value in values.items():
            if value is not None:
                before = getattr(self, name)
                setattr(self, name, value)
                self._set_by_options[name] = (before, getattr(self, name))

    async def run_pre_spawn_hook(self) -> None:
        """Make the bundle, then run the operator's hook.

        Raises
        ------
        LaunchError
            If the session cannot do without a credential that is missing.
        """
        await self.load_user_options()
        if self.bundle_hook is not None:
            self._say("credentials", "running")
            self.bundle = await self._make_bundle()
            for warning in self.bundle.warnings:
                self._say("credentials", "warning", reason=warning)
            if not self.bundle.warnings:
                self._say("credentials", "ok")
        await maybe_future(super().run_pre_spawn_hook())

    async def _make_bundle(self) -> SessionBundle:
        try:
            bundle: SessionBundle = await self.bundle_hook(self, self.service, self.launch_options)
        except LaunchError:
            raise
        except Exception as error:
            sentence = getattr(error, "message", None)
            if isinstance(sentence, str) and sentence:
                text = self.messages.translate("launch.credentials", reason=sentence)
            else:
                # Its text may hold anything: only the kind is told.
                self.log.error("The bundle of %s could not be made: %s", self._log_name, type(error).__name__)
                text = self.messages.translate("launch.credentials_error")
            raise LaunchError(text, reason="credentials", status_code=503) from None
        return bundle

    async def run_post_stop_hook(self) -> None:
        """End what belongs to the session, then run the operator's hook."""
        self.bundle = None
        if self.end_hook is not None and self.grant is not None:
            try:
                async with asyncio.timeout(_END_SECONDS):
                    await maybe_future(self.end_hook(self))
            except Exception as error:
                self.log.warning("Not all of %s could be ended: %s", self._log_name, type(error).__name__)
        await maybe_future(super().run_post_stop_hook())

    # Progress ---------------------------------------------------------------------------------------------

    def report(self, step: str, state: str, message: str = "") -> None:
        """Tell whoever waits for the session about a step.

        Parameters
        ----------
        step
            ``s3``, ``vault``, ``git``, ``clone``, ``init``, ...
        state
            ``running``, ``ok``, ``warning`` or ``failed``.
        message
            A sentence for the person; plain text. Steps that have sentences of their own quote it in warnings
            only.
        """
        if state not in _STATES:
            raise ValueError(f"state is one of {', '.join(_STATES)}")
        shown: State = "warning" if state == "failed" else state  # type: ignore[assignment]
        messages = self.messages
        key = f"progress.{step}.{shown}"
        text = messages.translate(key, reason=message) if key in messages else message
        self.launch_progress.add(step, shown, text)

    def _say(self, step: str, state: State, **params: object) -> None:
        self.launch_progress.add(step, state, self.messages.translate(f"progress.{step}.{state}", **params))

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of this launch as JupyterHub's pending page wants them: plain text, escaped by the
        page."""
        async for event in self.launch_progress.follow():
            yield event


def _digest(user_options: Mapping[str, Any] | None) -> str:
    """Return what tells options from others; they are not in it."""
    text = json.dumps(user_options or {}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
