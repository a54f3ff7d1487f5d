"""The catalogue: what is wrong is told by file, line and key, all of it at once; what is right loads."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from sardonyx_spawner.catalogue import DEFAULT_CATALOGUE, Catalogue, Service, json_schema, load_catalogue
from sardonyx_spawner.errors import CatalogueError
from sardonyx_spawner.options import validate_options


def problems_of(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(dedent(text), name="services.yaml")
    assert {problem.file for problem in caught.value.problems} == {"services.yaml"}
    return [(problem.line, problem.key, problem.message) for problem in caught.value.problems]


def test_default_catalogue_loads_in_both_languages() -> None:
    catalogue = load_catalogue(DEFAULT_CATALOGUE)
    service = catalogue.default
    assert [one.id for one in catalogue.services] == ["jupyter-python"]
    assert service.local is not None
    assert service.local.environment == "jupyter-python"
    for text in (service.description, service.readme, service.category):
        assert text is not None
        assert text.in_language("fr") != text.in_language("en") != ""
    assert validate_options(service, {}, local=True).warnings == ()


def test_default_catalogue_fits_the_json_schema() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    data = YAML(typ="safe").load(DEFAULT_CATALOGUE)
    jsonschema.validate(data, schema)
    data["services"][0]["imgae"] = {}
    with pytest.raises(jsonschema.ValidationError, match="imgae"):
        jsonschema.validate(data, schema)


WRONG: list[tuple[str, list[tuple[int, str, str]]]] = [
    (
        """\
        version: 1
        services:
          - id: a
            nmae: A
        """,
        [
            (3, "services[0].name", "is missing"),
            (4, "services[0].nmae", "is not known; did you mean `name`? Allowed: id, name, description"),
        ],
    ),
    (
        """\
        services:
          - id: a
            name: A
            resources:
              cpu:
                limit: {default: 3, max: 2}
                guaranteed:
                  default: 100m
                  max: lots
              memory:
                limit: {min: 1Gi, default: 512Mi, max: 2Gi, stpe: 1Gi}
        """,
        [
            (6, "services[0].resources.cpu.limit.default", "should be from 100m to 2; it is 3"),
            (9, "services[0].resources.cpu.guaranteed.max", "not a quantity of CPU"),
            (11, "services[0].resources.memory.limit.stpe", "did you mean `step`?"),
        ],
    ),
    (
        """\
        services:
          - {id: a, name: A, default: true}
          - id: a
            name: A2
          - id: b
            name: B
            default: true
            image:
              versions:
                - id: 3.10
                  image: x
        """,
        [
            (3, "services[1].id", "should be unique: there is another service id `a`"),
            (7, "services[2].default", "only one service can be the default"),
            (10, "services[2].image.versions[0].id", "should be text (in quotes, if it looks like a number)"),
        ],
    ),
    (
        """\
        services:
          - id: a
            name: A
            image:
              custom:
                enabled: true
                allow:
                  - "registry/.*"
                  - "[a"
        """,
        [(9, "services[0].image.custom.allow[1]", "should be a regular expression")],
    ),
    (
        """\
        services:
          - id: a
            name: A
            name: B
            icon: javascript:alert(1)
            s3:
              allowed: [read-only]
              default: read-write
            vault_token: {default: true}
            init:
              personalInit: ftp://example.org/x
            env:
              a-b: x
            default: yes
        """,
        [
            (4, "services[0].name", "is there twice; the first one is on line 3"),
            (5, "services[0].icon", "should be the name of a file such as jupyter.svg"),
            (8, "services[0].s3.default", "should be one of `allowed`: read-only"),
            (9, "services[0].vault_token.default", "can only be true where `allowed` is"),
            (
                11,
                "services[0].init.personalInit",
                "should be an address that begins with http:// or https://",
            ),
            (13, "services[0].env.a-b", "should be a name of an environment variable"),
            (14, "services[0].default", "should be true or false; it is `yes`"),
        ],
    ),
    (
        """\
        services:
          - id: a
            name: 3
            git:
            links: x
            description: !!python/name:os.system x
        """,
        [
            (3, "services[0].name", "should be text (in quotes"),
            (4, "services[0].git", "should be a mapping of keys to values; it is empty"),
            (5, "services[0].links", "should be a list; it is `x`"),
            (6, "services[0].description", "tags are not allowed"),
        ],
    ),
    (
        f"services:\n  - id: a\n    name: !!int x\n    default: 0x{'f' * 5000}\n",
        [(3, "services[0].name", "is no int"), (4, "services[0].default", "is no int")],
    ),
    ("services: " + "[" * 30_000 + "\n", [(1, "", "too many brackets in brackets")]),
    ("services: []\nversion: 2\n", [(1, "services", "at least 1 item"), (2, "version", "should be 1")]),
    ("services:\n  - id: [\n", [(3, "", "is no valid YAML")]),
    ("services: &a\n  - *a\n", [(1, "services[0]", "contains itself by an alias")]),
    ("# nothing\n", [(1, "", "is empty")]),
    ("- a\n- b\n", [(1, "", "should be a mapping of keys to values; it is a list")]),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_every_mistake_is_told_with_line_and_key(text: str, expected: list[tuple[int, str, str]]) -> None:
    found = problems_of(text)
    assert [problem[:2] for problem in found] == [problem[:2] for problem in expected], found
    for (_, _, message), (_, _, words) in zip(found, expected, strict=True):
        assert words in message


def test_a_problem_reads_like_a_compilers() -> None:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue("services:\n  - {id: a}\n", name="services.yaml")
    assert str(caught.value) == "services.yaml:2: services[0].name: is missing"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("é".encode("latin-1"))
    for path, words in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (latin, "UTF-8"),
    ):
        with pytest.raises(CatalogueError, match=words) as caught:
            load_catalogue(path)
        assert str(path) in str(caught.value)


def test_merged_keys_and_aliases_load() -> None:
    catalogue = load_catalogue(
        dedent("""\
        services:
          - &base
            id: a
            name: A
            s3: &s3 {default: read-only}
          - <<: *base
            id: b
            vault_token: {allowed: true}
            s3: *s3
        """)
    )
    second = catalogue.services[1]
    assert (second.id, second.name.en, second.s3.default) == ("b", "A", "read-only")


def test_a_wrong_key_after_a_merge_has_its_own_line() -> None:
    text = """\
        services:
          - &base {id: a, name: A, order: 1}
          - order: x
            <<: *base
            id: b
        """
    assert [problem[:2] for problem in problems_of(text)] == [(3, "services[1].order")]


def test_people_see_the_services_of_their_groups() -> None:
    catalogue = Catalogue.model_validate(
        {
            "services": [
                {"id": "late", "name": "x", "order": 5},
                {"id": "gpu", "name": "x", "groups": ["ml", "staff"], "default": True},
                {"id": "all", "name": "x"},
            ]
        }
    )
    assert [service.id for service in catalogue.visible_to(["ml"])] == ["gpu", "all", "late"]
    assert [service.id for service in catalogue.visible_to([])] == ["all", "late"]
    assert catalogue.default.id == "gpu"
    chosen = [catalogue.default_for(groups) for groups in (["staff"], ["others"])]
    assert [service.id for service in chosen if service] == ["gpu", "all"]
    assert catalogue.get("gpu") is catalogue.services[1]
    assert catalogue.get("none") is None


KUBERNETES_ONLY: list[tuple[dict[str, Any], str]] = [
    ({"local": None}, "unavailable.service"),
    ({"image": {"versions": [{"id": "v", "image": "x"}]}}, "unavailable.image_version"),
    ({"image": {"custom": {"enabled": True, "allow": [".*"]}}}, "unavailable.image_custom"),
    ({"resources": {"cpu": {"guaranteed": {"default": "1", "max": "2"}}}}, "unavailable.guaranteed"),
    (
        {"resources": {"extended": [{"resource": "nvidia.com/gpu", "name": "GPU", "max": 1}]}},
        "unavailable.device",
    ),
    ({"kubespawner_override": {"node_selector": {"gpu": "yes"}}}, "unavailable.kubespawner_override"),
    (
        {"profile_options": {"size": {"display_name": "Size", "choices": {"big": {"display_name": "Big"}}}}},
        "unavailable.profile_option",
    ),
]


@pytest.mark.parametrize(("extra", "key"), KUBERNETES_ONLY)
def test_what_the_local_spawner_cannot_honour_is_told(extra: dict[str, Any], key: str) -> None:
    plain = Service.model_validate({"id": "a", "name": "A", "local": {}})
    service = Service.model_validate({"id": "a", "name": "A", "local": {}, **extra})
    assert key in service.unavailable_locally()
    assert key not in plain.unavailable_locally()
