"""Checks of single launch options: each takes what came in and returns the value, or raises
:class:`RefusedError`.

They know nothing of one another, of the service or of where a value came from (JSON, where ``1`` is a number,
or a form, where everything is text).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from .envnames import why_refused
from .paths import MAX_ITEMS
from .quantities import parse_cpu, parse_memory, to_text
from .service import CpuRange, ExtendedResource, Image, MemoryRange, ProfileOption

MAX_LINE = 2048
MAX_VALUE = 32_768
MAX_ALL_VALUES = 65_536
MAX_SECRETS = 30
#: The longest user name of the large Git hosts; what is longer in front of an ``@`` is a token.
_MAX_GIT_USER = 39
_TOKEN_PREFIX = re.compile(
    r"(gh[a-z]_|github_pat_|glpat-|gl[a-z]{2,4}-|x-access-token|x-token-auth|oauth2)", re.IGNORECASE
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_BREAKS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")
_BRANCH = re.compile(r"(?!-)(?!.*(?:\.\.|@\{|//))[^\x00-\x20\x7f~^:?*\[\\]{1,250}")
_SECRET = re.compile(r"[^\x00-\x1f\x7f/?#%*\\.][^\x00-\x1f\x7f/?#%*\\]{0,127}")


Word = TypeVar("Word", bound=str)


class RefusedError(Exception):
    """A value cannot be used: message key, its parameters, and what would have been accepted."""

    def __init__(self, key: str, allowed: Collection[str] = (), **params: object) -> None:
        self.key = key
        self.allowed = tuple(allowed)
        self.params = {name: str(value) for name, value in params.items()}
        if allowed:
            self.params["allowed"] = ", ".join(self.allowed)
        super().__init__(key)


#: The usable items of a list, and what is wrong with the others: where from the list's own path, and why.
Sifted = tuple[list[Any], list[tuple[tuple[str | int, ...], RefusedError]]]


def flag(value: Any) -> bool:
    """Return a truth value, from JSON or from a check box."""
    if isinstance(value, bool):
        return value
    known = {"true": True, "on": True, "false": False, "off": False, "": False}
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise RefusedError("option.not_a_flag", ("true", "false"))


def line(value: Any, longest: int = MAX_LINE) -> str:
    """Return one line of text without control characters, stripped."""
    if not isinstance(value, str):
        raise RefusedError("option.not_text")
    if len(value) > longest:
        raise RefusedError("option.too_long", max=longest)
    if _CONTROL.search(value.strip()):
        raise RefusedError("option.control_characters")
    return value.strip()


def amount(bounds: CpuRange | MemoryRange) -> Callable[[Any], str]:
    """Return the check for a quantity within `bounds`."""
    parse: Callable[[Any], Any] = parse_cpu if isinstance(bounds, CpuRange) else parse_memory
    kind = "cpu" if isinstance(bounds, CpuRange) else "memory"

    def check(value: Any) -> str:
        try:
            found = parse(value)
        except ValueError:
            raise RefusedError(f"option.not_{kind}", min=bounds.min, max=bounds.max) from None
        if not parse(bounds.min) <= found <= parse(bounds.max):
            raise RefusedError("option.out_of_range", min=bounds.min, max=bounds.max)
        return to_text(value)

    return check


def count(device: ExtendedResource) -> Callable[[Any], int]:
    """Return the check for a number of devices."""

    def check(value: Any) -> int:
        text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if not re.fullmatch(r"[0-9]{1,6}", text):
            raise RefusedError("option.not_a_count", min=device.min, max=device.max)
        if not device.min <= int(text) <= device.max:
            raise RefusedError("option.out_of_range", min=device.min, max=device.max)
        return int(text)

    return check


def one_of(choices: Collection[Word]) -> Callable[[Any], Word]:
    """Return the check for one of `choices`."""

    def check(value: Any) -> Word:
        found = next((choice for choice in choices if choice == value), None)
        if found is None:
            raise RefusedError("option.not_a_choice", choices)
        return found

    return check


def version(image: Image) -> Callable[[Any], str]:
    """Return the check for a version's id, which its image stands for too."""

    def check(value: Any) -> str:
        found = image.find(value) if isinstance(value, str) else None
        if found is None:
            names = [known.id for known in image.versions]
            raise RefusedError("option.not_a_choice", names)
        return found.id

    return check


def custom_image(image: Image) -> Callable[[Any], str]:
    """Return the check for an image of the person's own."""

    def check(value: Any) -> str:
        name = line(value, 512)
        if not _IMAGE.fullmatch(name):
            raise RefusedError("option.not_an_image")
        if not image.custom.allows(name):
            raise RefusedError("option.image_not_allowed", image.custom.allow)
        return name

    return check


def _split_address(value: Any) -> SplitResult | None:
    text = line(value)
    if not text:
        return None
    try:
        split = urlsplit(text)
        port_is_number = split.port is None or split.port > 0
    except ValueError:
        raise RefusedError("option.not_an_address") from None
    if (
        split.scheme not in ("http", "https")
        or not split.hostname
        or not port_is_number
        or re.search(r"[\s\\]", text)
    ):
        raise RefusedError("option.not_an_address")
    return split


