"""Conversion from and to KubeSpawner's ``profile_list``.

An operator who comes from KubeSpawner keeps the ``profile_list`` that runs today: each profile becomes a
service, its slug the service's id. Reference: ``KubeSpawner.profile_list``,
https://jupyterhub-kubespawner.readthedocs.io/en/latest/spawner.html
"""

from __future__ import annotations

import hashlib
import inspect
import re
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from .catalogue import Catalogue
from .catalogue_errors import explain
from .errors import CatalogueError, CatalogueProblem
from .fields import ID_PATTERN, Text
from .paths import join_path
from .quantities import parse_cpu, parse_memory
from .service import ProfileOption, Service

Profiles = Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]]
ProfileList = Profiles | Callable[[Any], Profiles | Awaitable[Profiles]]

#: What an error calls the place: a ``profile_list`` is Python and has no lines.
SOURCE = "profile_list"


async def load_profiles(profile_list: ProfileList, spawner: Any) -> Catalogue:
    """Return the catalogue that `profile_list` means for the person and session of `spawner`.

    Parameters
    ----------
    profile_list
        List, dict, or a callable (which may be async) that takes the spawner and returns one of these.
    spawner
        What a callable is called with.

    Raises
    ------
    CatalogueError
        If a profile cannot be read.
    """
    found: Any = profile_list
    if callable(profile_list):
        found = profile_list(spawner)
        if inspect.isawaitable(found):
            found = await found
    if not isinstance(found, list | tuple | Mapping):
        problem = f"should be a list or a dictionary of profiles, not {type(found).__name__}"
        raise CatalogueError([CatalogueProblem(SOURCE, 0, "", problem)])
    return catalogue_from_profiles(found)


def catalogue_from_profiles(profiles: Profiles) -> Catalogue:
    """Return profiles as a catalogue; callables in ``kubespawner_override`` are kept as they are.

    What KubeSpawner fills in is filled in the same way: missing slugs from ``display_name``, the first
    profile and the first choice as defaults, a dict in the order of its keys. A choice of images becomes the
    versions of the service.

    Raises
    ------
    CatalogueError
        With all that is wrong. Keys that KubeSpawner would ignore are wrong too: it may be that a profile was
        to be kept from people by them.
    """
    places: list[str | int]
    if isinstance(profiles, Mapping):
        keys = sorted(profiles)
        places, items = [*keys], [profiles[key] for key in keys]
    else:
        places, items = list(range(len(profiles))), list(profiles)
    problems = [
        CatalogueProblem(SOURCE, 0, join_path(place), "should be a dictionary")
        for place, item in zip(places, items, strict=True)
        if not isinstance(item, Mapping)
    ]
    if not problems:
        data = {"version": 1, "services": _only_first_default([_service_data(item) for item in items])}
        try:
            return Catalogue.model_validate(data)
        except ValidationError as error:
            for path, message in explain(Catalogue, error, data):
                problems.append(_problem(_profile_path(path), message, places, items))
    raise CatalogueError(problems)


def _problem(
    path: tuple[str | int, ...], message: str, places: Sequence[str | int], items: Sequence[Mapping[str, Any]]
) -> CatalogueProblem:
    """Return a problem by the names that the operator gave: the dictionary's key, and the profile's slug or name."""
    if not path or not isinstance(path[0], int):
        return CatalogueProblem(SOURCE, 0, join_path(*path), message)
    profile = items[path[0]]
    name = profile.get("slug") or profile.get("display_name")
    told = f"{message} (profile {str(name)[:80]!r})" if name else message
    return CatalogueProblem(SOURCE, 0, join_path(places[path[0]], *path[1:]), told)


_PROFILE_KEYS = {"slug": "id", "display_name": "name"}


