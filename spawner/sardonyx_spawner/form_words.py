"""Words for what the launch form shows beside its controls: patterns of images, amounts, what a quota leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from .messages import Messages

#: A regular expression that is nothing but text, with a backslash before signs.
_LITERAL = re.compile(r"(?:[A-Za-z0-9/:@_-]|\\[./:@_+-]|\.(?![*+?{]))*")
#: What ends a pattern that leaves the rest open.
_REST = (".*", ".+")


def describe_image_pattern(pattern: str, messages: Messages) -> str:
    """Return in words which images a regular expression of the catalogue's allows.

    Examples
    --------
    >>> describe_image_pattern(r"example\\.org/.*", Messages("en"))
    'all whose name begins with example.org/'
    """
    plain = pattern.removeprefix("^").removesuffix("$")
    if plain in _REST:
        return messages.translate("form.image.all")
    ending = next((one for one in _REST if plain.endswith(one)), "")
    stem = plain[: len(plain) - len(ending)] if ending else plain
    if not _LITERAL.fullmatch(stem):
        return messages.translate("form.image.pattern", pattern=pattern)
    text = re.sub(r"\\(.)", r"\1", stem)
    return messages.translate("form.image.begins" if ending else "form.image.is", name=text)


def describe_images(patterns: Sequence[str], messages: Messages) -> str:
    """Return in words which images people may name."""
    described = "; ".join(describe_image_pattern(one, messages) for one in patterns)
    return messages.translate("form.image.allowed", allowed=described)


def cores(quantity: float | Decimal) -> str:
    """Return a number of cores as a person writes it: ``2``, ``0.5``."""
    return f"{Decimal(str(quantity)).normalize():f}"


def memory(size: float) -> str:
    """Return bytes with the largest unit that leaves no long tail: ``1.5Gi``, ``512Mi``."""
    amount = Decimal(str(size))
    for unit, factor in (("Ti", 1024**4), ("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if abs(amount) >= factor:
            # Rounded down: what is left is not said to be more than it is.
            return f"{(amount / factor // Decimal('0.01') * Decimal('0.01')).normalize():f}{unit}"
    return f"{amount.normalize():f}"


_UNITS = {"cpu": cores, "memory": memory, "gpu": cores, "sessions": cores}


def describe_quota(quota: Mapping[str, Any] | None, messages: Messages) -> tuple[str, ...]:
    """Return a sentence for each amount that a quota limits.

    Parameters
    ----------
    quota
        ``{"cpu": {"limit", "used", "left"}, ...}`` in cores, bytes, devices and sessions; None is without limit.
    """
    found = []
    for kind, to_text in _UNITS.items():
        part = (quota or {}).get(kind)
        if isinstance(part, Mapping) and part.get("limit") is not None:
            left, limit = max(part.get("left") or 0, 0), part["limit"]
            params = {"left": to_text(left), "limit": to_text(limit)}
            found.append(messages.translate(f"form.quota.{kind}", **params))
    return tuple(found)


def quota_left(quota: Mapping[str, Any] | None, kind: str) -> str:
    """Return what a quota leaves of ``cpu`` or ``memory`` as a quantity; empty without limit."""
    part = (quota or {}).get(kind)
    left = part.get("left") if isinstance(part, Mapping) else None
    return "" if left is None else _UNITS[kind](max(left, 0))
