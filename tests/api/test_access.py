"""Every route and page, one by one: who is nobody, who has no scope, who wants somebody else's, who is led by another site.

The table holds an entry for each pattern that the datalab mounts. A new one without an entry fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tornado.web import RequestHandler
from whole_hub import API, Lab

from sardonyx_hub.api.routes import PREFIX, ROUTES
from sardonyx_hub.handlers import datalab_handlers

on_hub = pytest.mark.asyncio(loop_scope="session")

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REFUSED = {403, 404}
ALICE = "?user=alice"


@dataclass(frozen=True)
class Rule:
    """What holds for one pattern.

    Parameters
    ----------
    args
        Names in the hub's `known` (or texts) for the groups of the pattern: things of alice's.
    query
        What makes the request one for alice's.
    public
        Whether strangers are answered; `answer` is with what.
    own
        Whether the path names nobody's thing: everybody gets their own.
    apart
        Whether people have these names each for themselves, so that bob's writes reach bob's things only. Then a GET
        by bob finds nothing, and alice's stays what it was.
    scopeless
        Whether being signed in is enough, whatever the scopes.
    bodies
        JSON to send, by method, where the thing is looked for only after the body was found right.
    """

    args: tuple[str, ...] = ()
    query: str = ""
    public: bool = False
    answer: int = 200
    own: bool = False
    apart: bool = False
    scopeless: bool = False
    bodies: dict[str, Any] = field(default_factory=dict)


_NAMED: dict[str, Any] = {"name": "Theirs", "service": "lab"}
_WRITE: dict[str, Any] = {"values": {"KEY": "bobs"}}
API_RULES = {
    "/openapi\\.json": Rule(own=True, scopeless=True),
    "/credentials": Rule(query="?session=run-1&user=alice"),
    "/catalogue": Rule(own=True),
    "/live": Rule(own=True),
    "/launch-options": Rule(own=True),
    "/sessions": Rule(query=ALICE),
    "/sessions/([^/]+)": Rule(("session",), ALICE, bodies={"PATCH": {"display_name": "x"}}),
    "/sessions/([^/]+)/(start|stop|restart|keep-alive)": Rule(("session", "stop"), ALICE),
    "/sessions/([^/]+)/logs": Rule(("session",), ALICE),
    "/sessions/([^/]+)/events": Rule(("session",), ALICE),
    "/sessions/([^/]+)/usage": Rule(("session",), ALICE),
    "/git-accounts": Rule(own=True),
    "/git-accounts/([^/]+)": Rule(("host",), apart=True, bodies={"PUT": {"username": "bob"}}),
    "/saved-configurations": Rule(own=True),
    "/saved-configurations/([^/]+)": Rule(
        ("id_",), apart=True, bodies={"PUT": _NAMED, "PATCH": {"name": "x"}}
    ),
    "/saved-configurations/([^/]+)/link": Rule(("id_",), apart=True),
    "/secrets/?": Rule(own=True),
    "/secrets/(.+)": Rule(("path",), apart=True, bodies={"PUT": _WRITE}),
    "/messages": Rule(own=True),
    "/messages/([^/]+)": Rule(("number",), apart=True),
    "/vault-tokens": Rule(own=True),
    "/vault-tokens/([^/]+)": Rule(("identifier",), apart=True),
    "/admin/sessions": Rule(),
    "/admin/people": Rule(),
    "/admin/people/([^/]+)": Rule(("name",)),
    "/admin/people/([^/]+)/quota": Rule(("name",), bodies={"PUT": {"limits": {}}}),
    "/admin/people/([^/]+)/messages": Rule(("name",), bodies={"POST": {"text": "x"}}),
    "/admin/people/([^/]+)/sessions/([^/]+)/stop": Rule(("name", "session")),
    "/admin/groups": Rule(),
    "/admin/groups/([^/]+)/quota": Rule(("group",), bodies={"PUT": {"limits": {}}}),
    "/admin/announcement": Rule(bodies={"PUT": {"text": "x"}}),
    "/admin/catalogue": Rule(),
    "/admin/health": Rule(),
}
RULES = {
    **{f"{PREFIX}{pattern}": rule for pattern, rule in API_RULES.items()},
    # The issuer's documents.
    r"/datalab/oidc/\.well-known/openid-configuration": Rule(public=True),
    "/datalab/oidc/jwks": Rule(public=True),
    # JupyterHub's own routes of a person's servers, with checks of ours.
    "/api/users/([^/]+)/server": Rule(("name",)),
    "/api/users/([^/]+)/servers/([^/]*)": Rule(("name", "session")),
    # Pages.
    "/spawn": Rule(own=True),
    "/spawn/([^/]+)": Rule(("name",)),
    "/spawn/([^/]+)/([^/]+)": Rule(("name", "session")),
    "/home": Rule(own=True),
    "/token": Rule(own=True),
    "/datalab/account": Rule(own=True),
    "/datalab/account/([^/]*)": Rule(("storage",), own=True),
    "/datalab/admin": Rule(),
    "/datalab/admin/([a-z]*)": Rule(("people",)),
    "/datalab/admin/open/([^/]+)/([^/]+)": Rule(("name", "session")),
    "/datalab/admin/people/([^/]+)": Rule(("name",)),
    "/datalab/announcement": Rule(public=True),
    r"/datalab/ca\.pem": Rule(public=True, answer=404),
    "/datalab/catalogue": Rule(own=True),
    "/datalab/configurations/([^/]+)/launch": Rule(("id_",), apart=True),
    "/datalab/notices": Rule(own=True),
    "/datalab/preferences": Rule(public=True, answer=302),
    "/datalab/secrets": Rule(own=True),
    "/datalab/secrets/(.*)": Rule(("path",), own=True),
    "/datalab/services": Rule(own=True),
    "/datalab/services/([^/]+)": Rule(("session",), apart=True),
    "/datalab/services/([^/]+)/(start|stop|restart|rename|keep-alive)": Rule(("session", "stop"), apart=True),
    "/datalab/services/([^/]+)/delete": Rule(("session",), apart=True),
    "/datalab/terms": Rule(own=True),
    "/datalab/static/(.*)": Rule(("datalab.css",), public=True),
}


@dataclass(frozen=True)
class Route:
    """One method of one pattern."""

    pattern: str
    method: str

    @property
    def is_api(self) -> bool:
        return self.pattern.startswith("/api/")

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    def url(self, rule: Rule, known: dict[str, str]) -> str:
        """Return the address of what is alice's."""
        values = iter(rule.args)
        path = re.sub(r"\([^()]*\)", lambda _: known.get(value := next(values), value), self.pattern)
        return "/hub" + path.replace("\\", "").removesuffix("/?") + rule.query


