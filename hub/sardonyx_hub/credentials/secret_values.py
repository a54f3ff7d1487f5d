"""From the content of secrets to environment variables, and what may not become one. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sardonyx_spawner.envnames import why_refused

from .errors import SourceError

#: Linux takes no longer string in an environment (MAX_ARG_STRLEN, 128 KiB); the name and some air are
#: subtracted.
MAX_VALUE_BYTES = 120_000
#: All values together; the kernel's limit is 2 MiB with everything else.
MAX_TOTAL_BYTES = 1_000_000

_SEGMENT = re.compile(r"\w(?:[\w .@+=,-]*[\w@+=,-])?")
_MAX_DEPTH = 8
_MAX_PATH = 400

_REASONS = {
    "envname.invalid": "it is no name of an environment variable (letters, digits and _, no digit first)",
    "envname.programs": "it could change which programs run",
    "envname.shell": "it changes how shells work",
    "envname.account": "the session's account depends on it",
    "envname.datalab": "the datalab needs it for itself",
    "envname.git": "the datalab sets it from your Git accounts, or it could change which programs Git runs",
    "envname.credentials": "the datalab sets it and renews it",
    "envname.trust": "it could change whom the session trusts",
}


@dataclass(frozen=True)
class SecretVariables:
    """Variables from secrets, and ``path:key`` -> why not."""

    values: Mapping[str, str] = field(repr=False)
    refused: Mapping[str, str]


def check_path(path: str, *, folder: bool = False) -> str:
    """Return `path` of a secret in a person's folder, without slashes at its ends.

    Segments are letters (of any script), digits, inner spaces and ``_.@+=,-``. What begins with a dot is
    ours.

    Parameters
    ----------
    folder
        Whether the empty path, the person's folder itself, is fine.

    Raises
    ------
    SourceError
        `invalid`, with what is wrong.
    """
    clean = path.strip("/")
    if not clean and folder:
        return ""
    segments = clean.split("/")
    if len(clean) > _MAX_PATH or len(segments) > _MAX_DEPTH:
        raise SourceError("vault", "invalid", "The path of the secret is too long or has too many folders.")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        message = (
            "The path of the secret is not valid: letters, digits, spaces and _ . @ + = , - only, "
            "no dot at the beginning or end of a name."
        )
        raise SourceError("vault", "invalid", message)
    return clean


def secret_variables(secrets: Iterable[tuple[str, Mapping[str, Any]]]) -> SecretVariables:
    """Return the variables of several secrets; where two have the same key, the later secret's counts.

    Keys that begin with a dot are notes of programs (Onyxia's ``.onyxia``) and are left out without a word.

    Parameters
    ----------
    secrets
        Path and content of each.
    """
    values: dict[str, str] = {}
    origin: dict[str, str] = {}
    refused: dict[str, str] = {}
    total = 0
    for path, content in secrets:
        for key, raw in content.items():
            if key.startswith("."):
                continue
            value = to_text(raw)
            reason = _refusal(key, value)
            if reason is None and total + len(value.encode()) > MAX_TOTAL_BYTES:
                reason = "all values together are too long for an environment"
            if reason is not None:
                refused[f"{path}:{key}"] = reason
                continue
            if key in origin:
                refused[f"{origin[key]}:{key}"] = f"the secret {path} has it too, and comes later"
            values[key], origin[key] = value, path
            total += len(value.encode())
    return SecretVariables(values, refused)


def to_text(value: Any) -> str:
    """Return a secret's value as a variable has it: text as it is, anything else as JSON.

    Examples
    --------
    >>> to_text("5432"), to_text(5432), to_text(True), to_text({"a": 1})
    ('5432', '5432', 'true', '{"a": 1}')
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def name_refusal(key: str) -> tuple[str, str] | None:
    """Return why a key cannot become a variable: a key of messages and an English clause; None if it can."""
    reason = why_refused(key)
    return None if reason is None else (reason, _REASONS.get(reason, "it may not be set by a secret"))


def _refusal(key: str, value: str) -> str | None:
    name = name_refusal(key)
    if name is not None:
        return name[1]
    if "\0" in value:
        return "its value holds a NUL character, which no environment can"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "its value is not valid text"
    return "its value is too long for an environment" if size > MAX_VALUE_BYTES else None
