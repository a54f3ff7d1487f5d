"""``POST /hub/api/datalab/v1/launch-options``: what options in YAML mean for the launch form. Nothing is kept or started."""

from __future__ import annotations

import asyncio
from typing import Final

from sardonyx_spawner.errors import LaunchOptionsError
from sardonyx_spawner.launch_links import option_texts
from sardonyx_spawner.options import validate_options
from sardonyx_spawner.paths import PathError, unflatten

from ..launch_file import LaunchFileError, read_launch_file
from ..pages.language import language_of
from ..pages.messages import PageMessages
from . import scopes
from .base import ApiError, DatalabHandler
from .validation import InvalidRequestError

#: Characters of a document. Reading takes a second for as many in the worst case.
MAX_TEXT: Final = 32 * 1024


class LaunchOptionsHandler(DatalabHandler):
    """Reads a document for the form of a service; its values come back as the form would post them."""

    scope = scopes.CREDENTIALS

    async def post(self) -> None:
        """Read ``{"service": id, "yaml": text}``; send ``{"service", "name", "values": {path: [text]}, "problems"}``.

        ``problems`` has ``{"field", "message"}`` for each option that the service does not allow. 400 for a document that
        is none, 404 for a service that the person does not see.
        """
        self.limit("write")
        messages = PageMessages(language_of(self))
        body = self.json_object()
        wanted, text = body.get("service"), body.get("yaml")
        if set(body) != {"service", "yaml"} or not isinstance(wanted, str) or not isinstance(text, str):
            raise InvalidRequestError('The body has "service" and "yaml", both text.')
        if len(text) > MAX_TEXT:
            raise InvalidRequestError(messages.translate("spawn.yaml.too_long", max=MAX_TEXT))
        try:
            found = await asyncio.to_thread(read_launch_file, text)
            nested = unflatten(found.options)
        except LaunchFileError as error:
            raise InvalidRequestError(messages.translate(error.key, **error.params)) from None
        except PathError as error:
            sentence = f"{error.path[:80]} – {messages.translate('option.not_a_path')}"
            raise InvalidRequestError(sentence) from None
        services = await self.datalab.services_for(self.current_user)
        service = next((one for one in services if one.id == (found.service or wanted)), None)
        if service is None:
            raise ApiError(404, messages.translate("spawn.yaml.service"), code="missing")
        problems = []
        try:
            local = bool(getattr(self.current_user.spawner, "sessions_are_local", False))
            validate_options(service, nested, local=local)
        except LaunchOptionsError as error:
            problems = [
                {"field": one.path, "message": messages.translate(one.key, **one.params)}
                for one in error.problems
            ]
        values = option_texts(nested)
        answer = {"service": service.id, "name": found.name[:255], "values": values, "problems": problems}
        self.finish(answer)
