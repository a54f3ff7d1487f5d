"""KubeSpawner's ``profile_list`` becomes services and back, and means the same to KubeSpawner itself."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from kubespawner import KubeSpawner
from kubespawner.spawner import slugify as kubespawner_slugify

from sardonyx_spawner.catalogue import Service
from sardonyx_spawner.errors import CatalogueError, LaunchOptionsError
from sardonyx_spawner.options import parse_options, validate_options
from sardonyx_spawner.profiles import (
    catalogue_from_profiles,
    load_profiles,
    profiles_from_services,
    slugify,
)


@pytest.fixture(autouse=True)
def kube_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KubeSpawner reads where its cluster is even when it is not going to speak to one."""
    path = tmp_path / "kube.yaml"
    path.write_text(
        "{current-context: none, contexts: [{name: none, context: {cluster: none, user: none}}],"
        " clusters: [{name: none, cluster: {server: 'http://127.0.0.1:9'}}], users: [{name: none, user: {}}]}"
    )
    monkeypatch.setattr("kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))


def memory_for(spawner: Any) -> str:
    return "8G" if spawner.user.name.startswith("mock") else "1G"


# The forms that zero-to-jupyterhub's guide ("user environment", "user resources") shows, with texts of our own.
Z2JH: list[dict[str, Any]] = [
    {"display_name": "Minimal environment", "description": "Only Python.", "default": True},
    {
        "display_name": "Datascience environment",
        "description": "Python, R and Julia",
        "kubespawner_override": {"image": "jupyter/datascience-notebook:tag"},
    },
    {
        "display_name": "Learning Data Science",
        "kubespawner_override": {
            "image": "jupyter/datascience-notebook:tag",
            "lifecycle_hooks": {"postStart": {"exec": {"command": ["sh", "-c", "gitpuller x"]}}},
        },
    },
    {
        "display_name": "GPU Server",
        "kubespawner_override": {"extra_resource_limits": {"nvidia.com/gpu": "1"}},
    },
]
# The forms of KubeSpawner's own documentation of the trait.
CHOICES: list[dict[str, Any]] = [
    {
        "display_name": "Demo 1",
        "slug": "demo-1",
        "default": True,
        "profile_options": {
            "image": {
                "display_name": "Image",
                "choices": {
                    "base": {"display_name": "Base", "kubespawner_override": {"image": "jupyter/base:1"}},
                    "minimal": {
                        "display_name": "Minimal",
                        "default": True,
                        "kubespawner_override": {"image": "jupyter/minimal:1"},
                    },
                },
                "unlisted_choice": {
                    "enabled": True,
                    "display_name": "Other image",
                    "display_name_in_choices": "Enter image",
                    "validation_regex": "^jupyter/.+:.+$",
                    "validation_message": "Must be an image such as jupyter/<name>:<tag>",
                    "kubespawner_override": {"image": "{value}"},
                },
            },
            "size": {
                "display_name": "Size",
                "choices": {
                    "Small (2 GB)": {"display_name": "Small", "kubespawner_override": {"mem_limit": "2G"}},
                    "yours": {"display_name": "Yours", "kubespawner_override": {"mem_limit": memory_for}},
                },
            },
        },
        "kubespawner_override": {"default_url": "/lab", "environment": {"A": "1", "GONE": None}},
    },
    {"display_name": "Demo 2", "slug": "demo-2", "kubespawner_override": {"cpu_limit": lambda spawner: 3}},
    {
        "display_name": "Template",
        "slug": "template",
        "profile_options": {
            "image": {
                "display_name": "Tag",
                "choices": {"one": {"display_name": "One", "kubespawner_override": {"image": "lab:1"}}},
                "unlisted_choice": {
                    "enabled": True,
                    "display_name": "Tag",
                    "validation_regex": "[0-9]+",
                    "kubespawner_override": {
                        "image": "lab:{value}",
                        "environment": {"TAG": "{value}", "USER_TEST": "${{USER}}"},
                    },
                },
            },
            "only-unlisted": {"display_name": "Words", "unlisted_choice": {"enabled": True}},
        },
    },
    {"display_name": "Bare", "profile_options": {"node": {"choices": {"a": {}, "b": {}}}}},
]


async def as_list(spawner: Any) -> list[dict[str, Any]]:
    return CHOICES if spawner.user.name.startswith("mock") else []


AS_DICT = {"b": CHOICES[1], "a": CHOICES[0], "c": CHOICES[2]}


@pytest.mark.parametrize(
    ("profile_list", "ids", "default"),
    [
        (Z2JH, ["minimal-environment", "datascience-environment", "learning-data-science", "gpu-server"], 0),
        (CHOICES, ["demo-1", "demo-2", "template", "bare"], 0),
        (AS_DICT, ["demo-1", "demo-2", "template"], 0),
        (as_list, ["demo-1", "demo-2", "template", "bare"], 0),
        (lambda spawner: AS_DICT, ["demo-1", "demo-2", "template"], 0),
    ],
)
async def test_every_documented_form_loads(profile_list: Any, ids: list[str], default: int) -> None:
    before = copy.deepcopy(profile_list) if not callable(profile_list) else profile_list
    catalogue = await load_profiles(profile_list, KubeSpawner(_mock=True))
    assert [service.id for service in catalogue.services] == ids
    assert catalogue.default.id == ids[default]
    assert profile_list == before, "the operator's objects are not changed"


async def traits_after(profile_list: Any, user_options: dict[str, Any]) -> dict[str, Any]:
    spawner = KubeSpawner(_mock=True)
    spawner.profile_list = copy.deepcopy(profile_list)
    spawner.user_options = user_options
    await spawner.load_user_options()
    names = ("image", "cpu_limit", "cpu_guarantee", "mem_limit", "mem_guarantee", "default_url", "environment",
             "lifecycle_hooks", "extra_resource_limits", "storage_capacity", "storage_class")  # fmt: skip
    return {name: getattr(spawner, name) for name in names}


LAUNCHES: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    *((Z2JH, {"profile": slug}) for slug in ("minimal-environment", "learning-data-science", "gpu-server")),
    (Z2JH, {}),
    (CHOICES, {}),
    (CHOICES, {"profile": "demo-1", "image": "base", "size": "yours"}),
    (CHOICES, {"profile": "demo-1", "image--unlisted-choice": "jupyter/x:1", "size": "Small (2 GB)"}),
    (CHOICES, {"profile": "demo-2"}),
    (CHOICES, {"profile": "template", "image--unlisted-choice": "42", "only-unlisted--unlisted-choice": "x"}),
    (CHOICES, {"profile": "template", "image": "one", "only-unlisted--unlisted-choice": "x"}),
    (CHOICES, {"profile": "bare", "node": "b"}),
]


