"""What people send to the API, checked before it goes anywhere. Pure; messages name fields and never quote
values.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

from ..credentials.errors import SourceError
from ..credentials.secret_store import MAX_SECRET_BYTES

P = ParamSpec("P")
R = TypeVar("R")

#: The store counts the values alone; the rest of the body is the room for ``cas`` and spaces.
MAX_BODY: Final = MAX_SECRET_BYTES + 1024
MAX_VALUE: Final = 64 * 1024
MAX_KEYS: Final = 100
MAX_KEY: Final = 128

_GIT_FIELDS: Final[Mapping[str, int]] = {"username": 255, "name": 255, "email": 320, "token": 4096}


class InvalidRequestError(ValueError):
    """The request cannot be served as it is; the message says which field and what is allowed."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


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
    values, cas = data.get("values"), data.get("cas")
    if cas is not None and (not isinstance(cas, int) or isinstance(cas, bool) or not 0 <= cas < 2**31):
        raise InvalidRequestError("'cas' is the version that is replaced: an integer, 0 for a new secret.")
    if not isinstance(values, dict) or not values:
        raise InvalidRequestError("'values' is an object of names and texts, and not empty.")
    if len(values) > MAX_KEYS:
        raise InvalidRequestError(f"A secret has at most {MAX_KEYS} keys.")
    for position, (key, value) in enumerate(values.items(), 1):
        if not 1 <= len(key) <= MAX_KEY or not _printable(key):
            raise InvalidRequestError(
                f"Key {position} has control characters, no character or more than {MAX_KEY}."
            )
        if not isinstance(value, str):
            raise InvalidRequestError(f"The value of {key!r} is not text.")
        if not _encodable(value) or "\0" in value or len(value.encode()) > MAX_VALUE:
            raise InvalidRequestError(
                f"The value of {key!r} has a NUL, is no Unicode text or has over {MAX_VALUE} bytes."
            )
    if len(json.dumps(values)) > MAX_SECRET_BYTES:
        raise InvalidRequestError(f"All values together have more than {MAX_SECRET_BYTES} bytes.", status=413)
    return SecretWrite(values, cas)


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
        if not isinstance(value, str) or not _printable(value) or len(value) > _GIT_FIELDS[name]:
            raise InvalidRequestError(
                f"{name!r} is one line of text of at most {_GIT_FIELDS[name]} characters."
            )
    return {name: value.strip() for name, value in data.items()}


def _only(data: Mapping[str, Any], known: Any) -> None:
    if not data.keys() <= set(known):
        raise InvalidRequestError(f"The fields are {', '.join(sorted(known))}, and no others.")


def _printable(text: str) -> bool:
    return _encodable(text) and not any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in text)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
