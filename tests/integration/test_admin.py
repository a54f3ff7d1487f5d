"""The admin panel in a real JupyterHub: who sees and does what, what people are told, what is written down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import admin_hub
import form_hub
import httpx
import pytest
from admin_hub import API, FRENCH, Hub, give
from jupyterhub import orm

from sardonyx_hub.documents import DocumentError
from sardonyx_hub.pages.messages import PageMessages

pytestmark = pytest.mark.asyncio(loop_scope="module")
app, people, hub = admin_hub.app, admin_hub.people, admin_hub.hub


# Pages ---------------------------------------------------------------------------------------------------------------

TABS = ("sessions", "people", "groups", "announcement", "catalogue", "health", "idle")


@pytest.mark.parametrize("tab", ["", *TABS, "people/alice"])
async def test_every_tab_is_shown_to_an_administrator_and_to_nobody_else(hub: Hub, tab: str) -> None:
    page = await hub.admin.page(f"admin/{tab}".rstrip("/"))
    assert "Administration" in page
    for person in (hub.alice, hub.bob):
        assert (await person.client.get(f"/hub/datalab/admin/{tab}".rstrip("/"))).status_code == 403


async def test_an_unknown_tab_and_an_unknown_person_are_not_there(hub: Hub) -> None:
    for path in ("admin/nonsense", "admin/people/nobody", "admin/open/alice/none"):
        assert (await hub.admin.client.get(f"/hub/datalab/{path}")).status_code == 404
    # A wrong argument in an address is left out.
    await hub.admin.page("admin/sessions?sort=nonsense&offset=-3&unknown=1")


async def test_the_panel_is_in_the_navigation_of_those_who_may_enter(hub: Hub) -> None:
    assert "/hub/datalab/admin" in (await hub.admin.client.get("/hub/datalab/account/profile")).text
    assert "/hub/datalab/admin" not in (await hub.bob.client.get("/hub/datalab/account/profile")).text
    give(hub, "bob", "list:users!group=team", "read:servers!group=team")
    assert "/hub/datalab/admin" in (await hub.bob.client.get("/hub/datalab/account/profile")).text


async def test_jupyterhubs_own_page_and_ours_lead_to_each_other(hub: Hub) -> None:
    assert 'href="/hub/admin"' in (await hub.admin.client.get("/hub/datalab/admin")).text
    assert "/hub/datalab/admin" in (await hub.admin.client.get("/hub/admin")).text


# Sessions ------------------------------------------------------------------------------------------------------------


async def test_all_sessions_are_listed_with_what_they_have(hub: Hub) -> None:
    await hub.launch("alice", "one", **{"resources.limits.cpu": "2"})
    await hub.launch("bob", "two")
    found = await hub.admin.get("admin/sessions?sort=person")
    assert [(one["person"], one["name"], one["state"]) for one in found["sessions"]] == [
        ("alice", "one", "running"),
        ("bob", "two", "running"),
    ]
    one = found["sessions"][0]
    assert one["service"] == {"id": "python", "name": "Labo Python"}
    assert one["resources"] == {"cpu": "2", "memory": "2Gi"}
    assert one["grant"]["bucket"] == "alice"
    assert one["grant"]["s3"] == "read-write"
    assert one["may"] == {"stop": True, "warn": True, "open": True}
    assert one["started"]
    page = await hub.admin.page("admin/sessions")
    assert "Labo Python" in page


FILTERS = {
    "search=ALI": ["one"],
    "search=labo%20two": ["two"],
    "group=team": ["one"],
    "service=r": [],
    "state=running&sort=-cpu": ["one", "two"],
    "state=stopped&search=one": [],
    "sort=cpu": ["two", "one"],
    "sort=person&limit=1&offset=1": ["two"],
}


async def test_sessions_are_filtered_sorted_and_cut(hub: Hub) -> None:
    await hub.launch("alice", "one", **{"resources.limits.cpu": "2"})
    await hub.launch("bob", "two")
    for query, names in FILTERS.items():
        found = await hub.admin.get(f"admin/sessions?{query}")
        assert [one["name"] for one in found["sessions"]] == names, query


async def test_stopped_sessions_are_listed_when_asked_for(hub: Hub) -> None:
    await hub.launch("alice", "past")
    await hub.user("alice").stop("past")
    assert (await hub.admin.get("admin/sessions"))["total"] == 0
    found = await hub.admin.get("admin/sessions?state=all&search=past")
    assert [(one["name"], one["state"]) for one in found["sessions"]] == [("past", "stopped")]


@pytest.mark.parametrize("query", ["sort=nonsense", "limit=0", "limit=9999", "offset=-1", "unknown=1"])
async def test_a_wrong_argument_is_named(hub: Hub, query: str) -> None:
    answer = await hub.admin.ask("GET", f"admin/sessions?{query}")
    assert answer.status_code == 400
    assert f"'{query.partition('=')[0]}'" in answer.json()["message"]


async def test_an_administrator_stops_a_session_with_a_message(hub: Hub) -> None:
    await hub.launch("alice", "one")
    answer = await hub.admin.ask("POST", "admin/people/alice/sessions/one/stop", {"message": "Maintenance"})
    assert answer.status_code == 200, answer.text
    assert hub.running("alice") == set()
    (message,) = (await hub.alice.get("messages"))["messages"]
    assert (message["text"], message["by"], message["session"]) == ("Maintenance", "admin", "one")
    event = hub.administered()[-1]
    assert event["action"] == "session-stopped"
    assert (event["person"], event["name"], event["session"]) == ("admin", "alice", "one")
    assert (event["outcome"], event["detail"]) == ("done", "Maintenance")
    # What the person reads in My services.
    assert hub.datalab.sessions.ending(("alice", "one"))["reason"] == "administrator"


@pytest.mark.parametrize("path", ["admin/people/alice/sessions/one/stop", "sessions/one/stop?user=alice"])
async def test_a_stop_is_not_denied_where_it_cannot_be_written_down(
    hub: Hub, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.launch("alice", "one")

    def full(*_: Any) -> None:
        raise DocumentError("The state database could not be written: OperationalError.")

    with monkeypatch.context() as broken:
        broken.setattr(hub.datalab.documents, "_change", full)
        answer = await hub.admin.ask("POST", path)
    assert hub.running("alice") == set()
    # JupyterHub did what the second path asks for; the first one is there to tell the person too.
    assert answer.status_code == (503 if path.startswith("admin") else 200)
    if path.startswith("admin"):
        assert answer.json()["code"] == "not-told"
        assert "arrêtée" in answer.json()["message"]


async def test_opening_a_session_is_written_down(hub: Hub) -> None:
    await hub.launch("alice", "one")
    answer = await hub.admin.client.get("/hub/datalab/admin/open/alice/one")
    assert answer.status_code == 302
    assert answer.headers["Location"].endswith("/user/alice/one/")
    assert hub.administered()[-1]["action"] == "session-opened"


# Messages ------------------------------------------------------------------------------------------------------------


async def test_a_message_stands_on_the_persons_pages_until_it_is_closed(hub: Hub) -> None:
    text = 'Trop de mémoire <script>alert("x")</script>'
    answer = await hub.admin.ask("POST", "admin/people/alice/messages", {"text": text})
    assert answer.status_code == 201
    number = answer.json()["id"]
    for path in ("/hub/datalab/account/profile", "/hub/spawn", "/hub/datalab/notices"):
        page = (await hub.alice.client.get(path, headers=FRENCH)).text
        assert "Message de admin" in page
        assert "Trop de mémoire &lt;script&gt;" in page
    assert "Trop de" not in (await hub.bob.client.get("/hub/datalab/account/profile")).text
    # Nobody closes another's.
    await hub.bob.ask("DELETE", f"messages/{number}")
    assert len((await hub.alice.get("messages"))["messages"]) == 1
    # Without script, by a form.
    form = {"id": number, "_xsrf": hub.alice.xsrf}
    assert (await hub.alice.client.post("/hub/datalab/notices", data=form)).status_code == 303
    assert (await hub.alice.get("messages"))["messages"] == []
    assert "Trop de" not in (await hub.alice.client.get("/hub/datalab/account/profile")).text


async def test_an_open_page_is_told_of_a_message_at_once(hub: Hub) -> None:
    stream = hub.datalab.live.subscribe("alice")
    other = hub.datalab.live.subscribe("bob")
    await hub.admin.ask("POST", "admin/people/alice/messages", {"text": "Bonjour", "session": "one"})
    hub.datalab.live.unsubscribe(stream)
    hub.datalab.live.unsubscribe(other)
    told = b"".join([chunk async for chunk in stream.chunks()])
    assert b"event: warning" in told
    assert b"Bonjour" in told
    assert b"Bonjour" not in b"".join([chunk async for chunk in other.chunks()])


@pytest.mark.parametrize(
    "body",
    [
        {"text": ""},
        {"text": "x" * 1001},
        {"text": "a\0b"},
        {"text": 1},
        {"text": "a", "session": "b\0"},
        {},
        {"texts": "a"},
    ],
)
async def test_a_message_that_is_none_is_refused(hub: Hub, body: Any) -> None:
    answer = await hub.admin.ask("POST", "admin/people/alice/messages", body)
    assert answer.status_code == 400
    assert ("session" if "session" in body else "text") in answer.json()["message"]


async def test_there_are_never_too_many_messages(hub: Hub) -> None:
    for number in range(22):
        await hub.datalab.notices.send("alice", f"message {number}", by="admin")
    texts = [one["text"] for one in hub.datalab.notices.for_person("alice")]
    assert len(texts) == 20
    assert texts[-1] == "message 21"


# Announcement --------------------------------------------------------------------------------------------------------


async def test_an_announcement_is_on_every_page_until_its_time(hub: Hub) -> None:
    text = {"fr": "Maintenance **ce soir**", "en": "Maintenance tonight"}
    stream = hub.datalab.live.subscribe("bob")
    answer = await hub.admin.ask("PUT", "admin/announcement", {"text": text, "level": "warning"})
    assert answer.status_code == 200, answer.text
    hub.datalab.live.unsubscribe(stream)
    assert b"event: announcement" in b"".join([chunk async for chunk in stream.chunks()])
    page = (await hub.bob.client.get("/hub/datalab/account/profile", headers=FRENCH)).text
    assert "Maintenance <strong>ce soir</strong>" in page
    past = hub.datalab.documents.get("announcement", "current") | {"until": "2026-01-01T00:00:00+00:00"}
    await hub.datalab.documents.put("announcement", "current", past)
    assert "ce soir" not in (await hub.bob.client.get("/hub/datalab/account/profile", headers=FRENCH)).text
    assert (await hub.admin.ask("DELETE", "admin/announcement")).status_code == 204
    assert (await hub.admin.get("admin/announcement")) == {"announcement": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": {"en": "", "fr": ""}}, "text"),
        ({"text": {"en": "a" * 1001}}, "text"),
        ({"text": {"en": "a"}, "level": "loud"}, "level"),
        ({"text": {"en": "a"}, "until": "soon"}, "until"),
        ({"text": {"en": "a"}, "until": "2020-01-01T00:00:00Z"}, "until"),
        ({"text": {"en": "a"}, "until": "9999-12-31T23:59:59-14:00"}, "until"),
        ({"text": {"en": "a"}, "colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_announcement_is_named_by_its_field(hub: Hub, body: Any, field: str) -> None:
    answer = await hub.admin.ask("PUT", "admin/announcement", body)
    assert answer.status_code == 400
    assert f"'{field}" in answer.json()["message"]
    assert (await hub.admin.get("admin/announcement")) == {"announcement": None}


async def test_a_preview_shows_markdown_and_no_html(hub: Hub) -> None:
    text = {"en": "**big** <script>x</script>", "fr": ""}
    answer = await hub.admin.ask("POST", "admin/announcement", {"text": text})
    assert answer.json()["html"]["en"] == "<strong>big</strong> &lt;script&gt;x&lt;/script&gt;"
    assert (await hub.admin.get("admin/announcement")) == {"announcement": None}


# Rights --------------------------------------------------------------------------------------------------------------

ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "admin/sessions", None),
    ("GET", "admin/people", None),
    ("GET", "admin/people/alice", None),
    ("PUT", "admin/people/alice/quota", {"limits": {"cpu": "1"}}),
    ("DELETE", "admin/people/alice/quota", None),
    ("POST", "admin/people/alice/messages", {"text": "hello"}),
    ("POST", "admin/people/alice/sessions/one/stop", None),
    ("GET", "admin/groups", None),
    ("PUT", "admin/groups/team/quota", {"limits": {}}),
    ("DELETE", "admin/groups/team/quota", None),
    ("GET", "admin/announcement", None),
    ("PUT", "admin/announcement", {"text": {"en": "hello"}}),
    ("POST", "admin/announcement", {"text": {"en": "hello"}}),
    ("DELETE", "admin/announcement", None),
    ("GET", "admin/catalogue", None),
    ("POST", "admin/catalogue", None),
    ("GET", "admin/health", None),
]
every_route = pytest.mark.parametrize(
    ("method", "path", "body"), ROUTES, ids=[f"{m} {p}" for m, p, _ in ROUTES]
)


@every_route
async def test_people_are_refused(hub: Hub, method: str, path: str, body: Any) -> None:
    answer = await hub.bob.ask(method, path, body)
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"


@every_route
async def test_a_browser_needs_the_xsrf_token(hub: Hub, method: str, path: str, body: Any) -> None:
    headers = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    answer = await hub.admin.client.request(method, f"{API}/{path}", json=body, headers=headers)
    assert answer.status_code == 403


@every_route
async def test_who_only_has_the_panel_changes_nothing(hub: Hub, method: str, path: str, body: Any) -> None:
    give(hub, "bob", "admin-ui", "list:users", "read:servers", "list:groups")
    if method == "GET" or (method, path) == ("POST", "admin/announcement"):
        assert (await hub.bob.ask(method, path, body)).status_code == 200
        return
    await hub.launch("alice", "one")
    answer = await hub.bob.ask(method, path, body)
    assert answer.status_code == 403
    assert hub.running("alice") == {"one"}
    assert not hub.datalab.documents.items("quota")
    assert hub.administered()[-1]["outcome"] == "refused"
    assert hub.administered()[-1]["person"] == "bob"


async def test_a_manager_sees_and_stops_the_sessions_of_their_group_only(hub: Hub) -> None:
    await hub.launch("alice", "one")
    await hub.launch("bob", "two")
    give(hub, "bob", "list:users!group=team", "read:servers!group=team", "delete:servers!group=team")
    team = orm.Group.find(hub.app.db, "team")
    found = await hub.bob.get("admin/sessions?sort=person")
    assert {one["person"] for one in found["sessions"]} == {"alice", "bob"}  # one's own too
    people = await hub.bob.get("admin/people?group=team")
    assert [one["name"] for one in people["people"]] == ["alice"]
    assert "admin" not in [one["name"] for one in (await hub.bob.get("admin/people"))["people"]]
    assert (await hub.bob.ask("GET", "admin/people/admin")).status_code == 404
    assert (await hub.bob.ask("POST", "admin/people/admin/messages", {"text": "x"})).status_code == 404
    for path in ("admin/health", "admin/catalogue"):
        assert (await hub.bob.ask("GET", path)).status_code == 403
    assert (await hub.bob.ask("PUT", "admin/people/alice/quota", {"limits": {}})).status_code == 403
    assert (await hub.bob.ask("PUT", "admin/groups/team/quota", {"limits": {}})).status_code == 403
    assert [one["name"] for one in (await hub.bob.get("admin/groups"))["groups"]] == ["team"]
    for tab, status in {
        "sessions": 200,
        "people": 200,
        "groups": 200,
        "health": 404,
        "announcement": 404,
    }.items():
        assert (await hub.bob.client.get(f"/hub/datalab/admin/{tab}")).status_code == status
    assert (await hub.bob.ask("POST", "admin/people/alice/sessions/one/stop")).status_code == 200
    assert hub.running("alice") == set()
    assert team is not None
    # Who launches for somebody chooses what runs there, with that person's storage and secrets.
    assert (await hub.bob.client.get("/hub/spawn/alice")).status_code == 404
    path = "/hub/api/users/alice/servers/one"
    headers = {"X-XSRFToken": hub.bob.xsrf}
    assert (await hub.bob.client.post(path, json={}, headers=headers)).status_code == 404
    assert (await hub.bob.ask("POST", "sessions/one/start?user=alice")).status_code == 403


async def test_a_session_cannot_use_the_panel_or_the_messages(hub: Hub) -> None:
    await hub.launch("alice", "one")
    token = hub.user("alice").spawners["one"].api_token
    async with httpx.AsyncClient(base_url=str(hub.alice.client.base_url), trust_env=False) as client:
        for path in ("messages", "admin/sessions"):
            answer = await client.get(f"{API}/{path}", headers={"Authorization": f"token {token}"})
            assert answer.status_code == 403


# Catalogue and health ------------------------------------------------------------------------------------------------


async def test_errors_of_the_catalogue_are_told_by_line_and_the_one_before_stays(
    hub: Hub, tmp_path: Path
) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(form_hub.CATALOGUE, encoding="utf-8")
    spawner = hub.user("admin").spawner
    before = spawner.catalogue
    spawner.catalogue, spawner.catalogue_file = None, str(file)
    try:
        status = (await hub.admin.ask("POST", "admin/catalogue")).json()
        assert status["problems"] == []
        assert [one["id"] for one in status["services"]] == ["python", "r", "hidden"]
        assert status["loaded_at"]
        file.write_text(form_hub.CATALOGUE.replace("max: 4}", "maxx: 4}"), encoding="utf-8")
        status = (await hub.admin.ask("POST", "admin/catalogue")).json()
        line = form_hub.CATALOGUE.splitlines().index("      cpu: {limit: {default: 1, max: 4}}") + 1
        assert status["problems"][0]["line"] == line
        assert len(status["services"]) == 3
        page = await hub.admin.page("admin/catalogue")
        assert PageMessages("fr").translate("admin.catalogue.line", line=line) in page
        event = hub.administered()[-1]
        assert (event["action"], event["outcome"]) == ("catalogue-reloaded", "refused")
        file.write_text(form_hub.CATALOGUE, encoding="utf-8")
        assert (await hub.admin.get("admin/catalogue"))["problems"] == []
    finally:
        spawner.catalogue, spawner.catalogue_file = before, ""


async def test_health_tells_each_part_in_words_within_its_time_limit(hub: Hub) -> None:
    begun = time.monotonic()
    checks = {one["part"]: one for one in (await hub.admin.get("admin/health"))["checks"]}
    assert time.monotonic() - begun < 6
    assert checks["database"]["verdict"] == "ok"
    assert checks["documents"]["verdict"] == "ok"
    assert checks["proxy"]["verdict"] == "ok"
    assert checks["s3"]["verdict"] == "off"
    assert all(one["text"] for one in checks.values())
