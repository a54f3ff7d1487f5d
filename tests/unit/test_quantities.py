"""Quantities as Kubernetes writes them, and paths of options as Onyxia writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sardonyx_spawner.paths import PathError, flatten, join_path, split_path, unflatten
from sardonyx_spawner.quantities import parse_cpu, parse_memory


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("500m", "0.5"),
        ("1.5", "1.5"),
        ("2", "2"),
        (".5", "0.5"),
        (2, "2"),
        (0.1, "0.1"),
        (" 1 ", "1"),
        ("1000m", "1"),
    ],
)
def test_cpu_is_read_as_kubernetes_writes_it(text: object, cores: str) -> None:
    assert parse_cpu(text) == Decimal(cores)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512Mi", 512 * 1024**2),
        ("2Gi", 2 * 1024**3),
        ("10G", 10 * 1000**3),
        ("1.5Gi", 3 * 1024**3 // 2),
        ("100k", 100_000),
        ("1Ki", 1024),
        ("1P", 1000**5),
        (1024, 1024),
        ("0.3", 1),
    ],
)
def test_memory_is_read_as_kubernetes_writes_it(text: object, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "1e3", "1E3", "inf", "nan", "NaN", "1_000", "1,5", "0x10", "1 0", "１", "1\n2", "9" * 40,
     "5.", "1..2", "m", "1mm", "1Gib", "1gi", "1u", None, True, [], {}, float("nan"), float("inf"), 1e30],
)  # fmt: skip
def test_what_is_no_quantity_is_refused(text: object) -> None:
    for parse in (parse_cpu, parse_memory):
        with pytest.raises(ValueError, match="quantity"):
            parse(text)


def test_units_do_not_cross() -> None:
    with pytest.raises(ValueError, match="CPU"):
        parse_cpu("1Gi")
    with pytest.raises(ValueError, match="memory"):
        parse_memory("100m")


_keys = st.text(min_size=1, max_size=6)
_leaves = st.one_of(st.text(max_size=5), st.booleans(), st.integers(), st.none())
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=12,
)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max((depth(one) for one in inner), default=-1 if not isinstance(value, dict | list) else 0)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_keys, _values, max_size=4).filter(lambda nested: depth(nested) <= 8))
def test_flattened_options_are_the_same_options(nested: dict[str, Any]) -> None:
    flat = flatten(nested)
    assert unflatten(flat) == nested
    assert all(join_path(*split_path(path)) == path for path in flat)


def test_paths_are_onyxias() -> None:
    nested = {
        "resources": {"limits": {"nvidia.com/gpu": "1", "memory": "2Gi"}},
        "extraEnvVars": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    }
    assert flatten(nested) == {
        'resources.limits."nvidia.com/gpu"': "1",
        "resources.limits.memory": "2Gi",
        "extraEnvVars[0].name": "A",
        "extraEnvVars[0].value": "1",
        "extraEnvVars[1].name": "B",
        "extraEnvVars[1].value": "2",
    }
    assert unflatten(
        {r"resources.limits.nvidia\.com/gpu": "1", "resources": {"limits": {"memory": "2Gi"}}}
    ) == {"resources": {"limits": {"nvidia.com/gpu": "1", "memory": "2Gi"}}}
    assert unflatten({"a[0]": "x", "a[7]": "y"}) == {"a": ["x", "y"]}, "a row was taken out of the form"


@pytest.mark.parametrize(
    "path",
    ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", "a[01]", "a[100]", "a[99999999999]", "[0]",
     'a."b', 'a."b"c', "a]b", "a" * 600, ".".join("abcdefghi")],
)  # fmt: skip
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(PathError):
        unflatten({path: "x"})


def test_paths_that_contradict_each_other_are_refused() -> None:
    for flat in ({"a": "x", "a.b": "y"}, {"a[0]": "x", "a.b": "y"}, {"a.b": 1, "a": {"b": 2}}):
        with pytest.raises(PathError):
            unflatten(flat)
