"""From what JupyterHub, KubeSpawner and browsers send to launch options, and from these to the grant."""

from __future__ import annotations

from typing import Any

import pytest
from option_service import SERVICE

from sardonyx_spawner.errors import LaunchOptionsError
from sardonyx_spawner.options import options_from_form, parse_options, validate_options


@pytest.mark.parametrize(
    ("user_options", "expected"),
    [
        ({}, (None, {})),
        (None, (None, {})),
        ({"service": "lab"}, ("lab", {})),
        ({"options": {"git.branch": "x"}}, (None, {"git.branch": "x"})),
        ({"service": "lab", "options": {"git": {"branch": "x"}}}, ("lab", {"git": {"branch": "x"}})),
        ({"profile": "lab"}, ("lab", {"profileOptions": {}})),
        ({"profile": "lab", "image": "3.12", "size": ""}, ("lab", {"profileOptions": {"image": "3.12"}})),
    ],
)
def test_user_options_are_read(user_options: Any, expected: tuple[str | None, dict[str, Any]]) -> None:
    assert parse_options(user_options) == expected


@pytest.mark.parametrize(
    ("user_options", "path"),
    [
        ([], ""),
        ("lab", ""),
        ({"service": 3}, "service"),
        ({"options": "x"}, "options"),
        ({"image": "x"}, "image"),
    ],
)
def test_user_options_of_another_form_are_refused(user_options: Any, path: str) -> None:
    with pytest.raises(LaunchOptionsError) as caught:
        parse_options(user_options)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_kubespawners_user_options_choose_the_image() -> None:
    for user_options, image in (
        ({"profile": "lab", "image": "3.12"}, "registry.example.org/lab:3.12"),
        ({"profile": "lab", "image--unlisted-choice": "plain"}, "plain"),
    ):
        _, raw = parse_options(user_options)
        assert validate_options(SERVICE, raw).options.image_of(SERVICE) == image
    _, raw = parse_options({"profile": "lab", "garbage": "x"})
    with pytest.raises(LaunchOptionsError) as caught:
        validate_options(SERVICE, raw)
    assert [problem.path for problem in caught.value.problems] == ["profileOptions.garbage"]


def test_the_form_is_read() -> None:
    form = {
        "_xsrf": ["token"],
        "service": ["lab"],
        "persistence.enabled": ["false", "true"],
        "git.enabled": ["false"],
        "vault.secret": ["a", "b/c"],
        "resources.limits.memory": [""],
        "extraEnvVars[0].name": ["A"],
        "extraEnvVars[0].value": ["1"],
        "extraEnvVars[2].name": ["B"],
        "extraEnvVars[2].value": ["2"],
        "extraEnvVars[3].name": [""],
        "extraEnvVars[3].value": [""],
    }
    service, raw = parse_options(options_from_form(form))
    options = validate_options(SERVICE, raw).options
    assert service == "lab"
    assert options.persistence.enabled
    assert not options.git.enabled
    assert options.vault.secret == ["a", "b/c"]
    assert options.resources.limits.memory == "2Gi"
    assert [(row.name, row.value) for row in options.extra_env_vars] == [("A", "1"), ("B", "2")]
    with pytest.raises(LaunchOptionsError):
        options_from_form({"a[": ["x"]})


def test_kubespawners_form_is_read() -> None:
    form = {
        "profile": ["short"],
        "profile-option-short--image": ["a"],
        "profile-option-short-plus--image": ["b"],
    }
    assert options_from_form(form) == {"profile": "short", "image": "a"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {},
            {
                "s3": "read-write",
                "secrets": [],
                "git_hosts": ["github.com"],
                "vault_token": False,
                "required": ["s3"],
            },
        ),
        (
            {"s3.access": "none", "vault.secret": "a,b", "vault.token": True, "git.enabled": False},
            {"s3": "none", "secrets": ["a", "b"], "git_hosts": [], "vault_token": True, "required": ["s3"]},
        ),
        (
            {"vault.enabled": False, "vault.secret": "a", "vault.token": True},
            {
                "s3": "read-write",
                "secrets": [],
                "git_hosts": ["github.com"],
                "vault_token": False,
                "required": ["s3"],
            },
        ),
    ],
)
def test_the_grant_follows_from_the_options(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    assert SERVICE.to_grant_data(validate_options(SERVICE, raw).options) == expected
