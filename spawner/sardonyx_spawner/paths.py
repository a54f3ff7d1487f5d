"""Dotted paths of launch options, as Onyxia writes them, and the nested values that they stand for.

``resources.limits.memory`` and ``extraEnvVars[0].name`` are paths. A key that has a dot, a bracket or a quote
in it is written in quotes, ``resources.limits."nvidia.com/gpu"``, or with backslashes as in Onyxia's links,
``nvidia\\.com/gpu``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

#: No list of launch options is longer; a larger index is refused before a list of that length is made.
MAX_ITEMS = 100
#: No path is deeper and no path is longer.
MAX_DEPTH = 8
MAX_PATH = 512

Part = str | int

_TOKEN = re.compile(
    r"""
      (?: ^ | (?<!^)\. ) (?: "(?P<quoted> (?: [^"\\] | \\. )* )" | (?P<plain> (?: [^.\[\]"\\] | \\. )+ ) )
    | \[ (?P<index> 0 | [1-9][0-9]{0,3} ) \]
    """,
    re.VERBOSE | re.DOTALL,
)
_PLAIN = re.compile(r"""[^.\[\]"\\]+""")


class PathError(ValueError):
    """A path cannot be read, or two paths contradict each other. ``path`` is the one that cannot be used."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(path)


def join_path(*parts: Part) -> str:
    """Return the path made of `parts`.

    Examples
    --------
    >>> join_path("extraEnvVars", 0, "name")
    'extraEnvVars[0].name'
    >>> join_path("resources", "limits", "nvidia.com/gpu")
    'resources.limits."nvidia.com/gpu"'
    """
    written = ""
    for part in parts:
        if isinstance(part, int):
            written += f"[{part}]"
            continue
        if not _PLAIN.fullmatch(part):
            part = '"' + re.sub(r'(["\\])', r"\\\1", part) + '"'  # noqa: PLW2901
        written += f".{part}" if written else part
    return written


def split_path(path: str) -> tuple[Part, ...]:
    """Return the parts of `path`; the inverse of :func:`join_path`.

    Raises
    ------
    PathError
        If it is no path, is too long, too deep, or has an index that is too large.
    """
    parts: list[Part] = []
    position = 0
    if len(path) > MAX_PATH:
        raise PathError(path[:MAX_PATH])
    while position < len(path):
        match = _TOKEN.match(path, position)
        if match is None or (position == 0 and match["index"] is not None) or len(parts) == MAX_DEPTH:
            raise PathError(path)
        if match["index"] is not None:
            if int(match["index"]) >= MAX_ITEMS:
                raise PathError(path)
            parts.append(int(match["index"]))
        else:
            key = match["quoted"] if match["quoted"] is not None else match["plain"]
            parts.append(re.sub(r"\\(.)", r"\1", key, flags=re.DOTALL))
        position = match.end()
    if not parts:
        raise PathError(path)
    return tuple(parts)


def flatten(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Return `nested` as ``{path: value}``. Empty mappings and lists stay values, so that nothing is lost.

    Examples
    --------
    >>> flatten({"git": {"branch": "main"}, "extraEnvVars": [{"name": "A"}]})
    {'git.branch': 'main', 'extraEnvVars[0].name': 'A'}
    """
    flat: dict[str, Any] = {}

    def walk(value: Any, parts: tuple[Part, ...]) -> None:
        if isinstance(value, Mapping) and (value or not parts):
            for key, inner in value.items():
                walk(inner, (*parts, key))
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes) and value:
            for index, inner in enumerate(value):
                walk(inner, (*parts, index))
        else:
            flat[join_path(*parts)] = value

    walk(nested, ())
    return flat


def unflatten(flat: Mapping[str, Any], *, refused: list[str] | None = None) -> dict[str, Any]:
    """Return nested values of ``{path: value}``; values may be nested themselves, and are merged.

    Items of a list may be missing (a row was taken out of a form): the others move up.

    Parameters
    ----------
    refused
        Gets the paths that cannot be used, instead of an exception for the first.

    Raises
    ------
    PathError
        If a path cannot be read or contradicts another (``a=1`` and ``a.b=2``).
    """
    root: dict[Part, Any] = {}
    for path, value in flat.items():
        try:
            _merge(root, split_path(path), value, path)
        except PathError:
            if refused is None:
                raise
            refused.append(path[:MAX_PATH])
    nested: dict[str, Any] = _lists(root)
    return nested


class _Items(dict[Part, Any]):
    """A list that is being filled: index -> item."""


def _branch(value: Any) -> Any:
    """Return `value` with lists as :class:`_Items`, so that paths can be merged into it."""
    if isinstance(value, Mapping):
        return {key: _branch(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _Items({index: _branch(inner) for index, inner in enumerate(value)})
    return value


def _merge(node: dict[Part, Any], parts: tuple[Part, ...], value: Any, path: str) -> None:
    for part, following in pairwise(parts):
        kind: type[dict[Part, Any]] = _Items if isinstance(following, int) else dict
        inner = node.setdefault(part, kind())
        if type(inner) is not kind:
            raise PathError(path)
        node = inner
    _put(node, parts[-1], _branch(value), path)


def _put(node: dict[Part, Any], key: Part, value: Any, path: str) -> None:
    if key not in node:
        node[key] = value
        return
    present = node[key]
    if not isinstance(present, dict) or type(present) is not type(value):
        raise PathError(path)
    for inner_key, inner in value.items():
        _put(present, inner_key, inner, path)


def _lists(node: Any) -> Any:
    if isinstance(node, _Items):
        return [_lists(node[index]) for index in sorted(node, key=int)]
    if isinstance(node, dict):
        return {key: _lists(inner) for key, inner in node.items()}
    return node
