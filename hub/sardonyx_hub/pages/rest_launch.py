"""Launch options that come by JupyterHub's REST API: checked, and freed of secret values, before JupyterHub has them.

JupyterHub commits the ``user_options`` of POST, PUT and PATCH to its database before it asks the spawner, and logs those
of PATCH. What a person marked secret in them must be gone by then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyterhub.scopes import needs_scope
from tornado import web

from sardonyx_spawner import launch_form
from sardonyx_spawner.errors import LaunchOptionsError, OptionProblem
from sardonyx_spawner.launch_errors import LaunchError, options_error
from sardonyx_spawner.messages import Messages
from sardonyx_spawner.option_secrets import SplitOptions

from .language import LanguageMixin


@dataclass(frozen=True)
class _Checked:
    """Options that were sent, found right; `kept` names the secret variables that the session had before."""

    spawner: Any
    split: SplitOptions = field(repr=False)
    kept: frozenset[str] = frozenset()


class LaunchBodyMixin(LanguageMixin):
    """For JupyterHub's handler of ``/api/users/NAME/servers/SERVER``, before it in the order of classes."""

    @needs_scope("start:servers")  # type: ignore[untyped-decorator]
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Launch. The launch itself keeps the secret values, once it is sure to happen."""
        try:
            checked = await self._check(user_name, server_name)
        except (LaunchError, LaunchOptionsError) as error:
            self._refuse(400, error)
            return
        if checked is not None:
            launch_form.begin_request(server_name, checked.split, checked.kept)
        await super().post(user_name, server_name)  # type: ignore[misc]

    @needs_scope("start:servers")  # type: ignore[untyped-decorator]
    async def put(self, user_name: str, server_name: str = "") -> None:
        """Make a session without starting it. The values are kept first: one without them is of no use."""
        status = 400
        try:
            checked = await self._check(user_name, server_name)
            if checked is None or not checked.split.values or self._row(user_name, server_name) is not None:
                await super().put(user_name, server_name)  # type: ignore[misc]
                return
            status = 503
            await checked.spawner.keep_secret_values(checked.split, server_name)
        except (LaunchError, LaunchOptionsError) as error:
            self._refuse(status, error)
            return
        try:
            await super().put(user_name, server_name)  # type: ignore[misc]
        except Exception:
            await checked.spawner.keep_secret_values(SplitOptions({}), server_name)
            raise

    @needs_scope("start:servers")  # type: ignore[untyped-decorator]
    async def patch(self, user_name: str, server_name: str = "") -> None:
        """Change a stopped session. The values come last: those of before are not lost where it is refused."""
        status = 400
        try:
            checked = await self._check(user_name, server_name, patch=True)
            if checked is not None and checked.split.values and "name" in (self.sent or {}):
                raise LaunchOptionsError([OptionProblem("name", "option.secret_and_name")])
            await super().patch(user_name, server_name)  # type: ignore[misc]
            status = 503
            if checked is not None and (checked.split.values or checked.kept):
                await checked.spawner.keep_secret_values(checked.split, server_name)
        except (LaunchError, LaunchOptionsError) as error:
            self._refuse(status, error)

    # What was sent ------------------------------------------------------------------------------------------

    @property
    def sent(self) -> Any:
        """The JSON of the body. Unlike JupyterHub's own reader it never logs it.

        Raises
        ------
        HTTPError
            400 if it is none.
        """
        body = self.request.body
        if not body:
            return None
        try:
            return json.loads(body.strip().decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            raise web.HTTPError(400, "Invalid JSON in body of request") from None

    async def _check(self, user_name: str, server_name: str, *, patch: bool = False) -> _Checked | None:
        """Check the options in the body and put them back without secret values; None if there are none."""
        body = self.sent
        if not isinstance(body, dict):
            return None
        whole = not patch and "display_name" not in body and "user_options" not in body
        given = body if whole else body.get("user_options")
        handler: Any = self
        user = handler.find_user(user_name)
        if user is None or not isinstance(given, Mapping) or not given:
            return None
        spawner = user.spawner
        if not hasattr(spawner, "check_options"):
            return None
        launch_form.remember_language(user, self.datalab_language)
        kept = spawner.kept_secrets(server_name)
        split = await spawner.check_options(given, kept)
        clean = split.user_options if whole else {**body, "user_options": split.user_options}
        self.request.body = json.dumps(clean).encode()
        return _Checked(spawner, split, kept)

    def _row(self, user_name: str, server_name: str) -> Any:
        handler: Any = self
        user = handler.find_user(user_name)
        return user.orm_spawners.get(server_name) if user is not None else None

    def _refuse(self, status: int, error: LaunchError | LaunchOptionsError) -> None:
        """Answer with what is wrong, for people and by field."""
        messages = Messages(self.datalab_language)
        problems: list[OptionProblem] = []
        handler: Any = self
        whole: Any = error
        if isinstance(error, LaunchOptionsError):
            problems, whole = list(error.problems), options_error(error, messages)
        else:
            status = whole.status_code
        handler.clear()
        handler.set_status(status)
        handler.set_header("Content-Type", "application/json")
        told = [{"field": one.path, "message": messages.translate(one.key, **one.params)} for one in problems]
        answer = {"status": status, "message": whole.message, "code": "options", "problems": told}
        handler.finish(json.dumps(answer))
