"""What all JSON handlers of the datalab share: who asks, what they may, what they are told when it goes
wrong.

Handlers are thin. Checks are in :mod:`.scopes` and :mod:`.validation`, work is in the broker and the stores.
"""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable
from http.client import responses
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, cast

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.user import User
from tornado.web import HTTPError

from ..credentials.errors import SecretConflictError, SecretExistsError, SourceError
from ..credentials.model import SourceName, Subject
from ..identity.handles import HandleError
from . import scopes
from .audit import new_request_id
from .ratelimit import RequestKind
from .validation import InvalidRequestError, parse_json

if TYPE_CHECKING:
    from ..datalab import Datalab

P = ParamSpec("P")
R = TypeVar("R")


class ApiError(HTTPError):
    """An answer that is not 2xx, as JSON: ``{"status", "message", "code"?, "source"?}``."""

    def __init__(
        self, status: int, message: str, *, headers: dict[str, str] | None = None, **extra: str
    ) -> None:
        super().__init__(status)
        self.message = message
        self.headers = headers or {}
        self.extra = extra

    def __str__(self) -> str:
        return f"HTTP {self.status_code}: {self.message}"


class DatalabHandler(APIHandler):  # type: ignore[misc]
    """Base of the JSON handlers.

    Attributes
    ----------
    scope
        The custom scope that the handler asks for, over all that is the person's; ``None`` if the handler
        checks itself or a sign-in is enough.
    before_terms
        Whether it answers people who have not accepted the terms of use too.
    for_sessions
        Whether sessions ask it by their own tokens, which goes on whatever terms there are now.
    """

    scope: str | None = None
    before_terms = False
    for_sessions = False

    @property
    def datalab(self) -> Datalab:
        """The parts that the hub's handlers share."""
        return cast("Datalab", self.settings["sardonyx"])

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def compute_etag(self) -> str | None:
        """No ETag: it would be a hash of somebody's secrets."""
        return None

    async def prepare(self) -> None:
        """Identify the person and check the handler's scope before anything else is read.

        Raises
        ------
        ApiError
            401 if nobody is signed in, 403 for a hub service or without the scope.
        """
        await super().prepare()
        self.request_id = new_request_id()
        if self.current_user is None:
            raise ApiError(401, "Sign in, or send a token.", code="anonymous")
        if not isinstance(self.current_user, User):
            raise ApiError(
                403, "This is for people; a hub service has no credentials of its own.", code="forbidden"
            )
        if self.scope and not scopes.covers_person(self.expanded_scopes, self.scope, self.person):
            raise ApiError(403, f"The request has no scope {self.scope}.", code="forbidden")
        due = not self.before_terms and self.datalab.terms_due(self.current_user)
        if due and not (self.for_sessions and self._is_session()):
            message = "Accept the terms of use first: open the datalab in a browser."
            raise ApiError(403, message, code="terms")

    def _is_session(self) -> bool:
        """Whether a session asks, by its own token: what was launched before keeps its credentials."""
        held = self.expanded_scopes
        own = scopes.covers_person(held, scopes.CREDENTIALS, self.person)
        return not own and bool(scopes.sessions(held, scopes.CREDENTIALS, self.person))

    def check_xsrf_cookie(self) -> None:
        """Ask for the XSRF token also where a browser navigates or embeds.

        JupyterHub lets these pass, as they change nothing and other origins cannot read the answer. Here the
        answer holds credentials, and with one host name for hub and sessions a session's page is no other
        origin. Programs that are no browser (no ``Sec-Fetch-Mode``) read with a cookie alone as everywhere in
        JupyterHub.
        """
        super().check_xsrf_cookie()
        if getattr(self, "_jupyterhub_user", None) is None or getattr(self, "_token_authenticated", False):
            return
        if "Sec-Fetch-Mode" in self.request.headers:
            sent = self.request.headers.get("X-XSRFToken") or self.get_argument("_xsrf", None)
            if not sent or sent.encode("utf8", "replace") != self.xsrf_token:
                raise ApiError(403, "The XSRF token is missing or does not match the cookie.", code="xsrf")

    @property
    def person(self) -> str:
        """Name of the person who asks."""
        return str(self.current_user.name)

    def subject(self) -> Subject:
        """Return the person as backends see them."""
        return self.datalab.subject_for(self.current_user)

    def json_object(self) -> dict[str, Any]:
        """Return the JSON object in the body; unlike JupyterHub's ``get_json_body`` it never logs it."""
        return parse_json(self.request.headers.get("Content-Type", ""), self.request.body)

    def limit(self, kind: RequestKind) -> None:
        """Count the request against the person's limit.

        Raises
        ------
        ApiError
            429 with ``Retry-After``.
        """
        wait = self.datalab.rate_limit.take(self.person, kind)
        if wait > 0:
            seconds = str(math.ceil(wait))
            message = f"Too many requests: try again in {seconds} s."
            raise ApiError(429, message, code="rate-limit", headers={"Retry-After": seconds})

    async def call(
        self, source: SourceName, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a blocking call to a backend in the broker's threads, within its time limit."""
        return await self.datalab.broker.call(source, function, *args, **kwargs)

    # Answers ----------------------------------------------------------------------------------------------

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Write the error as JSON; an exception's own text is shown only where it was written for people."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        status, body, headers = _answer(status_code, error)
        self.set_status(status)
        for name, value in headers.items():
            self.set_header(name, value)
        self.finish(json.dumps({"status": status, **body}))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log where an unexpected error came from, without its text: it may quote what the person sent."""
        if isinstance(value, (HTTPError, SourceError, InvalidRequestError)):
            super().log_exception(*_expected(value))
            return
        places = "".join(traceback.format_list(traceback.extract_tb(tb)))
        name = getattr(typ, "__name__", "?")
        self.log.error("%s %s failed with %s:\n%s", self.request.method, self.request.path, name, places)


def _expected(error: HTTPError | SourceError | InvalidRequestError) -> tuple[type, HTTPError, None]:
    """Return `error` as what tornado logs in one line, its text being ours."""
    status, body, _ = _answer(500, error)
    return HTTPError, HTTPError(status, "%s", body["message"]), None


def _answer(status: int, error: BaseException | None) -> tuple[int, dict[str, str], dict[str, str]]:
    """Return status, JSON members and headers of the answer to `error`."""
    if isinstance(error, ApiError):
        return error.status_code, {"message": error.message, **error.extra}, error.headers
    if isinstance(error, InvalidRequestError):
        return error.status, {"message": str(error), "code": "invalid", **error.extra}, {}
    if isinstance(error, SourceError):
        body = {"message": error.message, "source": error.source, "code": error.code}
        if isinstance(error, SecretConflictError):
            code = "exists" if isinstance(error, SecretExistsError) else "conflict"
            return 409, {**body, "code": code}, {}
        # What the client can mend was checked before; the rest is a backend that does not serve us now.
        return (404, body, {}) if error.code == "missing" else (503, body, {"Retry-After": "5"})
    if isinstance(error, HandleError):
        return 503, {"message": str(error), "source": "handles", "code": "unreachable"}, {"Retry-After": "5"}
    message = responses.get(status, "Unknown error")
    if isinstance(error, HTTPError):
        message = error.reason or error.get_message() or message
    return status, {"message": message}, {}


def not_found(message: str) -> NoReturn:
    """Raise the 404 of a thing that is not there or is not the person's: the two are not told apart."""
    raise ApiError(404, message, code="missing")
