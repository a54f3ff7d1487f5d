"""Values that a person marks secret among the environment variables: taken out before options are kept.

JupyterHub keeps ``user_options`` in its database, logs them and shows them by its REST API. What is left of such
a variable in them is ``{"name": "X", "secret": true}``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import option_checks as checks
from .errors import LaunchOptionsError, OptionProblem
from .option_checks import RefusedError
from .paths import PathError, join_path, unflatten

VARIABLES = "extraEnvVars"


@dataclass(frozen=True)
class SplitOptions:
    """Launch options and, apart from them, what was marked secret.

    Parameters
    ----------
    user_options
        What may be kept: no secret value is in it.
    values
        Name of each secret variable -> the value that was given, or None where the one that is kept stays.
    places
        Name -> path of its value, for what is wrong with it.
    """

    user_options: dict[str, Any]
    values: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    places: Mapping[str, str] = field(default_factory=dict)


def split_secret_values(user_options: Mapping[str, Any], kept: Collection[str] = ()) -> SplitOptions:
    """Return `user_options` without the values that are marked secret, and these.

    Parameters
    ----------
    user_options
        As :func:`~sardonyx_spawner.options.parse_options` accepts them; not changed.
    kept
        Names of the variables whose value is kept from before, so that none has to be given.

    Raises
    ------
    LaunchOptionsError
        If a value is missing or cannot be one. Its parameters hold no value.
    """
    raw = user_options.get("options")
    if not isinstance(raw, Mapping) or not _mentions_variables(raw):
        return SplitOptions(dict(user_options))
    try:
        nested = unflatten(raw)
    except PathError as error:
        raise LaunchOptionsError([OptionProblem(error.path, "option.not_a_path")]) from None
    rows = nested.get(VARIABLES)
    if not isinstance(rows, list):
        return SplitOptions(dict(user_options))
    splitter = _Splitter(frozenset(kept))
    nested[VARIABLES] = [splitter.take(index, row) for index, row in enumerate(rows)]
    if splitter.problems:
        raise LaunchOptionsError(splitter.problems)
    return SplitOptions({**user_options, "options": nested}, splitter.values, splitter.places)


def secret_names(user_options: object) -> frozenset[str]:
    """Return the names of the variables that kept options mark as secret."""
    options = user_options.get("options") if isinstance(user_options, Mapping) else None
    rows = options.get(VARIABLES) if isinstance(options, Mapping) else None
    if not isinstance(rows, list | tuple):
        return frozenset()
    marked = [row for row in rows if isinstance(row, Mapping) and row.get("secret") is True]
    return frozenset(row["name"] for row in marked if isinstance(row.get("name"), str))


def _mentions_variables(raw: Mapping[str, Any]) -> bool:
    return any(isinstance(key, str) and VARIABLES in key for key in raw)


class _Splitter:
    """Takes rows apart and notes what is wrong with them."""

    def __init__(self, kept: frozenset[str]) -> None:
        self.problems: list[OptionProblem] = []
        self.values: dict[str, str | None] = {}
        self.places: dict[str, str] = {}
        self._kept = kept

    def take(self, index: int, row: Any) -> Any:
        """Return `row` as it may be kept."""
        if not isinstance(row, dict) or "secret" not in row:
            return row
        try:
            marked = checks.flag(row["secret"])
        except RefusedError as refused:
            self._note(index, "secret", refused)
            marked = True
        rest = {key: inner for key, inner in row.items() if key not in ("secret", "value")}
        if not marked:
            return {**rest, **({"value": row["value"]} if "value" in row else {})}
        name, value = row.get("name"), row.get("value") or ""
        if not name and not value:
            return rest
        if refusal := checks.value_problem(value):
            self._note(index, "value", refusal)
        elif not isinstance(name, str) or not name:
            self._note(index, "name", checks.name_problem(name or "") or RefusedError("option.missing"))
        elif not value and name not in self._kept:
            self._note(index, "value", RefusedError("option.secret_missing"))
        else:
            # Of two rows with one name the check of all variables tells.
            self.values.setdefault(name, value or None)
            self.places.setdefault(name, join_path(VARIABLES, index, "value"))
        return {**rest, "secret": True}

    def _note(self, index: int, part: str, refused: RefusedError) -> None:
        path = join_path(VARIABLES, index, part)
        self.problems.append(OptionProblem(path, refused.key, refused.params, refused.allowed))
