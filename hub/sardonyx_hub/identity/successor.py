"""When a user name passes to another person: nothing of the earlier one may show to, or be used by, the later one.

An identity provider gives a name again after it deleted a person; the hub knows people by name only. What the hub keeps
for the name goes the way of a person who is deleted: sessions, servers, tokens, groups, cookies. Disks, buckets and
secrets stay, below the earlier person's handle.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from jupyterhub import orm
from jupyterhub.utils import maybe_future

log = logging.getLogger("sardonyx")

#: Seconds for the end of one session; what has not ended by then has lost its tokens and is unknown to the hub.
STOP_SECONDS = 30.0


async def remove_predecessor(app: Any, name: str, *, stop_seconds: float = STOP_SECONDS) -> bool:
    """End and forget what the hub keeps for the user called `name`; the next sign-in makes the user anew.

    Parameters
    ----------
    app
        The running JupyterHub.
    stop_seconds
        For each session, all of them at the same time.

    Returns
    -------
    bool
        Whether there was such a user.
    """
    orm_user = orm.User.find(app.db, name)
    if orm_user is None:
        return False
    user = app.users[orm_user]
    # First of all nobody can act as that person any more, neither their browsers nor their programs.
    orm_user.cookie_id = orm.new_token()
    for token in list(orm_user.api_tokens):
        app.db.delete(token)
    app.db.commit()
    spawners = [spawner for spawner in list(user.spawners.values()) if spawner.active]
    await asyncio.gather(*(_stop(app, user, spawner, stop_seconds) for spawner in spawners))
    # Not as an administrator deletes a person: that removes the disks.
    app.users.delete(user)
    log.warning("The user name %r has passed to another person: %d sessions were ended.", name, len(spawners))
    return True


async def _stop(app: Any, user: Any, spawner: Any, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            pending = spawner._spawn_future
            if pending is not None and not pending.done():
                # A start that is not over would go on behind the stop.
                pending.cancel()
                await asyncio.wait({pending})
            await maybe_future(app.proxy.delete_user(user, spawner.name))
            if spawner._stop_pending:
                await _stopped(spawner)
            else:
                await user.stop(spawner.name)
    except Exception as error:
        log.error("%s could not be stopped: %s", spawner._log_name, type(error).__name__)


async def _stopped(spawner: Any) -> None:
    """Wait for a stop that somebody else began; JupyterHub has no event for it."""
    while spawner._stop_pending:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
