"""The JSON API in a real JupyterHub: every route's rules, and the credentials of sessions and people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import api_hub
import httpx
import pytest
from api_hub import MARK, SCOPES, Lab, browser

from sardonyx_hub.api.ratelimit import Limit, RateLimit
from sardonyx_hub.api.routes import PREFIX, ROUTES
from sardonyx_hub.credentials.errors import SourceError

pytestmark = pytest.mark.asyncio(loop_scope="module")
hub, lab = api_hub.hub, api_hub.lab

# Every route --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One request that works with `scope`, and is refused in every other case."""

    pattern: str
    method: str
    path: str
    scope: str
    body: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


SECRET_BODY = {"values": {"PASSWORD": MARK}}
TABLE = [
    Entry(f"{PREFIX}/credentials", "GET", "credentials", SCOPES[0]),
    Entry(f"{PREFIX}/catalogue", "GET", "catalogue", SCOPES[0]),
    Entry(f"{PREFIX}/git-accounts", "GET", "git-accounts", SCOPES[2]),
    Entry(f"{PREFIX}/git-accounts/([^/]+)", "PUT", "git-accounts/git.example", SCOPES[2], {"token": MARK}),
    Entry(f"{PREFIX}/git-accounts/([^/]+)", "GET", "git-accounts/git.example", SCOPES[2]),
    Entry(f"{PREFIX}/git-accounts/([^/]+)", "DELETE", "git-accounts/git.example", SCOPES[2]),
    Entry(f"{PREFIX}/secrets/?", "GET", "secrets", SCOPES[1]),
    Entry(f"{PREFIX}/secrets/(.+)", "PUT", "secrets/tools/db", SCOPES[1], SECRET_BODY),
    Entry(f"{PREFIX}/secrets/(.+)", "GET", "secrets/tools/db", SCOPES[1]),
    Entry(f"{PREFIX}/secrets/(.+)", "DELETE", "secrets/tools/db", SCOPES[1]),
]
every_route = pytest.mark.parametrize("entry", TABLE, ids=str)


async def ask(client: httpx.AsyncClient, entry: Entry, **headers: str) -> httpx.Response:
    return await client.request(entry.method, entry.path, json=entry.body, headers=headers)


@every_route
async def test_works_with_the_scope(lab: Lab, entry: Entry) -> None:
    async with lab.client(lab.token("alice", f"{entry.scope}!user")) as client:
        answer = await ask(client, entry)
    assert answer.status_code in {200, 204}, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Etag" not in answer.headers
    if answer.status_code == 200:
        assert answer.headers["Content-Type"].startswith("application/json")


@every_route
async def test_anonymous_is_401_as_json(lab: Lab, entry: Entry) -> None:
    async with lab.client() as client:
        answer = await ask(client, entry)
    assert answer.status_code == 401
    assert answer.json()["code"] == "anonymous"


@every_route
async def test_a_wrong_token_is_401(lab: Lab, entry: Entry) -> None:
    async with lab.client("nonsense") as client:
        assert (await ask(client, entry)).status_code == 401


@every_route
async def test_without_the_scope_is_403(lab: Lab, entry: Entry) -> None:
    others = [f"{scope}!user" for scope in SCOPES if scope != entry.scope]
    async with lab.client(lab.token("alice", "read:users!user", *others)) as client:
        answer = await ask(client, entry)
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"


@every_route
async def test_a_hub_service_is_403(lab: Lab, entry: Entry) -> None:
    async with lab.client("watcher-token-0123456789") as client:
        assert (await ask(client, entry)).status_code == 403


@every_route
async def test_a_sessions_token_gets_credentials_and_nothing_more(lab: Lab, entry: Entry) -> None:
    spawner = await lab.launch("alice", "table")
    async with lab.client(spawner.api_token) as client:
        answer = await ask(client, entry)
    await lab.user("alice").stop("table")
    assert answer.status_code == (200 if entry.path == "credentials" else 403)


@every_route
async def test_a_cookie_needs_the_xsrf_token_in_a_browser(lab: Lab, entry: Entry) -> None:
    async with browser(lab, "alice") as (client, xsrf):
        for mode in ("cors", "navigate", "no-cors", "same-origin"):
            fetch = {"Sec-Fetch-Mode": mode, "Sec-Fetch-Site": "same-origin"}
            assert (await ask(client, entry, **fetch)).status_code == 403
            assert (await ask(client, entry, **fetch, **{"X-XSRFToken": "x" + xsrf})).status_code == 403
        good = await ask(client, entry, **fetch, **{"X-XSRFToken": xsrf})
        assert good.status_code in {200, 204, 404}, good.text


