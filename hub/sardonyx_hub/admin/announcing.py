"""The announcement that an administrator writes: checked, kept, shown on every open page, and over at its time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from ..home import Announcement

if TYPE_CHECKING:
    from ..datalab import Datalab

KEY: Final = "current"
_FIELDS: Final = ("text", "level", "dismissable", "until")


class AnnouncementError(ValueError):
    """An announcement cannot be shown as it is; the text names the field and what is allowed."""


def has_ended(document: Mapping[str, Any], now: datetime | None = None) -> bool:
    """Return whether the time until which an announcement is shown has passed.

    Examples
    --------
    >>> has_ended({"until": "2026-01-01T00:00:00+00:00"}), has_ended({"until": None})
    (True, False)
    """
    until = document.get("until")
    return isinstance(until, str) and _moment(until) <= (now or datetime.now(UTC))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def read_announcement(data: Mapping[str, Any]) -> dict[str, Any]:
    """Check what an administrator wrote, and return the document to keep.

    Raises
    ------
    AnnouncementError
        Naming the field that is wrong.
    """
    if unknown := sorted(set(data) - set(_FIELDS)):
        raise AnnouncementError(f"{unknown[0][:40]!r} is not known; the fields are {', '.join(_FIELDS)}.")
    until = data.get("until")
    if until is not None:
        try:
            # Here and not below: the last hours of year 9999 are in no calendar elsewhere.
            moment = _moment(until).astimezone(UTC)
        except (OverflowError, TypeError, ValueError):
            raise AnnouncementError("'until' is a time in ISO 8601, or null.") from None
        if moment <= datetime.now(UTC):
            raise AnnouncementError("'until' is a time to come.")
        until = moment.isoformat(timespec="seconds")
    try:
        checked = Announcement.model_validate(
            {name: value for name, value in data.items() if name != "until"}
        )
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in found["loc"]) or "announcement"
        raise AnnouncementError(f"{place!r} {found['msg'].removeprefix('Value error, ')}.") from None
    return {**checked.model_dump(), "until": until}


async def announce(datalab: Datalab, document: dict[str, Any] | None) -> None:
    """Keep an announcement and show it on open pages; ``None`` takes off whatever is shown.

    Raises
    ------
    DocumentError
        If it cannot be kept.
    """
    if document is not None:
        await datalab.documents.put("announcement", KEY, document)
    elif datalab.home.announcement is not None:
        # What the configuration says would be shown again.
        await datalab.documents.put("announcement", KEY, {"hidden": True})
    else:
        await datalab.documents.delete("announcement", KEY)
    tell(datalab)


def tell(datalab: Datalab) -> None:
    """Tell open pages which announcement there is now."""
    shown = datalab.announcement()
    written = datalab.documents.get("announcement", KEY) or {}
    until = written.get("until") if shown is not None else None
    data = {"id": shown.id, **shown.model_dump(), "until": until} if shown is not None else {}
    datalab.live.publish_all("announcement", {"announcement": data or None})
