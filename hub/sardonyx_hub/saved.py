"""Saved configurations: launch options under a name, in the person's own secret store.

Options may hold values that are secret, so they are kept where secrets are, in a folder that is not listed among them and that
no session can be granted.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from jupyterhub.slugs import is_valid_display_name, normalise_unicode

from .credentials.errors import SourceError
from .credentials.model import Subject
from .credentials.secret_store import SecretStore

#: Below a person's folder; what begins with a dot is ours.
FOLDER: Final = ".datalab/configurations"
MAX_CONFIGURATIONS: Final = 50
MAX_NAME: Final = 100

_ID = re.compile(r"[a-z0-9]{12}")
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_READERS = 6
_FORMAT = 1

# `list` is also the name of a method here.
Names = list[str]


class SavedConfigurationError(SourceError):
    """What was asked for cannot be done; the message says what to do.

    Parameters
    ----------
    why
        ``name``: it cannot be a name; ``taken``: another one has it; ``full``: there are too many.
    """

    def __init__(self, why: Literal["name", "taken", "full"], message: str) -> None:
        super().__init__("vault", "invalid", message)
        self.why = why


@dataclass(frozen=True)
class Content:
    """What a person saves: a name, the id of a service, nested launch options."""

    name: str
    service: str
    options: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class SavedConfiguration:
    """One of them.

    Parameters
    ----------
    id
        Never used again.
    service
        Id of the service in the catalogue.
    options
        Nested launch options, those that differ from the service's defaults.
    created, changed
        RFC 3339, UTC.
    version
        Grows with each change; what was changed meanwhile is not overwritten.
    """

    id: str
    name: str
    service: str
    options: Mapping[str, Any] = field(repr=False)
    created: str
    changed: str
    version: int


@dataclass(frozen=True)
class Listing:
    """A person's saved configurations, by name, and the ids of those that cannot be read as such."""

    configurations: tuple[SavedConfiguration, ...] = ()
    unreadable: tuple[str, ...] = ()


class SavedConfigurations:
    """Lists, reads, writes and deletes them. Its methods block, as :class:`.SecretStore`'s.

    On the event loop::

        listing = await broker.call("vault", saved.list, subject)

    Every method raises :class:`~.errors.SourceError`: `missing`, or what keeps Vault from answering.

    Parameters
    ----------
    store
        Keeps configuration ``id`` at ``.datalab/configurations/id`` in the person's folder.
    """

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sardonyx-saved-read")

    def list(self, subject: Subject) -> Listing:
        """Return all of them, by name."""
        ids = self._ids(subject)
        read = list(self._readers.map(lambda id_: self._read(subject, id_), ids)) if ids else []
        found = [one for one in read if isinstance(one, SavedConfiguration)]
        return Listing(
            tuple(sorted(found, key=lambda one: (_in_order(one.name), one.created))),
            tuple(id_ for id_, one in zip(ids, read, strict=True) if one == "unreadable"),
        )

    def get(self, subject: Subject, id_: str) -> SavedConfiguration:
        """Return one.

        Raises
        ------
        SourceError
            `missing` if there is none of that id, or it is not readable.
        """
        found = self._read(subject, check_id(id_))
        if isinstance(found, SavedConfiguration):
            return found
        raise _missing()

    def create(self, subject: Subject, content: Content) -> SavedConfiguration:
        """Keep options under a name.

        Raises
        ------
        SavedConfigurationError
            `name` if it is no name, `taken` if another has it, `full` if there are too many.
        """
        name = check_name(content.name)
        listing = self.list(subject)
        _refuse_taken(name, listing.configurations)
        if len(listing.configurations) + len(listing.unreadable) >= MAX_CONFIGURATIONS:
            message = (
                f"You have {MAX_CONFIGURATIONS} saved configurations, which is the most: delete one first."
            )
            raise SavedConfigurationError("full", message)
        now = _now()
        id_ = "".join(secrets.choice(_ALPHABET) for _ in range(12))
        one = SavedConfiguration(id_, name, content.service, content.options, now, now, 0)
        return self._write(subject, one)

    def rename(self, subject: Subject, id_: str, name: str, version: int | None = None) -> SavedConfiguration:
        """Give one another name. With `version`, only if it is still that one.

        Raises
        ------
        SavedConfigurationError
            `name` if it is no name, `taken` if another has it.
        SecretConflictError
            If it was changed meanwhile.
        """
        known = self.get(subject, id_)
        content = Content(name, known.service, known.options)
        return self.replace(subject, id_, content, version or known.version)

    def replace(
        self, subject: Subject, id_: str, content: Content, version: int | None = None
    ) -> SavedConfiguration:
        """Put other content in the place of one. A secret variable without a value keeps the one that it has.

        Raises
        ------
        SavedConfigurationError
            `name` if it is no name, `taken` if another has it.
        SecretConflictError
            If `version` is given and it was changed meanwhile.
        """
        name = check_name(content.name)
        known = self.get(subject, id_)
        if name != known.name:
            _refuse_taken(name, [one for one in self.list(subject).configurations if one.id != id_])
        options = with_kept_values(content.options, known.options)
        changed = replace(known, name=name, service=content.service, options=options, changed=_now())
        return self._write(subject, replace(changed, version=version or known.version))

    def delete(self, subject: Subject, id_: str) -> None:
        """Delete one with all its versions; one that is not there is deleted already."""
        self._store.delete_internal(subject, f"{FOLDER}/{check_id(id_)}")

    def _ids(self, subject: Subject) -> Names:
        return [name for name in self._store.names_internal(subject, FOLDER) if _ID.fullmatch(name)]

    def _read(self, subject: Subject, id_: str) -> SavedConfiguration | str:
        """Return one, ``missing``, or ``unreadable`` if somebody wrote something else in its place."""
        try:
            kept = self._store.read_internal(subject, f"{FOLDER}/{id_}")
        except SourceError as error:
            if error.code == "missing":
                return "missing"
            raise
        data = kept.data
        texts = [data.get(key) for key in ("name", "service", "created", "changed")]
        if not all(isinstance(text, str) and text for text in texts) or not isinstance(
            data.get("options"), Mapping
        ):
            return "unreadable"
        name, service, created, changed = map(str, texts)
        return SavedConfiguration(id_, name, service, data["options"], created, changed, kept.version)

    def _write(self, subject: Subject, one: SavedConfiguration) -> SavedConfiguration:
        data = {
            "format": _FORMAT,
            "name": one.name,
            "service": one.service,
            "options": dict(one.options),
            "created": one.created,
            "changed": one.changed,
        }
        version = self._store.write_internal(subject, f"{FOLDER}/{one.id}", data, cas=one.version)
        return replace(one, version=version)


