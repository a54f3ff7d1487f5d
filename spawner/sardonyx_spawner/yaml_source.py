"""YAML read into plain data that remembers on which line each key stood.

All problems of a text are gathered: duplicate keys, tags, keys that are no text. Only a syntax error ends the
reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.scanner import RoundTripScanner, ScannerError

from .paths import Part

_TAG = "tag:yaml.org,2002:"
#: Aliases multiply what a text stands for; no catalogue has as many values.
_MAX_NODES = 100_000
#: Brackets in brackets. The scanner's time grows with the square of their depth: thousands take it a minute.
_MAX_BRACKETS = 50


@dataclass
class YamlSource:
    """What was read.

    Parameters
    ----------
    data
        Mappings, lists and scalars; ``None`` after a syntax error.
    lines
        Path -> line, counted from 1. A key's line is where the key stands, not its value.
    problems
        Path, line and what is wrong there.
    """

    data: Any = None
    lines: dict[tuple[Part, ...], int] = field(default_factory=dict)
    problems: list[tuple[tuple[Part, ...], int, str]] = field(default_factory=list)

    def line_of(self, path: tuple[Part, ...]) -> int:
        """Return the line of `path`, or of the nearest thing around it that was written."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Scanner(RoundTripScanner):
    def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:  # noqa: N803 (ruamel's name)
        if len(self.flow_context) >= _MAX_BRACKETS:
            raise ScannerError(None, None, "too many brackets in brackets", self.reader.get_mark())
        super().fetch_flow_collection_start(TokenClass, to_push)


def read_yaml(text: str) -> YamlSource:
    """Return `text` as data with lines. Nothing is raised: what is wrong is in ``problems``."""
    source = YamlSource()
    yaml = YAML(typ="rt", pure=True)
    yaml.Scanner = _Scanner
    try:
        node = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        source.problems.append(((), mark.line + 1 if mark else 1, f"is no valid YAML: {reason}"))
        return source
    except RecursionError:
        source.problems.append(((), 1, "is nested too deep"))
        return source
    except YAMLError as error:
        source.problems.append(((), 1, f"is no valid YAML: {' '.join(str(error).split())}"))
        return source
    if node is not None:
        source.data = _Converter(source).convert(node, ())
    return source


class _Converter:
    def __init__(self, source: YamlSource) -> None:
        self._scalars = YAML(typ="safe", pure=True).constructor
        self._source = source
        self._open: set[int] = set()
        self._nodes = 0

    def convert(self, node: Node, path: tuple[Part, ...]) -> Any:
        self._source.lines.setdefault(path, node.start_mark.line + 1)
        self._nodes += 1
        if self._nodes == _MAX_NODES:
            self._refuse(path, node, "is too large: aliases multiply what is written")
        if id(node) in self._open:
            self._refuse(path, node, "contains itself by an alias")
        if self._nodes >= _MAX_NODES or id(node) in self._open:
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode | SequenceNode) and node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
                self._refuse(path, node, f"has a tag ({node.tag}); tags are not allowed")
                return None
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._scalar(node, path) if isinstance(node, ScalarNode) else None
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: MappingNode, path: tuple[Part, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        # What is merged in comes first, so that the lines of a mapping's own keys replace those of merged
        # ones.
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged = {**self._merged(value_node, path), **merged}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == f"{_TAG}merge":
                continue
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or key_node.tag != f"{_TAG}str":
                written = key if isinstance(key, str) else "this key"
                self._refuse(path, key_node, f"`{written}` should be a text as a key; write it in quotes")
                continue
            if key in found:
                first = self._source.lines[(*path, key)]
                self._refuse((*path, key), key_node, f"is there twice; the first one is on line {first}")
                continue
            self._source.lines[(*path, key)] = line
            found[key] = self.convert(value_node, (*path, key))
        return {**merged, **found}

    def _merged(self, node: Node, path: tuple[Part, ...]) -> dict[str, Any]:
        parts = node.value if isinstance(node, SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for part in parts:
            value = self.convert(part, path)
            if isinstance(value, dict):
                merged = {**value, **merged}
            else:
                self._refuse(path, part, "`<<` should be followed by a mapping or a list of mappings")
        return merged

    def _scalar(self, node: ScalarNode, path: tuple[Part, ...]) -> Any:
        kind = node.tag.removeprefix(_TAG) if isinstance(node.tag, str) else str(node.tag)
        if kind in ("str", "timestamp"):
            return node.value
        readers = {"null": "null", "bool": "bool", "int": "int", "float": "float"}
        if kind not in readers:
            self._refuse(path, node, f"has a tag ({kind}); tags are not allowed")
            return None
        try:
            found = getattr(self._scalars, f"construct_yaml_{kind}")(node)
            if isinstance(found, int):
                str(
                    found
                )  # Python writes no number of thousands of digits; a hexadecimal one is read all the same
            return found
        except (ArithmeticError, LookupError, ValueError):
            # An explicit tag before something else, or thousands of digits.
            self._refuse(path, node, f"is no {kind}")
            return None

    def _refuse(self, path: tuple[Part, ...], node: Node, message: str) -> None:
        line = node.start_mark.line + 1
        # An alias brings the same mistake to another path.
        if not any(known[1:] == (line, message) for known in self._source.problems):
            self._source.problems.append((path, line, message))
