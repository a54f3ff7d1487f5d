"""When an idle session is stopped: the rule of a service, and durations as people write them (``15m``, ``4h``)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, StrictStr, model_validator

from .fields import Strict, misplaced

NEVER: Final = "never"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PATTERN = re.compile(r"([0-9]{1,6})([smhd])")


def parse_duration(text: str) -> timedelta:
    """Return what `text` means.

    Raises
    ------
    ValueError
        If it is something else than a whole number above 0 and one of ``s m h d``.

    Examples
    --------
    >>> parse_duration("4h")
    datetime.timedelta(seconds=14400)
    """
    match = _PATTERN.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if seconds <= 0:
        raise ValueError("should be a whole number above 0 and a unit, such as 90s, 15m, 4h or 7d")
    return timedelta(seconds=seconds)


def _check_duration(text: str) -> str:
    parse_duration(text)
    return text


def _check_after(text: str) -> str:
    return text if text == NEVER else _check_duration(text)


class IdleStop(Strict):
    """Stops sessions that nobody has used for a while. Absent: the operator's rule for all services."""

    after: Annotated[StrictStr, AfterValidator(_check_after)] = Field(
        description="Without activity for so long, a session is stopped; its disk stays. `never`: it is not."
    )
    warn: Annotated[StrictStr, AfterValidator(_check_duration)] = Field(
        default="15m", description="How long before that the person is warned."
    )

    @model_validator(mode="after")
    def _warns_in_time(self) -> Self:
        if self.after != NEVER and parse_duration(self.warn) >= parse_duration(self.after):
            raise misplaced(("warn",), f"should be shorter than `after` ({self.after})")
        return self
