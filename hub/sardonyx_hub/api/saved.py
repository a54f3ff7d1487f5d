"""``/hub/api/datalab/v1/saved-configurations``: launch options that a person keeps under names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from jupyterhub.utils import url_path_join

from sardonyx_spawner.catalogue import Service
from sardonyx_spawner.errors import LaunchOptionsError, OptionProblem
from sardonyx_spawner.launch_links import changed_options, launch_link, without_secrets
from sardonyx_spawner.messages import Messages, pick_language

from ..credentials.errors import SecretConflictError, SourceError
from ..pages.language import LANGUAGE_COOKIE
from ..saved import (
    FOLDER,
    Content,
    SavedConfiguration,
    SavedConfigurationError,
    SavedConfigurations,
    check_id,
)
from . import scopes
from .base import ApiError, DatalabHandler
from .validation import InvalidRequestError

#: Options of one configuration, as JSON.
MAX_OPTIONS_BYTES: Final = 64 * 1024

#: No configuration has version 0.
_ETAG = re.compile(r'"([1-9][0-9]{0,8})"')


def describe(one: SavedConfiguration) -> dict[str, Any]:
    """Return what a list says of a configuration."""
    return {
        "id": one.id,
        "name": one.name,
        "service": one.service,
        "created": one.created,
        "changed": one.changed,
        "version": one.version,
    }


class _SavedHandler(DatalabHandler):
    scope = scopes.SECRETS

    @property
    def saved(self) -> SavedConfigurations:
        """The person's saved configurations.

        Raises
        ------
        ApiError
            404 if the datalab has no secret store to keep them in.
        """
        saved = self.datalab.saved
        if saved is None:
            raise ApiError(
                404, "This datalab has no secret store to keep configurations in.", code="no-store"
            )
        return saved

    def record(self, action: Literal["read", "write", "delete"], id_: str, reason: str = "") -> None:
        """Write to the audit log that values were read, or a configuration was changed."""
        path = f"{FOLDER}/{id_}"
        self.datalab.audit.secret(self.subject(), action, path, reason=reason, request_id=self.request_id)

    async def written(self, id_: str, method: Any, *args: Any) -> SavedConfiguration:
        """Write as the person and record what came of it.

        Raises
        ------
        ApiError
            400 for a name that is none; 409 for one that is taken, where there are too many, or if the
            configuration was changed meanwhile.
        SourceError
            If Vault does not answer.
        """
        try:
            found: SavedConfiguration = await self.call("vault", method, self.subject(), *args)
        except SavedConfigurationError as error:
            raise ApiError(400 if error.why == "name" else 409, error.message, code=error.why) from None
        except SecretConflictError as error:
            self.record("write", id_, error.code)
            message = "The saved configuration was changed meanwhile: read it again first."
            raise ApiError(409, message, code="conflict") from None
        except SourceError as error:
            self.record("write", id_, error.code)
            raise
        self.record("write", found.id)
        return found

    def send(self, one: SavedConfiguration, *, reveal: bool = False) -> None:
        """Send a configuration; values of secret variables only if they were asked for."""
        options = dict(one.options) if reveal else without_secrets(one.options)[0]
        self.set_header("ETag", f'"{one.version}"')
        self.finish({**describe(one), "options": options})

    async def content(self, data: Mapping[str, Any]) -> Content | None:
        """Return what was sent, its options checked; None if the answer was sent already."""
        name, service_id, options = data.get("name"), data.get("service"), data.get("options", {})
        if not isinstance(name, str) or not isinstance(service_id, str):
            raise InvalidRequestError("'name' and 'service' are texts.")
        if not isinstance(options, dict):
            raise InvalidRequestError("'options' is an object of launch options.")
        if len(json.dumps(options)) > MAX_OPTIONS_BYTES:
            raise InvalidRequestError(f"'options' has more than {MAX_OPTIONS_BYTES} bytes.", status=413)
        service = await self._service(service_id)
        local = bool(getattr(self.current_user.spawner, "sessions_are_local", False))
        try:
            return Content(name, service.id, changed_options(service, options, local=local))
        except LaunchOptionsError as error:
            self._refuse_options(error.problems)
            return None

    async def _service(self, service_id: str) -> Service:
        services = await self.datalab.services_for(self.current_user)
        for service in services:
            if service.id == service_id:
                return service
        known = ", ".join(service.id for service in services)
        raise InvalidRequestError(f"'service' is one of your catalogue: {known}.", status=422)

    def _refuse_options(self, problems: list[OptionProblem]) -> None:
        """Answer 422 with each field that is wrong, in the person's language."""
        cookie = self.get_cookie(LANGUAGE_COOKIE)
        messages = Messages(pick_language(self.request.headers.get("Accept-Language"), cookie))
        listed = [
            {"field": problem.path, "message": messages.translate(problem.key, **problem.params)}
            for problem in problems
        ]
        self.set_status(422)
        body = {"status": 422, "code": "options", "message": "The service does not take these options."}
        self.finish({**body, "problems": listed})

    def wanted_version(self, data: Mapping[str, Any]) -> int | None:
        """Return the version that the client has seen, from ``If-Match`` or the body's ``version``."""
        header = self.request.headers.get("If-Match")
        if header is not None and header != "*":
            match = _ETAG.fullmatch(header.strip())
            if match is None:
                raise InvalidRequestError('If-Match is the ETag of the configuration, such as "3".')
            return int(match[1])
        version = data.get("version")
        if version is not None and (not isinstance(version, int) or isinstance(version, bool) or version < 1):
            raise InvalidRequestError("'version' is the number of the version that is replaced.")
        return version