def script_address(value: Any) -> str:
    """Return the address of an init script: http or https, nobody's password in it; empty is none."""
    split = _split_address(value)
    if split is None:
        return ""
    if "@" in split.netloc:
        raise RefusedError("option.address_with_user")
    return split.geturl()


def repository(value: Any) -> str:
    """Return the address of a Git repository. A token in it would be kept in the hub's database: refused."""
    split = _split_address(value)
    if split is None:
        return ""
    user = split.netloc.rpartition("@")[0]
    if ":" in user or len(user) > _MAX_GIT_USER or _TOKEN_PREFIX.match(user):
        raise RefusedError("option.git_password")
    if split.query or split.fragment:
        raise RefusedError("option.not_a_repository")
    return split.geturl()


def branch(value: Any) -> str:
    """Return the name of a Git branch or tag, by the rules of ``git check-ref-format``; empty is the default
    branch.

    A name that begins with ``-`` would be an option of git.
    """
    name = line(value)
    parts = name.split("/")
    wrong_part = any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    if name and (wrong_part or not _BRANCH.fullmatch(name) or name == "@" or name.endswith(".")):
        raise RefusedError("option.not_a_branch")
    return name


def secrets(value: Any, available: Collection[str] | None) -> Sifted:
    """Sift paths of secrets, from a list or from text with commas; each once.

    Names that begin with a dot are the datalab's own (``.git/``). With `available`, others are refused.

    Raises
    ------
    RefusedError
        If it is no list of texts, or a long one.
    """
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise RefusedError("option.not_a_list")
    if len(items) > MAX_SECRETS:
        raise RefusedError("option.too_many", max=MAX_SECRETS)
    good: list[str] = []
    bad: list[tuple[tuple[str | int, ...], RefusedError]] = []
    for path in dict.fromkeys(item.strip().strip("/") for item in items if item.strip()):
        if len(path) > 512 or not all(_SECRET.fullmatch(part) for part in path.split("/")):
            bad.append(((), RefusedError("option.not_a_secret")))
        elif available is not None and path not in available:
            bad.append(((), RefusedError("option.no_such_secret", sorted(available), secret=path)))
        else:
            good.append(path)
    return good, bad


def variables(value: Any) -> Sifted:
    """Sift environment variables, ``[{"name": ..., "value": ...}]``; rows without name and value are left
    out.

    One that is secret has ``"secret": true``, and no value where that is kept elsewhere (:mod:`.option_secrets`).

    Raises
    ------
    RefusedError
        If it is no list, or all values together are too long.
    """
    if not isinstance(value, list | tuple):
        raise RefusedError("option.not_a_list")
    if len(value) > MAX_ITEMS:
        raise RefusedError("option.too_many", max=MAX_ITEMS)
    good: dict[str, dict[str, Any]] = {}
    bad: list[tuple[tuple[str | int, ...], RefusedError]] = []
    for index, row in enumerate(value):
        if not isinstance(row, dict) or not set(row) <= {"name", "value", "secret"}:
            bad.append(((index,), RefusedError("option.not_a_variable")))
            continue
        name, text = row.get("name") or "", row.get("value", "")
        if not name and not text:
            continue
        found = _variable_problems(row, name, text)
        if not found and name in good:
            found = [("name", RefusedError("option.variable_twice", name=name))]
        bad.extend(((index, part), why) for part, why in found)
        if not found:
            mark = {"secret": True} if flag(row.get("secret", False)) else {}
            good[name] = {"name": name, "value": text, **mark}
    if sum(len(name) + len(row["value"]) for name, row in good.items()) > MAX_ALL_VALUES:
        raise RefusedError("option.variables_too_long", max=MAX_ALL_VALUES)
    return list(good.values()), bad


def _variable_problems(row: dict[str, Any], name: Any, text: Any) -> list[tuple[str, RefusedError]]:
    found = [("name", name_problem(name)), ("value", value_problem(text))]
    try:
        flag(row.get("secret", False))
    except RefusedError as refused:
        found.append(("secret", refused))
    return [(part, why) for part, why in found if why]


def name_problem(name: Any) -> RefusedError | None:
    """Return why `name` cannot be the name of a variable that people set; None if it can."""
    if not isinstance(name, str):
        return RefusedError("option.not_text")
    reason = why_refused(name)
    return RefusedError(reason, name=name[:80]) if reason else None


def value_problem(value: Any) -> RefusedError | None:
    """Return why `value` cannot be the value of a variable; None if it can."""
    if not isinstance(value, str):
        return RefusedError("option.not_text")
    if len(value) > MAX_VALUE:
        return RefusedError("option.too_long", max=MAX_VALUE)
    return RefusedError("option.control_characters") if _CONTROL_BUT_BREAKS.search(value) else None


def unlisted_choice(option: ProfileOption) -> Callable[[Any], str]:
    """Return the check for free text beside the choices.

    The whole text has to match; KubeSpawner only looks at its start.
    """

    def check(value: Any) -> str:
        text = line(value, 512)
        unlisted = option.unlisted_choice
        if not unlisted.enabled:
            raise RefusedError("option.not_a_choice", list(option.choices))
        if unlisted.validation_regex and not re.fullmatch(unlisted.validation_regex, text):
            raise RefusedError(
                "option.no_match", (unlisted.validation_regex,), pattern=unlisted.validation_regex
            )
        return text

    return check
