"""The description of the JSON API (OpenAPI 3.1), made from the table of routes.

Paths, parameters of paths, summaries and descriptions come from the handlers themselves; what is sent and answered is in
:mod:`.openapi_operations`. ``GET /hub/api/datalab/v1/openapi.json`` sends it to whoever is signed in.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.client import responses
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from .base import DatalabHandler

if TYPE_CHECKING:
    from .routes import Route

Schema = dict[str, Any]

#: Refusals that any operation may answer; the last two where the request is too early, or a backend is down.
COMMON: Final = (400, 401, 403, 429, 503)
ERROR: Final[Schema] = {
    "type": "object",
    "properties": {
        "status": {"type": "integer"},
        "message": {"type": "string", "description": "A sentence for a person; it quotes no secret."},
        "code": {"type": "string", "description": "For programs: what went wrong."},
        "source": {"type": "string", "description": "The backend that did not serve the request."},
    },
    "required": ["status", "message"],
}

_GROUP = re.compile(r"\(([^()]*)\)")
_LITERALS = re.compile(r"[a-z0-9-]+(?:\|[a-z0-9-]+)+")


@dataclass(frozen=True)
class Operation:
    """What one method of one route takes and answers.

    Parameters
    ----------
    answers
        Status -> schema of the JSON answer; None for an empty one.
    body
        Schema of the JSON that is sent; None: nothing is.
    query
        Name -> schema of each argument of the query; all may be left out.
    path
        Schemas of arguments of the path that are more than text, by name.
    errors
        Statuses of refusals beside :data:`COMMON`.
    content
        Of the answer, where it is no JSON.
    needs_body
        Whether a body has to be there.
    """

    answers: Mapping[int, Schema | None]
    body: Schema | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    path: Mapping[str, Schema] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    content: str = "application/json"
    needs_body: bool = True


def path_of(pattern: str, names: Iterable[str]) -> tuple[str, dict[str, Schema]]:
    """Return the template of a route's pattern, and the schemas of its arguments by name.

    Examples
    --------
    >>> path_of("/api/x/([^/]+)/(start|stop)", ["name", "action"])[0]
    '/api/x/{name}/{action}'
    """
    found: dict[str, Schema] = {}
    left = iter(names)

    def argument(match: re.Match[str]) -> str:
        name = next(left)
        schema: Schema = {"type": "string", "minLength": 1}
        if _LITERALS.fullmatch(match[1]):
            schema = {"type": "string", "enum": match[1].split("|")}
        found[name] = schema
        return "{" + name + "}"

    template = _GROUP.sub(argument, pattern)
    return re.sub(r"/\?$", "", template).replace("\\", ""), found


def document(
    routes: Iterable[Route], operations: Mapping[tuple[str, str], Operation], base_url: str = "/hub"
) -> dict[str, Any]:
    """Return the OpenAPI document.

    Parameters
    ----------
    operations
        By name of the handler's class and method. A route that is not in it is described by what its handler says.
    base_url
        Of the hub, without a slash at the end.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method in route.methods:
            operation = operations.get((route.handler.__name__, method), Operation({200: {}}))
            template, described = _describe(route, method, operation)
            paths.setdefault(template, {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sardonyx",
            "version": _version(),
            "description": (
                "The JSON API of a datalab. Programs send a token of JupyterHub's; pages their cookies and, in "
                "`X-XSRFToken`, the value of the cookie `_xsrf`. An argument of a path may hold slashes as `%2F`."
            ),
        },
        "servers": [{"url": base_url}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR},
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`token TOKEN`, or `Bearer TOKEN`",
                },
                "cookie": {"type": "apiKey", "in": "cookie", "name": "jupyterhub-session-id"},
            },
        },
    }


def _describe(route: Route, method: str, operation: Operation) -> tuple[str, dict[str, Any]]:
    """Return the path and the description of one method of a route."""
    function = getattr(route.handler, method.lower())
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    template, arguments = path_of(route.pattern, names)
    summary, _, more = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
    about = inspect.cleandoc(route.handler.__doc__ or "").partition("\n\n")[0]
    scope = f"Scope: `{route.handler.scope}`." if route.handler.scope else ""
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": operation.path.get(name, schema)}
        for name, schema in arguments.items()
    ]
    parameters += [
        {"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()
    ]
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}{route.handler.__name__.removesuffix('Handler')}",
        "summary": " ".join(summary.split()),
        "description": "\n\n".join(part for part in (about, more, scope) if part),
        "responses": _responses(operation, has_path=bool(arguments)),
    }
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        content = {"application/json": {"schema": operation.body}}
        described["requestBody"] = {"required": operation.needs_body, "content": content}
    return template, described


def _responses(operation: Operation, *, has_path: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, schema in operation.answers.items():
        found[str(status)] = {"description": responses[status]}
        if schema is not None:
            found[str(status)]["content"] = {operation.content: {"schema": schema}}
    refusals = {*COMMON, *operation.errors}
    refusals |= {404} if has_path else set()
    refusals |= {413, 415} if operation.body is not None else set()
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status in sorted(refusals - operation.answers.keys()):
        found[str(status)] = {"description": responses[status], "content": error}
    return found


def _version() -> str:
    try:
        return version("sardonyx-hub")
    except PackageNotFoundError:
        return "0"


class OpenApiHandler(DatalabHandler):
    """The description of this API."""

    async def get(self) -> None:
        """Send the OpenAPI 3.1 document."""
        # Late: the table of routes has this handler in it.
        from .openapi_operations import OPERATIONS
        from .routes import ROUTES

        self.limit("read")
        self.finish(document(ROUTES, OPERATIONS, self.hub.base_url.rstrip("/")))