@pytest.mark.parametrize("entry", [entry for entry in TABLE if entry.method != "GET"], ids=str)
async def test_a_write_with_a_cookie_needs_the_xsrf_token_anywhere(lab: Lab, entry: Entry) -> None:
    async with browser(lab, "alice") as (client, xsrf):
        assert (await ask(client, entry)).status_code == 403
        assert (await ask(client, entry, **{"X-XSRFToken": xsrf})).status_code in {200, 204}


@pytest.mark.parametrize("entry", [entry for entry in TABLE if entry.body], ids=str)
async def test_a_form_is_no_json(lab: Lab, entry: Entry) -> None:
    async with lab.client(lab.token("alice")) as client:
        for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
            headers = {"Content-Type": kind}
            answer = await client.put(entry.path, content=json.dumps(entry.body), headers=headers)
            assert answer.status_code == 415


@every_route
async def test_other_methods_are_405(lab: Lab, entry: Entry) -> None:
    known = next(route.methods for route in ROUTES if route.pattern == entry.pattern)
    async with lab.client(lab.token("alice")) as client:
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - set(known):
            assert (await client.request(method, entry.path, json={})).status_code == 405


# Credentials --------------------------------------------------------------------------------------------


async def test_a_session_gets_its_own_grant(lab: Lab) -> None:
    writer = await lab.launch("alice", "writer", s3="read-write")
    reader = await lab.launch("alice", "reader", s3="read-only")
    keys = []
    for spawner in (writer, reader):
        async with lab.client(spawner.api_token) as client:
            document = (await client.get("credentials")).json()
        keys.append(document["s3"]["access_key_id"].rpartition("-")[0])
        assert document["version"] == 1
        assert document["environment"]["AWS_ACCESS_KEY_ID"] == document["s3"]["access_key_id"]
        assert document["vault"] is None
    assert keys == ["alice-read-write", "alice-read-only"]


async def test_a_session_reaches_no_other_session(lab: Lab) -> None:
    one = await lab.launch("alice", "one", s3="read-only")
    await lab.launch("alice", "two", s3="read-write")
    await lab.launch("bob", "one", s3="read-write")
    async with lab.client(one.api_token) as client:
        assert (await client.get("credentials?session=one")).status_code == 200
        for query in ("session=two", "session=", "user=bob", "user=bob&session=one", "session=bob/one"):
            answer = await client.get(f"credentials?{query}")
            assert answer.status_code == 403, query
        assert lab.events()[-1]["reason"] == "forbidden"


async def test_the_default_session(lab: Lab) -> None:
    spawner = await lab.launch("carol", "", s3="read-only")
    async with lab.client(spawner.api_token) as client:
        assert (await client.get("credentials")).json()["s3"]["access"] == "read-only"
    async with lab.client(lab.token("carol")) as client:
        assert (await client.get("credentials?session=")).json()["s3"]["access"] == "read-only"


async def test_a_persons_own_credentials_hold_no_vault_token_and_no_git_token(lab: Lab) -> None:
    async with lab.client(lab.token("alice")) as client:
        await client.put("git-accounts/git.example", json={"username": "alice", "token": MARK})
        document = (await client.get("credentials")).json()
    assert document["s3"]["access"] == "read-write"
    assert document["vault"] is None
    assert document["git"] == []
    assert not {name for name in document["environment"] if name.startswith(("VAULT_", "GIT_PERSONAL"))}


async def test_a_person_asks_for_a_session_by_name(lab: Lab) -> None:
    await lab.launch("alice", "named", s3="read-only", git_hosts=["*"])
    async with lab.client(lab.token("alice")) as client:
        await client.put("git-accounts/git.example", json={"username": "alice", "token": MARK})
        document = (await client.get("credentials?session=named")).json()
    assert document["s3"]["access"] == "read-only"
    assert [account["host"] for account in document["git"]] == ["git.example"]


@pytest.mark.parametrize("name", ["nosuch", "../bob/one", "stopped", "%00", "ungranted"])
async def test_unknown_stopped_and_ungranted_sessions_are_404(lab: Lab, name: str) -> None:
    await lab.launch("dave", "stopped")
    await lab.user("dave").stop("stopped")
    await lab.launch("dave", "ungranted", grant=None)
    async with lab.client(lab.token("dave")) as client:
        answer = await client.get("credentials", params={"session": name})
    assert answer.status_code == 404
    assert lab.events()[-1]["reason"] == "unknown-session"
    assert lab.user("dave").spawners.keys() <= {"", "stopped", "ungranted"}


