"""Account: ``/hub/datalab/account/<tab>``. No key, token or value is in these pages until somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from jupyterhub.utils import utcnow
from tornado import web

from ..api import scopes
from ..api.audit import new_request_id
from ..api.credentials import personal_grant
from ..credentials.environment import timestamp
from ..credentials.errors import TRANSPORT_CODES, SourceError
from ..credentials.model import S3Access
from .base import DatalabPageHandler
from .snippets import CA_FILE, SNIPPETS, Target

TABS: Final = ("profile", "git", "storage", "vault", "tokens")
#: Sentences that the scripts of all tabs say.
_MESSAGES: Final = (
    "account.expire",
    "account.down",
    "account.too_fast",
    "account.storage.",
    "common.delete",
    "common.masked",
    "common.save",
    "common.copy",
)
_GROUPS: Final = ("python", "shell", "r", "spark")
#: What a token may be good for, in the words of the page (``account.tokens.may.NAME``); None: all that the person may.
TOKEN_CHOICES: Final[dict[str, list[str] | None]] = {
    "storage": [f"{scopes.CREDENTIALS}!user"],
    "secrets": [f"{scopes.SECRETS}!user"],
    "git": [f"{scopes.GIT}!user"],
    "sessions": ["servers!user", "read:users!user", "access:servers!user"],
    "all": None,
}


class AccountPageHandler(DatalabPageHandler):
    """The tabs of the account page."""

    room = "account"

    @web.authenticated
    async def get(self, tab: str = "") -> None:
        """Show a tab; the first one by default."""
        if tab in ("", "/"):
            self.redirect(self.shell.url("datalab/account/profile"))
            return
        tabs: dict[str, Callable[[], Coroutine[Any, Any, dict[str, Any]]]] = {
            "profile": self._profile,
            "git": self._git,
            "storage": self._storage,
            "vault": self._vault,
            "tokens": self._tokens,
        }
        if tab not in tabs:
            raise web.HTTPError(404, self.t("account.no_such_tab"))
        content = await tabs[tab]()
        await self.render_page(
            f"datalab/account_{tab}.html",
            messages=(f"account.{tab}.", *_MESSAGES),
            tab=tab,
            tabs=TABS,
            **content,
        )

    async def _profile(self) -> dict[str, Any]:
        subject = self.datalab.subject_for(self.current_user)
        projects = sorted(group.name for group in self.current_user.groups)
        return {"subject": subject, "projects": projects, "is_admin": self.current_user.admin}

    def _down(self, code: str, message: str) -> str:
        """Return a sentence about a backend that gave nothing; what only it can tell is in English."""
        silent = code in TRANSPORT_CODES or code == "circuit-open"
        return self.t("account.silent") if silent else message

    async def _git(self) -> dict[str, Any]:
        accounts: list[Any] = []
        problem = ""
        if self.datalab.git_accounts is not None:
            subject = self.datalab.subject_for(self.current_user)
            try:
                accounts = await self.datalab.broker.call("vault", self.datalab.git_accounts.list, subject)
            except SourceError as error:
                problem = self._down(error.code, error.message)
        shown = [
            {
                "host": account.host,
                "username": account.username,
                "name": account.name,
                "email": account.email,
                "token_set": bool(account.token),
            }
            for account in accounts
        ]
        return {
            "available": self.datalab.git_accounts is not None,
            "accounts": shown,
            "problem": problem,
            "data": {"accounts": shown},
        }

    async def _storage(self) -> dict[str, Any]:
        subject = self.datalab.subject_for(self.current_user)
        config = self.datalab.s3_config
        if config is None:
            return {"available": False, "data": {}}
        grant = personal_grant(subject)
        credentials = await self.datalab.credentials(subject, grant, request_id=new_request_id())
        s3 = credentials.s3
        buckets: dict[str, S3Access] = {subject.handle: "read-write"}
        for shared in config.shared_buckets:
            access = shared.access_of(subject)
            if access != "none":
                buckets[shared.name] = access
        asked = self.get_query_argument("bucket", subject.handle)
        bucket = asked if asked in buckets else subject.handle
        target = Target(
            endpoint_url=config.public_endpoint_url or config.endpoint_url,
            region=config.region,
            path_style=config.path_style,
            bucket=bucket,
            writable=buckets[bucket] == "read-write",
            needs_ca=self.datalab.public_ca_file is not None,
        )
        problems = [
            self._down(problem.code, problem.message)
            for problem in credentials.problems
            if problem.source == "s3"
        ]
        return {
            "available": True,
            "target": target,
            "buckets": buckets,
            "own": subject.handle,
            "groups": {
                group: [(one, one.render(target)) for one in SNIPPETS if one.group == group]
                for group in _GROUPS
            },
            "ca_file": CA_FILE,
            "problem": problems[0] if s3 is None and problems else "",
            "warnings": problems if s3 is not None else [],
            "expiration": timestamp(s3.expiration) if s3 else "",
            "data": {"expiration": timestamp(s3.expiration) if s3 else None, "now": timestamp(utcnow())},
        }

    async def _vault(self) -> dict[str, Any]:
        store = self.datalab.secrets
        if store is None:
            return {"available": False, "data": {}}
        config = store.config
        subject = self.datalab.subject_for(self.current_user)
        return {
            "available": True,
            "allowed": self.datalab.vault_tokens,
            "address": config.public_address or config.address,
            "mount": config.mount,
            "folder": config.top_dir_of(subject.handle),
            "namespace": config.namespace or "",
            "needs_ca": self.datalab.public_ca_file is not None
            and (config.public_address or config.address).startswith("https:"),
            "ca_file": CA_FILE,
            "data": {"now": timestamp(utcnow())},
        }

    async def _tokens(self) -> dict[str, Any]:
        now = utcnow(with_tz=False)
        tokens = [
            token for token in self.current_user.api_tokens if not token.expires_at or token.expires_at > now
        ]
        tokens.sort(key=lambda token: token.id, reverse=True)
        server_notes = ("Server at ", "Server ")
        own: list[dict[str, Any]] = []
        sessions: list[Any] = []
        applications: dict[str, dict[str, Any]] = {}
        for token in tokens:
            if token.client_id != "jupyterhub":
                applications.setdefault(token.client_id, self._application(token))
            elif (token.note or "").startswith(server_notes) and self._is_server(token):
                sessions.append(token)
            else:
                own.append(self._token(token))
        return {
            "tokens": own,
            "session_count": len(sessions),
            "applications": list(applications.values()),
            "choices": list(TOKEN_CHOICES),
            "longest": self.settings.get("token_expires_in_max_seconds") or 0,
            "data": {"choices": TOKEN_CHOICES},
        }

    def _is_server(self, token: Any) -> bool:
        """Whether JupyterHub made the token for a session, and ends it with it."""
        return any("!server=" in scope for scope in token.scopes)

    def _token(self, token: Any) -> dict[str, Any]:
        held = set(token.scopes)
        choices = [name for name, wanted in TOKEN_CHOICES.items() if wanted and _holds(held, wanted)]
        if "inherit" in held or not held:
            choices = ["all"]
        known = {_name(scope) for name in choices for scope in TOKEN_CHOICES[name] or ()}
        others = [] if choices == ["all"] else sorted(scope for scope in held if _name(scope) not in known)
        return {
            "id": token.api_id,
            "note": token.note or "",
            "created": _iso(token.created),
            "used": _iso(token.last_activity),
            "expires": _iso(token.expires_at),
            "may": choices,
            "others": others,
        }

    def _application(self, token: Any) -> dict[str, Any]:
        client = token.oauth_client
        name = (client.description or client.identifier) if client else token.client_id
        # what JupyterHub calls each session, in English
        if name.startswith("Server at "):
            name = self.t("account.tokens.session", path=name.removeprefix("Server at "))
        return {
            "id": token.api_id,
            "name": name,
            "created": _iso(token.created),
            "used": _iso(token.last_activity),
        }


def _name(scope: str) -> str:
    return scope.partition("!")[0]


def _holds(held: set[str], wanted: list[str]) -> bool:
    """Whether a token has a choice: its first scope, whoever it was restricted to."""
    return _name(wanted[0]) in {_name(scope) for scope in held}


def _iso(moment: datetime | None) -> str:
    """Return JupyterHub's time, UTC without a zone, as RFC 3339."""
    return f"{moment.replace(microsecond=0).isoformat()}Z" if moment else ""


class AuthoritiesHandler(DatalabPageHandler):
    """The authorities that computers have to trust to reach S3 and Vault: public, for `curl` too."""

    anonymous = True

    def get(self) -> None:
        """Send the file, read anew: authorities are renewed."""
        path = self.datalab.public_ca_file
        if path is None:
            raise web.HTTPError(404, self.t("account.no_such_file"))
        self.set_header("Content-Type", "application/x-pem-file")
        self.set_header("Content-Disposition", f"attachment; filename={quote(CA_FILE)}")
        self.finish(path.read_bytes())


class TokenRedirectHandler(DatalabPageHandler):
    """JupyterHub's own page of tokens is a tab of ours."""

    @web.authenticated
    def get(self) -> None:
        """Go there."""
        self.redirect(self.shell.url("datalab/account/tokens"))
