"""The description of the API: whole, served, true of what real answers are, for right and for wrong requests."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi import checks
from whole_hub import API, Lab

from sardonyx_hub.api.openapi import document, path_of
from sardonyx_hub.api.openapi_operations import OPERATIONS
from sardonyx_hub.api.routes import PREFIX, ROUTES

on_hub = pytest.mark.asyncio(loop_scope="session")

#: Requests for each operation and kind.
EXAMPLES = 12
#: It never ends.
STREAMS = {f"{PREFIX}/live"}
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
DOCUMENT = document(ROUTES, OPERATIONS)
OPERATIONS_OF_IT = [
    (path, method) for path, methods in DOCUMENT["paths"].items() if path not in STREAMS for method in methods
]


def test_every_operation_is_described_and_nothing_else() -> None:
    known = {(route.handler.__name__, method) for route in ROUTES for method in route.methods}
    assert known - OPERATIONS.keys() == set(), "new operations: describe them in openapi_operations.py"
    assert OPERATIONS.keys() - known == set(), "operations that are gone"


@pytest.mark.parametrize(("path", "method"), OPERATIONS_OF_IT)
def test_every_operation_has_words(path: str, method: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    assert operation["summary"]
    assert {"401", "403"} <= operation["responses"].keys()
    for schema in _schemas(operation):
        jsonschema.Draft202012Validator.check_schema(schema)


def _schemas(operation: dict[str, Any]) -> list[Any]:
    bodies = [*operation["responses"].values(), operation.get("requestBody", {})]
    found = [content["schema"] for body in bodies for content in body.get("content", {}).values()]
    return found + [one["schema"] for one in operation.get("parameters", ())]


def test_names_of_operations_are_unique() -> None:
    names = [
        operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("pattern", "names", "path"),
    [
        ("/secrets/?", [], "/secrets"),
        ("/x\\.json", [], "/x.json"),
        ("/a/([^/]+)/b/(.+)", ["one", "two"], "/a/{one}/b/{two}"),
    ],
)
def test_paths_of_patterns(pattern: str, names: list[str], path: str) -> None:
    assert path_of(pattern, names)[0] == path


def test_a_choice_in_a_path_is_told() -> None:
    assert path_of("/x/(start|keep-alive)", ["action"])[1]["action"]["enum"] == ["start", "keep-alive"]


@on_hub
async def test_it_is_served_to_people_with_the_hubs_address(hub: Lab) -> None:
    async with hub.client(hub.token("bob")) as client:
        served = (await client.get(f"{API}/openapi.json")).json()
    assert served["openapi"].startswith("3.1")
    assert served["servers"] == [{"url": "/hub"}]
    assert served["paths"].keys() == DOCUMENT["paths"].keys()


@cache
def operations() -> dict[tuple[str, str], Any]:
    """Return what schemathesis makes of each operation."""
    load_all_checks()
    found = schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
    return {(one.path, one.method): one for one in (result.ok() for result in found)}  # type: ignore[union-attr]


def values_for(hub: Lab, operation: Any) -> dict[str, Any]:
    """Return alice's own things for the arguments of a path that name some."""
    found = {}
    for parameter in operation.path_parameters:
        name = parameter.name
        if name == "path" and "/sessions/" in operation.path:
            name = "session"
        if "/groups/" in operation.path:
            name = "group"
        if name == "person":
            name = "name"
        if name in hub.known:
            found[parameter.name] = hub.known[name].replace("%2F", "/")
    return found


def run(hub: Lab, path: str, method: str, mode: GenerationMode, token: str) -> None:
    """Send requests that are made from the description of one operation, and check the answers."""
    operation = operations()[path, method]
    own = values_for(hub, operation)
    if mode is GenerationMode.NEGATIVE and "{action}" in path:
        own["action"] = "keep-alive"  # others are other paths, which JupyterHub itself refuses
    cases = operation.as_strategy(generation_mode=mode)
    if own:
        known = operation.as_strategy(generation_mode=mode, path_parameters=own)
        cases = st.one_of(cases, known) if mode is GenerationMode.POSITIVE else known

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def sent(case: Any) -> None:
        answer = case.call(base_url=f"{hub.url}/hub", headers={"Authorization": f"token {token}"}, timeout=20)
        assert answer.status_code not in (500, 502), f"{case.as_curl_command()}\n{answer.text}"
        case.validate_response(answer, checks=CHECKS)

    sent()


@on_hub
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), OPERATIONS_OF_IT)
async def test_answers_are_as_described(hub: Lab, path: str, method: str, mode: GenerationMode) -> None:
    described = DOCUMENT["paths"][path][method]
    if mode is GenerationMode.NEGATIVE and "requestBody" not in described:
        return  # nothing is sent that could be wrong
    who = "admin" if "/admin/" in path else "alice"
    await asyncio.to_thread(run, hub, path, method, mode, hub.token(who))
