"""Launch options as a YAML document: what `sardonyx launch --file` and the launch form's YAML view read.

Either ``{service, name, options: {...}}``, or the options alone::

    service: jupyter-python
    options:
      git: {repository: "https://github.com/owner/name.git"}
      resources: {limits: {memory: 4Gi}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sardonyx_spawner.yaml_source import read_yaml

#: Longest document, in characters.
MAX_TEXT = 262_144
_KEYS = frozenset({"service", "name", "options"})


class LaunchFileError(ValueError):
    """The document cannot be used. `key` and `params` are those of a message of the pages, the text is English."""

    def __init__(self, text: str, key: str, /, **params: object) -> None:
        self.key = key
        self.params = params
        super().__init__(text)


@dataclass(frozen=True)
class LaunchFile:
    """What a document says; `service` and `name` are empty where it does not."""

    service: str = ""
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_launch_file(text: str) -> LaunchFile:
    """Read a document. Numbers and truth values stay what they are; the service's checks take them as well.

    Raises
    ------
    LaunchFileError
        If it is no YAML, or has another form; the line is named.

    Examples
    --------
    >>> read_launch_file("service: jupyter").service
    'jupyter'
    >>> dict(read_launch_file("git: {branch: main}").options)
    {'git': {'branch': 'main'}}
    """
    if len(text) > MAX_TEXT:
        raise LaunchFileError(f"it is longer than {MAX_TEXT} characters", "spawn.yaml.too_long", max=MAX_TEXT)
    source = read_yaml(text)
    for _, line, reason in source.problems:
        raise LaunchFileError(f"line {line} {reason}", "spawn.yaml.invalid", line=line)
    data = {} if source.data is None else source.data
    if not isinstance(data, dict):
        raise LaunchFileError("it should have keys and values", "spawn.yaml.no_mapping")
    # `service.image...` is an option, too.
    document = "options" in data or isinstance(data.get("service"), str) or "name" in data
    if not document:
        return LaunchFile(options=data)
    for key in data:
        if key not in _KEYS:
            line = source.line_of((key,))
            allowed = ", ".join(sorted(_KEYS))
            message = f"line {line}: {key} is not one of {allowed}"
            raise LaunchFileError(message, "spawn.yaml.key", line=line, key=str(key)[:80], allowed=allowed)
    options = data.get("options") or {}
    for key, kind in (("service", str), ("name", str)):
        if not isinstance(data.get(key) or "", kind):
            line = source.line_of((key,))
            raise LaunchFileError(f"line {line}: {key} should be text", "spawn.yaml.text", line=line, key=key)
    if not isinstance(options, dict):
        line = source.line_of(("options",))
        message = f"line {line}: options should have keys and values"
        raise LaunchFileError(message, "spawn.yaml.options", line=line)
    return LaunchFile(data.get("service") or "", data.get("name") or "", options)
