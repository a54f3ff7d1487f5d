"""Launch options: every value is checked against the service; what is wrong is told beside its field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from option_service import SERVICE

import sardonyx_spawner
from sardonyx_spawner.catalogue import Service
from sardonyx_spawner.errors import LaunchOptionsError, OptionProblem
from sardonyx_spawner.messages import LANGUAGES, Messages
from sardonyx_spawner.options import (
    LaunchOptions,
    parse_options,
    validate_options,
)

HIDDEN = Service.model_validate(
    {
        "id": "closed",
        "name": "Closed",
        "persistence": {"shown": False},
        "git": {"shown": False, "repository": "https://example.org/course.git"},
        "secrets": {"shown": False},
        "s3": {"shown": False, "default": "read-only"},
        "init": {"shown": False},
        "environment": {"shown": False},
    }
)


def problems_of(raw: dict[str, Any], service: Service = SERVICE, **settings: Any) -> list[OptionProblem]:
    with pytest.raises(LaunchOptionsError) as caught:
        validate_options(service, raw, **settings)
    return caught.value.problems


def test_nothing_chosen_is_the_services_defaults() -> None:
    validated = validate_options(SERVICE, {})
    assert validated.warnings == ()
    assert validated.options.to_dict() == {
        "service": {"image": {"version": "3.13", "custom": {"enabled": False, "version": ""}}},
        "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi"},
            "limits": {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": 0},
        },
        "persistence": {"enabled": True, "size": "10Gi"},
        "git": {"enabled": True, "repository": "", "branch": ""},
        "vault": {"enabled": True, "secret": [], "token": False},
        "s3": {"access": "read-write"},
        "init": {"personalInit": "", "personalInitArgs": ""},
        "extraEnvVars": [],
        "profileOptions": {},
    }


CHOSEN: dict[str, Any] = {
    "service.image.version": "3.12",
    "resources.requests.cpu": "1",
    "resources.limits.cpu": 2,
    "resources.requests.memory": "512Mi",
    'resources.limits."nvidia.com/gpu"': "1",
    "persistence.size": "20Gi",
    "git.repository": "https://git.example.org/team/a b.git".replace(" ", "%20"),
    "git.branch": "feature/é-1",
    "vault.secret": "projet_patate, /other/keys ,projet_patate",
    "vault.token": "true",
    "s3.access": "read-only",
    "init.personalInit": "https://example.org/init.sh?x=1",
    "init.personalInitArgs": "--fast 'a b'",
    "extraEnvVars[0].name": "GREETING",
    "extraEnvVars[0].value": 'it\'s "ü" $HOME {x}\n\ttwo 🙂',
    "extraEnvVars[1].name": "EMPTY",
    "extraEnvVars[1].value": "",
}


def test_what_was_chosen_is_kept_and_validating_again_changes_nothing() -> None:
    options = validate_options(SERVICE, CHOSEN).options
    assert options.vault.secret == ["projet_patate", "other/keys"]
    assert options.vault.token is True
    assert options.resources.limits.devices == {"nvidia.com/gpu": 1}
    assert options.resources.limits.cpu == "2"
    assert options.extra_env_vars[0].value == CHOSEN["extraEnvVars[0].value"]
    assert options.image_of(SERVICE) == "registry.example.org/lab:3.12"
    stored = json.loads(json.dumps(options.to_dict()))
    assert validate_options(SERVICE, stored).options == options
    assert validate_options(SERVICE, options.to_flat()).options == options
    assert LaunchOptions.model_validate(stored) == options


WRONG: list[tuple[str, Any, str]] = [
    ("resources.limits.cpu", "5", "option.out_of_range"),
    ("resources.limits.cpu", "0", "option.out_of_range"),
    ("resources.limits.cpu", "1e2", "option.not_cpu"),
    ("resources.limits.memory", "100m", "option.not_memory"),
    ("resources.limits.memory", "1Ti", "option.out_of_range"),
    ("resources.limits.memory", ["1Gi"], "option.not_memory"),
    ('resources.limits."nvidia.com/gpu"', "3", "option.out_of_range"),
    ('resources.limits."nvidia.com/gpu"', "-1", "option.not_a_count"),
    ('resources.limits."nvidia.com/gpu"', 0.5, "option.not_a_count"),
    ('resources.limits."amd.com/gpu"', "1", "option.unknown"),
    ("persistence.size", "1Mi", "option.out_of_range"),
    ("persistence.enabled", "maybe", "option.not_a_flag"),
    ("persistence.enabled", 1, "option.not_a_flag"),
    ("service.image.version", "2.7", "option.not_a_choice"),
    ("service.image.version", ["3.12"], "option.not_a_choice"),
    ("s3.access", "admin", "option.not_a_choice"),
    ("s3.acess", "none", "option.unknown"),
    ("git", "x", "option.unknown"),
    ("git.repository", "git@github.com:o/r.git", "option.not_an_address"),
    ("git.repository", "ext::sh -c id", "option.not_an_address"),
    ("git.repository", "file:///etc/passwd", "option.not_an_address"),
    ("git.repository", "--upload-pack=x", "option.not_an_address"),
    ("git.repository", "https://", "option.not_an_address"),
    ("git.repository", "https://host:99999/x", "option.not_an_address"),
    ("git.repository", "https://[::1/x", "option.not_an_address"),
    ("git.repository", "https://a b/x", "option.not_an_address"),
    ("git.repository", "https://bob:token@github.com/o/r", "option.git_password"),
    ("git.repository", "https://ghp_abcdef@github.com/o/r", "option.git_password"),
    ("git.repository", "https://" + "x" * 40 + "@github.com/o/r", "option.git_password"),
    ("git.repository", "https://git.example.org/r?private_token=x", "option.not_a_repository"),
    ("git.repository", "https://x/" + "y" * 3000, "option.too_long"),
    ("git.repository", "https://x/\x00", "option.control_characters"),
    ("git.branch", "-b", "option.not_a_branch"),
    ("git.branch", "--upload-pack=x", "option.not_a_branch"),
    ("git.branch", "a..b", "option.not_a_branch"),
    ("git.branch", "a b", "option.not_a_branch"),
    ("git.branch", "a/.b", "option.not_a_branch"),
    ("git.branch", "a.lock", "option.not_a_branch"),
    ("git.branch", "/a", "option.not_a_branch"),
    ("git.branch", "a@{1}", "option.not_a_branch"),
    ("git.branch", "@", "option.not_a_branch"),
    ("git.branch", "a:b", "option.not_a_branch"),
    ("git.branch", "main\nx", "option.control_characters"),
    ("git.branch", 3, "option.not_text"),
    ("init.personalInit", "javascript:alert(1)", "option.not_an_address"),
    ("init.personalInit", "https://u:p@example.org/x.sh", "option.address_with_user"),
    ("init.personalInitArgs", "a\x1b[2J", "option.control_characters"),
    ("vault.secret", "../bob/secret", "option.not_a_secret"),
    ("vault.secret", ".git/github.com", "option.not_a_secret"),
    ("vault.secret", "a//b", "option.not_a_secret"),
    ("vault.secret", "a?version=1", "option.not_a_secret"),
    ("vault.secret", ["x", 3], "option.not_a_list"),
    ("vault.secret", [f"s{n}" for n in range(40)], "option.too_many"),
    ("vault.token", "yes", "option.not_a_flag"),
    ("extraEnvVars", "A=1", "option.not_a_list"),
    ("extraEnvVars[0].value", "x", "envname.invalid"),
    ("unknown.thing", "x", "option.unknown"),
    ("extraEnvVars[", "x", "option.not_a_path"),
]


@pytest.mark.parametrize(("path", "value", "key"), WRONG)
def test_what_is_wrong_is_told_beside_its_field(path: str, value: Any, key: str) -> None:
    problems = problems_of({path: value})
    assert [problem.key for problem in problems] == [key]
    assert problems[0].path.startswith(path.rpartition(".value")[0] or path)
    validated = validate_options(SERVICE, {path: value}, lenient=True)
    assert [problem.key for problem in validated.warnings] == [key]
    assert validated.options == validate_options(SERVICE, {}).options


def test_all_problems_are_told_at_once() -> None:
    raw = {
        "s3.access": "x",
        "git": {"branch": "-x", "nope": 1},
        "extraEnvVars": [{"name": "PATH"}, {"name": "IFS"}],
    }
    assert [problem.path for problem in problems_of(raw)] == [
        "git.branch",
        "s3.access",
        "extraEnvVars[0].name",
        "extraEnvVars[1].name",
        "git.nope",
    ]


def test_choices_are_told() -> None:
    (problem,) = problems_of({"service.image.version": "2.7"})
    assert problem.allowed == ("3.12", "3.13")
    assert problem.message == "This is not one of the choices: 3.12, 3.13."


@pytest.mark.parametrize(
    ("requests", "limits", "expected"),
    [
        ({"cpu": "2"}, {}, "1"),
        ({"cpu": "1001m"}, {"cpu": "1"}, "1"),
    ],
)
def test_what_is_guaranteed_is_not_above_the_limit(
    requests: dict[str, str], limits: dict[str, str], expected: str
) -> None:
    raw = {"resources": {"requests": requests, "limits": limits}}
    (problem,) = problems_of(raw)
    assert (problem.path, problem.key) == ("resources.requests.cpu", "option.request_above_limit")
    assert validate_options(SERVICE, raw, lenient=True).options.resources.requests.cpu == expected


def test_who_lowers_only_the_limit_lowers_the_guarantee() -> None:
    options = validate_options(SERVICE, {"resources.limits.memory": "512Mi"}).options
    assert (options.resources.requests.memory, options.resources.limits.memory) == ("512Mi", "512Mi")


CUSTOM = "service.image.custom"


@pytest.mark.parametrize(
    ("image", "key"),
    [
        ("registry.example.org/x:1", None),
        ("plain", None),
        ("plain:1", "option.image_not_allowed"),
        ("evil.org/registry.example.org/x", "option.image_not_allowed"),
        ("registry.example.org/x;id", "option.not_an_image"),
        ("", "option.missing"),
    ],
)
def test_an_image_of_ones_own_has_to_match_whole(image: str, key: str | None) -> None:
    raw = {f"{CUSTOM}.enabled": "true", f"{CUSTOM}.version": image}
    if key is None:
        assert validate_options(SERVICE, raw).options.image_of(SERVICE) == image
    else:
        assert [problem.key for problem in problems_of(raw)] == [key]
        assert (
            validate_options(SERVICE, raw, lenient=True).options.image_of(SERVICE)
            == SERVICE.image.versions[1].image
        )


def test_an_image_that_is_not_ticked_is_not_used() -> None:
    options = validate_options(
        SERVICE, {f"{CUSTOM}.enabled": "false", f"{CUSTOM}.version": "half typed"}
    ).options
    assert options.service.image.custom.version == ""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("persistence.size", "20Gi"),
        ("git.repository", "https://example.org/other.git"),
        ("git.repository", ""),
        ("vault.secret", "x"),
        ("vault.token", "true"),
        ("s3.access", "read-write"),
        ("init.personalInit", "https://example.org/x.sh"),
        ("extraEnvVars", [{"name": "A", "value": "1"}]),
        ("resources.limits.cpu", "1"),
        ("service.image.custom.enabled", "true"),
        ("service.image.version", "x"),
    ],
)
def test_what_the_service_does_not_offer_cannot_be_chosen(path: str, value: Any) -> None:
    assert {problem.key for problem in problems_of({path: value}, HIDDEN)} <= {
        "option.not_offered",
        "option.missing",
    }
    defaults = validate_options(HIDDEN, {}).options
    assert validate_options(HIDDEN, {path: value}, lenient=True).options == defaults
    assert validate_options(HIDDEN, defaults.to_dict()).options == defaults, "a stored session starts again"


def test_what_the_local_spawner_cannot_honour_is_refused_not_ignored() -> None:
    raw = {
        "service.image.version": "3.12",
        f"{CUSTOM}.enabled": "true",
        f"{CUSTOM}.version": "plain",
        "resources.requests.cpu": "600m",
        'resources.limits."nvidia.com/gpu"': "1",
        "persistence.size": "20Gi",
    }
    assert {problem.path: problem.key for problem in problems_of(raw, local=True)} == {
        f"{CUSTOM}.enabled": "unavailable.image_custom",
        f"{CUSTOM}.version": "unavailable.image_custom",
        "service.image.version": "unavailable.image_version",
        "resources.requests.cpu": "unavailable.guaranteed",
        'resources.limits."nvidia.com/gpu"': "unavailable.device",
        "persistence.size": "unavailable.disk_size",
    }
    assert (
        validate_options(SERVICE, validate_options(SERVICE, {}).options.to_dict(), local=True).warnings == ()
    )
    assert validate_options(SERVICE, {}, local=True).options.resources.requests.cpu is None
    (problem,) = problems_of({}, HIDDEN, local=True)
    assert (problem.path, problem.key) == ("", "unavailable.service")


def test_only_secrets_that_exist_can_be_chosen() -> None:
    raw = {"vault.secret": ["mine", "gone", "also-gone"]}
    problems = problems_of(raw, available_secrets=["mine", "x"])
    assert [(problem.path, problem.params["secret"]) for problem in problems] == [
        ("vault.secret", "gone"),
        ("vault.secret", "also-gone"),
    ]
    assert problems[0].allowed == ("mine", "x")
    kept = validate_options(SERVICE, raw, available_secrets=["mine"], lenient=True)
    assert (kept.options.vault.secret, len(kept.warnings)) == (["mine"], 2)


def test_a_stopped_session_starts_although_its_service_lost_things() -> None:
    options = validate_options(
        SERVICE, {**CHOSEN, f"{CUSTOM}.enabled": True, f"{CUSTOM}.version": "plain"}
    ).options
    smaller = Service.model_validate(
        {
            "id": "lab",
            "name": "Lab",
            "image": {"versions": [{"id": "4", "image": "lab:4"}]},
            "environment": {"shown": False},
        }
    )
    stored = {**options.to_dict(), "fromAnOlderRelease": {"x": 1}}
    validated = validate_options(smaller, stored, lenient=True)
    assert validated.options.service.image.version == "4"
    assert validated.options.persistence.size == "20Gi"
    assert validated.options.git.branch == "feature/é-1"
    assert {problem.path for problem in validated.warnings} == {
        "service.image.version",
        f"{CUSTOM}.enabled",
        f"{CUSTOM}.version",
        "resources.requests.cpu",
        "resources.requests.memory",
        "resources.limits.cpu",
        "resources.limits.memory",
        'resources.limits."nvidia.com/gpu"',
        "vault.token",
        "extraEnvVars",
        "fromAnOlderRelease.x",
    }


@pytest.mark.parametrize(
    "raw",
    [
        {"a": "x" * 300_000},
        {f"k{n}": 1 for n in range(3000)},
        {"extraEnvVars": [[[[[[[[[["x"]]]]]]]]]]},
        {"extraEnvVars": [{"name": f"V{n}", "value": "x" * 30_000} for n in range(9)]},
    ],
)
def test_endless_options_are_refused_before_they_are_read(raw: dict[str, Any]) -> None:
    assert [problem.key for problem in problems_of(raw)] == ["option.too_large"]


@pytest.mark.parametrize(
    "raw", [{"git.branch": "\ud800"}, {"\udfff": 1}, {"extraEnvVars": [{"name": "A", "value": "\ud83d"}]}]
)
def test_halves_of_characters_are_refused(raw: dict[str, Any]) -> None:
    assert [problem.key for problem in problems_of(raw)] == ["option.control_characters"]
    with pytest.raises(LaunchOptionsError):
        parse_options({"service": "lab", "options": raw})


_paths = st.sampled_from(
    [*validate_options(SERVICE, CHOSEN).options.to_flat(), "x.y", "git", "extraEnvVars[0]", "a["]
)


_keys = st.text(min_size=1, max_size=6)
_leaves = st.one_of(st.text(max_size=5), st.booleans(), st.integers(), st.none())
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(_paths, _values | st.sampled_from([*CHOSEN.values(), "1Gi", "8", "4Gi"]), max_size=6),
    st.booleans(),
)
def test_whatever_comes_in_what_comes_out_is_valid(raw: dict[str, Any], local: bool) -> None:
    options = validate_options(SERVICE, raw, lenient=True, local=local).options
    again = validate_options(SERVICE, json.loads(json.dumps(options.to_dict())), local=local)
    assert (again.options, again.warnings) == (options, ())


def test_every_message_exists_in_every_language() -> None:
    sources = Path(sardonyx_spawner.__file__).parent.glob("*.py")
    keys = {
        key
        for source in sources
        if source.name in ("envnames.py", "options.py", "option_checks.py", "option_reader.py", "service.py")
        for key in re.findall(
            r'"((?:option|envname|unavailable)\.[a-z_]+)"', source.read_text(encoding="utf-8")
        )
    }
    assert len(keys) > 40
    for language in LANGUAGES:
        assert {key for key in keys if key not in Messages(language)} == set()


@pytest.mark.parametrize(("path", "value", "_key"), WRONG)
def test_every_problem_can_be_read_in_every_language(path: str, value: Any, _key: str) -> None:
    for problem in problems_of({path: value}):
        sentences = [Messages(language).translate(problem.key, **problem.params) for language in LANGUAGES]
        assert problem.message == sentences[0]
        assert len(set(sentences)) == len(LANGUAGES)
