"""The credentials document that the hub answers with: reading, lives, and what to keep when a part is
missing.

Pure functions on the decoded JSON; nothing here does I/O. See ``GET /hub/api/datalab/v1/credentials`` in the
design.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any, Mapping, Optional

DOCUMENT_VERSION = 1
SOURCES = ("s3", "vault", "git")
#: Codes of problems that pass by themselves: worth asking again within seconds.
PASSING = frozenset({"timeout", "unreachable", "circuit-open"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class DocumentError(ValueError):
    """The hub's answer is no credentials document that this agent understands. The message holds no value of
    it."""


def parse_time(text: object) -> Optional[float]:
    """Return an ISO 8601 time as seconds since 1970, or ``None`` if it is none.

    Examples
    --------
    >>> parse_time("2026-01-01T00:00:00Z")
    1767225600.0
    """
    if not isinstance(text, str):
        return None
    # Python before 3.11 knows neither the letter Z nor fractions of other than 3 or 6 digits.
    text = re.sub(r"\.(\d{1,6})\d*", lambda found: "." + found.group(1).ljust(6, "0"), text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def format_time(seconds: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC with ``Z``, whole seconds."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_document(value: object) -> dict[str, Any]:
    """Return `value` if it is a credentials document.

    Raises
    ------
    DocumentError
        If it is not an object, has another version, or a part of the wrong type.
    """
    if not isinstance(value, dict):
        raise DocumentError("the answer is not a JSON object")
    if value.get("version") != DOCUMENT_VERSION:
        raise DocumentError(f"version {value.get('version')!r} of the document is not known to this agent")
    kinds: dict[str, tuple[type, ...]] = {
        "s3": (dict, type(None)),
        "vault": (dict, type(None)),
        "git": (list, type(None)),
        "environment": (dict, type(None)),
        "problems": (list, type(None)),
    }
    for key, kind in kinds.items():
        if not isinstance(value.get(key), kind):
            raise DocumentError(f"the document's {key!r} has the wrong type")
    return value


def clean_environment(value: object) -> tuple[dict[str, str], list[str]]:
    """Return the variables that a process can have, and the names of those that it cannot."""
    good: dict[str, str] = {}
    bad: list[str] = []
    for name, text in (value if isinstance(value, dict) else {}).items():
        if isinstance(text, str) and _NAME.fullmatch(name) and "\0" not in text:
            good[name] = text
        else:
            bad.append(str(name))
    return good, bad


def source_problems(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return ``{source: {"code", "message"}}`` of the sources that could not be asked."""
    found: dict[str, dict[str, str]] = {}
    for problem in document.get("problems") or ():
        if isinstance(problem, dict) and problem.get("source") in SOURCES:
            found[problem["source"]] = {
                "code": str(problem.get("code", "")),
                "message": str(problem.get("message", "")),
            }
    return found


def hub_now(document: Mapping[str, Any], date: Optional[float] = None) -> Optional[float]:
    """Return what the hub's clock showed when it answered: the later of ``issued_at`` and the answer's
    ``Date``.

    A ``Date`` that lies past the end of everything in the document is a proxy's clock gone wrong, and is not
    used.
    """
    issued = parse_time(document.get("issued_at"))
    if date is None or issued is None:
        return issued if date is None else date
    end = parse_time(document.get("expires_at"))
    return issued if end is not None and date >= end else max(issued, date)


def ends(document: Mapping[str, Any]) -> dict[str, Optional[float]]:
    """Return when each part that the document has ends by the hub's clock; ``None``: it has no end of its
    own."""
    found: dict[str, Optional[float]] = {}
    for source in ("s3", "vault"):
        part = document.get(source)
        if isinstance(part, dict):
            found[source] = parse_time(part.get("expiration"))
    if document.get("git"):
        found["git"] = None
    return found


def shortest_life(document: Mapping[str, Any], now: float) -> Optional[float]:
    """Return the seconds from `now` (the hub's clock) to the first end in the document; ``None``: nothing
    ends."""
    moments = [end for end in ends(document).values() if end is not None]
    overall = parse_time(document.get("expires_at"))
    if overall is not None:
        moments.append(overall)
    return min(moments) - now if moments else None


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new document with the old one's part of each source that could not be asked this time."""
    merged = dict(new)
    for source in source_problems(new):
        if not new.get(source) and old.get(source):
            merged[source] = old[source]
    return merged
