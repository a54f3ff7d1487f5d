"""Launch links: what they say is what the form reads, and no secret is in them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardonyx_spawner.catalogue import Catalogue
from sardonyx_spawner.errors import LaunchOptionsError
from sardonyx_spawner.form import read_link
from sardonyx_spawner.launch_links import (
    MAX_LINK,
    changed_options,
    launch_link,
    option_texts,
    without_secrets,
)
from sardonyx_spawner.options import validate_options

SERVICE = Catalogue.model_validate(
    {
        "services": [
            {
                "id": "lab",
                "name": "Lab",
                "resources": {
                    "cpu": {"limit": {"default": "1", "max": "4"}},
                    "memory": {
                        "guaranteed": {"default": "1Gi", "max": "2Gi"},
                        "limit": {"default": "2Gi", "max": "8Gi"},
                    },
                    "extended": [{"resource": "nvidia.com/gpu", "name": "GPU", "max": 2}],
                },
                "secrets": {"default": ["team"]},
                "git": {"repository": "https://git.example/course.git"},
                "image": {"versions": [{"id": "3.12", "image": "a:1"}, {"id": "3.11", "image": "a:2"}]},
            }
        ]
    }
).default

CHOICES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"resources.limits.cpu": "1", "git.enabled": "true"}, {}),
    ({"resources.limits.cpu": "2"}, {"resources": {"limits": {"cpu": "2"}}}),
    # Who lowers the limit below what is guaranteed lowers both.
    (
        {"resources.limits.memory": "512Mi"},
        {"resources": {"requests": {"memory": "512Mi"}, "limits": {"memory": "512Mi"}}},
    ),
    ({'resources.limits."nvidia.com/gpu"': 1}, {"resources": {"limits": {"nvidia.com/gpu": 1}}}),
    ({"vault": {"secret": []}}, {"vault": {"secret": []}}),
    ({"vault": {"secret": ["a", "b"]}}, {"vault": {"secret": ["a", "b"]}}),
    ({"git.repository": ""}, {"git": {"repository": ""}}),
    ({"service.image.version": "a:2"}, {"service": {"image": {"version": "3.11"}}}),
    (
        {"extraEnvVars[0].name": "A", "extraEnvVars[0].value": "1"},
        {"extraEnvVars": [{"name": "A", "value": "1"}]},
    ),
]


def read(query: str) -> dict[str, Any]:
    """Return what the form makes of a link."""
    values, unknown = read_link(
        {
            name: texts
            for name, texts in parse_qs(query, keep_blank_values=True, strict_parsing=True).items()
            if name not in ("service", "display_name")
        }
    )
    assert unknown == []
    return {name: texts if name == "vault.secret" else texts[-1] for name, texts in values.items()}


def comparable(options: Any) -> Any:
    """Leave the mark out of rows that are not secret: it is the same as none."""
    rows = [{key: row[key] for key in ("name", "value")} for row in options.get("extraEnvVars", [])]
    return {**options, **({"extraEnvVars": rows} if rows else {})}


@pytest.mark.parametrize(("chosen", "kept"), CHOICES)
def test_only_what_differs_from_the_defaults_is_kept(chosen: dict[str, Any], kept: dict[str, Any]) -> None:
    assert comparable(changed_options(SERVICE, chosen)) == kept


@pytest.mark.parametrize(("chosen", "_kept"), CHOICES)
def test_a_link_brings_back_the_same_options(chosen: dict[str, Any], _kept: dict[str, Any]) -> None:
    link = launch_link("lab", changed_options(SERVICE, chosen))
    again = validate_options(SERVICE, read(link.query)).options
    assert again == validate_options(SERVICE, chosen).options


#: All that a value of a variable may hold.
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.sampled_from("\n\t«»&=%+#"))


@given(TEXTS, st.lists(st.sampled_from(["a", "b/c", "é &=+%#"]), max_size=3, unique=True))
def test_any_text_survives_a_link(text: str, secrets: list[str]) -> None:
    options = {"extraEnvVars": [{"name": "A", "value": text}], "vault": {"secret": secrets}}
    found = read(launch_link("lab", options, name="Chapitre 3 & 4").query)
    assert found["extraEnvVars[0].value"] == text
    assert found["vault.secret"] == (secrets or [""])


def test_secret_values_are_not_in_a_link_and_are_told() -> None:
    rows = [
        {"name": "OPEN", "value": "yes", "secret": False},
        {"name": "TOKEN", "value": "MARK-4711", "secret": True},
    ]
    link = launch_link("lab", {"extraEnvVars": rows})
    assert "MARK-4711" not in link.query
    assert link.left_out == ("TOKEN",)
    assert read(link.query)["extraEnvVars[1].name"] == "TOKEN"
    assert rows[1]["value"] == "MARK-4711"
    assert without_secrets({"git": {}}) == ({"git": {}}, ())


def test_a_link_names_service_and_session() -> None:
    link = launch_link("lab", {}, name="Cours, chapitre 3")
    assert parse_qs(link.query) == {"service": ["lab"], "display_name": ["Cours, chapitre 3"]}
    assert not link.too_long


def test_a_long_link_says_so() -> None:
    rows = [{"name": "A", "value": "x" * MAX_LINK}]
    assert launch_link("lab", {"extraEnvVars": rows}).too_long


def test_texts_are_those_of_the_form() -> None:
    options = {"vault": {"secret": [], "token": False}, "resources": {"limits": {"nvidia.com/gpu": 2}}}
    assert option_texts(options) == {
        "vault.secret": [""],
        "vault.token": ["false"],
        'resources.limits."nvidia.com/gpu"': ["2"],
    }


def test_what_the_service_does_not_allow_is_not_kept() -> None:
    with pytest.raises(LaunchOptionsError) as refused:
        changed_options(SERVICE, {"resources.limits.cpu": "64", "nothing": "x"})
    assert [problem.path for problem in refused.value.problems] == ["resources.limits.cpu", "nothing"]
