"""What pydantic found wrong in a catalogue, said in words for the operator who wrote the YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .fields import ID_PATTERN, RESOURCE_PATTERN, VARIABLE_PATTERN, Found, find_defaults, find_duplicates
from .paths import Part
from .service import repeated_versions

_PATTERNS = {
    ID_PATTERN: "should be at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends",
    VARIABLE_PATTERN: "should be a name of an environment variable: letters, digits and `_`, no digit first",
    RESOURCE_PATTERN: "should be the name of a resource, such as nvidia.com/gpu",
    r"^[^\x00-\x1f\x7f]*$": "should be one line, without control characters",
    r"^[^\x00]*$": "should have no NUL character in it",
}


def repeated_services(services: Sequence[Mapping[str, Any]]) -> tuple[Found, Found]:
    """Return ids that are there twice, and defaults besides the first."""
    return (
        find_duplicates([service.get("id") for service in services], "service id", "id"),
        find_defaults({index: service.get("default") for index, service in enumerate(services)}, "service"),
    )


def explain(
    model: type[BaseModel], error: ValidationError, data: Any
) -> Iterator[tuple[tuple[Part, ...], str]]:
    """Yield path and sentence of everything that is wrong in `data`, each once.

    pydantic compares items only when each of them is valid; here they are compared in any case, so that
    nobody learns of a second mistake after the first was mended.
    """
    # A list of invalid items counts as too short: only one that was written short is.
    found = [
        _explain_one(model, details)
        for details in error.errors(include_url=False)
        if details["type"] != "too_short" or len(details["input"]) < details["ctx"]["min_length"]
    ]
    found += _repeated(data)
    yield from dict.fromkeys(found)


def _explain_one(model: type[BaseModel], details: ErrorDetails) -> tuple[tuple[Part, ...], str]:
    path: tuple[Part, ...] = tuple(details["loc"])
    # pydantic's way to say that the key of a mapping is wrong, not its value.
    path = path[:-1] if path[-1:] == ("[key]",) else path
    if details["type"] == "misplaced":
        return (*path, *details["ctx"]["at"]), details["ctx"]["reason"]
    if details["type"] == "extra_forbidden":
        return path, _unknown_key(str(path[-1]), _keys(model, path[:-1]))
    return path, _sentence(details["type"], details)


def _sentence(kind: str, details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if kind == "model_type" and context.get("class_name") == "Text":
        kind = "text_type"
    if kind in _TYPES:
        return f"{_TYPES[kind]}; it is {_describe(details['input'])}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], details["msg"].lower())
    if kind == "value_error":
        return str(context["error"])
    if kind == "too_short":
        return f"should have at least {context['min_length']} item"
    message = "is missing" if kind == "missing" else details["msg"].removeprefix("Input ")
    return message[:1].lower() + message[1:]


_TYPES = {
    "string_type": "should be text (in quotes, if it looks like a number)",
    "text_type": "should be text (in quotes, if it looks like a number), or `en:` and `fr:` with texts",
    "bool_type": "should be true or false",
    "int_type": "should be a whole number",
    "model_type": "should be a mapping of keys to values",
    "dict_type": "should be a mapping of keys to values",
    "tuple_type": "should be a list",
    "frozen_set_type": "should be a list",
}


def _describe(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"`{str(value)[:60]}`"


def _unknown_key(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"is not known; {hint}Allowed: {', '.join(known)}" if known else "is not known"


def _keys(model: type[BaseModel], path: tuple[Part, ...]) -> list[str]:
    """Return the keys that may stand at `path` of `model`."""
    kind: Any = model
    for part in path:
        kind = _inner(kind, part)
    owner = _model_of(kind)
    return [info.alias or name for name, info in owner.model_fields.items()] if owner else []


def _inner(kind: Any, part: Part) -> Any:
    """Return the annotation of what stands at `part` of a value that is annotated with `kind`."""
    for option in (kind, *get_args(kind)):
        if get_origin(option) in (tuple, list):
            return get_args(option)[0]
        if get_origin(option) is dict:
            return get_args(option)[1]
    owner = _model_of(kind)
    fields = owner.model_fields.items() if owner else ()
    return next((info.annotation for name, info in fields if (info.alias or name) == part), None)


def _model_of(kind: Any) -> type[BaseModel] | None:
    """Return the model that an annotation such as ``Model | None`` is about."""
    for option in (kind, *get_args(kind)):
        if isinstance(option, type) and get_origin(option) is None and issubclass(option, BaseModel):
            return option
    return None


def _repeated(data: Any) -> Found:
    services = _mappings(data, "services")
    found = [(("services", *path), message) for part in repeated_services(services) for path, message in part]
    for index, service in enumerate(services):
        at = ("services", index)
        versions = repeated_versions(_mappings(service.get("image"), "versions"))
        devices = [device.get("resource") for device in _mappings(service.get("resources"), "extended")]
        found += [((*at, "image", "versions", *path), text) for part in versions for path, text in part]
        found += [
            ((*at, "resources", "extended", *path), text)
            for path, text in find_duplicates(devices, "resource", "resource")
        ]
    return found


def _mappings(data: Any, key: str) -> list[Mapping[str, Any]]:
    """Return the list under `key` of `data`; what is no mapping is an empty one, so that indices stay."""
    items = data.get(key) if isinstance(data, Mapping) else None
    return [item if isinstance(item, Mapping) else {} for item in items] if isinstance(items, list) else []