async def test_the_session_of_whoever_had_the_name_before_gets_nothing_of_the_new_person(lab: Lab) -> None:
    lab.datalab.handles.handle_for("erin", "first-person")
    left = await lab.launch("erin", "left", s3="read-write", git_hosts=["*"])
    async with lab.client(left.api_token) as client:
        assert (await client.get("credentials")).json()["s3"]["bucket"] == "erin"
        handle = lab.datalab.handles.handle_for("erin", "second-person")
        assert handle != "erin"
        answer = await client.get("credentials")
    assert answer.status_code == 404
    assert "before" in answer.json()["message"]
    async with lab.client(lab.token("erin")) as client:
        assert (await client.get("credentials?session=left")).status_code == 404
        assert (await client.get("credentials")).json()["s3"]["bucket"] == handle


async def test_a_token_ends_with_its_session(lab: Lab) -> None:
    spawner = await lab.launch("alice", "ending")
    token = spawner.api_token
    await lab.user("alice").stop("ending")
    async with lab.client(token) as client:
        assert (await client.get("credentials")).status_code in {401, 404}


async def test_the_same_credentials_until_new_ones_are_asked_for(lab: Lab) -> None:
    async with lab.client(lab.token("erin")) as client:
        first = (await client.get("credentials")).json()
        again = (await client.get("credentials?refresh=0")).json()
        renewed = (await client.get("credentials?refresh=1")).json()
    assert first["s3"] == again["s3"]
    assert first["s3"]["access_key_id"] != renewed["s3"]["access_key_id"]
    issued = [event for event in lab.events() if event.get("handle") == "erin"]
    assert [event["outcome"] for event in issued] == ["issued", "issued"]


async def test_a_source_that_is_down_is_a_problem_of_a_200(lab: Lab) -> None:
    lab.s3.failure = SourceError("s3", "denied", "S3 refused.")
    async with lab.client(lab.token("frank")) as client:
        answer = await client.get("credentials")
    assert answer.status_code == 200
    assert answer.json()["s3"] is None
    assert [(problem["source"], problem["code"]) for problem in answer.json()["problems"]] == [
        ("s3", "denied")
    ]
    assert lab.events()[-1]["reason"] == "denied"


async def test_an_unsafe_name_gets_a_safe_handle(lab: Lab) -> None:
    async with lab.client(lab.token("al*")) as client:
        document = (await client.get("credentials")).json()
    assert document["s3"]["bucket"].startswith("al-x")


async def test_too_many_requests_are_429_each_person_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = RateLimit({"read": Limit(3, 0.1), "refresh": Limit(1, 0.1), "write": Limit(1, 0.1)})
    monkeypatch.setattr(lab.datalab, "rate_limit", limits)
    async with lab.client(lab.token("alice")) as client:
        assert (await client.get("credentials?refresh=1")).status_code == 200
        refused = await client.get("credentials?refresh=1")
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 10
        assert lab.events()[-1]["reason"] == "rate-limit"
        assert (await client.get("credentials")).status_code == 200
        assert (await client.put("secrets/a", json=SECRET_BODY)).status_code == 200
        assert (await client.put("secrets/a", json=SECRET_BODY)).status_code == 429
        assert (await client.delete("git-accounts/git.example")).status_code == 429
    async with lab.client(lab.token("bob")) as client:
        assert (await client.get("credentials?refresh=1")).status_code == 200


async def test_catalogue_shows_what_the_person_sees(lab: Lab) -> None:
    async with lab.client(lab.token("alice")) as client:
        services = (await client.get("catalogue")).json()["services"]
    assert [service["id"] for service in services] == ["jupyter-python"]


async def test_a_program_reads_with_a_cookie_alone(lab: Lab) -> None:
    async with browser(lab, "alice") as (client, _):
        assert (await client.get("credentials")).status_code == 200


async def test_the_issuers_documents_are_for_everybody(lab: Lab) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        discovery = await client.get(f"{lab.url}/datalab/oidc/.well-known/openid-configuration")
        keys = await client.get(discovery.json()["jwks_uri"])
    assert keys.json() == lab.datalab.issuer.jwks()
    assert "Set-Cookie" not in keys.headers
    assert "max-age" in keys.headers["Cache-Control"]
