"""Launching a saved configuration with one press."""

from __future__ import annotations

from typing import Any

from jupyterhub.scopes import needs_scope
from jupyterhub.spawner import SpawnException
from tornado import web
from tornado.httputil import url_concat

from .saved_form import CONFIGURATION_ARGUMENT, read_saved
from .spawn import LAUNCH_FIELD, DatalabSpawnHandler, Posted


class SavedLaunchHandler(DatalabSpawnHandler):
    """``POST /hub/datalab/configurations/ID/launch``: the same as filling in the form and pressing Launch.

    What the form would refuse is refused here too; the form then opens, filled in, with what is wrong.
    """

    @web.authenticated
    def get(self, id_: str) -> None:
        """Open the form: an address that is typed or bookmarked starts nothing."""
        self.redirect(url_concat(self._form_path, {CONFIGURATION_ARGUMENT: id_}))

    @web.authenticated
    def post(self, id_: str) -> Any:
        """Launch."""
        return self._post_saved(self.current_user.name, id_)

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _post_saved(self, user_name: str, id_: str) -> None:
        try:
            saved = await read_saved(self, id_)
        except SpawnException as error:
            # There is nothing to fill a form with.
            raise web.HTTPError(error.status_code, error.message) from None
        posted = Posted(
            fields=saved.fields,
            files={},
            display_name=saved.configuration.name,
            launch=self.get_body_argument(LAUNCH_FIELD, "")[:64],
        )
        # From here on this is the launch form: its button and its links lead to the form's own address.
        self.request.path = self._form_path
        self.request.query_arguments = {CONFIGURATION_ARGUMENT: [id_.encode()]}
        await self._launch_or_show(self._person(user_name), "", posted, saved)

    @property
    def _form_path(self) -> str:
        return f"{self.hub.base_url}spawn"

    def _asks_for_new(self) -> bool:
        return True
