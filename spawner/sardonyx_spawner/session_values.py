"""The part of a datalab's spawners that hands the secret variables of a session to whoever keeps them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from jupyterhub.utils import maybe_future
from traitlets import Callable
from traitlets.config import LoggingConfigurable

from . import launch_form
from .errors import LaunchOptionsError, OptionProblem
from .known_secrets import validate_with_secrets
from .launch_errors import options_error
from .launch_quota import QuotaMixin
from .option_secrets import SplitOptions, secret_names, split_secret_values
from .options import LaunchOptions, parse_options
from .service import Service

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner as _Base
else:
    _Base = LoggingConfigurable


class SessionValuesMixin(QuotaMixin, _Base):  # type: ignore[misc]
    """Keeps values that people mark secret out of what JupyterHub stores."""

    secret_values_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""
        Keeps the secret environment variables of a session: async callable `(spawner, name, values) -> None`.

        `name` is the session's (it may be about to be created), `values` has all its secret variables: the new
        value, or None where the one that is kept stays. No variable at all: everything kept of the session is
        deleted. An exception with an attribute `message` is shown beside the field. Without a hook no variable
        can be marked secret.

        Example::

            c.DatalabSpawnerMixin.secret_values_hook = datalab.keep_session_values

        .. versionadded:: 0.1
        """,
    )
    secret_rename_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""
        Moves the secret environment variables of a session that gets another name: async callable `(spawner,
        old_name, new_name) -> None`.

        .. versionadded:: 0.1
        """,
    )

    sessions_are_local: bool

    if TYPE_CHECKING:  # the mixin that this is a part of has it

        async def _find_service(self, user_options: Mapping[str, Any]) -> tuple[Service, dict[str, Any]]: ...

    def kept_secrets(self, server_name: str | None = None) -> frozenset[str]:
        """Return the names of the secret variables that were kept for a session, by default this one."""
        own = server_name is None or server_name == self.name
        row = self.orm_spawner if own else self.user.orm_spawners.get(server_name)
        return secret_names(row.user_options if row is not None else None)

    async def check_options(self, user_options: Mapping[str, Any], kept: Collection[str]) -> SplitOptions:
        """Check options that a person has just sent, and return them apart from what is secret in them.

        Raises
        ------
        LaunchOptionsError
            With a problem for each field that is wrong.
        LaunchError
            If there is no such service for the person.
        """
        service, _ = await self._find_service(user_options)
        problems: list[OptionProblem] = []
        split = SplitOptions(dict(user_options))
        try:
            split = split_secret_values(user_options, kept)
        except LaunchOptionsError as error:
            problems += error.problems
        try:
            raw = parse_options(split.user_options)[1]
            valid = await validate_with_secrets(self, service, raw)
            problems += await self.quota_problems(service, valid.options)
        except LaunchOptionsError as error:
            known = {problem.path for problem in problems}
            problems += [problem for problem in error.problems if problem.path not in known]
        if problems:
            raise LaunchOptionsError(problems)
        return split

    @staticmethod
    def refuse_secret_values(options: LaunchOptions) -> None:
        """Refuse options in which a secret value still is: they would be kept as they are.

        Raises
        ------
        LaunchOptionsError
            Naming the variables.
        """
        wrong = [
            OptionProblem(f"extraEnvVars[{index}].value", "option.secret_in_options")
            for index, one in enumerate(options.extra_env_vars)
            if one.secret and one.value
        ]
        if wrong:
            raise LaunchOptionsError(wrong)

    async def keep_secret_values(self, split: SplitOptions, server_name: str) -> None:
        """Hand over what was marked secret in the options of a session.

        Raises
        ------
        LaunchOptionsError
            Naming the fields, if the values cannot be kept.
        """
        hook = self.secret_values_hook
        if hook is None:
            if split.values:
                raise LaunchOptionsError(
                    [OptionProblem(path, "option.secret_no_store") for path in split.places.values()]
                )
            return
        try:
            await maybe_future(hook(self, server_name, split.values))
        except Exception as error:
            # Its text may quote what it was to keep: only sentences made for people are told.
            sentence = getattr(error, "message", None)
            if not sentence:
                self.log.error("Secret variables could not be kept: %s", type(error).__name__)
            if not split.values:
                return
            key = "option.secret_not_kept" if sentence else "option.secret_not_kept_now"
            params = {"reason": sentence} if sentence else {}
            places = [path for name, path in split.places.items() if split.values[name] is not None]
            paths = places or list(split.places.values())
            raise LaunchOptionsError([OptionProblem(path, key, params) for path in paths]) from None

    async def _keep_attempt(self) -> None:
        """Hand over the secret values of the request that began this launch, once."""
        attempt = launch_form.attempt_for(self)
        split, before = (attempt.secrets, attempt.kept) if attempt else (None, frozenset())
        if attempt is None or split is None:
            return
        attempt.secrets = None
        if not split.values and not before:
            return
        try:
            await self.keep_secret_values(split, self.name)
        except LaunchOptionsError as error:
            # The page shows them beside their fields.
            raise options_error(error, self.messages) from error

    async def rename(self, old_name: str, new_name: str) -> None:
        """Keep the secret variables of a session that gets another name."""
        await maybe_future(super().rename(old_name, new_name))
        if self.secret_rename_hook is not None and self.kept_secrets(old_name):
            await maybe_future(self.secret_rename_hook(self, old_name, new_name))

    async def delete_forever(self) -> None:
        """Delete the secret variables of a session that is deleted."""
        await maybe_future(super().delete_forever())
        if self.secret_values_hook is not None:
            try:
                await maybe_future(self.secret_values_hook(self, self.name, {}))
            except Exception as error:
                self.log.warning(
                    "Secret variables of %s are left behind: %s", self._log_name, type(error).__name__
                )
