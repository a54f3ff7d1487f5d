"""Reads raw launch options field by field, beside what the service says of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from . import option_checks as checks
from .errors import OptionProblem
from .option_checks import RefusedError, Sifted
from .paths import MAX_DEPTH, MAX_PATH, Part, flatten, join_path, unflatten
from .quantities import parse_cpu, parse_memory
from .service import CpuRange, CpuResource, MemoryRange, MemoryResource, Service

#: Values in one set of options, and characters in all of them together.
MAX_NODES = 2000
MAX_TEXT = 262_144
#: Unknown options that are told; a person who sent more made one mistake, not many.
MAX_UNKNOWN = 20

_HALF = re.compile("[\ud800-\udfff]")

T = TypeVar("T")


class Reader:
    """Takes values out of raw options and notes what is wrong with them.

    Parameters
    ----------
    raw
        Nested or dotted options; not changed.
    unavailable
        Paths that are not honoured where the session will run -> message key.
    """

    def __init__(self, raw: Mapping[str, Any], unavailable: Mapping[str, str]) -> None:
        self.problems: list[OptionProblem] = []
        self._unavailable = unavailable
        self._known: list[str] = []
        self._left: dict[str, Any] = {}
        if fault := fault_of(raw):
            self.problems.append(OptionProblem("", fault))
            return
        refused: list[str] = []
        self._left = unflatten(raw, refused=refused)
        self.problems += [OptionProblem(path, "option.not_a_path") for path in refused]

    def read(
        self,
        parts: tuple[Part, ...],
        default: T,
        check: Callable[[Any], T] | None,
        *,
        shown: bool = True,
        blank: bool = False,
    ) -> T:
        """Return the value at `parts`, or `default`.

        Parameters
        ----------
        check
            Returns the value as it is kept, or raises ``RefusedError``; ``None`` if the service has no such
            option.
        shown
            Whether a value other than the default may be chosen.
        blank
            Whether an empty text means that nothing was chosen.
        """
        path = join_path(*parts)
        value = self._take(parts)
        if check is not None:
            self._known.append(path)
        if value is None or (blank and value == ""):
            return default
        try:
            if check is None:
                raise RefusedError("option.not_offered")
            found = check(value)
            if found != default:
                self._refuse_unavailable(path, shown)
        except RefusedError as refused:
            self.note(path, refused)
            return default
        return found

    def read_list(
        self, parts: tuple[Part, ...], default: list[Any], sift: Callable[[Any], Sifted], *, shown: bool
    ) -> list[Any]:
        """Return the list at `parts` without the items that cannot be used; each of these is noted."""

        def check(value: Any) -> list[Any]:
            good, bad = sift(value)
            for inner, refused in bad:
                self.note(join_path(*parts, *inner), refused)
            return good

        return self.read(parts, default, check, shown=shown)

    def has(self, parts: tuple[Part, ...]) -> bool:
        """Return whether something was chosen for the option at `parts`."""
        node: Any = self._left
        for part in parts:
            node = node.get(part) if isinstance(node, dict) else None
        return node not in (None, "")

    def move(self, source: tuple[Part, ...], target: tuple[Part, ...]) -> bool:
        """Rename an option that was chosen under another name; return whether it was."""
        value = self._take(source)
        if value in (None, ""):
            return False
        self.put(target, value)
        return True

    def put(self, parts: tuple[Part, ...], value: Any) -> None:
        """Choose `value` for the option at `parts`, unless something else was chosen."""
        node = self._left
        for part in parts[:-1]:
            inner = node.setdefault(str(part), {})
            if not isinstance(inner, dict):
                return
            node = inner
        node.setdefault(str(parts[-1]), value)

    def note(self, path: str, refused: RefusedError) -> None:
        """Note that the option at `path` cannot be used."""
        self.problems.append(OptionProblem(path, refused.key, refused.params, refused.allowed))

    def finish(self) -> None:
        """Note what was never read: no service has such options."""
        for path in list(flatten(_without_empty(self._left)))[:MAX_UNKNOWN]:
            self.problems.append(OptionProblem(path[:MAX_PATH], "option.unknown", allowed=tuple(self._known)))

    def _take(self, parts: tuple[Part, ...]) -> Any:
        node: Any = self._left
        for part in parts[:-1]:
            node = node.get(part) if isinstance(node, dict) else None
        return node.pop(parts[-1], None) if isinstance(node, dict) else None

    def is_unavailable(self, path: str) -> str | None:
        """Return the message key of why the option at `path` is not honoured where the session runs."""
        limits = self._unavailable.items()
        return next(
            (key for limited, key in limits if path == limited or path.startswith(f"{limited}.")), None
        )

    def _refuse_unavailable(self, path: str, shown: bool) -> None:
        if not shown:
            raise RefusedError("option.not_offered")
        if key := self.is_unavailable(path):
            raise RefusedError(key)


def fault_of(raw: object) -> str | None:
    """Return the message key of what makes `raw` unfit to be looked at: its size, or text that cannot be written out.

    JSON can hold halves of characters (``"\\ud800"``), which no page, file or environment can.
    """
    nodes, characters = 0, 0
    waiting: list[tuple[object, int]] = [(raw, 0)]
    while waiting:
        value, depth = waiting.pop()
        nodes += 1
        texts: list[str] = [value] if isinstance(value, str) else []
        if isinstance(value, Mapping):
            texts = [str(key) for key in value]
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list | tuple):
            waiting += [(inner, depth + 1) for inner in value]
        characters += sum(len(text) for text in texts)
        if nodes > MAX_NODES or characters > MAX_TEXT or depth > MAX_DEPTH:
            return "option.too_large"
        if any(_HALF.search(text) for text in texts):
            return "option.control_characters"
    return None


def _without_empty(node: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in node.items():
        inner = _without_empty(value) if isinstance(value, dict) else value
        if inner is not None and inner != {}:
            kept[key] = inner
    return kept


def read_options(
    service: Service, reader: Reader, available_secrets: Collection[str] | None
) -> dict[str, Any]:
    """Return complete nested options of `service`; what is wrong is in ``reader.problems``."""
    profile_options = _profile_options(service, reader)
    options = {
        "service": {"image": _image(service, reader)},
        "resources": _resources(service, reader),
        "persistence": _persistence(service, reader),
        "git": _git(service, reader),
        "vault": _vault(service, reader, available_secrets),
        "s3": {
            "access": reader.read(
                ("s3", "access"),
                service.s3.default,
                checks.one_of(service.s3.allowed),
                shown=service.s3.shown,
                blank=True,
            )
        },
        "init": _init(service, reader),
        "extraEnvVars": reader.read_list(
            ("extraEnvVars",), [], checks.variables, shown=service.environment.shown
        ),
        "profileOptions": profile_options,
    }
    reader.finish()
    return options


def _profile_options(service: Service, reader: Reader) -> dict[str, str]:
    if service.image.versions and "image" not in service.profile_options:
        reader.move(("profileOptions", "image"), ("service", "image", "version"))
        if reader.move(
            ("profileOptions", "image--unlisted-choice"), ("service", "image", "custom", "version")
        ):
            reader.put(("service", "image", "custom", "enabled"), True)
    chosen: dict[str, str] = {}
    for name, option in service.profile_options.items():
        text_name = f"{name}--unlisted-choice"
        text = reader.read(("profileOptions", text_name), "", checks.unlisted_choice(option), blank=True)
        choice = reader.read(
            ("profileOptions", name),
            option.default or "",
            checks.one_of(list(option.choices)) if option.choices else None,
            blank=True,
        )
        if text:
            chosen[text_name] = text
        elif choice:
            chosen[name] = choice
        else:
            reader.note(join_path("profileOptions", text_name), RefusedError("option.missing"))
    return chosen


def _image(service: Service, reader: Reader) -> dict[str, Any]:
    image = service.image
    at = ("service", "image")
    custom = image.custom.enabled
    enabled = reader.read((*at, "custom", "enabled"), False, checks.flag, shown=custom)
    # An address that is not going to be used is not looked at: the form keeps the field while its box is not
    # ticked.
    name_check = checks.custom_image(image) if enabled and custom else checks.line
    name = reader.read((*at, "custom", "version"), "", name_check, shown=custom, blank=True)
    default = image.default.id if image.default else ""
    if enabled and not name:
        enabled = False
        if not any(problem.path == "service.image.custom.version" for problem in reader.problems):
            reader.note("service.image.custom.version", RefusedError("option.missing"))
    version_check = checks.version(image) if image.versions else None
    version = reader.read((*at, "version"), default, version_check, blank=True)
    return {"version": version, "custom": {"enabled": enabled, "version": name if enabled else ""}}


def _resources(service: Service, reader: Reader) -> dict[str, Any]:
    resources = service.resources
    parts: tuple[tuple[str, CpuResource | MemoryResource, Callable[[Any], Any]], ...] = (
        ("cpu", resources.cpu, parse_cpu),
        ("memory", resources.memory, parse_memory),
    )
    found: dict[str, dict[str, Any]] = {"requests": {}, "limits": {}}
    for name, part, parse in parts:
        asked = reader.has(("resources", "requests", name))
        request = _amount(reader, ("resources", "requests", name), part.guaranteed, resources.shown)
        limit = _amount(reader, ("resources", "limits", name), part.limit, resources.shown)
        if request is not None and limit is not None and parse(request) > parse(limit):
            # Who only lowers the limit means the guarantee too.
            if asked:
                reader.note(
                    f"resources.requests.{name}", RefusedError("option.request_above_limit", limit=limit)
                )
            request = limit
        # Where nothing can be guaranteed, nothing is said to be.
        if request is not None and not reader.is_unavailable(f"resources.requests.{name}"):
            found["requests"][name] = request
        if limit is not None:
            found["limits"][name] = limit
    for device in resources.extended:
        found["limits"][device.resource] = reader.read(
            ("resources", "limits", device.resource),
            device.default,
            checks.count(device),
            shown=resources.shown,
            blank=True,
        )
    return found


def _amount(
    reader: Reader, parts: tuple[Part, ...], bounds: CpuRange | MemoryRange | None, shown: bool
) -> str | None:
    check = checks.amount(bounds) if bounds else None
    return reader.read(parts, bounds.default if bounds else None, check, shown=shown, blank=True)


def _persistence(service: Service, reader: Reader) -> dict[str, Any]:
    disk = service.persistence
    return {
        "enabled": reader.read(("persistence", "enabled"), disk.enabled, checks.flag, shown=disk.shown),
        "size": reader.read(
            ("persistence", "size"), disk.size.default, checks.amount(disk.size), shown=disk.shown, blank=True
        ),
    }


def _git(service: Service, reader: Reader) -> dict[str, Any]:
    git = service.git
    return {
        "enabled": reader.read(("git", "enabled"), git.enabled, checks.flag, shown=git.shown),
        "repository": reader.read(("git", "repository"), git.repository, checks.repository, shown=git.shown),
        "branch": reader.read(("git", "branch"), git.branch, checks.branch, shown=git.shown),
    }


def _vault(service: Service, reader: Reader, available: Collection[str] | None) -> dict[str, Any]:
    secrets, token = service.secrets, service.vault_token
    default = [path for path in secrets.default if available is None or path in available]
    return {
        "enabled": reader.read(("vault", "enabled"), secrets.enabled, checks.flag, shown=secrets.shown),
        "secret": reader.read_list(
            ("vault", "secret"), default, lambda value: checks.secrets(value, available), shown=secrets.shown
        ),
        "token": reader.read(("vault", "token"), token.default, checks.flag, shown=token.allowed),
    }


def _init(service: Service, reader: Reader) -> dict[str, Any]:
    init = service.init
    return {
        "personalInit": reader.read(
            ("init", "personalInit"), init.personal_init, checks.script_address, shown=init.shown
        ),
        "personalInitArgs": reader.read(
            ("init", "personalInitArgs"), init.personal_init_args, checks.line, shown=init.shown
        ),
    }