def check_id(id_: str) -> str:
    """Return `id_`, or raise that there is no such saved configuration: it becomes part of a path."""
    if not _ID.fullmatch(id_):
        raise _missing()
    return id_


def check_name(name: str) -> str:
    """Return a name as it is kept. Sessions launched with it get it too, so JupyterHub's rule for these counts.

    Raises
    ------
    SavedConfigurationError
        `name`, with what is allowed.

    Examples
    --------
    >>> check_name(" Cours, chapitre 3 ")
    'Cours, chapitre 3'
    """
    try:
        clean = str(normalise_unicode(name.strip()))
        clean.encode()
    except (UnicodeError, ValueError):
        clean = ""
    if not clean or len(clean) > MAX_NAME or not is_valid_display_name(clean):
        message = f"A name has 1 to {MAX_NAME} letters, digits and signs on one line, with single spaces between words."
        raise SavedConfigurationError("name", message)
    return clean


def with_kept_values(options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` in which secret variables that have no value got that of the same name in `known`."""
    values = {
        row["name"]: row.get("value", "")
        for row in _rows(known)
        if row.get("secret") and isinstance(row.get("name"), str)
    }
    rows = [
        {**row, "value": values[row["name"]]}
        if row.get("secret") and not row.get("value") and row.get("name") in values
        else row
        for row in _rows(options)
    ]
    return {**options, "extraEnvVars": rows} if rows else dict(options)


def _rows(options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = options.get("extraEnvVars")
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _refuse_taken(name: str, others: Any) -> None:
    if any(one.name.casefold() == name.casefold() for one in others):
        raise SavedConfigurationError("taken", "You have another saved configuration of that name.")


def _missing() -> SourceError:
    return SourceError("vault", "missing", "There is no such saved configuration.")


def _in_order(name: str) -> list[tuple[int, str]]:
    """Return what sorts names as people do, numbers in them by their size.

    Examples
    --------
    >>> sorted(["Chapter 10", "chapter 2"], key=_in_order)
    ['chapter 2', 'Chapter 10']
    """
    return [
        (int(part), "") if part.isdecimal() else (0, part)
        for part in re.split(r"([0-9]{1,9})", name.casefold())
    ]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
