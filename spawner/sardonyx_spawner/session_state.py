"""Tells whoever wants to know that the state of a session has changed, at the moment it does.

JupyterHub keeps the state in attributes of the spawner that its handlers, the poll of a crashed server and the hub's start
set in many places. Properties of the same names stand in their way here, so that nobody has to look again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets import Callable as CallableTrait
from traitlets.config import LoggingConfigurable

#: What JupyterHub's ``Spawner.pending`` and ``ready`` are made of. See jupyterhub/spawner.py.
_FLAGS = ("_spawn_pending", "_stop_pending", "_check_pending", "_rename_pending", "_proxy_pending")


def _announced(name: str) -> Any:
    """Return a property that is kept under `name` and says when it changes."""

    def read(self: SessionState) -> bool:
        return bool(self.__dict__.get(name, False))

    def write(self: SessionState, value: bool) -> None:
        before = read(self)
        self.__dict__[name] = bool(value)
        if before != bool(value):
            self.state_changed()

    return property(read, write, doc=f"JupyterHub's flag {name}.")


class SessionState(LoggingConfigurable):
    """Part of :class:`~sardonyx_spawner.mixin.DatalabSpawnerMixin`.

    Attributes
    ----------
    exit_reason
        Why a session ended by itself, for people: ``out-of-memory``, ``exited``, ...; empty while it runs or was
        stopped.
    exit_code
        What its server ended with then.
    """

    state_hook = CallableTrait(
        None,
        allow_none=True,
        config=True,
        help="""
        Is told that the state of a session has changed: callable `(spawner) -> None`.

        It runs in the middle of whatever changes the state, several times for one change: it should note that, and
        look later (`loop.call_soon`).

        Example::

            c.DatalabSpawnerMixin.state_hook = datalab.sessions.changed

        .. versionadded:: 0.1
        """,
    )

    exit_reason = ""
    exit_code = 0

    def state_changed(self) -> None:
        """Call the hook; whatever it does wrong does not stop a launch."""
        hook: Callable[[Any], None] | None = self.state_hook
        if hook is not None:
            try:
                hook(self)
            except Exception:
                self.log.exception("state_hook failed")


for _name in _FLAGS:
    setattr(SessionState, _name, _announced(_name))
