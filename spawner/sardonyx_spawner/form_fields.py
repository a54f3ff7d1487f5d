"""The controls of the launch form, filled with what a person gave, as plain data for the template."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .errors import OptionProblem
from .form_words import quota_left
from .messages import Messages
from .option_checks import MAX_LINE
from .paths import join_path, split_path
from .quantities import parse_cpu, parse_memory
from .service import CpuRange, ExtendedResource, MemoryRange, Service

Kind = Literal["text", "select", "check", "checks", "radio", "row"]


@dataclass(frozen=True)
class Choice:
    """One choice of a select, a radio group or a list of check boxes."""

    value: str
    label: str
    help: str = ""


@dataclass(frozen=True)
class Field:
    """One control of the form.

    Parameters
    ----------
    path
        Dotted path of its option.
    values
        What stands in it; a check box holds ``true`` or ``false``.
    disabled
        Why it cannot be used here; empty if it can.
    changed
        Whether it holds something else than the service's default.
    kept
        Whether a value that is not shown is kept for it.
    default
        What it holds when nothing is chosen.
    bounds
        The least and the most of a quantity.
    pair
        ``cpu`` or ``memory`` where it is a quantity of one: guaranteed amount and limit stand together.
    left
        What the person's quota leaves of it; empty without one.
    known
        Values that are suggested, any other may be typed.
    parts
        The controls of a row (name, value and mark of a variable).
    """

    id: str
    path: str
    kind: Kind
    label: str
    help: str = ""
    values: tuple[str, ...] = ("",)
    choices: tuple[Choice, ...] = ()
    suggestions: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    disabled: str = ""
    changed: bool = False
    wide: bool = False
    numeric: bool = False
    longest: int = MAX_LINE
    kept: bool = False
    default: tuple[str, ...] = ("",)
    bounds: tuple[str, str] = ("", "")
    pair: str = ""
    left: str = ""
    known: tuple[str, ...] = ()
    parts: tuple[Field, ...] = ()

    @property
    def name(self) -> str:
        """The control's name: its path, without the quotes that browsers turn into ``%22`` in a multipart form."""
        return ".".join(
            re.sub(r'[.\[\]"\\]', r"\\\g<0>", part) if isinstance(part, str) else f"[{part}]"
            for part in split_path(self.path)
        ).replace(".[", "[")

    @property
    def value(self) -> str:
        """The one value; the last wins, as in :func:`~sardonyx_spawner.options.options_from_form`."""
        return self.values[-1] if self.values else ""

    @property
    def shown_value(self) -> str:
        """What it holds, as people read it; empty for a check box, whose label says it."""
        labels = {choice.value: choice.label for choice in self.choices}
        return (
            ""
            if self.kind == "check"
            else ", ".join(labels.get(one, one) for one in self.values if one)[:200]
        )

    @property
    def described_by(self) -> str:
        """The ids of help, reason and errors, for ``aria-describedby``."""
        shown = {"error": self.errors, "reason": self.disabled, "help": self.help and not self.disabled}
        return " ".join(f"{self.id}-{name}" for name, text in shown.items() if text)

    def all(self) -> Iterable[Field]:
        """Return the field and its parts."""
        return (self, *self.parts)


