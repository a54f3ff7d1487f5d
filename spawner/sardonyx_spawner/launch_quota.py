"""The part of a datalab's spawners that asks, before a session starts, whether its owner may have that much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traitlets import Callable
from traitlets.config import LoggingConfigurable

from .errors import LaunchOptionsError, OptionProblem
from .launch_errors import options_error
from .messages import Messages
from .options import LaunchOptions
from .service import Service

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner as _Base
else:
    _Base = LoggingConfigurable


class QuotaMixin(_Base):  # type: ignore[misc]
    """Part of :class:`~sardonyx_spawner.mixin.DatalabSpawnerMixin`."""

    quota_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""
        Returns what of a launch its owner's quota does not allow: async callable `(spawner, service, options) ->
        list[OptionProblem]`, empty if all may start.

        It is asked for a posted form and again at every start, whatever asked for it, right before the options become
        those of the session (`spawner.launch_options`, until then `None`). A hook that awaits nothing therefore sees
        every session that was let through before, and two launches at once cannot share what is left for one.

        Example::

            c.DatalabSpawnerMixin.quota_hook = datalab.quotas.check

        .. versionadded:: 0.1
        """,
    )

    launch_options: LaunchOptions | None

    if TYPE_CHECKING:  # the mixin that this is a part of has it

        @property
        def messages(self) -> Messages: ...

    async def quota_problems(self, service: Service, options: LaunchOptions) -> list[OptionProblem]:
        """Return a problem for each option of which the quota leaves less than is asked."""
        if self.quota_hook is None:
            return []
        # Awaited as it is: a task around it would let another launch in between.
        problems: list[OptionProblem] = await self.quota_hook(self, service, options)
        return problems

    async def stay_in_quota(self, service: Service, options: LaunchOptions) -> None:
        """Refuse a start that the quota does not allow.

        Raises
        ------
        LaunchError
            Naming the options, what is asked, what is left, and who set the quota.
        """
        # What an earlier resolution of this very launch held is no longer asked for.
        self.launch_options = None
        problems = await self.quota_problems(service, options)
        if problems:
            error = LaunchOptionsError(problems)
            # The page shows them beside their fields.
            raise options_error(error, self.messages, reason="quota") from error
