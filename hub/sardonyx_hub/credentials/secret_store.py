"""A person's own secrets in Vault (KV version 2): always with the person's own rights."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from hvac import exceptions as vault

from .errors import SecretConflictError, SecretExistsError, SourceError
from .model import SourceName, Subject
from .secret_history import FolderSummary, History, Overview, read_history
from .secret_values import check_path
from .source import TokenIssuer
from .vault_client import VaultClient, VaultConfig

T = TypeVar("T")
Names = list[str]  # `list` is also the name of a method here
Histories = list[History | None]
Numbers = list[int]
#: What can be done to versions of a secret: `delete` can be taken back by `undelete`, `destroy` cannot.
Mark = Literal["delete", "undelete", "destroy"]

#: Folder of a person's Git accounts; like everything that begins with a dot it is not listed.
GIT_FOLDER = ".git"
MAX_SECRET_BYTES = 256 * 1024
#: A person's token is used again for so long; half of its life if that is shorter.
_TOKEN_SECONDS = 300.0
_MAX_TOKENS = 1000
_MAX_FOLDERS = 200
_MAX_SECRETS = 500
#: Secrets of one folder that are looked at at the same time.
_READERS = 8
#: No program that is ours writes more versions in the time of one call; older ones are left behind by a move.
_MAX_MOVED_VERSIONS = 20


@dataclass(frozen=True)
class Secret:
    """One version of a secret. `created` is when it was written, as Vault tells it (RFC 3339)."""

    data: Mapping[str, Any] = field(repr=False)
    version: int
    created: str


class SecretStore:
    """Reads and writes people's secrets. Its methods block, within time limits; many threads may use it.

    On the event loop call it through :meth:`.broker.Broker.call`, which bounds threads and leaves a Vault
    that hangs alone::

        names = await broker.call("vault", secrets.tree, subject)

    Every method raises :class:`~.errors.SourceError`: `missing`, `denied`, `invalid`, or a transport code.

    Parameters
    ----------
    source
        Under whose name errors are told.
    clock
        Seconds that only grow.
    """

    def __init__(
        self,
        config: VaultConfig,
        issuer: TokenIssuer,
        *,
        source: SourceName = "vault",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._client = VaultClient(config, issuer, source)
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sardonyx-secrets-read")
        self._tokens: OrderedDict[tuple[str, ...], tuple[str, float]] = OrderedDict()

    # What people see ----------------------------------------------------------------------------------------

    def list(self, subject: Subject, path: str = "") -> Names:
        """Return the names in a folder, those of folders with a slash at the end; none if it is not there."""
        names = self._names(subject, check_path(path, folder=True))
        return [name for name in names if not name.startswith(".")]

    def tree(self, subject: Subject) -> Names:
        """Return the paths of all secrets that can be read, sorted; those of the first 500 where there are more."""
        return self.tree_below(subject, "")

    def tree_below(self, subject: Subject, folder: str) -> Names:
        """Like :meth:`tree`, of one folder."""
        return self.listing(subject, folder)[0]

    def listing(self, subject: Subject, folder: str = "") -> tuple[Names, bool]:
        """Return what :meth:`tree_below` does, and whether these are all."""
        found, truncated = self._walk(subject, check_path(folder, folder=True))
        histories = self._histories(subject, found)
        readable = [
            path for path, known in zip(found, histories, strict=True) if known is None or not known.deleted
        ]
        return readable, not truncated

    def every(self, subject: Subject, folder: str) -> Names:
        """Return the paths of all secrets in a folder, deleted ones too."""
        return self._walk(subject, check_path(folder, folder=True))[0]

    def overview(self, subject: Subject, folder: str = "") -> Overview:
        """Return what is in a folder, with deleted secrets, and how much is in its subfolders."""
        folder = check_path(folder, folder=True)
        found, truncated = self._walk(subject, folder)
        secrets: dict[str, History | None] = {}
        counts: dict[str, tuple[int, int]] = {}
        for path, known in zip(found, self._histories(subject, found), strict=True):
            name, slash, _ = path.removeprefix(f"{folder}/" if folder else "").partition("/")
            if not slash:
                secrets[name] = known
                continue
            deleted = known is not None and known.deleted
            alive, gone = counts.get(name, (0, 0))
            counts[name] = (alive + (not deleted), gone + deleted)
        folders = tuple(FolderSummary(name, *numbers) for name, numbers in sorted(counts.items()))
        return Overview(folders, secrets, truncated)

    def history(self, subject: Subject, path: str) -> History:
        """Return the versions of a secret, without values."""
        return self.history_internal(subject, check_path(path))

    def read(self, subject: Subject, path: str, version: int | None = None) -> Secret:
        """Return a secret, its newest version by default."""
        return self.read_internal(subject, check_path(path), version)

    def write(self, subject: Subject, path: str, data: Mapping[str, Any], cas: int | None = None) -> int:
        """Write a new version of a secret and return its number.

        Parameters
        ----------
        cas
            Number of the version that this one is made from (0: none may exist). If another was written
            meanwhile, :class:`~.errors.SecretConflictError` is raised.
        """
        return self.write_internal(subject, check_path(path), data, cas)

    def delete(self, subject: Subject, path: str) -> None:
        """Delete a secret with all its versions, for good."""
        self.delete_internal(subject, check_path(path))

    def remove(self, subject: Subject, path: str, version: int | None = None) -> None:
        """Delete the newest version of a secret so that it can be had back.

        Parameters
        ----------
        version
            The one that the person saw; if another was written meanwhile, :class:`~.errors.SecretConflictError`
            is raised and nothing deleted.
        """
        path = check_path(path)
        known = self.history_internal(subject, path)
        if version is not None and known.current != version:
            raise SecretConflictError(self._source, path)
        if not known.deleted:
            self.mark_internal(subject, path, "delete", [known.current])

    def mark(self, subject: Subject, path: str, *, what: Mark, version: int) -> None:
        """Delete a version, have it back, or destroy it for good; `missing` if it is not there (any more)."""
        path = check_path(path)
        known = self.history_internal(subject, path).get(version)
        if known is None or known.destroyed:
            raise SourceError(
                self._source, "missing", f"There is no version {version} of the secret {path} (any more)."
            )
        self.mark_internal(subject, path, what, [version])

    def restore(self, subject: Subject, path: str, version: int, cas: int | None = None) -> int:
        """Write the values of an older version as a new one and return its number.

        Parameters
        ----------
        cas
            As for :meth:`write`; by default the version that is the newest now.
        """
        path = check_path(path)
        current = self.history_internal(subject, path).current if cas is None else cas
        old = self.read_internal(subject, path, version)
        return self.write_internal(subject, path, old.data, cas=current)

    def move(self, subject: Subject, path: str, target: str) -> int:
        """Give a secret another path; return how many versions went with it.

        Versions that can be read keep their order, the newest stays the newest; deleted ones are left behind. Vault
        knows no such thing as a rename: this writes the new one first, and deletes the old one last.

        Raises
        ------
        SecretExistsError, SecretConflictError
            If there is a secret at `target` (a deleted one too), or the old one was written meanwhile; then all is as
            it was.
        """
        path, target = check_path(path), check_path(target)
        known = self.history_internal(subject, path)
        if known.deleted:
            raise SourceError(self._source, "missing", f"The secret {path} is deleted: have it back first.")
        readable = [version.number for version in known.versions if version.readable][:_MAX_MOVED_VERSIONS]
        written = 0
        try:
            for number in reversed(readable):
                content = self.read_internal(subject, path, number)
                written = self.write_internal(subject, target, content.data, cas=written)
            if self.history_internal(subject, path).current != known.current:
                raise SecretConflictError(self._source, path)
        except SourceError as error:
            if isinstance(error, SecretConflictError) and not written:
                raise SecretExistsError(self._source, target) from None
            # Nothing of it was there before: the first write asked for that.
            if written:
                self.delete_internal(subject, target)
            raise
        self.delete_internal(subject, path)
        return len(readable)

    # With paths that are ours -------------------------------------------------------------------------------

    def names_internal(self, subject: Subject, folder: str) -> Names:
        """Return the names in a folder of ours (`.git`)."""
        return self._names(subject, folder)

    def read_internal(self, subject: Subject, path: str, version: int | None = None) -> Secret:
        """Like :meth:`read`, for a path that is not checked."""

        def call(kv: Any, full: str) -> Secret:
            answer = kv.read_secret_version(
                full, version=version, mount_point=self.config.mount, raise_on_deleted_version=True
            )["data"]
            meta = answer["metadata"]
            return Secret(answer["data"] or {}, int(meta["version"]), str(meta["created_time"]))

        return self._as(subject, path, f"secret {_shown(path)}", call)

    def write_internal(
        self, subject: Subject, path: str, data: Mapping[str, Any], cas: int | None = None
    ) -> int:
        """Like :meth:`write`, for a path that is not checked."""
        if len(json.dumps(data)) > MAX_SECRET_BYTES:
            message = f"The secret is too long: {MAX_SECRET_BYTES // 1024} KiB at most."
            raise SourceError(self._source, "invalid", message)

        def call(kv: Any, full: str) -> int:
            try:
                answer = kv.create_or_update_secret(
                    full, secret=dict(data), cas=cas, mount_point=self.config.mount
                )
            except vault.InvalidRequest as error:
                if cas is not None and "check-and-set" in " ".join(error.errors or ()):
                    raise SecretConflictError(self._source, _shown(path)) from None
                raise
            return int(answer["data"]["version"])

        return self._as(subject, path, f"secret {_shown(path)}", call)

    def history_internal(self, subject: Subject, path: str) -> History:
        """Like :meth:`history`, for a path that is not checked."""

        def call(kv: Any, full: str) -> History:
            return read_history(kv.read_secret_metadata(full, mount_point=self.config.mount)["data"])

        return self._as(subject, path, f"secret {_shown(path)}", call)

    def mark_internal(self, subject: Subject, path: str, what: Mark, versions: Numbers) -> None:
        """Like :meth:`mark`, for several versions and a path that is not checked."""

        def call(kv: Any, full: str) -> None:
            does = {
                "delete": kv.delete_secret_versions,
                "undelete": kv.undelete_secret_versions,
                "destroy": kv.destroy_secret_versions,
            }[what]
            does(full, versions=versions, mount_point=self.config.mount)

        self._as(subject, path, f"secret {_shown(path)}", call)

    def delete_internal(self, subject: Subject, path: str) -> None:
        """Like :meth:`delete`, for a path that is not checked."""

        def call(kv: Any, full: str) -> None:
            kv.delete_metadata_and_all_versions(full, mount_point=self.config.mount)

        self._as(subject, path, f"secret {_shown(path)}", call)

    # Many at once -------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no further request; threads that read end by their time limits."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _walk(self, subject: Subject, folder: str) -> tuple[Names, bool]:
        """Return the paths of all secrets in `folder`, sorted, and whether there were too many to look at all."""
        found: Names = []
        folders = [folder]
        for number, inner in enumerate(folders):
            if number >= _MAX_FOLDERS or len(found) > _MAX_SECRETS:
                return sorted(found[:_MAX_SECRETS]), True
            for name in self._names(subject, inner):
                if name.startswith("."):
                    continue
                path = f"{inner}/{name}".strip("/")
                (folders if name.endswith("/") else found).append(path)
        return sorted(found[:_MAX_SECRETS]), len(found) > _MAX_SECRETS

    def _histories(self, subject: Subject, paths: Names) -> Histories:
        """Return what is known of each secret; None for one that is gone meanwhile, or that Vault says nothing of."""

        def known(path: str) -> History | None:
            try:
                return self.history_internal(subject, path)
            except SourceError as error:
                if error.transport:
                    raise
                return None

        if len(paths) < 2:
            return [known(path) for path in paths]
        return list(self._readers.map(known, paths))

    # Calls --------------------------------------------------------------------------------------------------

    def _names(self, subject: Subject, folder: str) -> Names:
        def call(kv: Any, full: str) -> Names:
            try:
                return [
                    str(key) for key in kv.list_secrets(full, mount_point=self.config.mount)["data"]["keys"]
                ]
            except vault.InvalidPath:
                return []

        return self._as(subject, folder, "list of secrets", call)

    def _as(self, subject: Subject, path: str, what: str, call: Callable[[Any, str], T]) -> T:
        """Make a call with the person's token; once more with a new one if Vault knows it no more."""
        full = f"{self.config.top_dir_of(subject.handle)}/{path}".rstrip("/")
        token, known = self._token(subject)
        try:
            return self._try(token, full, what, call)
        except SourceError as error:
            if error.code != "denied" or not known:
                raise
            # A token ends before its time when Vault was restored or an administrator revoked it.
            self._forget(subject)
            token, _ = self._token(subject)
            return self._try(token, full, what, call)

    def _try(self, token: str, full: str, what: str, call: Callable[[Any, str], T]) -> T:
        with self._client.errors(what):
            return call(self._client.client(token).secrets.kv.v2, full)

    def _token(self, subject: Subject) -> tuple[str, bool]:
        """Return a token, and whether it was known before."""
        key = (subject.handle, *subject.groups)
        with self._lock:
            token, end = self._tokens.get(key, ("", 0.0))
        if token and self._clock() < end:
            return token, True
        login = self._client.login(subject)
        life = min(_TOKEN_SECONDS, login.lease / 2 or _TOKEN_SECONDS)
        with self._lock:
            self._tokens[key] = (login.token, self._clock() + life)
            self._tokens.move_to_end(key)
            while len(self._tokens) > _MAX_TOKENS:
                self._tokens.popitem(last=False)
        return login.token, False

    def _forget(self, subject: Subject) -> None:
        with self._lock:
            self._tokens.pop((subject.handle, *subject.groups), None)


def _shown(path: str) -> str:
    return path.removeprefix(f"{GIT_FOLDER}/")
