"""What is known of a secret without its values: versions, what became of them, what a folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Version:
    """One version of a secret. Times are RFC 3339, as Vault tells them; `deleted` is empty if it is there."""

    number: int
    created: str
    deleted: str = ""
    destroyed: bool = False

    @property
    def readable(self) -> bool:
        """Whether its values can be read."""
        return not self.deleted and not self.destroyed


@dataclass(frozen=True)
class History:
    """The versions of a secret that Vault still knows, the newest first; `current` is the newest's number."""

    current: int
    versions: tuple[Version, ...]

    @property
    def newest(self) -> Version | None:
        """The current version, or None where Vault knows none any more."""
        return next((version for version in self.versions if version.number == self.current), None)

    @property
    def deleted(self) -> bool:
        """Whether the secret cannot be read as it is: its newest version is deleted or destroyed."""
        return self.newest is None or not self.newest.readable

    def get(self, number: int) -> Version | None:
        """Return one version, or None."""
        return next((version for version in self.versions if version.number == number), None)


@dataclass(frozen=True)
class FolderSummary:
    """A folder and how many secrets are in it, at any depth: those that can be read, and deleted ones."""

    name: str
    secrets: int
    deleted: int


@dataclass(frozen=True)
class Overview:
    """What is in a folder: subfolders, and secrets by name with what is known of them (None: it cannot be told).

    `truncated`: there is more below than was looked at, so that the numbers are lower bounds.
    """

    folders: tuple[FolderSummary, ...]
    secrets: Mapping[str, History | None]
    truncated: bool = False

    @property
    def alive(self) -> int:
        """How many secrets can be read, at any depth."""
        own = sum(1 for history in self.secrets.values() if history is None or not history.deleted)
        return own + sum(folder.secrets for folder in self.folders)


def read_history(data: Mapping[str, Any]) -> History:
    """Return the history in the metadata of a KV version 2 secret.

    Source: https://openbao.org/api-docs/secret/kv/kv-v2/#read-secret-metadata

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is none.
    """
    versions = [
        Version(
            number=int(number),
            created=str(version["created_time"]),
            deleted=str(version.get("deletion_time") or ""),
            destroyed=bool(version.get("destroyed")),
        )
        for number, version in (data.get("versions") or {}).items()
    ]
    versions.sort(key=lambda version: version.number, reverse=True)
    return History(int(data["current_version"]), tuple(versions))