def routes() -> Iterator[Route]:
    """Yield each method of each pattern that the datalab mounts."""
    for pattern, handler, *_ in datalab_handlers():
        for method in METHODS:
            own = getattr(handler, method.lower())
            if own is not getattr(RequestHandler, method.lower()):
                yield Route(pattern, method)


ALL = list(dict.fromkeys(routes()))


def having(**wanted: bool) -> list[Any]:
    """Return the routes whose rules are so, as parameters."""
    return [
        pytest.param(route, id=f"{route.method} {route.pattern}")
        for route in ALL
        if (rule := RULES.get(route.pattern)) is not None
        and all(getattr(rule, name) is value for name, value in wanted.items())
    ]


async def send(client: httpx.AsyncClient, route: Route, url: str, **more: Any) -> int:
    """Return the status of the answer; a stream's without its end."""
    rule = RULES[route.pattern]
    if route.writes and "json" not in more:
        more["json"] = rule.bodies.get(route.method, {})
    async with client.stream(route.method, url, **more) as answer:
        return answer.status_code


def test_every_route_has_a_rule() -> None:
    mounted = {route.pattern for route in ALL}
    assert mounted - RULES.keys() == set(), "new routes: say in RULES who may do what"
    assert RULES.keys() - mounted == set(), "routes that are gone"


