"""What every page of the hub has, JupyterHub's own too: our look, the person's language, a strict policy, little script."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import form_hub
import httpx
import pytest
import pytest_asyncio
from form_hub import SESSIONS, Person, signed_in
from html_form import Html
from jupyterhub import orm
from jupyterhub.spawner import SpawnException

from sardonyx_hub.pages.assets import ASSETS
from sardonyx_hub.pages.messages import PageMessages

pytestmark = pytest.mark.asyncio(loop_scope="module")
app, alice = form_hub.app, form_hub.alice

fr, en = PageMessages("fr").translate, PageMessages("en").translate
FRENCH = {"Accept-Language": "fr"}

#: Pages that an administrator sees; those of JupyterHub itself, and the rooms.
PAGES = [
    "/hub/no-such-page",
    "/hub/error/503",
    "/hub/spawn",
    "/hub/admin",
    "/hub/spawn-pending/alice/no-such-session",
    "/hub/datalab/catalogue",
    "/hub/datalab/services",
    "/hub/datalab/secrets",
    "/hub/datalab/account/profile",
    "/hub/datalab/account/git",
    "/hub/datalab/account/storage",
    "/hub/datalab/account/tokens",
    "/hub/datalab/account/vault",
    "/hub/datalab/admin",
]
#: Bytes of script, compressed, that a page may make a browser load.
SCRIPT_BUDGET = 100_000


@pytest_asyncio.fixture(loop_scope="module")
async def admin(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(app, "admin") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def stranger(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    port = urlsplit(app.hub.bind_url).port
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
        yield client


def policy(answer: httpx.Response) -> dict[str, str]:
    """Return the directives of a page's content security policy."""
    parts = (part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";"))
    return {name: sources for name, _, sources in parts}


def inline(page: Html) -> list[str]:
    """Return what a strict policy would refuse."""
    found = []
    for one in page.elements:
        kind = one.attributes.get("type", "")
        if one.tag == "style" or (
            one.tag == "script" and "src" not in one.attributes and kind != "application/json"
        ):
            found.append(f"<{one.tag}>")
        found += [f"{one.tag} {name}" for name in one.attributes if name == "style" or name.startswith("on")]
        found += [
            f"{one.tag} {url}"
            for url in one.attributes.values()
            if url.strip().lower().startswith("javascript:")
        ]
    return found


def check_policy(answer: httpx.Response, *, react: bool = False) -> Html:
    directives = policy(answer)
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == "'self'"
    assert directives["style-src"] == ("'self' 'unsafe-inline'" if react else "'self'")
    assert directives["frame-ancestors"] == "'none'"
    page = Html(answer.text)
    assert inline(page) == []
    return page


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_has_a_strict_policy_and_nothing_inline(admin: httpx.AsyncClient, path: str) -> None:
    answer = await admin.get(path, headers=FRENCH)
    page = check_policy(answer, react=path == "/hub/admin")
    assert next(one for one in page.elements if one.tag == "html").attributes["lang"] == "fr"
    assert [
        one.attributes["href"] for one in page.elements if "dl-skip" in one.attributes.get("class", "")
    ] == ["#content"]
    scripts = [
        one.attributes["src"] for one in page.elements if one.tag == "script" and "src" in one.attributes
    ]
    assert [src for src in scripts if re.search(r"jquery|require|bootstrap", src)] == []


async def script_size(client: httpx.AsyncClient, urls: list[str]) -> int:
    """Return the compressed bytes of scripts and of what they import."""
    seen: dict[str, int] = {}
    while urls:
        url = urls.pop()
        if url in seen:
            continue
        answer = await client.get(url)
        assert answer.status_code == 200, url
        seen[url] = len(gzip.compress(answer.content))
        urls += [
            str(httpx.URL(url).join(name))
            for name in re.findall(r'(?:from|import)\s*\(?"(\.[^"]+)"', answer.text)
        ]
    return sum(seen.values())


@pytest.mark.parametrize("path", [path for path in PAGES if path != "/hub/admin"])
async def test_first_load_of_script_is_small(admin: httpx.AsyncClient, path: str) -> None:
    page = Html((await admin.get(path)).text)
    scripts = [
        one.attributes["src"] for one in page.elements if one.tag == "script" and "src" in one.attributes
    ]
    assert any("/ui/shell.js" in src for src in scripts), "the pages are not built: tools/bootstrap.py dev"
    assert 1_000 < await script_size(admin, scripts) < SCRIPT_BUDGET


