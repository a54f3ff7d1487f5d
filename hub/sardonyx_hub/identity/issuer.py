"""The hub as an OpenID issuer for its people: short-lived tokens that S3 STS and Vault exchange for
credentials.

Who holds such a token picks the role, so it goes from the hub to a backend and nowhere else; never into a
session.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jwt

from ..credentials.model import Subject
from .handles import is_handle
from .keys import CLOCK_SKEW, TOKEN_SECONDS, KeyRing, write_private

#: Where the documents are below the issuer's URL (OpenID Connect Discovery 1.0, section 4).
DISCOVERY_PATH: Final = ".well-known/openid-configuration"
JWKS_PATH: Final = "jwks"


class Issuer:
    """Signs identity tokens for handles, and nothing else.

    Parameters
    ----------
    keys
        The signing keys.
    issuer_url
        Public URL of the issuer, as backends are configured with it
        (``https://hub.example/hub/datalab/oidc``). It is configured and not derived from a request: a forged
        ``Host`` header must not choose it.
    life
        Seconds that a token is good for; at most the key ring's ``token_seconds``.
    clock
        For tests.

    Raises
    ------
    ValueError
        If the URL is not an http(s) URL, or `life` exceeds the time that retired keys are published.

    Examples
    --------
    >>> issuer = Issuer(KeyRing("keys"), "https://hub.example/hub/datalab/oidc")  # doctest: +SKIP
    >>> issuer.token(Subject(handle="alice"), "datalab-s3")  # doctest: +SKIP
    """

    def __init__(
        self,
        keys: KeyRing,
        issuer_url: str,
        life: int = TOKEN_SECONDS,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        parts = urlsplit(issuer_url)
        # OpenID Connect Discovery 1.0, section 3: no query, no fragment.
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                f"The issuer URL {issuer_url!r} is not an http(s) URL without query and fragment."
            )
        if not 0 < life <= keys.token_seconds:
            raise ValueError(
                f"The life of a token is more than 0 and at most {keys.token_seconds:g} seconds."
            )
        self.keys = keys
        self.url = issuer_url.rstrip("/")
        self.life = life
        self._clock = clock

    def token(self, subject: Subject, audience: str) -> str:
        """Return a signed token that says who `subject` is to the backend called `audience`.

        Claims: ``iss``, ``sub`` = ``preferred_username`` = ``datalab_id`` = the handle, ``groups``, ``aud``
        (one string), ``iat``, ``nbf``, ``exp``, ``jti``. No name, no mail.

        Raises
        ------
        ValueError
            If the subject's handle or one of its groups is no handle: a name that means something in a policy
            is never signed.
        """
        if not audience:
            raise ValueError("A token needs an audience.")
        for name in (subject.handle, *subject.groups):
            if not is_handle(name):
                raise ValueError(f"{name!r} is no handle and cannot be signed.")
        now = int(self._clock())
        # Backends check nbf (and OpenBao iat) against their own clock, SeaweedFS without leeway: both are set
        # back, so that a hub whose clock is ahead is believed too.
        since = now - CLOCK_SKEW
        claims: dict[str, Any] = {
            "iss": self.url,
            "sub": subject.handle,
            "preferred_username": subject.handle,
            "datalab_id": subject.handle,
            "groups": list(subject.groups),
            "aud": audience,
            "iat": since,
            "nbf": since,
            "exp": now + self.life,
            "jti": secrets.token_urlsafe(16),
        }
        kid, key = self.keys.signing_key()
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid})

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document.

        Like the one of Kubernetes' service account issuer it has no authorization endpoint: nobody signs in
        here, tokens are only verified.
        """
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/{JWKS_PATH}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": [
                *("iss", "sub", "aud", "exp", "iat", "nbf", "jti"),
                *("preferred_username", "datalab_id", "groups"),
            ],
        }

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public keys as a JWK Set."""
        return self.keys.jwks()

    def export(self, directory: str | Path) -> list[Path]:
        """Write discovery document and JWKS as files to be served as they are, for backends that cannot reach
        the hub.

        The files go where they belong below the issuer's URL. Export again after each rotation, before the
        new key signs, and after a revocation.

        Returns
        -------
        list of Path
            The files, readable by all: there is nothing secret in them.
        """
        root = Path(directory)
        written = []
        for name, document in ((DISCOVERY_PATH, self.discovery()), (JWKS_PATH, self.jwks())):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps(document, indent=2).encode() + b"\n", mode=0o644)
            written.append(path)
        return written
