"""Filter, sort and cut lists of rows: what a table with a search box and pages asks for. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

Row = TypeVar("Row")

MAX_LIMIT: Final = 200
_DEFAULT_LIMIT: Final = 50
_MAX_OFFSET: Final = 1_000_000
_MAX_TEXT: Final = 200


class ListingError(ValueError):
    """A request for a list cannot be served; the message names the argument and what is allowed."""


@dataclass(frozen=True)
class Request:
    """What part of a list is asked for.

    Parameters
    ----------
    search
        Words that all have to be in a row, whatever their case and accents.
    filters
        Column -> value; empty values are no filter.
    sort
        Column; ``-`` before it is downwards.
    offset, limit
        Rows that are left out, and rows that are given.
    """

    search: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    sort: str = ""
    offset: int = 0
    limit: int = _DEFAULT_LIMIT


def read_request(
    arguments: Mapping[str, str], filters: Iterable[str], columns: Iterable[str], sort: str
) -> Request:
    """Read a request from a query.

    Parameters
    ----------
    filters, columns
        By what can be filtered and sorted.
    sort
        The order where none is asked for.

    Raises
    ------
    ListingError
        If an argument is not known or not allowed.
    """
    filters, columns = list(filters), list(columns)
    known = {"search", "sort", "offset", "limit", *filters}
    if unknown := sorted(set(arguments) - known):
        raise ListingError(f"{unknown[0][:40]!r} is not known; the arguments are {', '.join(sorted(known))}.")
    order = arguments.get("sort") or sort
    if order.removeprefix("-") not in columns:
        raise ListingError(f"'sort' is one of {', '.join(sorted(columns))}, or one of them with - before it.")
    return Request(
        search=arguments.get("search", "").strip()[:_MAX_TEXT],
        filters={name: arguments[name][:_MAX_TEXT] for name in filters if arguments.get(name)},
        sort=order,
        offset=_whole(arguments, "offset", 0, 0, _MAX_OFFSET),
        limit=_whole(arguments, "limit", _DEFAULT_LIMIT, 1, MAX_LIMIT),
    )


def _whole(arguments: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = arguments.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    raise ListingError(f"{name!r} is a whole number from {least} to {most}.")


@dataclass(frozen=True)
class Part(Generic[Row]):
    """A part of a list, and how many rows there are in all."""

    rows: Sequence[Row]
    total: int
    request: Request

    @property
    def first(self) -> int:
        """Number of the first row that is given, counted from 1; 0 if there is none."""
        return self.request.offset + 1 if self.rows else 0

    @property
    def last(self) -> int:
        """Number of the last row that is given."""
        return self.request.offset + len(self.rows)

    @property
    def before(self) -> int | None:
        """Offset of the rows before these; None if there are none."""
        return max(0, self.request.offset - self.request.limit) if self.request.offset else None

    @property
    def after(self) -> int | None:
        """Offset of the rows after these; None if there are none."""
        return self.last if self.last < self.total else None


def cut(
    rows: Iterable[Row],
    request: Request,
    *,
    texts: Callable[[Row], Iterable[str]],
    filters: Mapping[str, Callable[[Row, str], bool]],
    columns: Mapping[str, Callable[[Row], Any]],
) -> Part[Row]:
    """Return the part of `rows` that `request` asks for.

    Parameters
    ----------
    texts
        What of a row is searched.
    filters, columns
        Name -> test of a row, and what a row is sorted by; ``None`` comes last in both directions.
    """
    words = fold(request.search).split()
    wanted = [(filters[name], value) for name, value in request.filters.items()]
    found = [
        row
        for row in rows
        if all(test(row, value) for test, value in wanted) and (not words or _has(texts(row), words))
    ]
    by = columns[request.sort.removeprefix("-")]
    having = [(value, row) for row in found if (value := by(row)) is not None]
    lacking = [row for row in found if by(row) is None]
    having.sort(key=lambda pair: pair[0], reverse=request.sort.startswith("-"))
    ordered = [*(row for _, row in having), *lacking]
    return Part(ordered[request.offset : request.offset + request.limit], len(ordered), request)


def _has(texts: Iterable[str], words: Sequence[str]) -> bool:
    text = fold(" ".join(texts))
    return all(word in text for word in words)


def fold(text: str) -> str:
    """Return `text` without case and accents.

    Examples
    --------
    >>> fold("Élise")
    'elise'
    """
    if text.isascii():
        return text.lower()
    split = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in split if not unicodedata.combining(char))