def _profile_path(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the path in the operator's ``profile_list`` of a path in the catalogue that was made from it."""
    back = {ours: theirs for theirs, ours in _PROFILE_KEYS.items()}
    inner = path[1:]
    return (*inner[:1], *(back.get(str(part), part) for part in inner[1:2]), *inner[2:])


def _service_data(profile: Mapping[str, Any]) -> dict[str, Any]:
    data = {_PROFILE_KEYS.get(key, key): value for key, value in profile.items()}
    if "id" not in data and isinstance(data.get("name"), str):
        data["id"] = slugify(data["name"])
    data["description"] = data.get("description") or None
    data["kubespawner_override"] = dict(data.get("kubespawner_override") or {})
    options = data.get("profile_options") or {}
    if isinstance(options, Mapping):
        options = {name: _option_data(name, option) for name, option in options.items()}
        if (image := _image_data(options.get("image"))) is not None:
            data["image"] = image
            del options["image"]
    data["profile_options"] = options
    return data


def _option_data(name: str, option: Any) -> Any:
    if not isinstance(option, Mapping):
        return option
    data = {"display_name": name, **option}
    choices = data.get("choices") or {}
    if isinstance(choices, Mapping):
        listed = [
            {"display_name": key, **choice} if isinstance(choice, Mapping) else choice
            for key, choice in choices.items()
        ]
        data["choices"] = dict(zip(choices, _only_first_default(listed), strict=True))
    data["unlisted_choice"] = data.get("unlisted_choice") or {}
    return data


def _only_first_default(items: list[Any]) -> list[Any]:
    """Return `items` with the first default as the only one, as KubeSpawner takes it."""
    seen = False
    for item in items:
        if isinstance(item, dict) and "default" in item:
            item["default"] = bool(item["default"]) and not seen
            seen = seen or item["default"]
    return items


def _image_data(option: Any) -> dict[str, Any] | None:
    """Return the images of a service, if the profile option does nothing but choose one."""
    choices = option.get("choices") if isinstance(option, Mapping) else None
    if not isinstance(choices, Mapping) or not choices:
        return None
    versions = []
    for name, choice in choices.items():
        override = choice.get("kubespawner_override") if isinstance(choice, Mapping) else None
        image = override.get("image") if isinstance(override, Mapping) and len(override) == 1 else None
        known = isinstance(choice, Mapping) and set(choice) <= {
            "display_name",
            "default",
            "kubespawner_override",
        }
        if not isinstance(image, str) or not known or not re.fullmatch(ID_PATTERN, name):
            return None
        label = choice.get("display_name") or name
        versions.append({"id": name, "name": label, "image": image, "default": choice.get("default", False)})
    unlisted = option["unlisted_choice"]
    if not unlisted.get("enabled"):
        return {"versions": versions}
    if unlisted.get("kubespawner_override") != {"image": "{value}"}:
        return None
    return {
        "versions": versions,
        "custom": {"enabled": True, "allow": [unlisted.get("validation_regex") or ".*"]},
    }


def slugify(name: str) -> str:
    """Return the slug that KubeSpawner makes of a profile's name; for a name without Latin letters, a hash of
    it.

    Examples
    --------
    >>> slugify("Datascience environment (1,000 GB)")
    'datascience-environment-1000-gb'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=\d),(?=\d)", "", plain)).strip("-")[:63].rstrip("-")
    return slug or f"service-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def profiles_from_services(services: Sequence[Service], language: str = "en") -> list[dict[str, Any]]:
    """Return a ``profile_list`` that offers `services`, for KubeSpawner itself.

    Resources and disk are those of the services' defaults; their ranges, and what only Sardonyx has, are not
    in it.
    """
    profiles = []
    for service in services:
        profile: dict[str, Any] = {
            "slug": service.id,
            "display_name": service.name.in_language(language),
            "default": service.default,
            "kubespawner_override": {**_overrides(service), **service.kubespawner_override},
        }
        if service.description:
            profile["description"] = service.description.in_language(language)
        options = _image_option(service, language)
        for name, option in service.profile_options.items():
            options[name] = _option(option, language)
        if options:
            profile["profile_options"] = options
        profiles.append(profile)
    return profiles


def _overrides(service: Service) -> dict[str, Any]:
    cpu, memory, disk = service.resources.cpu, service.resources.memory, service.persistence
    found: dict[str, Any] = {}
    if cpu.guaranteed:
        found["cpu_guarantee"] = float(parse_cpu(cpu.guaranteed.default))
    if cpu.limit:
        found["cpu_limit"] = float(parse_cpu(cpu.limit.default))
    if memory.guaranteed:
        found["mem_guarantee"] = parse_memory(memory.guaranteed.default)
    if memory.limit:
        found["mem_limit"] = parse_memory(memory.limit.default)
    devices = {
        device.resource: str(device.default) for device in service.resources.extended if device.default
    }
    if devices:
        found["extra_resource_limits"] = devices
    if "persistence" in service.model_fields_set and disk.enabled:
        found["storage_capacity"] = disk.size.default
        if disk.storage_class:
            found["storage_class"] = disk.storage_class
    if service.env:
        # KubeSpawner passes values through str.format.
        escaped = {name: value.replace("{", "{{").replace("}", "}}") for name, value in service.env.items()}
        found["environment"] = escaped
    return found


def _image_option(service: Service, language: str) -> dict[str, Any]:
    versions, custom = service.image.versions, service.image.custom
    if not versions:
        return {}
    option: dict[str, Any] = {"display_name": "Image", "choices": {}}
    for version in versions:
        option["choices"][version.id] = {
            "display_name": version.name.in_language(language) if version.name else version.id,
            "default": version is service.image.default,
            "kubespawner_override": {"image": version.image},
        }
    if custom.enabled:
        pattern = (
            custom.allow[0] if len(custom.allow) == 1 else "|".join(f"(?:{one})" for one in custom.allow)
        )
        option["unlisted_choice"] = {
            "enabled": True,
            "display_name": "Autre image" if language.startswith("fr") else "Other image",
            "validation_regex": _whole(pattern),
            "kubespawner_override": {"image": "{value}"},
        }
    return {"image": option}


def _option(option: ProfileOption, language: str) -> dict[str, Any]:
    choices = {
        name: {
            "display_name": choice.display_name.in_language(language),
            "default": name == option.default,
            "kubespawner_override": choice.kubespawner_override,
        }
        for name, choice in option.choices.items()
    }
    data: dict[str, Any] = {"display_name": option.display_name.in_language(language)}
    if choices:
        data["choices"] = choices
    unlisted = option.unlisted_choice
    if unlisted.enabled:
        texts: dict[str, Text | None] = {
            "display_name": unlisted.display_name,
            "display_name_in_choices": unlisted.display_name_in_choices,
            "validation_message": unlisted.validation_message,
        }
        data["unlisted_choice"] = {
            "enabled": True,
            **{key: text.in_language(language) for key, text in texts.items() if text},
            "kubespawner_override": unlisted.kubespawner_override,
        }
        if unlisted.validation_regex:
            data["unlisted_choice"]["validation_regex"] = _whole(unlisted.validation_regex)
    return data


def _whole(pattern: str) -> str:
    """Return `pattern` for a reader that only looks at the start of a text, as KubeSpawner does."""
    return pattern if pattern.endswith(r")\Z") else rf"(?:{pattern})\Z"
