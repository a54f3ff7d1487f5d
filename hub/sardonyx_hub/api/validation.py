"""What people send to the API, checked before it goes anywhere. Pure; messages name fields and never quote
values.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, ParamSpec, TypeVar

from ..credentials.errors import SourceError
from ..credentials.secret_store import MAX_SECRET_BYTES
from ..credentials.secret_values import name_refusal

P = ParamSpec("P")
R = TypeVar("R")

#: The store counts the values alone; the rest of the body is the room for ``cas`` and spaces.
MAX_BODY: Final = MAX_SECRET_BYTES + 1024
MAX_VALUE: Final = 64 * 1024
MAX_KEYS: Final = 100
MAX_KEY: Final = 128

_GIT_FIELDS: Final[Mapping[str, int]] = {"username": 255, "name": 255, "email": 320, "token": 4096}


class InvalidRequestError(ValueError):
    """The request cannot be served as it is; the message says which field and what is allowed.

    `extra` are further members of the JSON answer, for pages that say it in another language.
    """

    def __init__(self, message: str, *, status: int = 400, **extra: str) -> None:
        super().__init__(message)
        self.status = status
        self.extra = extra


def checked(check: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return what a check of the credential modules returns; its refusal is the client's mistake here.

    Raises
    ------
    InvalidRequestError
        With the check's own words.
    """
    try:
        return check(*args, **kwargs)
    except SourceError as error:
        raise InvalidRequestError(error.message) from None


