"""My secrets: ``/hub/datalab/secrets``. A path that ends with a slash is a folder.

No value of a secret is in a page: its script asks the API for those that a person wants to see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tornado import web

from sardonyx_spawner.envnames import refused_names

from ..api.audit import SecretAction, new_request_id
from ..credentials.errors import SourceError
from ..credentials.model import Subject
from ..credentials.secret_commands import folder_commands, secret_commands
from ..credentials.secret_history import History
from ..credentials.secret_store import SecretStore
from ..credentials.secret_values import check_path, name_refusal
from ..secret_use import Use, uses_by_path
from .base import DatalabPageHandler

#: Seconds that a page waits for the saved configurations: who uses a secret is worth that and no more.
_SAVED_SECONDS = 1.5
_MESSAGES = (
    "secrets.",
    "envname.",
    "common.delete",
    "common.hide",
    "common.masked",
    "common.save",
    "common.show",
)


class SecretsPageHandler(DatalabPageHandler):
    """A folder of secrets, or a secret."""

    room = "secrets"

    @web.authenticated
    async def get(self, path: str = "") -> None:
        """Show it; a part that is down is told in the page."""
        store = self.datalab.secrets
        if store is None:
            await self.render_page("datalab/secrets_none.html", problem=False)
            return
        try:
            clean = check_path(path, folder=True)
        except SourceError:
            raise web.HTTPError(404, self.t("secrets.bad_path")) from None
        try:
            if path == "" or path.endswith("/"):
                await self._folder(store, clean)
            else:
                await self._secret(store, clean)
        except SourceError as error:
            self.set_status(503)
            self.set_header("Retry-After", "5")
            # that it does not answer is said already, in the person's language
            detail = "" if error.transport or error.code == "circuit-open" else error.message
            await self.render_page("datalab/secrets_none.html", problem=True, detail=detail)

    async def _folder(self, store: SecretStore, folder: str) -> None:
        subject = self.datalab.subject_for(self.current_user)
        try:
            overview = await self.datalab.broker.call("vault", store.overview, subject, folder)
        except SourceError as error:
            self._record(subject, "list", folder, error.code)
            raise
        self._record(subject, "list", folder)
        prefix = f"{folder}/" if folder else ""
        uses = await self._uses(subject)
        await self.render_page(
            "datalab/secrets.html",
            messages=_MESSAGES,
            folder=folder,
            crumbs=_crumbs(folder),
            overview=overview,
            alive={name: one for name, one in overview.secrets.items() if one is None or not one.deleted},
            deleted={name: one for name, one in overview.secrets.items() if one is not None and one.deleted},
            uses={name: uses.get(prefix + name, []) for name in overview.secrets},
            folder_uses={one.name: _below(uses, f"{prefix}{one.name}/") for one in overview.folders},
            commands=folder_commands(store.config, subject.handle, folder),
            url_of=self._url_of,
            data={"folder": folder, "root": self._url_of("", folder=True)},
        )

    async def _secret(self, store: SecretStore, path: str) -> None:
        subject = self.datalab.subject_for(self.current_user)
        history, keys = await self._content(store, subject, path)
        if history is None and self.get_query_argument("new", "") != "1":
            self.set_status(404)
        current = history.current if history else 0
        deleted = history is not None and history.deleted
        uses = (await self._uses(subject)).get(path, [])
        await self.render_page(
            "datalab/secret.html",
            messages=_MESSAGES,
            path=path,
            title=path.rpartition("/")[2],
            parent=path.rpartition("/")[0],
            crumbs=_crumbs(path),
            history=history,
            keys=[(key, _remark(key)) for key in keys],
            deleted=deleted,
            uses=uses,
            commands=secret_commands(
                store.config, subject.handle, path, keys=keys, version=current, deleted=deleted
            ),
            url_of=self._url_of,
            data={
                "path": path,
                "version": current,
                "keys": keys,
                "deleted": deleted,
                "used": len(uses),
                "root": self._url_of("", folder=True),
                "refused": refused_names(),
            },
        )

    async def _content(
        self, store: SecretStore, subject: Subject, path: str
    ) -> tuple[History | None, list[str]]:
        """Return versions and keys of a secret; None if there is none."""
        reason = "error"
        try:
            history = await self.datalab.broker.call("vault", store.history, subject, path)
            keys: list[str] = []
            if not history.deleted:
                secret = await self.datalab.broker.call("vault", store.read, subject, path)
                keys = sorted(secret.data)
            reason = ""
        except SourceError as error:
            reason = error.code
            if error.code == "missing":
                return None, []
            raise
        finally:
            self._record(subject, "list", path, reason)
        return history, keys

    async def _uses(self, subject: Subject) -> Mapping[str, list[Use]]:
        """Return who uses which secret; without saved configurations if they do not come in time."""
        saved: Any = ()
        if self.datalab.saved is not None:
            try:
                async with asyncio.timeout(_SAVED_SECONDS):
                    listing = await self.datalab.broker.call("vault", self.datalab.saved.list, subject)
                saved = listing.configurations
            except (SourceError, TimeoutError):
                saved = ()
        return uses_by_path(self.current_user, saved)

    def _record(self, subject: Subject, action: SecretAction, path: str, reason: str = "") -> None:
        self.datalab.audit.secret(subject, action, path, reason=reason, request_id=new_request_id())

    def _url_of(self, path: str, *, folder: bool = False) -> str:
        """Return the address of a secret's page, or of a folder's."""
        url = self.shell.url("datalab/secrets")
        return f"{url}/{quote(path)}{'/' if folder and path else ''}"


def _remark(key: str) -> str:
    """Return the key of the message that says why a key is not in sessions; empty if it is."""
    if key.startswith("."):
        return "secrets.key.note"
    refusal = name_refusal(key)
    return refusal[0] if refusal else ""


def _crumbs(path: str) -> list[tuple[str, str]]:
    """Return name and path of each folder above, and of the thing itself."""
    parts = path.split("/") if path else []
    return [(part, "/".join(parts[: number + 1])) for number, part in enumerate(parts)]


def _below(uses: Mapping[str, list[Use]], prefix: str) -> list[Use]:
    return list(
        dict.fromkeys(use for path, found in uses.items() if path.startswith(prefix) for use in found)
    )
