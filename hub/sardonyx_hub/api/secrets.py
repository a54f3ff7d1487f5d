"""``/hub/api/datalab/v1/secrets``: one's own secrets. A path that ends with a slash is a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..credentials.errors import SecretConflictError, SourceError
from ..credentials.model import Subject
from ..credentials.secret_history import History, Overview
from ..credentials.secret_store import Mark, SecretStore
from ..credentials.secret_values import check_path
from . import scopes
from .audit import SecretAction
from .base import ApiError, DatalabHandler, not_found
from .validation import InvalidRequestError, checked, parse_action, parse_change, parse_number, parse_secret

P = ParamSpec("P")
R = TypeVar("R")

#: Secrets that one request deletes or moves at most: it has to end while a person waits.
MAX_AT_ONCE = 200
_CHANGES = frozenset({"write", "delete", "undelete", "restore", "move", "destroy"})


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
        action: SecretAction,
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
            more = self._details(action, args, kwargs)
            self.datalab.audit.secret(
                subject, action, path, reason=reason, request_id=self.request_id, **more
            )
            if action in _CHANGES:
                # Also after an error: a call whose time was up may have written.
                self.datalab.broker.forget(subject.handle, "vault")
        return result

    @staticmethod
    def _details(action: SecretAction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return what the audit says beside the path: the new one, or the version."""
        if action == "move":
            return {"target": args[0]}
        version = kwargs.get("version")
        return {"version": version} if version else {}

    async def send_folder(self, path: str) -> None:
        """Send what is in a folder; the store leaves out what is ours."""
        if self.get_query_argument("details", "0") == "1":
            overview = await self.recorded("list", path, self.store.overview)
            self.finish(describe_overview(path, overview))
            return
        entries = await self.recorded("list", path, self.store.list)
        folders = sorted(entry.rstrip("/") for entry in entries if entry.endswith("/"))
        secrets = sorted(entry for entry in entries if not entry.endswith("/"))
        self.finish({"path": path, "folders": folders, "secrets": secrets})


class SecretsHandler(_SecretHandler):
    """The top directory."""

    async def get(self) -> None:
        """Send ``{"path": "", "folders": [...], "secrets": [...]}``, with ``?details=1`` what is known of each."""
        self.limit("read")
        await self.send_folder("")


