"""Quantities of CPU and memory, as Kubernetes writes them.

A strict part of https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/: no sign, no
exponent (``1e9`` parses to surprises, ``1E`` means exa), and only suffixes that make sense for what is
measured: ``100m`` of memory is a tenth of a byte, which nobody means.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

#: Longer texts are refused before they are parsed.
MAX_LENGTH = 24

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})"
CPU_PATTERN = _NUMBER + r"(m?)"
MEMORY_PATTERN = _NUMBER + r"(k|[MGTP]|[KMGTP]i|)"

_CPU_FACTORS = {"": Decimal(1), "m": Decimal("0.001")}
_MEMORY_FACTORS: dict[str, int] = {"": 1, "k": 1000}
for _power, _letter in enumerate("KMGTP", start=1):
    _MEMORY_FACTORS[f"{_letter}i"] = 1024**_power
    if _letter != "K":
        _MEMORY_FACTORS[_letter] = 1000**_power


def to_text(value: object) -> str:
    """Return `value` as the text of a quantity: what YAML or JSON read as a number is written out.

    Raises
    ------
    ValueError
        If it is neither text nor a number (a boolean is neither).
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("not a quantity")
    return str(value).strip()


def parse_cpu(value: object) -> Decimal:
    """Return CPU cores: ``0.5`` and ``500m`` are half of one.

    Raises
    ------
    ValueError
        If `value` is not a quantity of CPU.

    Examples
    --------
    >>> parse_cpu("500m") == parse_cpu("0.5")
    True
    """
    text = to_text(value)
    match = re.fullmatch(CPU_PATTERN, text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise ValueError("not a quantity of CPU: write cores (1, 0.5) or thousandths of one (500m)")
    return Decimal(match[1]) * _CPU_FACTORS[match[2]]


def parse_memory(value: object) -> int:
    """Return bytes, rounded up: ``512Mi`` is 512 * 1024 * 1024, ``10G`` is 10 * 1000 ** 3.

    Raises
    ------
    ValueError
        If `value` is not a quantity of memory.

    Examples
    --------
    >>> parse_memory("1.5Gi")
    1610612736
    """
    text = to_text(value)
    match = re.fullmatch(MEMORY_PATTERN, text) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise ValueError("not a quantity of memory: write bytes with a suffix, such as 512Mi, 2Gi or 10G")
    return math.ceil(Decimal(match[1]) * _MEMORY_FACTORS[match[2]])
