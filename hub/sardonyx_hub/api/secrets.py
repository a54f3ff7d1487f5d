"""``/hub/api/datalab/v1/secrets``: one's own secrets. A path that ends with a slash is a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, Literal, ParamSpec, TypeVar

from ..credentials.errors import SourceError
from ..credentials.model import Subject
from ..credentials.secret_store import SecretStore
from ..credentials.secret_values import check_path
from . import scopes
from .base import ApiError, DatalabHandler
from .validation import checked, parse_secret

P = ParamSpec("P")
R = TypeVar("R")
Action = Literal["list", "read", "write", "delete"]


class _SecretHandler(DatalabHandler):
    scope = scopes.SECRETS

    @property
    def store(self) -> SecretStore:
        """The store of secrets.

        Raises
        ------
        ApiError
            404 if the datalab has none.
        """
        store = self.datalab.secrets
        if store is None:
            raise ApiError(404, "This datalab has no secret store.", code="missing")
        return store

    async def recorded(
        self,
        action: Action,
        path: str,
        method: Callable[Concatenate[Subject, str, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Do `method` as the person and record what came of it; the audit names the path only."""
        subject = self.subject()
        reason = "error"
        try:
            result = await self.call("vault", method, subject, path, *args, **kwargs)
            reason = ""
        except SourceError as error:
            reason = error.code
            raise
        finally:
            self.datalab.audit.secret(subject, action, path, reason=reason, request_id=self.request_id)
            if action in {"write", "delete"}:
                # Also after an error: a call whose time was up may have written.
                self.datalab.broker.forget(subject.handle, "vault")
        return result

    async def send_folder(self, path: str) -> None:
        """Send what is in a folder; the store leaves out what is ours."""
        entries = await self.recorded("list", path, self.store.list)
        folders = sorted(entry.rstrip("/") for entry in entries if entry.endswith("/"))
        secrets = sorted(entry for entry in entries if not entry.endswith("/"))
        self.finish({"path": path, "folders": folders, "secrets": secrets})


class SecretsHandler(_SecretHandler):
    """The top directory."""

    async def get(self) -> None:
        """Send ``{"path": "", "folders": [...], "secrets": [...]}``."""
        self.limit("read")
        await self.send_folder("")


class SecretHandler(_SecretHandler):
    """A secret, or with a slash at the end a folder."""

    async def get(self, path: str) -> None:
        """Send ``{"path", "values", "version"}`` of a secret, or what is in a folder."""
        self.limit("read")
        if path.endswith("/"):
            await self.send_folder(checked(check_path, path, folder=True))
            return
        path = checked(check_path, path)
        secret = await self.recorded("read", path, self.store.read)
        self.finish({"path": path, "values": dict(secret.data), "version": secret.version})

    async def put(self, path: str) -> None:
        """Write ``{"values": {...}, "cas": version?}``, all values at once; send ``{"path", "version"}``.

        With ``cas`` the write is refused with 409 unless the secret's version is that one (0: it is not there
        yet).
        """
        self.limit("write")
        path, wanted = checked(check_path, path), parse_secret(self.json_object())
        version = await self.recorded("write", path, self.store.write, wanted.values, cas=wanted.cas)
        self.finish({"path": path, "version": version})

    async def delete(self, path: str) -> None:
        """Delete a secret with all its versions; one that is not there is deleted already."""
        self.limit("write")
        await self.recorded("delete", checked(check_path, path), self.store.delete)
        self.set_status(204)
