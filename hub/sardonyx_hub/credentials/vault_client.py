"""Calls to Vault (or OpenBao): login with the hub's token, KV version 2, errors in words.

https://openbao.org/api-docs/auth/jwt/ and https://openbao.org/api-docs/secret/kv/kv-v2/
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import hvac
import requests
from hvac import exceptions as vault
from requests.adapters import HTTPAdapter

from ..identity.handles import is_handle
from .errors import SourceError
from .model import HUB_HANDLE, REVOKE_AUDIENCE, SourceName, Subject
from .source import TokenIssuer

#: What Vault says of a token that it does not accept, and what that means.
_LOGIN_CAUSES = (
    ("(aud)", "the audience of the hub's token is not the one that it expects"),
    ("audience", "the audience of the hub's token is not the one that it expects"),
    ("(iss)", "the issuer of the hub's token is not the one that it expects"),
    ("issuer", "the issuer of the hub's token is not the one that it expects"),
    ("(nbf)", "the hub's token is not valid yet: the clocks differ"),
    ("before", "the hub's token is not valid yet: the clocks differ"),
    ("expired", "the hub's token has expired: the clocks differ"),
    ("(exp)", "the hub's token has expired: the clocks differ"),
    ("signature", "it does not know the hub's signing key"),
    ("key", "it could not get the hub's signing keys"),
    ("role", "it has no such role"),
)


@dataclass(frozen=True)
class VaultConfig:
    """Where people's secrets are.

    Parameters
    ----------
    address
        As the hub reaches it.
    public_address
        As sessions reach it; `address` by default.
    mount
        Of the KV version 2 engine. The defaults here are Onyxia's.
    auth_path, role, audience
        Of the JWT login; the server checks the audience.
    top_dir
        Folder of one person in the mount; ``{handle}`` stands for the handle and must be there.
    revoke_role, revoke_audience
        Of the JWT login of the hub itself, which may end tokens by their accessors and nothing else; with no such
        role, tokens of before a restart of the hub live to their own end.
    namespace
        Vault Enterprise's and OpenBao's namespace, if any.
    ca_file
        PEM file of the authorities to trust.
    connect_timeout, read_timeout, timeout
        Seconds: to connect, for one answer, for everything with retries.
    """

    address: str
    public_address: str = ""
    mount: str = "onyxia-kv"
    auth_path: str = "jwt"
    role: str = "datalab"
    audience: str = "datalab-vault"
    revoke_role: str = ""
    revoke_audience: str = REVOKE_AUDIENCE
    top_dir: str = "{handle}"
    namespace: str | None = None
    ca_file: str | None = None
    connect_timeout: float = 2.0
    read_timeout: float = 4.0
    timeout: float = 5.0

    def __post_init__(self) -> None:
        if "{handle}" not in self.top_dir.split("/"):
            raise ValueError("top_dir needs {handle} as one of its segments: it keeps people apart.")

    def top_dir_of(self, handle: str) -> str:
        """Return the folder of a person.

        Raises
        ------
        SourceError
            `invalid` if `handle` is no handle.
        """
        if not is_handle(handle):
            raise SourceError("vault", "invalid", "The person has no handle that Vault may see.")
        return self.top_dir.replace("{handle}", handle)


@dataclass(frozen=True)
class Login:
    """A token of one person, the seconds that it lives, and what names it."""

    client: Any
    token: str = field(repr=False)
    lease: float
    accessor: str = field(repr=False, default="")


class VaultClient:
    """Logs people in. Made once, used by many threads; it keeps connections open.

    Its HTTP session believes no proxy, `.netrc` or CA variable of the hub's environment, and no `VAULT_*`
    one.
    """

    label = "Vault"

    def __init__(self, config: VaultConfig, issuer: TokenIssuer, source: SourceName = "vault") -> None:
        self.config = config
        self.source = source
        self._issuer = issuer
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = config.ca_file or True
        adapter = HTTPAdapter(pool_maxsize=16, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def login(self, subject: Subject) -> Login:
        """Return a new token of `subject`.

        Raises
        ------
        SourceError
            If Vault does not answer, is sealed, or refuses.
        """
        self.config.top_dir_of(subject.handle)
        return self._login(subject, self.config.role, self.config.audience)

    def _login(self, subject: Subject, role: str, audience: str) -> Login:
        try:
            token = self._issuer.token(subject, audience)
        except (ValueError, RuntimeError) as error:
            message = f"The hub could not sign a token for {self.label}."
            raise SourceError(self.source, "invalid", message) from error
        client = self.client()
        with self.errors("login", during_login=True):
            answer = client.auth.jwt.jwt_login(
                role=role, jwt=token, path=self.config.auth_path, use_token=False
            )
        try:
            auth = answer["auth"]
            accessor = str(auth.get("accessor") or "")
            return Login(client, str(auth["client_token"]), float(auth["lease_duration"]), accessor)
        except (KeyError, TypeError, ValueError):
            message = f"{self.label} gave an answer without a token: is the address right?"
            raise SourceError(self.source, "invalid", message) from None

    def client(self, token: str = "") -> Any:
        """Return an hvac client; cheap, as connections are shared. Use it in one thread."""
        return hvac.Client(
            url=self.config.address,
            token=token,
            # Not None: that would ask VAULT_CLIENT_CERT.
            cert=(),
            session=self._session,
            timeout=(self.config.connect_timeout, self.config.read_timeout),
            namespace=self.config.namespace,
            allow_redirects=False,
        )

    def revoke(self, token: str) -> None:
        """End `token`; one that has ended already is fine.

        Raises
        ------
        SourceError
            If Vault does not answer.
        """
        with self.errors("end of a token"):
            try:
                self.client(token).auth.token.revoke_self()
            except vault.Forbidden:
                return

    def revoke_accessor(self, accessor: str) -> None:
        """End the token that `accessor` names, as the hub itself; one that has ended already is fine.

        Raises
        ------
        SourceError
            If Vault does not answer, or does not let the hub do so.
        """
        login = self._login(Subject(HUB_HANDLE), self.config.revoke_role, self.config.revoke_audience)
        with self.errors("end of a token by its accessor"):
            try:
                self.client(login.token).auth.token.revoke_accessor(accessor)
            except vault.InvalidRequest as error:
                if "invalid accessor" not in " ".join(error.errors or ()):
                    raise

    @contextmanager
    def errors(self, what: str, *, during_login: bool = False) -> Iterator[None]:
        """Turn hvac's and requests' errors into :class:`SourceError`; their texts are not repeated.

        Parameters
        ----------
        what
            What was tried, for sentences.
        """
        try:
            yield
        except requests.exceptions.Timeout:
            raise self._error("timeout", "did not answer in time") from None
        except requests.exceptions.SSLError:
            raise self._error("unreachable", "has a TLS certificate that the hub does not trust") from None
        except requests.exceptions.ConnectionError:
            raise self._error("unreachable", "cannot be reached: no connection") from None
        except requests.exceptions.RequestException as error:
            raise self._error("invalid", f"cannot be asked ({type(error).__name__})") from None
        except vault.VaultDown:
            raise self._error("unreachable", "is sealed; an administrator must unseal it") from None
        except (
            vault.RateLimitExceeded,
            vault.InternalServerError,
            vault.BadGateway,
            vault.VaultNotInitialized,
        ):
            raise self._error("unreachable", f"is out of order ({what})") from None
        except vault.InvalidPath:
            raise self._error("missing", f"has nothing there ({what})") from None
        except vault.VaultError as error:
            if during_login:
                raise self._error("denied", f"refused the login: {_login_cause(error)}") from None
            if isinstance(error, vault.Forbidden | vault.Unauthorized):
                raise self._error("denied", f"refused ({what})") from None
            raise self._error("invalid", f"did not accept the request ({what})") from None
        except (KeyError, TypeError, AttributeError):
            # hvac returns the answer of some other web server as it is.
            raise self._error("invalid", "gave an answer that is not Vault's: is the address right") from None

    def _error(self, code: Any, sentence: str) -> SourceError:
        return SourceError(self.source, code, f"{self.label} {sentence}.")


def _login_cause(error: vault.VaultError) -> str:
    text = " ".join(error.errors or ()).lower()
    return next((cause for word, cause in _LOGIN_CAUSES if word in text), "it gives no reason that is known")