@pytest.mark.parametrize(("profiles", "user_options"), LAUNCHES)
async def test_there_and_back_means_the_same_to_kubespawner(
    profiles: list[dict[str, Any]], user_options: dict[str, Any]
) -> None:
    back = profiles_from_services(catalogue_from_profiles(profiles).services)
    assert await traits_after(back, user_options) == await traits_after(profiles, user_options)


@pytest.mark.parametrize(("profiles", "user_options"), LAUNCHES)
def test_kubespawners_user_options_are_launch_options(
    profiles: list[dict[str, Any]], user_options: dict[str, Any]
) -> None:
    catalogue = catalogue_from_profiles(profiles)
    slug, raw = parse_options(user_options)
    service = catalogue.get(slug) if slug else catalogue.default
    assert service is not None
    options = validate_options(service, raw).options
    chosen = options.to_dict()["profileOptions"]
    for name, value in user_options.items():
        if name in ("profile", "image", "image--unlisted-choice") and slug != "template":
            continue
        assert name == "profile" or chosen[name] == value
    assert validate_options(service, options.to_dict()).options == options


def test_a_choice_of_images_becomes_the_versions_of_the_service() -> None:
    service = catalogue_from_profiles(CHOICES).services[0]
    assert [version.id for version in service.image.versions] == ["base", "minimal"]
    _, raw = parse_options({"profile": "demo-1", "image": "base"})
    assert validate_options(service, raw).options.image_of(service) == "jupyter/base:1"
    _, raw = parse_options({"profile": "demo-1"})
    assert validate_options(service, raw).options.image_of(service) == "jupyter/minimal:1"


