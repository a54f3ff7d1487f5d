"""Public documents of the issuer, below ``/hub/``: discovery and JWKS."""

from __future__ import annotations

from typing import Any

from tornado.web import RequestHandler

from .issuer import DISCOVERY_PATH, JWKS_PATH, Issuer
from .keys import JWKS_MAX_AGE

#: Below ``/hub/``; the issuer's URL ends in it unless a proxy in front says otherwise.
ISSUER_PREFIX = "/datalab/oidc"


class _DocumentHandler(RequestHandler):
    """A JSON document for everybody, cookies and tokens unread."""

    SUPPORTED_METHODS = ("GET", "HEAD")

    def check_xsrf_cookie(self) -> None:
        """Do nothing: there is nothing to forge."""

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.set_header("X-Content-Type-Options", "nosniff")

    def document(self, issuer: Issuer) -> dict[str, Any]:
        raise NotImplementedError

    def get(self) -> None:
        """Send the document; tornado adds the ETag and answers If-None-Match."""
        issuer: Issuer = self.settings["sardonyx"].issuer
        # Never longer than a new key is published before it signs, or a cache would hide it.
        age = int(min(JWKS_MAX_AGE, issuer.keys.publish_seconds))
        document = self.document(issuer)
        self.set_header("Cache-Control", f"public, max-age={age}")
        self.write(document)

    def head(self) -> None:
        """Answer as :meth:`get` without the body."""
        self.get()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": status_code, "message": self._reason})


class DiscoveryHandler(_DocumentHandler):
    """``GET /hub/datalab/oidc/.well-known/openid-configuration``."""

    def document(self, issuer: Issuer) -> dict[str, Any]:
        return issuer.discovery()


class JWKSHandler(_DocumentHandler):
    """``GET /hub/datalab/oidc/jwks``."""

    def document(self, issuer: Issuer) -> dict[str, Any]:
        return issuer.jwks()


def oidc_handlers() -> list[tuple[str, type[RequestHandler]]]:
    """Return the routes for ``Authenticator.get_handlers``, which mounts them below ``/hub/``."""
    discovery = DISCOVERY_PATH.replace(".", r"\.")
    return [
        (rf"{ISSUER_PREFIX}/{discovery}", DiscoveryHandler),
        (rf"{ISSUER_PREFIX}/{JWKS_PATH}", JWKSHandler),
    ]
