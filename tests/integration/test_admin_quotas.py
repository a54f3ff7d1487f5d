"""Quotas in a real JupyterHub: at the form, the REST API and every start; set and shown in the admin panel."""

from __future__ import annotations

import asyncio
from typing import Any

import admin_hub
import form_hub
import pytest
from admin_hub import FRENCH, Hub
from form_hub import SESSIONS
from html_form import Html

pytestmark = pytest.mark.asyncio(loop_scope="module")
app, people, hub = admin_hub.app, admin_hub.people, admin_hub.hub


async def set_quota(hub: Hub, **limits: Any) -> None:
    answer = await hub.admin.ask("PUT", "admin/people/alice/quota", {"limits": limits})
    assert answer.status_code == 200, answer.text


async def test_a_quota_refuses_a_launch_by_the_rest_api_and_names_field_amounts_and_who_set_it(
    hub: Hub,
) -> None:
    await set_quota(hub, cpu="3")
    assert (await hub.launch("alice", "one", **{"resources.limits.cpu": "2"})).status_code == 201
    answer = await hub.launch("alice", "two", **{"resources.limits.cpu": "2"})
    assert answer.status_code == 400
    message = answer.json()["message"]
    assert "resources.limits.cpu" in message
    assert "You ask for 2, and 1 is left of your quota of 3 (2 in use)" in message
    assert hub.running("alice") == {"one"}


async def test_a_quota_refuses_a_form_beside_its_field(hub: Hub) -> None:
    await set_quota(hub, memory="1Gi")
    person = form_hub.Person("alice", hub.app, hub.alice.client)
    page = await person.open("/hub/spawn/alice/formed", **FRENCH)
    answer = await person.press(page, resources__limits__memory="2Gi", resources__requests__memory="1Gi")
    assert answer.status_code == 422
    assert "1Gi is left of your quota of 1Gi" in Html(answer.text).beside("resources.limits.memory")
    assert "formed" not in person.servers


async def test_a_quota_refuses_a_stopped_session_that_is_started_again(hub: Hub) -> None:
    await hub.launch("alice", "again", **{"resources.limits.cpu": "2"})
    await hub.user("alice").stop("again")
    await set_quota(hub, cpu="1")
    browser = hub.alice
    path = "/hub/api/users/alice/servers/again"
    answer = await browser.client.post(path, headers={"X-XSRFToken": browser.xsrf})
    await hub.settle("alice")
    assert answer.status_code == 400
    assert "quota of 1" in answer.json()["message"]
    # What it was launched with stays: with more quota it starts again.
    await set_quota(hub, cpu="2")
    answer = await browser.client.post(path, headers={"X-XSRFToken": browser.xsrf})
    assert answer.status_code in (201, 202)
    await hub.settle("alice")
    assert hub.user("alice").spawners["again"].launch_options.resources.limits.cpu == "2"


async def test_a_restart_that_a_lowered_quota_would_refuse_stops_nothing(hub: Hub) -> None:
    await hub.launch("alice", "one", resources={"limits": {"memory": "4Gi"}})
    await hub.admin.ask("PUT", "admin/people/alice/quota", {"limits": {"memory": "3Gi"}})
    try:
        answer = await hub.alice.ask("POST", "sessions/one/restart")
        assert (answer.status_code, answer.json()["code"]) == (400, "options")
        assert "3Gi" in answer.json()["message"]
        assert hub.running("alice") == {"one"}
        # What it holds itself is not counted against it.
        await hub.admin.ask("PUT", "admin/people/alice/quota", {"limits": {"memory": "4Gi"}})
        assert (await hub.alice.ask("POST", "sessions/one/restart")).status_code in (200, 202)
        await hub.settle("alice")
        assert hub.running("alice") == {"one"}
    finally:
        await hub.admin.ask("DELETE", "admin/people/alice/quota")


async def test_of_launches_at_once_only_as_many_start_as_the_quota_allows(hub: Hub) -> None:
    await set_quota(hub, sessions=2)
    SESSIONS.delay = 0.1
    try:
        answers = await asyncio.gather(*(hub.launch("alice", f"race{number}") for number in range(5)))
    finally:
        SESSIONS.delay = 0
    assert len(hub.running("alice")) == 2
    refused = [answer for answer in answers if answer.status_code == 400]
    assert len(refused) == 3
    assert all("quota of 2 sessions" in answer.json()["message"] for answer in refused)


async def test_members_share_the_total_of_their_group(hub: Hub) -> None:
    answer = await hub.admin.ask(
        "PUT", "admin/groups/team/quota", {"limits": {"cpu": "4"}, "total": {"memory": "3Gi"}}
    )
    assert answer.status_code == 200
    await hub.launch("alice", "one")
    answer = await hub.launch("alice", "two")
    assert answer.status_code == 400
    assert "members of the group team share" in answer.json()["message"]
    # Bob is not in the group.
    assert (await hub.launch("bob", "one")).status_code == 201
    (team,) = (await hub.admin.get("admin/groups"))["groups"]
    assert (team["people"], team["used"]["memory"], team["total"]) == (1, "2Gi", {"memory": "3Gi"})


async def test_a_quota_is_shown_and_taken_away_again(hub: Hub) -> None:
    await set_quota(hub, cpu="3", gpu=None)
    alice = await hub.admin.get("admin/people/alice")
    assert alice["quota"]["cpu"] == {"limit": "3", "by": "user"}
    assert alice["quota"]["gpu"] == {"limit": None, "by": "user"}
    assert alice["left"]["cpu"] == {"limit": 3.0, "used": 0.0, "left": 3.0, "by": "user"}
    assert (await hub.admin.ask("DELETE", "admin/people/alice/quota")).status_code == 204
    alice = await hub.admin.get("admin/people/alice")
    assert alice["own_quota"] == {}
    assert [event["action"] for event in hub.administered()[-2:]] == ["quota-set", "quota-removed"]
    assert hub.administered()[-2]["detail"] == '{"limits": {"cpu": "3", "gpu": null}}'


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limits": {"cpu": "many"}}, "limits.cpu"),
        ({"limits": {"ram": "1Gi"}}, "limits.ram"),
        ({"limits": [1]}, "limits"),
    ],
)
async def test_a_wrong_quota_is_named_by_its_field(hub: Hub, body: Any, field: str) -> None:
    answer = await hub.admin.ask("PUT", "admin/people/alice/quota", body)
    assert answer.status_code == 400
    assert answer.json()["field"] == field
