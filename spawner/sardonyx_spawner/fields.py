"""The kinds of values that a catalogue is made of, and the checks that its models share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from .quantities import CPU_PATTERN, MEMORY_PATTERN, parse_cpu, parse_memory, to_text

SourceName = Literal["s3", "vault", "git"]
S3Access = Literal["read-write", "read-only", "none"]
S3_ACCESSES: tuple[S3Access, ...] = ("read-write", "read-only", "none")

ID_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"
RESOURCE_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"

Identifier = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
VariableName = Annotated[str, StringConstraints(pattern=VARIABLE_PATTERN)]
Line = Annotated[str, StringConstraints(max_length=2048, pattern=r"^[^\x00-\x1f\x7f]*$")]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=30, pattern=r"^[^\x00-\x1f\x7f]*$")]


def _quantity(value: object) -> str:
    try:
        return to_text(value)
    except ValueError:
        raise ValueError("should be a quantity, such as 500m, 1.5, 512Mi or 2Gi") from None


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"should be a regular expression ({error})") from None
    return pattern


def _web_address(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@\\]+(/[^\s\\]*)?", value):
        raise ValueError(
            "should be an address that begins with http:// or https:// and has no user name in it"
        )
    return value


def check_icon(value: str) -> str:
    """Return the name of an icon, or raise: it ends up as the source of a picture in a page."""
    relative = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", value) and ".." not in value
    if value and not relative and not value.startswith("https://"):
        raise ValueError(
            "should be the name of a file such as jupyter.svg, or an address that begins with https://"
        )
    return value


Regex = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_regex)]
WebAddress = Annotated[Line, AfterValidator(_web_address)]
OptionalAddress = Annotated[Line, AfterValidator(lambda value: _web_address(value) if value else "")]
Cpu = Annotated[
    str,
    AfterValidator(lambda text: parse_cpu(text) is not None and text),
    BeforeValidator(_quantity),
    WithJsonSchema({"type": ["string", "number"], "pattern": f"^{CPU_PATTERN}$"}),
]
Memory = Annotated[
    str,
    AfterValidator(lambda text: parse_memory(text) is not None and text),
    BeforeValidator(_quantity),
    WithJsonSchema({"type": ["string", "number"], "pattern": f"^{MEMORY_PATTERN}$"}),
]


#: Path inside a catalogue, and what is wrong there.
Found = list[tuple[tuple[str | int, ...], str]]


class Strict(BaseModel):
    """Refuses keys that it does not know; is not changed after it was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(Strict):
    """A sentence for people, in one language or more. In YAML: a string, or ``{en: ..., fr: ...}``."""

    en: str = Field(min_length=1, max_length=20_000)
    fr: str = Field(default="", max_length=20_000, description="Empty: the English text is shown.")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"en": value} if isinstance(value, str) else value

    def in_language(self, language: str) -> str:
        """Return the text in `language` (``en``, ``fr``), in English if it was not translated."""
        return (self.fr if language.startswith("fr") else "") or self.en

    def __str__(self) -> str:
        return self.en

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "minLength": 1}, handler(schema)]}


def find_duplicates(names: Sequence[Any], what: str, key: str) -> Found:
    """Return the items whose `key` has a value that an earlier one has."""
    return [
        ((index, key), f"should be unique: there is another {what} `{name}`")
        for index, name in enumerate(names)
        if name is not None and name in names[:index]
    ]


def find_defaults(marks: Mapping[Any, Any], what: str) -> Found:
    """Return the items that are marked as the default besides the first that is."""
    marked = [name for name, default in marks.items() if default is True]
    return [
        ((name, "default"), f"only one {what} can be the default, and there is another one")
        for name in marked[1:]
    ]


def misplaced(at: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """Return an error about something inside the model that is validated; `at` leads to it."""
    return PydanticCustomError("misplaced", "{reason}", {"reason": message, "at": at})


def refuse(list_name: str, *findings: Found) -> None:
    """Raise the first of `findings` about the items of `list_name`, if there is one."""
    for found in findings:
        for path, message in found:
            raise misplaced((list_name, *path), message)


def check_range(low: Any, default: Any, high: Any, parse: Callable[[Any], Any]) -> None:
    """Raise if the default is not from min to max."""
    if parse(low) > parse(high):
        raise misplaced(("max",), f"should not be below `min` ({low})")
    if not parse(low) <= parse(default) <= parse(high):
        raise misplaced(("default",), f"should be from {low} to {high}; it is {default}")
