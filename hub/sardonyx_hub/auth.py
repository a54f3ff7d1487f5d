"""Authenticators of a datalab: a mixin for every JupyterHub authenticator, and the embedded accounts.

The mixin mounts our handlers, gives each person a handle and a bucket at the first sign-in, retires the handle of a person who
is deleted, and lets concurrent requests share one refresh.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyterhub.auth import Authenticator
from jupyterhub.utils import maybe_future
from traitlets import Unicode

from .api.live import logout_handler
from .handlers import datalab_handlers

if TYPE_CHECKING:
    from .datalab import Datalab

#: A refresh that ended this recently (seconds) answers those who asked while it ran.
_SHARED_FOR = 5.0


class DatalabAuthenticatorMixin(Authenticator):  # type: ignore[misc]
    """What a datalab adds to an authenticator; mixed in before any JupyterHub authenticator class.

    See Also
    --------
    wrap_authenticator : make the class from a class or an entry point's name.
    """

    subject_claim = Unicode(
        "sub",
        config=True,
        help="""
        Where the person's stable identifier stands in the user information of the identity provider.

        A handle is bound to it: another person who gets the same user name later gets another handle. Accounts without
        user information (PAM, local accounts) are bound to the user name.

        Example::

            c.Authenticator.subject_claim = "oid"  # Entra ID

        .. versionadded:: 0.1
        """,
    )

    #: Set by :func:`sardonyx_hub.config.configure`.
    datalab: Datalab | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._refreshes: dict[str, asyncio.Task[Any]] = {}
        self._refreshed_at: dict[str, float] = {}

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """Return our handlers before the authenticator's own, and learn which hub asks for them."""
        if self.datalab is not None:
            self.datalab.attach(app)
        own = super().get_handlers(app)
        return [*datalab_handlers(), logout_handler(own), *own]

    async def run_post_auth_hook(self, handler: Any, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Run the operator's hook, then give the person a handle and a bucket; a failing backend never stops a sign-in."""
        model: dict[str, Any] = await super().run_post_auth_hook(handler, auth_model)
        if model and self.datalab is not None:
            await self.datalab.welcome(model["name"], self.subject_of(model))
        return model

    def subject_of(self, auth_model: Mapping[str, Any]) -> str | None:
        """Return the identity provider's stable identifier of a person, or None where there is none."""
        state = auth_model.get("auth_state") or {}
        info = (
            state.get(getattr(self, "user_auth_state_key", "oauth_user"))
            if isinstance(state, Mapping)
            else None
        )
        value = info.get(self.subject_claim) if isinstance(info, Mapping) else None
        return str(value) if value else None

    def delete_user(self, user: Any) -> None:
        """Retire the handle of a deleted person: whoever gets the name next is somebody else."""
        super().delete_user(user)
        self._refreshed_at.pop(user.name, None)
        if self.datalab is not None:
            self.datalab.farewell(user.name)

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> Any:
        """Refresh once for all who ask at the same time.

        Identity providers that use a refresh token only once refuse the second of two concurrent refreshes and may end
        the person's session. The first caller refreshes and stores the new state; the others wait and are told that all is
        up to date.
        """
        name = user.name
        running = self._refreshes.get(name)
        if running is not None:
            return bool(await asyncio.shield(running))
        if time.monotonic() - self._refreshed_at.get(name, float("-inf")) < _SHARED_FOR:
            return True
        # A task of its own: a first caller who goes away must not end it for the others.
        running = asyncio.create_task(self._refresh_and_save(user, handler, **kwargs))
        self._refreshes[name] = running
        running.add_done_callback(lambda _: self._refreshes.pop(name))
        return await asyncio.shield(running)

    async def _refresh_and_save(self, user: Any, handler: Any, **kwargs: Any) -> Any:
        result = await maybe_future(super().refresh_user(user, handler, **kwargs))
        if isinstance(result, dict) and self.enable_auth_state and result.get("auth_state"):
            await user.save_auth_state(result["auth_state"])
        if result:
            self._refreshed_at[user.name] = time.monotonic()
        return result


def wrap_authenticator(base: type[Authenticator], datalab: Datalab) -> type[Authenticator]:
    """Return `base` with the datalab's additions; operators keep configuring it under its own class name.

    Parameters
    ----------
    base
        Any JupyterHub authenticator class.
    datalab
        The datalab that the class serves.
    """
    if issubclass(base, DatalabAuthenticatorMixin):
        return type(base.__name__, (base,), {"datalab": datalab})
    return type(f"Datalab{base.__name__}", (DatalabAuthenticatorMixin, base), {"datalab": datalab})


class EmbeddedAuthenticator(DatalabAuthenticatorMixin):
    """The accounts of `sardonyx run`: those in `allowed_users` and `admin_users`, with one password.

    For one machine and for trying things out. Real installations wrap the authenticator of their identity provider.
    """

    password_file = Unicode(
        "",
        config=True,
        help="""
        File (mode 0600) that holds the password.

        Example::

            c.EmbeddedAuthenticator.password_file = "/srv/sardonyx/demo-password"

        .. versionadded:: 0.1
        """,
    )

    async def authenticate(self, handler: Any, data: Mapping[str, str]) -> str | None:
        """Return the user name if it is known and the password is right."""
        password = await asyncio.to_thread(Path(self.password_file).read_text, encoding="utf-8")
        right = hmac.compare_digest(data.get("password", "").encode(), password.strip().encode())
        name = data.get("username", "")
        known = name in self.allowed_users or name in self.admin_users
        return name if known and right else None