def test_the_table_of_routes_names_all_methods() -> None:
    table = {(route.pattern, method) for route in ROUTES for method in route.methods}
    ours = {route.pattern for route in ROUTES}
    assert {(route.pattern, route.method) for route in ALL if route.pattern in ours} == table


@on_hub
@pytest.mark.parametrize("route", having(public=False))
async def test_strangers_are_asked_to_sign_in(hub: Lab, route: Route) -> None:
    async with hub.client() as nobody:
        url = route.url(RULES[route.pattern], hub.known)
        async with nobody.stream(route.method, url, follow_redirects=False) as answer:
            if route.is_api and route.pattern.startswith(PREFIX):
                assert answer.status_code == 401
                return
            if route.writes or route.is_api:
                assert answer.status_code == 403
                return
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith("/hub/login")


@on_hub
@pytest.mark.parametrize("route", [one for one in having(public=True) if not one.values[0].writes])
async def test_what_is_for_all_sets_no_cookie_that_signs_in(hub: Lab, route: Route) -> None:
    async with hub.client() as nobody:
        rule = RULES[route.pattern]
        answer = await nobody.request(route.method, route.url(rule, hub.known))
        assert answer.status_code == rule.answer
        assert "jupyterhub-session-id" not in answer.cookies


@on_hub
@pytest.mark.parametrize("route", [one for one in having(scopeless=False) if one.values[0].is_api])
async def test_a_token_without_the_scope_is_refused(hub: Lab, route: Route) -> None:
    async with hub.client(hub.token("alice", "read:users:name!user")) as client:
        url = route.url(RULES[route.pattern], hub.known)
        assert await send(client, route, url) in REFUSED


@on_hub
@pytest.mark.parametrize("route", having(public=False, own=False, apart=False))
async def test_what_is_somebody_elses_is_refused(hub: Lab, route: Route) -> None:
    url = route.url(RULES[route.pattern], hub.known)
    async with hub.browser("bob") as bob:
        headers = {"X-XSRFToken": bob.cookies["_xsrf"]}
        body: dict[str, Any] = {} if route.is_api else {"data": {"_xsrf": bob.cookies["_xsrf"]}}
        more = {"json": RULES[route.pattern].bodies.get(route.method, {})} if route.is_api else body
        status = await send(
            bob, route, url, headers=headers, **({"json": None} | more if route.writes else {})
        )
        assert status in REFUSED


@on_hub
@pytest.mark.parametrize("pattern", [pattern for pattern, rule in RULES.items() if rule.apart])
async def test_names_of_ones_own_are_nobody_elses(hub: Lab, pattern: str) -> None:
    rule = RULES[pattern]
    mine = [route for route in ALL if route.pattern == pattern]
    url = mine[0].url(rule, hub.known)
    async with hub.browser("alice") as alice, hub.browser("bob") as bob:
        headers = {"X-XSRFToken": bob.cookies["_xsrf"]}
        reads = mine[0].is_api and any(route.method == "GET" for route in mine)
        before = (await alice.get(url)).text if reads else ""
        for route in mine:
            status = await send(bob, route, url, headers=headers)
            if route.method == "GET":
                # A page that only takes forms leads to the list of one's own.
                assert status == 404 or (not route.is_api and status == 302)
            assert status < 500
        assert ((await alice.get(url)).text if reads else "") == before
        assert (await alice.get("/hub/api/users/alice")).json()["servers"]["run-1"]["ready"]
        assert len((await alice.get(f"{API}/messages")).json()["messages"]) == 1


@on_hub
@pytest.mark.parametrize("route", [one for one in having() if one.values[0].writes])
async def test_a_write_that_another_site_led_to_is_refused(hub: Lab, route: Route) -> None:
    url = route.url(RULES[route.pattern], hub.known)
    async with hub.browser("alice") as alice:
        for headers in ({}, {"X-XSRFToken": "forged"}):
            sent = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", **headers}
            status = await send(alice, route, url, headers=sent)
            assert status == 403, headers
        me = (await alice.get("/hub/api/users/alice")).json()
        assert "run-1" in me["servers"], "it was done nevertheless"