@dataclass
class FieldBuilder:
    """Makes the sections of one service's form.

    Parameters
    ----------
    values
        Raw strings by dotted path; what is absent shows the service's default.
    unavailable
        Option path -> message key of what is not honoured where the session will run.
    secrets, git_hosts
        The person's own; None where they are not known because the Vault does not answer.
    kept
        Names of the secret variables whose value is kept for the session.
    from_link
        Whether `values` come from a launch link.
    quota
        What is left for the person, see :func:`~.form_words.describe_quota`.
    known
        Repositories that the person launched with before -> their branches.
    """

    service: Service
    messages: Messages
    values: Mapping[str, Sequence[str]]
    problems: Sequence[OptionProblem] = ()
    unavailable: Mapping[str, str] = field(default_factory=dict)
    secrets: Collection[str] | None = ()
    git_hosts: Collection[str] | None = ()
    kept: Collection[str] = ()
    from_link: bool = False
    quota: Mapping[str, Any] | None = None
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ids: set[str] = set()
        self._t = self.messages.translate

    def sentence(self, problem: OptionProblem) -> str:
        """Return a problem as a sentence in the person's language."""
        return self._t(problem.key, **problem.params)

    def _cpu(self, kind: str, label: str, help_key: str, bounds: CpuRange) -> Field:
        texts = {name: _cores(getattr(bounds, name)) for name in ("min", "max", "default")}
        made = self._field(
            join_path("resources", kind, "cpu"),
            "text",
            label,
            self._t(help_key, **texts),
            texts["default"],
            suggestions=_cpu_suggestions(bounds),
        )
        return replace(
            made,
            changed=not _same_cpu(made.value, bounds.default),
            bounds=(texts["min"], texts["max"]),
            pair="cpu",
            left=quota_left(self.quota, "cpu") if kind == "limits" else "",
        )

    def _memory(self, parts: tuple[str, ...], label: str, bounds: MemoryRange) -> Field:
        made = self._field(
            join_path(*parts),
            "text",
            label,
            self._t("form.memory.help", min=bounds.min, max=bounds.max, default=bounds.default),
            bounds.default,
            suggestions=_memory_suggestions(bounds),
        )
        quantity = parts[0] == "resources"
        return replace(
            made,
            changed=not _same_memory(made.value, bounds.default),
            bounds=(bounds.min, bounds.max),
            pair="memory" if quantity else "disk",
            left=quota_left(self.quota, "memory") if parts[1] == "limits" else "",
        )

    def _device(self, device: ExtendedResource) -> Field:
        return self._field(
            join_path("resources", "limits", device.resource),
            "text",
            self._text(device.name),
            self._t("form.device.help", min=device.min, max=device.max, default=device.default),
            str(device.default),
            numeric=True,
        )

    def _check(self, path: str, label: str, help_text: str, default: bool) -> Field:
        made = self._field(path, "check", label, help_text, "true" if default else "false")
        value = "true" if made.value.lower() in ("true", "on") else "false"
        return replace(made, values=(value,), changed=(value == "true") is not default)

    def _field(
        self,
        path: str,
        kind: Kind,
        label: str,
        help_text: str,
        default: str,
        *,
        choices: tuple[Choice, ...] = (),
        suggestions: tuple[str, ...] = (),
        wide: bool = False,
        numeric: bool = False,
        longest: int = MAX_LINE,
        limited_as: str = "",
    ) -> Field:
        reason = self._why_unavailable(limited_as or path)
        given = tuple(self.values.get(path, ()))
        if kind in ("select", "radio") and given and given[-1] not in {choice.value for choice in choices}:
            given = self._choice_of(path, given[-1])
        values = given if given and not reason else (default,)
        return Field(
            id=self._new_id(path),
            path=path,
            kind=kind,
            label=label,
            help=help_text,
            values=values,
            choices=choices,
            suggestions=suggestions,
            errors=tuple(self.sentence(one) for one in self.problems if one.path == path),
            disabled=reason,
            changed=values[-1] != default,
            default=(default,),
            wide=wide,
            numeric=numeric,
            longest=longest,
        )

    def _why_unavailable(self, path: str) -> str:
        for limited, key in self.unavailable.items():
            if limited and (path == limited or path.startswith(f"{limited}.")):
                return self._t(key)
        return ""

    def _choice_of(self, path: str, value: str) -> tuple[str, ...]:
        """Return the choice that a link means: Onyxia's carry the image, the form has the version's id."""
        version = self.service.image.find(value) if path == "service.image.version" else None
        return (version.id,) if version else ()

    def _text(self, text: object) -> str:
        in_language = getattr(text, "in_language", None)
        return in_language(self.messages.language) if in_language else str(text)

    def _new_id(self, path: str) -> str:
        base = "option-" + re.sub(r"[^A-Za-z0-9]+", "-", path).strip("-")
        name, number = base, 1
        while name in self._ids:
            number += 1
            name = f"{base}-{number}"
        self._ids.add(name)
        return name


def _cores(quantity: str) -> str:
    """Return an amount of CPU in cores: ``100m`` is ``0.1``."""
    return f"{parse_cpu(quantity).normalize():f}"


def _same_cpu(value: str, default: str) -> bool:
    try:
        return parse_cpu(value) == parse_cpu(default)
    except ValueError:
        return False


def _same_memory(value: str, default: str) -> bool:
    try:
        return parse_memory(value) == parse_memory(default)
    except ValueError:
        return False


def _cpu_suggestions(bounds: CpuRange) -> tuple[str, ...]:
    usual = ("0.1", "0.25", "0.5", "1", "2", "4", "8", "16", "32", "64")
    inside = {one for one in usual if parse_cpu(bounds.min) <= parse_cpu(one) <= parse_cpu(bounds.max)}
    ends = {_cores(bounds.min), _cores(bounds.default), _cores(bounds.max)}
    return tuple(sorted(inside | ends, key=parse_cpu))


def _memory_suggestions(bounds: MemoryRange) -> tuple[str, ...]:
    usual = ("256Mi", "512Mi", *(f"{2**power}Gi" for power in range(11)))
    low, high = parse_memory(bounds.min), parse_memory(bounds.max)
    inside = {one for one in usual if low <= parse_memory(one) <= high}
    known = {parse_memory(one): one for one in (*inside, bounds.min, bounds.default, bounds.max)}
    return tuple(known[size] for size in sorted(known))
