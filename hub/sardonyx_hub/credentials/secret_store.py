"""A person's own secrets in Vault (KV version 2): always with the person's own rights."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hvac import exceptions as vault

from .errors import SecretConflictError, SourceError
from .model import SourceName, Subject
from .secret_values import check_path
from .source import TokenIssuer
from .vault_client import VaultClient, VaultConfig

T = TypeVar("T")
Names = list[str]  # `list` is also the name of a method here

#: Folder of a person's Git accounts; like everything that begins with a dot it is not listed.
GIT_FOLDER = ".git"
MAX_SECRET_BYTES = 256 * 1024
#: A person's token is used again for so long; half of its life if that is shorter.
_TOKEN_SECONDS = 300.0
_MAX_TOKENS = 1000
_MAX_FOLDERS = 200


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
        self._tokens: OrderedDict[tuple[str, ...], tuple[str, float]] = OrderedDict()

    # What people see ----------------------------------------------------------------------------------------

    def list(self, subject: Subject, path: str = "") -> Names:
        """Return the names in a folder, those of folders with a slash at the end; none if it is not there."""
        names = self._names(subject, check_path(path, folder=True))
        return [name for name in names if not name.startswith(".")]

    def tree(self, subject: Subject) -> Names:
        """Return the paths of all secrets, sorted; of the first 200 folders where somebody has more."""
        found: list[str] = []
        folders = [""]
        for number, folder in enumerate(folders):
            if number >= _MAX_FOLDERS:
                break
            for name in self._names(subject, folder):
                if name.startswith("."):
                    continue
                path = f"{folder}/{name}".strip("/")
                (folders if name.endswith("/") else found).append(path)
        return sorted(found)

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

    def delete_internal(self, subject: Subject, path: str) -> None:
        """Like :meth:`delete`, for a path that is not checked."""

        def call(kv: Any, full: str) -> None:
            kv.delete_metadata_and_all_versions(full, mount_point=self.config.mount)

        self._as(subject, path, f"secret {_shown(path)}", call)

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