@pytest.mark.parametrize(
    ("slug", "chosen", "path", "key"),
    [
        (
            "demo-1",
            {"image--unlisted-choice": "evil/x:1"},
            "service.image.custom.version",
            "option.image_not_allowed",
        ),
        ("demo-1", {"image": "gone"}, "service.image.version", "option.not_a_choice"),
        ("demo-1", {"size": "huge"}, "profileOptions.size", "option.not_a_choice"),
        (
            "demo-1",
            {"size--unlisted-choice": "1"},
            "profileOptions.size--unlisted-choice",
            "option.not_a_choice",
        ),
        # KubeSpawner looks at the start only: 42;rm would pass there.
        (
            "template",
            {"image--unlisted-choice": "42;rm"},
            "profileOptions.image--unlisted-choice",
            "option.no_match",
        ),
        ("template", {}, "profileOptions.only-unlisted--unlisted-choice", "option.missing"),
    ],
)
def test_wrong_choices_are_told_beside_their_field(
    slug: str, chosen: dict[str, str], path: str, key: str
) -> None:
    service = catalogue_from_profiles(CHOICES).get(slug)
    assert service is not None
    _, raw = parse_options({"profile": slug, **chosen})
    with pytest.raises(LaunchOptionsError) as caught:
        validate_options(service, raw)
    assert (path, key) in {(problem.path, problem.key) for problem in caught.value.problems}


async def test_a_pattern_matches_whole_texts_in_kubespawner_too() -> None:
    back = profiles_from_services(catalogue_from_profiles(CHOICES).services)
    with pytest.raises(ValueError, match="failed validation regex"):
        await traits_after(back, {"profile": "template", "image--unlisted-choice": "42;rm"})


@pytest.mark.parametrize(
    ("profiles", "key", "words"),
    [
        ([{"slug": "a"}], "[0].display_name", "is missing"),
        ([{"display_name": "A", "allowed_groups": ["x"]}], "[0].allowed_groups", "is not known"),
        ([{"display_name": "A"}, {"display_name": "a"}], "[1].slug", "another service id `a`"),
        ([{"display_name": "A", "slug": "not a slug"}], "[0].slug", "letters, digits"),
        (["A"], "[0]", "should be a dictionary"),
        (
            [{"display_name": "A", "profile_options": {"x": {"unlisted_choice": {"enabled": True, "validation_regex": "["}}}}],
            "[0].profile_options.x.unlisted_choice.validation_regex",
            "should be a regular expression",
        ),
        ([], "", "at least 1 item"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_profile_list_is_told(profiles: Any, key: str, words: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        catalogue_from_profiles(profiles)
    assert [(problem.file, problem.key) for problem in caught.value.problems] == [("profile_list", key)]
    assert words in str(caught.value)


def test_profiles_are_not_for_the_local_spawner() -> None:
    for service in catalogue_from_profiles(CHOICES).services:
        assert service.unavailable_locally() == ["unavailable.service"]


@pytest.mark.parametrize(
    "name",
    [
        "Minimal environment",
        "GPU (1,000 cores!)",
        "  Éte à l'école  ",
        "R & RStudio",
        "a_b.c",
        "Python 3.12",
        "UPPER--lower",
    ],
)
def test_slugs_are_kubespawners(name: str) -> None:
    assert slugify(name) == kubespawner_slugify(name)


def test_a_name_without_latin_letters_has_a_slug() -> None:
    assert slugify("数据") != slugify("科学")
    assert Service(id=slugify("数据"), name="数据").id.startswith("service-")


async def test_a_service_is_a_profile() -> None:
    service = Service.model_validate(
        {
            "id": "lab",
            "name": {"en": "Lab", "fr": "Labo"},
            "default": True,
            "image": {
                "versions": [{"id": "1", "image": "lab:1"}, {"id": "2", "image": "lab:2", "default": True}]
            },
            "resources": {
                "cpu": {
                    "guaranteed": {"default": "500m", "max": "2"},
                    "limit": {"default": "1500m", "max": "2"},
                },
                "memory": {"limit": {"default": "2Gi", "max": "4Gi"}},
                "extended": [{"resource": "nvidia.com/gpu", "name": "GPU", "default": 1, "max": 1}],
            },
            "persistence": {"size": {"default": "5Gi", "max": "9Gi"}, "class": "fast"},
            "env": {"JSON": '{"a": 1}'},
            "kubespawner_override": {"default_url": "/lab"},
        }
    )
    (profile,) = profiles_from_services([service], "fr")
    assert profile["display_name"] == "Labo"
    traits = await traits_after([profile], {})
    assert traits == {
        "image": "lab:2",
        "cpu_limit": 1.5,
        "cpu_guarantee": 0.5,
        "mem_limit": 2 * 1024**3,
        "mem_guarantee": None,
        "default_url": "/lab",
        "environment": {"JSON": '{{"a": 1}}'},
        "lifecycle_hooks": {},
        "extra_resource_limits": {"nvidia.com/gpu": "1"},
        "storage_capacity": "5Gi",
        "storage_class": "fast",
    }
