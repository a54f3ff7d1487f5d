"""Saved configurations through the JSON API: one's own only, checked by the service, with secret values unasked nowhere."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import api_hub
import pytest
from api_hub import MARK, Lab, browser

from sardonyx_hub.api.saved import MAX_OPTIONS_BYTES
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.home import Home, Terms
from sardonyx_hub.saved import FOLDER, MAX_CONFIGURATIONS
from sardonyx_spawner.option_checks import secrets
from sardonyx_spawner.options import validate_options

pytestmark = pytest.mark.asyncio(loop_scope="module")
hub, lab = api_hub.hub, api_hub.lab

PATH = "saved-configurations"
OPTIONS = {
    "git": {"branch": "main"},
    "extraEnvVars": [
        {"name": "OPEN", "value": "yes"},
        {"name": "TOKEN", "value": MARK, "secret": True},
    ],
}
BODY = {"name": "Cours, chapitre 3", "service": "jupyter-python", "options": OPTIONS}


async def make(client: Any, **changes: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json={**BODY, **changes})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_from_the_first_to_the_last_day(lab: Lab) -> None:
    async with lab.client(lab.token("grace")) as client:
        assert (await client.get(PATH)).json() == {"configurations": [], "unreadable": []}
        made = await make(client)
        assert (made["name"], made["service"], made["version"]) == (BODY["name"], "jupyter-python", 1)
        one = f"{PATH}/{made['id']}"
        listed = (await client.get(PATH)).json()["configurations"]
        assert listed == [{key: made[key] for key in listed[0]}]
        assert "options" not in listed[0]
        renamed = await client.patch(one, json={"name": "Chapitre 4"})
        assert (renamed.json()["name"], renamed.headers["ETag"]) == ("Chapitre 4", '"2"')
        assert renamed.json()["options"]["git"] == {"branch": "main"}
        replaced = await client.put(one, json={**BODY, "name": "Chapitre 4", "options": {}})
        assert (replaced.json()["options"], replaced.json()["version"]) == ({}, 3)
        assert replaced.json()["created"] == made["created"]
        assert (await client.delete(one)).status_code == 204
        assert (await client.delete(one)).status_code == 204
        missing = await client.get(one)
        assert (missing.status_code, missing.json()["code"]) == (404, "missing")
        assert (await client.get(PATH)).json()["configurations"] == []


async def test_secret_values_are_shown_when_asked_for_and_kept_when_not_sent(lab: Lab) -> None:
    async with lab.client(lab.token("heidi")) as client:
        made = await make(client)
        one = f"{PATH}/{made['id']}"
        assert made["options"]["extraEnvVars"] == [
            {"name": "OPEN", "value": "yes"},
            {"name": "TOKEN", "secret": True},
        ]
        for answer in (await client.get(one), await client.get(PATH), await client.get(f"{one}/link")):
            assert answer.status_code == 200
            assert MARK not in answer.text
        # What was read without its value is written back without it: the value stays.
        shown = (await client.get(one)).json()
        again = await client.put(one, json={**BODY, "options": shown["options"], "version": shown["version"]})
        assert again.status_code == 200
        revealed = (await client.get(f"{one}?reveal=1")).json()
        assert revealed["options"]["extraEnvVars"][1] == {"name": "TOKEN", "value": MARK, "secret": True}
        last = lab.events()[-1]
        assert (last["action"], last["path"]) == ("read", f"{FOLDER}/{made['id']}")
    assert MARK not in "\n".join(lab.log)


async def test_a_link_opens_the_same_form_without_secrets(lab: Lab) -> None:
    async with lab.client(lab.token("ivan")) as client:
        made = await make(client)
        found = (await client.get(f"{PATH}/{made['id']}/link")).json()
    split = urlsplit(found["url"])
    assert split.path == "/hub/spawn"
    assert parse_qs(split.query) == {
        "service": ["jupyter-python"],
        "display_name": [BODY["name"]],
        "git.branch": ["main"],
        "extraEnvVars[0].name": ["OPEN"],
        "extraEnvVars[0].value": ["yes"],
        "extraEnvVars[1].name": ["TOKEN"],
        "extraEnvVars[1].secret": ["true"],
    }
    assert (found["left_out"], found["too_long"]) == (["TOKEN"], False)


async def test_they_are_ones_own(lab: Lab) -> None:
    async with lab.client(lab.token("alice")) as client:
        made = await make(client)
    async with lab.client(lab.token("bob")) as client:
        one = f"{PATH}/{made['id']}"
        assert (await client.get(PATH)).json()["configurations"] == []
        assert (await client.get(one)).status_code == 404
        assert (await client.get(f"{one}/link")).status_code == 404
        assert (await client.patch(one, json={"name": "Mine"})).status_code == 404
        assert (await client.put(one, json=BODY)).status_code == 404
        assert (await client.delete(one)).status_code == 204
    async with lab.client(lab.token("alice")) as client:
        assert (await client.get(one)).status_code == 200


async def test_what_was_changed_meanwhile_is_not_overwritten(lab: Lab) -> None:
    async with lab.client(lab.token("judy")) as client:
        one = f"{PATH}/{(await make(client))['id']}"
        first = await client.patch(one, json={"name": "First"}, headers={"If-Match": '"1"'})
        second = await client.patch(one, json={"name": "Second"}, headers={"If-Match": '"1"'})
        third = await client.put(one, json={**BODY, "version": 1})
        fourth = await client.put(one, json={**BODY, "version": 2})
        assert [answer.status_code for answer in (first, second, third, fourth)] == [200, 409, 409, 200]
        assert second.json()["code"] == third.json()["code"] == "conflict"
        assert FOLDER not in second.json()["message"]
        for none in ("W/abc", '"0"'):
            bad = await client.patch(one, json={"name": "x"}, headers={"If-Match": none})
            assert bad.status_code == 400


async def test_names_are_there_once_whatever_their_case(lab: Lab) -> None:
    async with lab.client(lab.token("kim")) as client:
        await make(client, name="Élan")
        other = await make(client, name="Other")
        taken = await client.post(PATH, json={**BODY, "name": "élan"})
        assert (taken.status_code, taken.json()["code"]) == (409, "taken")
        renamed = await client.patch(f"{PATH}/{other['id']}", json={"name": "ÉLAN"})
        assert (renamed.status_code, renamed.json()["code"]) == (409, "taken")
        # Its own name in another case is no other's.
        assert (await client.patch(f"{PATH}/{other['id']}", json={"name": "OTHER"})).status_code == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "  "}, 400),
        ({"name": "a\nb"}, 400),
        ({"name": "x" * 101}, 400),
        ({"name": "\ud800"}, 400),
        ({"name": 1}, 400),
        ({"name": None}, 400),
        ({"service": "hidden"}, 422),
        ({"service": "nothing"}, 422),
        ({"service": None}, 400),
        ({"options": []}, 400),
        ({"options": {"a": "x" * (MAX_OPTIONS_BYTES + 1)}}, 413),
        ({"options": {"extraEnvVars": [{"name": "A", "value": "\ud800"}]}}, 422),
        ({"options": {"extraEnvVars": [{"name": name, "value": "x" * 60_000} for name in "AB"]}}, 413),
        ({"other": 1}, 400),
    ],
)
async def test_what_is_refused(lab: Lab, change: dict[str, Any], status: int) -> None:
    async with lab.client(lab.token("leo")) as client:
        # Not httpx's own JSON, which cannot write halves of characters as other clients do.
        content, headers = json.dumps({**BODY, **change}), {"Content-Type": "application/json"}
        answer = await client.post(PATH, content=content, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.json()["message"]
        assert (await client.get(PATH)).json()["configurations"] == []


async def test_options_that_the_service_does_not_take_are_named(lab: Lab) -> None:
    async with lab.client(lab.token("leo")) as client:
        options = {"s3": {"access": "admin"}, "git": {"branch": "-x"}, "extraEnvVars": [{"name": "PATH"}]}
        headers = {"Accept-Language": "fr"}
        answer = await client.post(PATH, json={**BODY, "options": options}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "options")
        problems = {problem["field"]: problem["message"] for problem in answer.json()["problems"]}
        assert set(problems) == {"s3.access", "git.branch", "extraEnvVars[0].name"}
        assert "branche" in problems["git.branch"]


async def test_there_are_not_too_many(lab: Lab) -> None:
    async with lab.client(lab.token("mallory")) as client:
        first = await make(client, name="0")
        for number in range(1, MAX_CONFIGURATIONS):
            await make(client, name=str(number))
        full = await client.post(PATH, json={**BODY, "name": "one more"})
        assert (full.status_code, full.json()["code"]) == (409, "full")
        await client.delete(f"{PATH}/{first['id']}")
        await make(client, name="one more")


@pytest.mark.parametrize("id_", ["..", "a", "%2e%2e", "x" * 13, "ABCDEFGHIJKL", "..%2f..%2fbob%2fmine"])
async def test_ids_that_are_none(lab: Lab, id_: str) -> None:
    async with lab.client(lab.token("alice")) as client:
        for method, body in (("GET", None), ("PUT", BODY), ("PATCH", {"name": "x"}), ("DELETE", None)):
            request = client.build_request(method, f"{PATH}/x", json=body)
            path = f"{urlsplit(str(client.base_url)).path}{PATH}/{id_}"
            request.url = request.url.copy_with(raw_path=path.encode())
            assert (await client.send(request)).status_code == 404


async def test_they_are_no_secrets_that_can_be_listed_read_or_granted(lab: Lab) -> None:
    async with lab.client(lab.token("niaj")) as client:
        made = await make(client)
        path = f"{FOLDER}/{made['id']}"
        assert (await client.get("secrets")).json() == {"path": "", "folders": [], "secrets": []}
        assert (await client.get(f"secrets/{path}")).status_code == 400
        assert lab.store.tree(lab.datalab.subject_for(lab.user("niaj"))) == []
    assert secrets([path], None)[0] == []
    service = api_hub.CATALOGUE.default
    with pytest.raises(ValueError, match="vault"):
        validate_options(service, {"vault": {"secret": [path]}})


async def test_what_somebody_else_wrote_there_can_be_deleted(lab: Lab) -> None:
    subject = lab.datalab.subject_for(lab.user("olivia"))
    lab.store.write_internal(subject, f"{FOLDER}/abcdefghijkm", {"name": "x"})
    lab.store.write_internal(subject, f"{FOLDER}/not-an-id", {"name": "x"})
    async with lab.client(lab.token("olivia")) as client:
        await make(client)
        listed = (await client.get(PATH)).json()
        assert (len(listed["configurations"]), listed["unreadable"]) == (1, ["abcdefghijkm"])
        assert (await client.get(f"{PATH}/abcdefghijkm")).status_code == 404
        assert (await client.delete(f"{PATH}/abcdefghijkm")).status_code == 204
        assert (await client.get(PATH)).json()["unreadable"] == []


async def test_without_a_vault_it_says_so(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.store.failure = SourceError("vault", "unreachable", "Vault does not answer.")
    async with lab.client(lab.token("alice")) as client:
        for method, path, body in (
            ("GET", PATH, None),
            ("POST", PATH, BODY),
            ("GET", f"{PATH}/abcdefghijkm", None),
            ("DELETE", f"{PATH}/abcdefghijkm", None),
        ):
            answer = await client.request(method, path, json=body)
            assert answer.status_code == 503
            assert answer.json()["source"] == "vault"
        monkeypatch.setattr(lab.datalab, "saved", None)
        answer = await client.get(PATH)
        assert (answer.status_code, answer.json()["code"]) == (404, "no-store")


async def test_who_may_not(lab: Lab) -> None:
    async with lab.client() as stranger:
        assert (await stranger.get(PATH)).status_code == 401
    spawner = await lab.launch("peggy", "run1")
    async with lab.client(spawner.api_token) as session:
        assert (await session.get(PATH)).status_code == 403
    async with browser(lab, "peggy") as (client, _):
        assert (await client.post(PATH, json=BODY)).status_code == 403


async def test_terms_hold_people_back_and_not_their_sessions(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = await lab.launch("quinn", "run1", s3="read-only")
    terms = Terms.model_validate({"version": "1", "text": "x"})
    monkeypatch.setattr(lab.datalab, "home", Home(terms=terms))
    async with lab.client(lab.token("quinn")) as person, lab.client(spawner.api_token) as session:
        for path in (PATH, "credentials", "secrets", "catalogue"):
            refused = await person.get(path)
            assert (refused.status_code, refused.json()["code"]) == (403, "terms")
        credentials = await session.get("credentials")
        assert (credentials.status_code, credentials.json()["s3"]["bucket"]) == (200, "quinn")
        # Whoever makes a token with a session's scope among others is a person still.
        both = lab.token(
            "quinn", "custom:datalab:credentials!server=quinn/run1", "custom:datalab:secrets!user"
        )
        async with lab.client(both) as dodger:
            assert (await dodger.get("secrets")).json().get("code") == "terms"
        handle = lab.datalab.subject_for(lab.user("quinn")).handle
        await lab.datalab.documents.put("terms", handle, terms.record("en"))
        assert (await person.get(PATH)).status_code == 200
