"""The Vault source: a token that belongs to one session, and the values of its chosen secrets."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from .errors import SourceError
from .model import Grant, SourceName, SourceProblem, Subject, VaultCredentials
from .secret_store import GIT_FOLDER, Secret, SecretStore
from .secret_values import SecretVariables, check_path, secret_variables
from .session_values import path_of_session
from .source import SourceValue, TokenIssuer
from .vault_client import Login, VaultClient, VaultConfig

__all__ = ["GIT_FOLDER", "Secret", "SecretStore", "VaultConfig", "VaultSource"]

#: Secrets of one session that are read at the same time.
_READERS = 8
#: A token without an end (a role without TTL) is replaced as if it had this one.
_ENDLESS = 3600.0


class VaultSource:
    """Logs in as the person, reads the chosen secrets, and ends the token with the session.

    Parameters
    ----------
    issuer
        Signs the token that Vault exchanges.
    clock
        Returns the present, with time zone.
    """

    name: SourceName = "vault"
    label = "Vault"
    per_session = True

    def __init__(
        self,
        config: VaultConfig,
        issuer: TokenIssuer,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.config = config
        self.timeout = config.timeout
        self._clock = clock
        self._client = VaultClient(config, issuer)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sardonyx-vault-read")

    def cache_key(self, subject: Subject, grant: Grant) -> Hashable | None:
        """Return what the grant chooses, or None if it chooses neither a secret nor the token."""
        if not grant.secrets and not grant.vault_token and not grant.variables:
            return None
        return (grant.secrets, grant.vault_token, grant.variables)

    def fetch(self, subject: Subject, grant: Grant) -> VaultCredentials:
        """Make a token and read the secrets. A secret that is not there is a problem; the others are read.

        Raises
        ------
        SourceError
            If Vault does not answer, is sealed, or refuses the login.
        """
        now = self._clock()
        top_dir = self.config.top_dir_of(subject.handle)
        login = self._client.login(subject)
        try:
            contents, problems = self._read_all(login, top_dir, grant.secrets)
            own, missing = self._read_variables(login, top_dir, grant)
        except SourceError as error:
            if not error.transport:
                self._client.revoke(login.token)
            raise
        variables = secret_variables(contents)
        return VaultCredentials(
            token=login.token,
            issued_at=now,
            expiration=now + timedelta(seconds=login.lease or _ENDLESS),
            address=self.config.public_address or self.config.address,
            mount=self.config.mount,
            top_dir=top_dir,
            # What was typed for this very session wins.
            values={**variables.values, **own},
            refused=variables.refused,
            problems=(*problems, *_refusals(variables), *missing),
            accessor=login.accessor,
        )

    def end(self, value: SourceValue) -> None:
        """Revoke the token.

        Raises
        ------
        SourceError
            If Vault does not answer.
        """
        if isinstance(value, VaultCredentials):
            self._client.revoke(value.token)

    def mark(self, value: SourceValue) -> str:
        """Return the token's accessor, where the hub may end tokens by it."""
        return value.accessor if isinstance(value, VaultCredentials) and self.config.revoke_role else ""

    def end_marked(self, mark: str) -> None:
        """Revoke the token of an accessor.

        Raises
        ------
        SourceError
            If Vault does not answer, or does not let the hub do so.
        """
        self._client.revoke_accessor(mark)

    def close(self) -> None:
        """Take no further request; threads that read end by their time limits."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    def _read_all(
        self, login: Login, top_dir: str, paths: tuple[str, ...]
    ) -> tuple[list[tuple[str, Mapping[str, Any]]], list[SourceProblem]]:
        def read(path: str) -> Mapping[str, Any] | SourceError:
            try:
                return self._read(login.token, f"{top_dir}/{check_path(path)}", path)
            except SourceError as error:
                return error

        # One after the other, secrets would add up to a slow launch where Vault is far.
        answers = [read(paths[0])] if len(paths) == 1 else list(self._readers.map(read, paths))
        contents: list[tuple[str, Mapping[str, Any]]] = []
        problems: list[SourceProblem] = []
        for path, answer in zip(paths, answers, strict=True):
            if not isinstance(answer, SourceError):
                contents.append((path, answer))
            elif answer.transport:
                raise answer
            else:
                problems.append(answer.problem())
        return contents, problems

    def _read_variables(
        self, login: Login, top_dir: str, grant: Grant
    ) -> tuple[Mapping[str, str], list[SourceProblem]]:
        """Return the values that the person typed for this session, and a problem for each that is not there."""
        if not grant.variables:
            return {}, []
        content: Mapping[str, Any] = {}
        try:
            content = self._read(login.token, f"{top_dir}/{path_of_session(grant.session)}", "of the session")
        except SourceError as error:
            if error.code != "missing":
                raise
        found = {name: content[name] for name in grant.variables if name in content}
        missing = [name for name in grant.variables if name not in found]
        problems = [
            SourceProblem("vault", "missing", f"The value of {name} is not there any more: type it again.")
            for name in missing
        ]
        return secret_variables([("", found)]).values, problems

    def _read(self, token: str, full_path: str, path: str) -> Mapping[str, Any]:
        kv = self._client.client(token).secrets.kv.v2
        try:
            with self._client.errors(f"secret {path}"):
                answer = kv.read_secret_version(
                    full_path, mount_point=self.config.mount, raise_on_deleted_version=True
                )
                content: Mapping[str, Any] = answer["data"]["data"] or {}
        except SourceError as error:
            if error.code == "missing":
                message = f"The secret {path} is not there: it was deleted or renamed."
                raise SourceError("vault", "missing", message) from None
            raise
        return content


def _refusals(variables: SecretVariables) -> list[SourceProblem]:
    problems = []
    for place, reason in variables.refused.items():
        path, _, key = place.partition(":")
        message = f"{key[:80]!r} of the secret {path} is not in the session: {reason}."
        problems.append(SourceProblem("vault", "invalid", message))
    return problems