class SecretHandler(_SecretHandler):
    """A secret, or with a slash at the end a folder."""

    async def get(self, path: str) -> None:
        """Send a secret or what is in a folder.

        ``{"path", "values", "version"}``; ``?version=2`` an older version, ``?key=NAME`` one value only;
        ``?history=1`` ``{"path", "current", "deleted", "versions": [...]}`` without values.
        """
        self.limit("read")
        if path.endswith("/"):
            await self.send_folder(checked(check_path, path, folder=True))
            return
        path = checked(check_path, path)
        if self.get_query_argument("history", "0") == "1":
            self.finish(describe_history(path, await self.recorded("list", path, self.store.history)))
            return
        version = parse_number(self.get_query_argument("version", None), "version")
        secret = await self.recorded("read", path, self.store.read, version=version)
        values = dict(secret.data)
        key = self.get_query_argument("key", None, strip=False)
        if key is not None:
            if key not in values:
                not_found("The secret has no such key.")
            values = {key: values[key]}
        self.finish({"path": path, "values": values, "version": secret.version})

    async def put(self, path: str) -> None:
        """Write ``{"values": {...}, "cas": version?}``, all values at once; send ``{"path", "version"}``.

        With ``cas`` the write is refused with 409 unless the secret's version is that one (0: it is not there
        yet).
        """
        self.limit("write")
        path, wanted = checked(check_path, path), parse_secret(self.json_object())
        version = await self.recorded("write", path, self.store.write, wanted.values, cas=wanted.cas)
        self.finish({"path": path, "version": version})

    async def patch(self, path: str) -> None:
        """Change some keys: ``{"cas": version, "set": {...}?, "remove": [...]?, "rename": {...}?}``.

        Values that are not named stay as they are and need not be known to who asks. 409 if the secret's newest
        version is not ``cas``.
        """
        self.limit("write")
        path, change = checked(check_path, path), parse_change(self.json_object())
        secret = await self.call("vault", self.store.read, self.subject(), path)
        if secret.version != change.cas:
            raise SecretConflictError("vault", path)
        version = await self.recorded(
            "write", path, self.store.write, change.apply(secret.data), cas=change.cas
        )
        self.finish({"path": path, "version": version})

    async def post(self, path: str) -> None:
        """Do what is no write: see :func:`.validation.parse_action`.

        ``undelete`` has a version back, ``restore`` makes an older version the newest, ``move`` gives the secret or
        folder another path and sends ``{"path", "moved": number of secrets}``.
        """
        self.limit("write")
        folder = path.endswith("/")
        path, wanted = checked(check_path, path), parse_action(self.json_object())
        if wanted.action == "move":
            target = checked(check_path, wanted.to)
            moved = await (self._move_folder(path, target) if folder else self._move(path, target))
            self.finish({"path": target, "moved": moved})
            return
        if folder:
            raise InvalidRequestError("A folder has no versions: the path ends with a slash.")
        if wanted.action == "restore":
            restore = self.store.restore
            number = await self.recorded("restore", path, restore, version=wanted.version)
            self.finish({"path": path, "version": number})
            return
        await self.recorded("undelete", path, self.store.mark, what="undelete", version=wanted.version)
        self.finish({"path": path, "version": wanted.version})

    async def delete(self, path: str) -> None:
        """Delete a secret so that it can be had back; what is not there is deleted already.

        ``?version=3``: refused with 409 if the newest version is another. ``?forever=1`` deletes all versions for good,
        with ``&version=3`` that one. A folder: all secrets in it; ``?expected=4`` refuses with 409 if it is another
        number; sends ``{"path", "deleted": number}``.
        """
        self.limit("write")
        forever = self.get_query_argument("forever", "0") == "1"
        if path.endswith("/"):
            await self._delete_folder(checked(check_path, path), forever)
            return
        path = checked(check_path, path)
        version = parse_number(self.get_query_argument("version", None), "version")
        await self._delete(path, version, forever)
        self.set_status(204)

    # Parts --------------------------------------------------------------------------------------------------

    async def _delete(self, path: str, version: int | None, forever: bool) -> None:
        if not forever:
            try:
                await self.recorded("delete", path, self.store.remove, version=version)
            except SourceError as error:
                if error.code != "missing":
                    raise
        elif version is None:
            await self.recorded("destroy", path, self.store.delete)
        else:
            what: Mark = "destroy"
            await self.recorded("destroy", path, self.store.mark, what=what, version=version)

    async def _delete_folder(self, path: str, forever: bool) -> None:
        expected = parse_number(self.get_query_argument("expected", None), "expected")
        paths = await self._below(path, deleted_too=forever)
        if expected is not None and expected != len(paths):
            message = f"There are {len(paths)} secrets in the folder, not {expected}: look again."
            raise ApiError(409, message, code="conflict", count=str(len(paths)))
        for done, one in enumerate(paths):
            with _Progress(done, len(paths)):
                await self._delete(one, None, forever)
        self.finish({"path": path, "deleted": len(paths)})

    async def _move(self, path: str, target: str) -> int:
        await self.recorded("move", path, self.store.move, target)
        return 1

    async def _move_folder(self, path: str, target: str) -> int:
        if f"{target}/".startswith(f"{path}/"):
            raise InvalidRequestError("A folder cannot be moved into itself.")
        paths = await self._below(path)
        if not paths:
            not_found("There is no secret in this folder.")
        for done, one in enumerate(paths):
            with _Progress(done, len(paths)):
                await self._move(one, f"{target}{one.removeprefix(path)}")
        return len(paths)

    async def _below(self, path: str, *, deleted_too: bool = False) -> list[str]:
        """Return the secrets of a folder.

        Raises
        ------
        InvalidRequestError
            If there are more than one request may touch.
        """
        paths = await self.recorded("list", path, self.store.every if deleted_too else self.store.tree_below)
        if len(paths) > MAX_AT_ONCE:
            message = (
                f"There are more than {MAX_AT_ONCE} secrets in the folder: take its subfolders one by one."
            )
            raise InvalidRequestError(message, code="too-many")
        return paths


class _Progress:
    """Adds to an error how much of something was done before it."""

    def __init__(self, done: int, total: int) -> None:
        self._words = f" ({done} of {total} were done before.)"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SourceError):
            error.message += self._words


def describe_history(path: str, history: History) -> dict[str, Any]:
    """Return the versions of a secret as JSON, the newest first."""
    versions = [
        {
            "version": version.number,
            "created": version.created,
            "deleted": version.deleted or None,
            "destroyed": version.destroyed,
        }
        for version in history.versions
    ]
    return {"path": path, "current": history.current, "deleted": history.deleted, "versions": versions}


def describe_overview(path: str, overview: Overview) -> dict[str, Any]:
    """Return what is in a folder as JSON; ``updated`` and ``version`` are None where Vault does not tell them."""
    secrets = []
    for name, history in overview.secrets.items():
        newest = history.newest if history else None
        secrets.append(
            {
                "name": name,
                "version": history.current if history else None,
                "updated": newest.created if newest else None,
                "deleted": bool(history and history.deleted),
            }
        )
    folders = [
        {"name": folder.name, "secrets": folder.secrets, "deleted": folder.deleted}
        for folder in overview.folders
    ]
    return {"path": path, "folders": folders, "secrets": secrets, "truncated": overview.truncated}