async def test_sign_in_page_speaks_both_languages_and_says_what_is_wrong(stranger: httpx.AsyncClient) -> None:
    for headers, t in ((FRENCH, fr), ({"Accept-Language": "de"}, en)):
        answer = await stranger.get("/hub/login", headers=headers)
        page = check_policy(answer)
        assert f"<h1>{t('hub.login.title', title='Sardonyx')}</h1>" in answer.text
        assert [one.attributes["for"] for one in page.elements if one.tag == "label"] == [
            "username_input",
            "password_input",
        ]
    form = {"username": "alice", "password": "", "_xsrf": stranger.cookies["_xsrf"]}
    stranger.cookies.set("datalab-lang", "fr")
    # what a dummy authenticator with a password answers to a wrong one
    refused = await stranger.post(
        "/hub/login", data=form | {"_xsrf": "old"}, headers={"Sec-Fetch-Mode": "navigate"}
    )
    assert refused.status_code == 403
    assert fr("hub.login.expired") in refused.text
    assert en("hub.login.expired") not in refused.text


async def test_wrong_password(stranger: httpx.AsyncClient, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.authenticator, "password", "another")
    await stranger.get("/hub/login", headers=FRENCH)
    form = {"username": "<b>alice</b>", "password": "wrong", "_xsrf": stranger.cookies["_xsrf"]}
    refused = await stranger.post("/hub/login", data=form, headers=FRENCH)
    assert refused.status_code == 403
    assert fr("hub.login.wrong") in refused.text
    assert "<b>alice" not in refused.text


async def test_errors_of_jupyterhubs_own_handlers_are_in_the_persons_language(
    alice: Person, stranger: httpx.AsyncClient
) -> None:
    missing = await alice.client.get("/hub/no/such/page", headers=FRENCH)
    assert missing.status_code == 404
    assert fr("hub.error.404.title") in missing.text
    forbidden = await alice.client.get("/hub/admin", headers=FRENCH)
    assert forbidden.status_code == 403
    assert fr("hub.error.403.title") in forbidden.text
    # the proxy asks for this page when a session does not answer; nobody is signed in then
    session = await stranger.get("/hub/error/503", headers=FRENCH)
    assert fr("hub.error.session.title") in session.text


@pytest.mark.parametrize("accepted", ["fr", "en"])
async def test_language_is_chosen_without_being_signed_in(stranger: httpx.AsyncClient, accepted: str) -> None:
    other = {"fr": "en", "en": "fr"}[accepted]
    page = (await stranger.get("/hub/login", headers={"Accept-Language": accepted})).text
    assert f'lang="{accepted}"' in page
    links = re.findall(r'href="([^"]*/preferences\?lang=[a-z]+)"', page)
    assert len(links) == 2
    link = next(link for link in links if link.endswith(other))
    back = str(stranger.base_url.join("/hub/login?next=%2Fhub%2Fspawn"))
    chosen = await stranger.get(link, headers={"Referer": back, "Accept-Language": accepted})
    assert chosen.status_code == 302
    assert chosen.headers["Location"] == "/hub/login?next=%2Fhub%2Fspawn"
    again = await stranger.get("/hub/login", headers={"Accept-Language": accepted})
    assert f'<html lang="{other}"' in again.text


async def test_theme_is_chosen_and_in_the_page_before_anything_is_drawn(stranger: httpx.AsyncClient) -> None:
    page = Html((await stranger.get("/hub/login")).text)
    root = next(one for one in page.elements if one.tag == "html").attributes
    assert root["data-theme"] == "auto"
    assert "data-bs-theme" not in root
    await stranger.get("/hub/datalab/preferences?theme=dark")
    page = Html((await stranger.get("/hub/login")).text)
    root = next(one for one in page.elements if one.tag == "html").attributes
    assert root["data-theme"] == root["data-bs-theme"] == "dark"
    tags = [(one.tag, one.attributes.get("rel")) for one in page.elements]
    theme = next(n for n, one in enumerate(page.elements) if "theme.js" in one.attributes.get("src", ""))
    assert theme < tags.index(("link", "stylesheet")), "the theme is set before the styles are applied"
    assert not {"async", "defer", "type"} & set(page.elements[theme].attributes)


