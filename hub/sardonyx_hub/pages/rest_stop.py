"""JupyterHub's own route to stop and delete a session, made to work while something else happens to the session."""

from __future__ import annotations

from typing import Any

from jupyterhub.scopes import needs_scope

from ..session_actions import cancel_start, delete


class StopWhileStartingMixin:
    """For ``UserServerAPIHandler``: a start that is under way is interrupted and cleaned up first.

    JupyterHub gives a start one second to end and answers 500 after that, and leaves a session behind that neither runs
    nor can be started. And it lets a session be launched while it is being deleted.
    """

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]
    async def delete(self, user_name: str, server_name: str = "") -> None:
        """Interrupt the start if there is one, then go on as JupyterHub does."""
        handler: Any = self
        user = handler.find_user(user_name)
        if user is not None and server_name in user.orm_spawners:
            spawner = user.spawners[server_name]
            if spawner.pending == "spawn":
                await cancel_start(spawner)
            body = handler.get_json_body()
            remove = isinstance(body, dict) and body.get("remove", False) and handler.allow_named_servers
            if server_name and remove and not spawner.active:
                await delete(handler, user, server_name)
                handler.set_status(204)
                return
        await super().delete(user_name, server_name)  # type: ignore[misc]
