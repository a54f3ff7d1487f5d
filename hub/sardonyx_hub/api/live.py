"""``GET /hub/api/datalab/v1/live``: the one stream of events of an open page (server-sent events)."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from jupyterhub.handlers.login import LogoutHandler
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from . import scopes
from .base import ApiError, DatalabHandler

if TYPE_CHECKING:
    from ..live import Subscription

#: Seconds that a browser may take to read what it is sent; then the stream ends, and it may open another.
_PATIENCE: Final = 60.0


def browser_of(handler: Any) -> str:
    """Return what tells the browser of a request from others of the same person; empty if nothing does."""
    session = handler.get_session_cookie()
    return hashlib.sha256(session.encode()).hexdigest()[:16] if session else ""


class LiveHandler(DatalabHandler):
    """Events for open pages: ``hello``, ``session``, ``announcement``, ``warning``, ``resync``, ``bye``.

    With ``?all=1``, events of everybody's sessions come too; that asks for the scope ``read:servers`` over everybody.

    Answers: 401 anonymous; 403 from another site or without the scopes; 429 with ``Retry-After``.
    """

    # What is told here: all sessions of the person, and (see the handler of messages) what administrators write to
    # them. A session's own token is not good for either.
    scope = "read:servers"
    #: The page of the terms is one of the pages that listen.
    before_terms = True
    subscription: Subscription | None = None

    def check_xsrf_cookie(self) -> None:
        """Let a page of ours in: ``EventSource`` can send no header, so there is no XSRF token to check.

        Nothing is changed here and nothing secret is told. Browsers say themselves whose page asks (Fetch Metadata).
        """
        site = self.request.headers.get("Sec-Fetch-Site")
        if site not in (None, "same-origin", "none"):
            raise ApiError(403, "Live events are for the hub's own pages.", code="cross-site")

    async def get(self) -> None:
        """Send events until the page is closed, the person signs out, or the stream is old."""
        self.limit("read")
        if not scopes.covers_person(self.expanded_scopes, "read:users", self.person):
            raise ApiError(403, "The request has no scope read:users.", code="forbidden")
        sees_all = self.get_query_argument("all", "0") not in {"", "0", "false"}
        if sees_all and "read:servers" not in self.expanded_scopes:
            raise ApiError(403, "The request has no scope read:servers over everybody.", code="forbidden")
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        live = self.datalab.live
        self.subscription = live.subscribe(self.person, browser=browser_of(self), sees_all=sees_all)
        try:
            async for chunk in self.subscription.chunks():
                self.write(chunk)
                async with asyncio.timeout(_PATIENCE):
                    await self.flush()
        except (StreamClosedError, TimeoutError):
            self._detach()
        finally:
            live.unsubscribe(self.subscription)

    def _detach(self) -> None:
        """Close a connection whose reader is gone; tornado would wait for it."""
        with suppress(StreamClosedError, AttributeError):
            self.request.connection.stream.close()

    def on_connection_close(self) -> None:
        """End the stream of a page that is closed."""
        super().on_connection_close()
        if self.subscription is not None:
            self.datalab.live.unsubscribe(self.subscription)


def logout_handler(handlers: list[tuple[str, type[RequestHandler]]]) -> tuple[str, type[RequestHandler]]:
    """Return the route of the log-out that also ends the live streams of the browser that signs out.

    Parameters
    ----------
    handlers
        The authenticator's own; the one for ``/logout`` is kept if there is one.
    """
    own: type[Any] = next((handler for path, handler, *_ in handlers if path == "/logout"), LogoutHandler)

    class DatalabLogoutHandler(own):  # type: ignore[misc]
        """Signs out, and ends what the browser still listens to."""

        async def default_handle_logout(self) -> None:
            user, browser = self.current_user, browser_of(self)
            await super().default_handle_logout()
            if user is not None and getattr(user, "kind", "") == "user":
                self.settings["sardonyx"].live.sign_out(user.name, browser)

    return r"/logout", DatalabLogoutHandler