def _only(data: Mapping[str, Any], *known: str) -> None:
    if not data.keys() <= set(known):
        raise InvalidRequestError(f"The fields are {', '.join(known)}, and no others.")


class SavedConfigurationsHandler(_SavedHandler):
    """All of a person's configurations."""

    async def get(self) -> None:
        """Send ``{"configurations": [...], "unreadable": [ids]}``, without options."""
        self.limit("read")
        listing = await self.call("vault", self.saved.list, self.subject())
        self.finish(
            {
                "configurations": [describe(one) for one in listing.configurations],
                "unreadable": list(listing.unreadable),
            }
        )

    async def post(self) -> None:
        """Keep ``{"name", "service", "options"}``; answer 201 with the configuration.

        422 with ``problems`` if the service does not take the options.
        """
        self.limit("write")
        data = self.json_object()
        _only(data, "name", "service", "options")
        content = await self.content(data)
        if content is None:
            return
        one = await self.written("", self.saved.create, content)
        self.set_status(201)
        self.set_header("Location", url_path_join(self.request.path, one.id))
        self.send(one)


class SavedConfigurationHandler(_SavedHandler):
    """One of them."""

    async def get(self, id_: str) -> None:
        """Send the configuration with its options; ``?reveal=1`` with the values of secret variables too."""
        self.limit("read")
        reveal = self.get_query_argument("reveal", "0") == "1"
        one = await self.call("vault", self.saved.get, self.subject(), id_)
        if reveal:
            self.record("read", one.id)
        self.send(one, reveal=reveal)

    async def put(self, id_: str) -> None:
        """Replace it by ``{"name", "service", "options", "version"?}``.

        A secret variable without a value keeps the one that it has. 409 if the configuration was changed since
        ``version`` (or ``If-Match``).
        """
        self.limit("write")
        data = self.json_object()
        _only(data, "name", "service", "options", "version")
        version = self.wanted_version(data)
        check_id(id_)
        content = await self.content(data)
        if content is not None:
            self.send(await self.written(id_, self.saved.replace, id_, content, version))

    async def patch(self, id_: str) -> None:
        """Rename it: ``{"name", "version"?}``."""
        self.limit("write")
        data = self.json_object()
        _only(data, "name", "version")
        name, version = data.get("name"), self.wanted_version(data)
        if not isinstance(name, str):
            raise InvalidRequestError("'name' is a text.")
        self.send(await self.written(id_, self.saved.rename, id_, name, version))

    async def delete(self, id_: str) -> None:
        """Delete it with all its versions; one that is not there is deleted already."""
        self.limit("write")
        check_id(id_)
        await self.call("vault", self.saved.delete, self.subject(), id_)
        self.record("delete", id_)
        self.set_status(204)


class LaunchLinkHandler(_SavedHandler):
    """The launch link of a saved configuration."""

    async def get(self, id_: str) -> None:
        """Send ``{"url", "left_out": [names of secret variables], "too_long": bool}``; no secret value is in it."""
        self.limit("read")
        one = await self.call("vault", self.saved.get, self.subject(), id_)
        link = launch_link(one.service, one.options, name=one.name)
        path = url_path_join(self.hub.base_url, "spawn")
        self.finish(
            {"url": f"{path}?{link.query}", "left_out": list(link.left_out), "too_long": link.too_long}
        )