@pytest.mark.parametrize(
    "came_from",
    [
        "",
        "https://evil.example/hub/login",
        "http://127.0.0.1.evil.example/",
        "http://HOST//evil.example",
        "http://HOST/\\evil.example",
        "javascript:alert(1)",
    ],
)
async def test_preferences_lead_nowhere_else(stranger: httpx.AsyncClient, came_from: str) -> None:
    headers = {"Referer": came_from.replace("HOST", stranger.base_url.netloc.decode())}
    answer = await stranger.get("/hub/datalab/preferences?lang=fr&theme=nonsense", headers=headers)
    assert answer.headers["Location"] == "/hub/"
    cookies = answer.headers.get_list("Set-Cookie")
    assert [cookie.partition("=")[0] for cookie in cookies if "datalab" in cookie] == ["datalab-lang"]


async def test_pages_are_for_people_who_are_signed_in(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/hub/datalab/services?a=1")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/hub/login?next=%2Fhub%2Fdatalab%2Fservices%3Fa%3D1"
    posted = await stranger.post("/hub/datalab/services", data={})
    assert posted.status_code == 403


async def test_ways_in(alice: Person) -> None:
    home = await alice.client.get("/hub/home")
    assert home.headers["Location"] == "/hub/datalab/services"
    catalogue = await alice.client.get("/hub/datalab/catalogue")
    assert catalogue.headers["Cache-Control"] == "no-store"
    assert 'aria-current="page"' in catalogue.text
    assert "/hub/datalab/admin" not in catalogue.text


async def test_failed_launch_says_why_and_leads_back_to_the_form(alice: Person) -> None:
    SESSIONS.failure = SpawnException("There is no more room on <this> machine.", reason="room")
    page = await alice.open("/hub/spawn", **FRENCH)
    await alice.press(page, display_name="Cours")
    await alice.settle()
    name = next(iter(alice.servers), "")
    failed = await alice.client.get(f"/hub/spawn-pending/alice/{name}".rstrip("/"), headers=FRENCH)
    assert failed.status_code == 400
    html = check_policy(failed)
    assert fr("hub.failed.reason") in failed.text
    assert "There is no more room on &lt;this&gt; machine." in failed.text
    assert html.by_id("start").attributes["href"] == f"/hub/spawn/alice/{name}".rstrip("/")
    assert fr("hub.failed.form") in failed.text


async def test_a_session_that_is_off(alice: Person) -> None:
    off = await alice.client.get("/hub/user/alice/lab", headers=FRENCH)
    assert off.status_code == 424
    html = check_policy(off)
    assert fr("hub.off.lead") in off.text
    assert html.by_id("start").attributes["href"].startswith("/hub/spawn/alice?next=")


async def test_pending_and_stopping(alice: Person) -> None:
    release = asyncio.Event()
    spawner = alice.user.spawner
    start, stop = spawner.start, spawner.stop

    async def slow_start() -> Any:
        spawner.launch_progress.add("s3", "running", "S3 <opens>")
        spawner.launch_progress.add("s3", "ok", "S3 is <ready>")
        spawner.launch_progress.add("vault", "warning", "Vault is away")
        await release.wait()
        return await start()

    async def slow_stop(now: bool = False) -> None:
        await release.wait()
        await stop(now)

    spawner.start, spawner.stop = slow_start, slow_stop
    alice.app.tornado_application.settings["slow_spawn_timeout"] = 0
    alice.app.tornado_application.settings["slow_stop_timeout"] = 0
    page = await alice.open("/hub/spawn/alice", **FRENCH)
    answer = await alice.press(page)
    assert answer.headers["Location"].startswith("/hub/spawn-pending/alice")
    await asyncio.sleep(0.2)
    pending = await alice.client.get("/hub/spawn-pending/alice", headers=FRENCH)
    check_policy(pending)
    assert fr("hub.pending.lead") in pending.text
    assert "S3 is &lt;ready&gt;" in pending.text
    assert "S3 &lt;opens&gt;" not in pending.text, "what a step says next takes its line"
    assert re.search(r'dl-step-warning">.*Vault is away', pending.text)
    release.set()
    await alice.settle()

    release.clear()
    headers = {"X-XSRFToken": alice.client.cookies["_xsrf"]}
    await alice.client.delete("/hub/api/users/alice/server", headers=headers)
    stopping = await alice.client.get("/hub/spawn-pending/alice", headers=FRENCH)
    check_policy(stopping)
    assert fr("hub.stop.title") in stopping.text
    release.set()
    await alice.settle()


async def test_authorise_an_application(alice: Person, admin: httpx.AsyncClient) -> None:
    description = "Tableau <de bord>"
    client = alice.app.oauth_provider.add_client(
        client_id="service-board",
        client_secret="secret",
        redirect_uri="http://127.0.0.1:1/services/board/oauth_callback",
        description=description,
    )
    service = orm.Service(name="board")
    alice.app.db.add(service)
    service.oauth_client = client
    alice.app.db.commit()
    query = {
        "client_id": "service-board",
        "response_type": "code",
        "redirect_uri": "http://127.0.0.1:1/services/board/oauth_callback",
        "state": "abc",
    }
    page = await admin.get("/hub/api/oauth2/authorize", params=query, headers=FRENCH)
    assert page.status_code == 200, page.text
    html = check_policy(page)
    assert "form-action" not in policy(page), "browsers apply it to redirects: people would never arrive"
    assert "Tableau &lt;de bord&gt;" in page.text
    assert fr("hub.oauth.title") in page.text
    assert any(one.attributes.get("name") == "_xsrf" for one in html.elements)


async def test_a_session_of_somebody_else_on_the_hubs_host_is_warned_of(
    alice: Person, admin: httpx.AsyncClient
) -> None:
    """Its scripts are in the hub's origin: that it "can do nothing in your name" would not be true."""
    redirect = "/user/alice/trap/oauth_callback"
    user = alice.app.users["alice"]
    row = user.get_or_create_spawner("trap", "trap").orm_spawner
    client = alice.app.oauth_provider.add_client("jupyterhub-user-alice-trap", "secret", redirect)
    row.oauth_client = client
    alice.app.db.commit()
    query = {
        "client_id": "jupyterhub-user-alice-trap",
        "response_type": "code",
        "redirect_uri": redirect,
        "state": "abc",
    }
    page = await admin.get("/hub/api/oauth2/authorize", params=query, headers=FRENCH)
    user.spawners.pop("trap")
    alice.app.db.delete(row)
    alice.app.db.commit()
    assert page.status_code == 200, page.text
    assert fr("hub.oauth.same_host") in page.text
    assert fr("hub.oauth.only_identify") not in page.text
    check_policy(page)


async def test_accept_an_invitation(alice: Person, admin: httpx.AsyncClient) -> None:
    spawner = alice.user.spawner.orm_spawner
    code = orm.ShareCode.new(alice.app.db, spawner, scopes=[f"access:servers!server=alice/{spawner.name}"])[1]
    page = await admin.get("/hub/accept-share", params={"code": code}, headers=FRENCH)
    assert page.status_code == 200, page.text
    check_policy(page)
    assert fr("hub.share.title", owner="alice") in page.text
    assert f'value="{code}"' in page.text


async def test_logout(app: Any) -> None:
    async with signed_in(app, "bob") as client:
        answer = await client.get("/hub/logout", headers=FRENCH)
        assert answer.headers["Location"] == "/hub/login"
        again = await client.get("/hub/datalab/services")
        assert "/hub/login" in again.headers["Location"]


async def test_operators_policy_wins(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = alice.app.tornado_application.settings
    monkeypatch.setitem(settings, "headers", {"content-security-policy": "frame-ancestors 'self'"})
    answer = await alice.client.get("/hub/datalab/services")
    assert policy(answer) == {"frame-ancestors": "'self'"}


async def test_what_pages_share_is_kept_by_browsers(alice: Person) -> None:
    chunk = next((ASSETS / "ui" / "chunks").glob("*.js")).name
    kept = await alice.client.get(f"/hub/datalab/static/ui/chunks/{chunk}")
    assert "immutable" in kept.headers["Cache-Control"]
    asked_again = await alice.client.get("/hub/datalab/static/ui/shell.js")
    assert asked_again.headers["Cache-Control"] == "no-cache"