def parse_json(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the object in a JSON body. What is wrong is told without quoting it: it may hold a secret.

    Raises
    ------
    InvalidRequestError
        With status 415, 413 or 400.
    """
    # Browsers send no application/json across origins without asking first, so this stops forged forms too.
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise InvalidRequestError("The Content-Type is application/json.", status=415)
    if len(body) > MAX_BODY:
        raise InvalidRequestError(f"The body has more than {MAX_BODY} bytes.", status=413)
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequestError("The body is not JSON.") from None
    if not isinstance(data, dict):
        raise InvalidRequestError("The body is not a JSON object.")
    return data


@dataclass(frozen=True)
class SecretWrite:
    """A checked request to write a secret. ``cas``: the version that it replaces (0: none yet), if the client
    says so.
    """

    values: dict[str, str]
    cas: int | None


def parse_secret(data: Mapping[str, Any]) -> SecretWrite:
    """Check ``{"values": {name: text}, "cas": version?}``.

    Raises
    ------
    InvalidRequestError
        If a field is unknown, of another type or too big. Messages quote names, never values.
    """
    _only(data, {"values", "cas"})
    values, cas = data.get("values"), _version(data, "cas", "0 for a new secret")
    if not isinstance(values, dict) or not values:
        raise InvalidRequestError("'values' is an object of names and texts, and not empty.")
    check_names(values)
    check_values(values)
    return SecretWrite(values, cas)


@dataclass(frozen=True)
class SecretChange:
    """A checked request to change some keys of a secret, made from its version `cas`."""

    cas: int
    set: dict[str, str]
    remove: frozenset[str]
    rename: dict[str, str]

    def apply(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return `values` as they are afterwards.

        Raises
        ------
        InvalidRequestError
            If a key that is removed or renamed is not there, two keys would have one name, or nothing is left.
        """
        gone = self.remove | self.rename.keys()
        for key in gone - values.keys():
            raise InvalidRequestError(f"The secret has no key {key!r}.")
        changed = {key: value for key, value in values.items() if key not in gone}
        for key, name in self.rename.items():
            if name in changed:
                raise InvalidRequestError(f"Two keys would be named {name!r}.", code="duplicate", key=name)
            changed[name] = values[key]
        changed |= self.set
        if not changed:
            raise InvalidRequestError("A secret has at least one key: delete the secret instead.")
        check_values({key: value for key, value in changed.items() if isinstance(value, str)})
        if len(changed) > MAX_KEYS:
            raise InvalidRequestError(f"A secret has at most {MAX_KEYS} keys.")
        return changed


def parse_change(data: Mapping[str, Any]) -> SecretChange:
    """Check ``{"cas": version, "set": {name: text}?, "remove": [name]?, "rename": {name: name}?}``.

    Raises
    ------
    InvalidRequestError
        If a field is unknown, missing, of another type or too big.
    """
    _only(data, {"set", "remove", "rename", "cas"})
    cas = _version(data, "cas", "the one that was changed")
    new, removed, renamed = data.get("set", {}), data.get("remove", []), data.get("rename", {})
    if cas is None:
        raise InvalidRequestError("'cas' is missing: the version that was changed.")
    if not isinstance(new, dict) or not isinstance(renamed, dict):
        raise InvalidRequestError("'set' and 'rename' are objects of names and texts.")
    if not isinstance(removed, list) or not all(isinstance(key, str) for key in removed):
        raise InvalidRequestError("'remove' is a list of names.")
    if not all(isinstance(name, str) for name in renamed.values()):
        raise InvalidRequestError("'rename' has a text for each name.")
    if not new and not removed and not renamed:
        raise InvalidRequestError("Nothing is changed: 'set', 'remove' and 'rename' are empty.")
    check_names([*new, *renamed.values()])
    check_values(new)
    return SecretChange(cas, new, frozenset(removed), renamed)


@dataclass(frozen=True)
class SecretAction:
    """A checked request to do something to a secret: ``move`` has `to`, the others have `version`."""

    action: Literal["undelete", "restore", "move"]
    version: int = 0
    to: str = ""


def parse_action(data: Mapping[str, Any]) -> SecretAction:
    """Check ``{"action": "undelete"|"restore", "version": N}`` or ``{"action": "move", "to": path}``.

    Raises
    ------
    InvalidRequestError
        If a field is unknown, missing or of another type.
    """
    action = data.get("action")
    if action == "move":
        _only(data, {"action", "to"})
        to = data.get("to")
        if not isinstance(to, str):
            raise InvalidRequestError("'to' is the new path.")
        return SecretAction("move", to=to)
    if action not in ("undelete", "restore"):
        raise InvalidRequestError("'action' is undelete, restore or move.")
    _only(data, {"action", "version"})
    version = _version(data, "version", "1 or more")
    if not version:
        raise InvalidRequestError("'version' is the number of a version: an integer, 1 or more.")
    return SecretAction("undelete" if action == "undelete" else "restore", version=version)


def parse_number(text: str | None, name: str) -> int | None:
    """Return a whole number from the query, or None if it is not there.

    Raises
    ------
    InvalidRequestError
        If it is none.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidRequestError(f"{name!r} is a whole number.")
    return int(text)


def check_names(names: Collection[str]) -> None:
    """Check that new keys can become environment variables, or begin with a dot (notes of programs).

    Raises
    ------
    InvalidRequestError
        With the key, and the reason as a key of messages.
    """
    if len(names) > MAX_KEYS:
        raise InvalidRequestError(f"A secret has at most {MAX_KEYS} keys.")
    for position, key in enumerate(names, 1):
        if not 1 <= len(key) <= MAX_KEY or not is_printable(key):
            raise InvalidRequestError(
                f"Key {position} has control characters, no character or more than {MAX_KEY}."
            )
        refusal = None if key.startswith(".") else name_refusal(key)
        if refusal is not None:
            reason, sentence = refusal
            message = f"The key {key!r} cannot be used: {sentence}."
            raise InvalidRequestError(message, code="invalid-name", key=key, reason=reason)


def check_values(values: Mapping[str, Any]) -> None:
    """Check that values are texts of a size that a secret may have.

    Raises
    ------
    InvalidRequestError
        Without the value.
    """
    for key, value in values.items():
        if not isinstance(value, str):
            raise InvalidRequestError(f"The value of {key!r} is not text.")
        if not _encodable(value) or "\0" in value or len(value.encode()) > MAX_VALUE:
            raise InvalidRequestError(
                f"The value of {key!r} has a NUL, is no Unicode text or has over {MAX_VALUE} bytes."
            )
    if len(json.dumps(values)) > MAX_SECRET_BYTES:
        raise InvalidRequestError(f"All values together have more than {MAX_SECRET_BYTES} bytes.", status=413)


def parse_git_account(data: Mapping[str, Any]) -> dict[str, str]:
    """Check the fields of a Git account: ``username``, ``name``, ``email``, ``token``, each optional, each
    one line.

    Raises
    ------
    InvalidRequestError
        If a field is unknown, not text, too long, or has control characters (a newline would be another line
        in Git's credential protocol).
    """
    _only(data, _GIT_FIELDS)
    for name, value in data.items():
        if not isinstance(value, str) or not is_printable(value) or len(value) > _GIT_FIELDS[name]:
            raise InvalidRequestError(
                f"{name!r} is one line of text of at most {_GIT_FIELDS[name]} characters."
            )
    return {name: value.strip() for name, value in data.items()}


def _version(data: Mapping[str, Any], name: str, hint: str) -> int | None:
    value = data.get(name)
    if value is not None and (
        not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31
    ):
        raise InvalidRequestError(f"{name!r} is the number of a version: an integer, {hint}.")
    return value


def _only(data: Mapping[str, Any], known: Any) -> None:
    if not data.keys() <= set(known):
        raise InvalidRequestError(f"The fields are {', '.join(sorted(known))}, and no others.")


def is_printable(text: str) -> bool:
    return _encodable(text) and not any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in text)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
