"""The operator's settings for idle sessions: a part of the section ``Sardonyx`` of the configuration."""

from __future__ import annotations

from traitlets import Dict, Integer, List, Unicode
from traitlets.config import Configurable

from .idle import Rule, rule_from_settings


class IdleSettings(Configurable):
    """When idle sessions are stopped, and for how long people may keep them."""

    idle_stop = Dict(
        value_trait=Unicode(),
        config=True,
        help="""
        When sessions that nobody uses are stopped: `after` so long without activity, with a warning `warn` before
        (15m by default). Their disks stay. A service can have a rule of its own (`idle_stop` in the catalogue).
        Empty: never.

        Activity is what JupyterHub counts, an open JupyterLab included; a kernel that computes and a command that runs
        in a terminal keep a session alive too.

        Example::

            c.Sardonyx.idle_stop = {"after": "12h", "warn": "30m"}

        .. versionadded:: 0.1
        """,
    )
    keep_alive_hours = List(
        Integer(),
        default_value=[4, 12, 24],
        config=True,
        help="""
        For how many hours people may keep a session alive that would be stopped as idle; they choose from these. Empty: they
        may not.

        Example::

            c.Sardonyx.keep_alive_hours = [4, 12, 24, 72]

        .. versionadded:: 0.1
        """,
    )

    def idle_rule(self) -> Rule | None:
        """Return the rule for all services; None: never.

        Raises
        ------
        ValueError
            If `idle_stop` is wrong.
        """
        try:
            return rule_from_settings(self.idle_stop)
        except ValueError as error:
            raise ValueError(f"Sardonyx.idle_stop is wrong: {error}") from None
