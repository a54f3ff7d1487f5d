"""The launch form filled in by a saved configuration; secret values are put in when it is posted, not into the page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tornado import web

from sardonyx_spawner.form import FormRequest
from sardonyx_spawner.launch_errors import LaunchError
from sardonyx_spawner.launch_links import option_texts, without_secrets

from ..credentials.errors import SourceError
from ..saved import SavedConfiguration
from .messages import PageMessages

if TYPE_CHECKING:
    from .spawn import Posted

#: Hidden field of a form that a saved configuration filled in: whose secret values stay where none is typed.
CONFIGURATION_FIELD: Final = "_configuration"
#: Query argument of the launch form.
CONFIGURATION_ARGUMENT: Final = "configuration"

_ROW = re.compile(r"extraEnvVars\[([0-9]{1,3})\]\.name")


@dataclass(frozen=True)
class SavedForm:
    """A saved configuration on its way through the form."""

    configuration: SavedConfiguration

    @property
    def fields(self) -> dict[str, list[str]]:
        """What the form would post for it, without secret values."""
        one = self.configuration
        return {"service": [one.service], **option_texts(without_secrets(one.options)[0])}

    @property
    def request(self) -> FormRequest:
        """The form filled in."""
        values = {name: texts for name, texts in self.fields.items() if name != "service"}
        one = self.configuration
        return self.mark(FormRequest(service=one.service, values=values, display_name=one.name))

    def mark(self, request: FormRequest) -> FormRequest:
        """Return `request` with what leads back to the configuration when it is posted."""
        return replace(
            request,
            hidden={CONFIGURATION_FIELD: self.configuration.id},
            known_secrets=frozenset(self._values),
        )

    def fill(self, posted: Posted) -> Posted:
        """Return `posted` in which secret variables without a value have the kept one of their name."""
        values = self._values
        added: dict[str, list[str]] = {}
        for name, texts in posted.fields.items():
            match = _ROW.fullmatch(name)
            if match is None or texts[-1] not in values:
                continue
            row = f"extraEnvVars[{match[1]}]"
            secret = posted.fields.get(f"{row}.secret", [""])[-1]
            typed = posted.fields.get(f"{row}.value", [""])[-1]
            if secret in ("true", "on") and not typed:
                added[f"{row}.value"] = [values[texts[-1]]]
        return replace(posted, fields={**posted.fields, **added})

    @property
    def _values(self) -> Mapping[str, str]:
        rows = self.configuration.options.get("extraEnvVars")
        secret = [row for row in rows if row.get("secret")] if isinstance(rows, list) else []
        return {str(row.get("name")): str(row["value"]) for row in secret if row.get("value")}


async def read_saved(handler: Any, id_: str) -> SavedForm:
    """Return a person's saved configuration.

    Raises
    ------
    HTTPError
        404 if there is none of that id.
    LaunchError
        503 if Vault does not answer.
    """
    datalab = handler.settings["sardonyx"]
    t = PageMessages(handler.datalab_language).translate
    if datalab.saved is None:
        raise web.HTTPError(404, t("catalogue.saved.missing"))
    subject = datalab.subject_for(handler.current_user)
    try:
        return SavedForm(await datalab.broker.call("vault", datalab.saved.get, subject, id_))
    except SourceError as error:
        if error.code == "missing":
            raise web.HTTPError(404, t("catalogue.saved.missing")) from None
        raise LaunchError(t("catalogue.saved.launch.down"), reason="vault", status_code=503) from None


async def posted_saved(handler: Any) -> SavedForm | None:
    """Return the saved configuration that filled in the form which was posted, if one did.

    Raises
    ------
    HTTPError, LaunchError
        As :func:`read_saved`.
    """
    id_ = handler.get_body_argument(CONFIGURATION_FIELD, "")
    return await read_saved(handler, id_) if id_ else None
