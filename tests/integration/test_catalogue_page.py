"""The catalogue, saved configurations, the terms and the announcement in a real hub, as somebody without script uses them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import form_hub
import pytest
import pytest_asyncio
from form_hub import SESSIONS, Person, signed_in
from html_form import Html

from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.datalab import Datalab
from sardonyx_hub.home import Announcement, Home, Terms
from sardonyx_hub.pages.messages import PageMessages
from sardonyx_hub.saved import FOLDER, Content, SavedConfiguration
from sardonyx_spawner.launch_errors import LaunchError

pytestmark = pytest.mark.asyncio(loop_scope="module")
app, alice = form_hub.app, form_hub.alice

CATALOGUE_PAGE = "/hub/datalab/catalogue"
EVIL = '<img src=x onerror="alert(1)">'
SECRET = "MARK-4711"
fr = PageMessages("fr").translate


@pytest.fixture
def datalab(app: Any) -> Iterator[Datalab]:
    """The datalab of the hub; what a test changes is put back."""
    found: Datalab = app.tornado_application.settings["sardonyx"]
    yield found
    found.home = Home()


@pytest_asyncio.fixture(loop_scope="module")
async def saved(alice: Person, datalab: Datalab) -> AsyncIterator[list[SavedConfiguration]]:
    """Two saved configurations of alice's: one with a secret, one that its service has come to refuse."""
    subject = datalab.subject_for(alice.user)
    assert datalab.saved is not None
    # As before the first launch: a default session that was used keeps its disk to itself.
    alice.user.spawner.orm_spawner.last_activity = alice.user.spawner.orm_spawner.started = None
    rows = [{"name": "TOKEN", "value": SECRET, "secret": True}, {"name": "A", "value": "1 & 2"}]
    options = {"git": {"branch": "main"}, "extraEnvVars": rows, "vault": {"secret": ["projet_patate"]}}
    yield [
        datalab.saved.create(subject, Content("Cours, chapitre 3", "python", options)),
        datalab.saved.create(
            subject, Content("Trop grande", "python", {"resources": {"limits": {"cpu": "64"}}})
        ),
    ]
    SESSIONS.store.failure = None
    SESSIONS.store.kept.clear()


def shown(html: str) -> list[str]:
    """Return the names of the services whose cards are to be seen."""
    cards = re.findall(r'<li class="dl-service"([^>]*)>.*?<h3[^>]*>(.*?)</h3>', html, re.DOTALL)
    return [name for attributes, name in cards if not attributes.endswith(" hidden")]


async def launch(alice: Person, one: SavedConfiguration, press: str = "") -> Any:
    page = await alice.client.get(CATALOGUE_PAGE)
    form = re.search(
        rf'action="([^"]*{one.id}/launch)".*?name="_launch" value="([^"]*)"', page.text, re.DOTALL
    )
    assert form is not None
    data = {"_xsrf": alice.client.cookies["_xsrf"], "_launch": press or form[2]}
    return await alice.client.post(form[1], data=data)


# The catalogue ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["Labo Python", "R lab"]),
        ("?q=labo", ["Labo Python"]),
        ("?q=PYTHÖN+carnets", ["Labo Python"]),
        ("?q=Notebooks", ["Labo Python"]),
        ("?category=statistics", ["R lab"]),
        ("?category=statistics&q=python", []),
        ("?category=nothing", ["Labo Python", "R lab"]),
        ("?q=hidden", []),
    ],
)
async def test_search_and_categories_work_without_script(alice: Person, query: str, names: list[str]) -> None:
    page = await alice.client.get(CATALOGUE_PAGE + query, headers={"Accept-Language": "fr"})
    assert page.status_code == 200
    assert shown(page.text) == names
    assert "Hidden" not in page.text
    nothing = re.search(r'<div id="none"([^>]*)>', page.text)
    assert nothing is not None
    assert ("hidden" in nothing[1]) == bool(names)


async def test_a_group_s_service_is_for_the_group_and_says_so(app: Any, alice: Person) -> None:
    from jupyterhub import orm

    group = orm.Group(name="nobody")
    app.db.add(group)
    group.users.append(alice.user.orm_user)
    app.db.commit()
    try:
        page = await alice.client.get(CATALOGUE_PAGE)
        assert shown(page.text)[-1] == "Hidden"
        assert "For nobody" in page.text
    finally:
        app.db.delete(group)
        app.db.commit()


async def test_what_is_searched_for_is_shown_as_text(alice: Person) -> None:
    page = await alice.client.get(CATALOGUE_PAGE, params={"q": EVIL, "category": EVIL})
    assert page.status_code == 200
    assert EVIL not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert page.headers["Cache-Control"] == "no-store"


async def test_a_card_leads_to_the_form_and_starts_nothing(alice: Person) -> None:
    page = await alice.client.get(CATALOGUE_PAGE)
    assert 'href="/hub/spawn?service=python"' in page.text
    assert "GPU possible" in page.text
    assert "3.12, 3.11" in page.text
    assert SESSIONS.started == []


async def test_running_sessions_stand_above(alice: Person, saved: list[SavedConfiguration]) -> None:
    before = await alice.client.get(CATALOGUE_PAGE)
    assert 'id="running" aria-labelledby="running-title" hidden' in before.text
    await launch(alice, saved[0])
    await alice.settle()
    page = await alice.client.get(CATALOGUE_PAGE, headers={"Accept-Language": "fr"})
    strip = page.text[page.text.index('id="running"') : page.text.index('id="saved"')]
    assert fr("catalogue.sessions.one") in strip
    assert "Cours, chapitre 3" in strip
    assert 'href="/user/alice/"' in strip


async def test_a_broken_catalogue_is_told_and_the_rest_works(
    alice: Person, saved: list[SavedConfiguration], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_spawner: Any) -> None:
        raise LaunchError("The catalogue cannot be read.", reason="catalogue", status_code=500)

    monkeypatch.setattr(form_hub.QuietSpawner, "get_catalogue", broken)
    page = await alice.client.get(CATALOGUE_PAGE, headers={"Accept-Language": "fr"})
    assert page.status_code == 200
    assert fr("catalogue.down") in page.text
    assert saved[0].name in page.text


# Saved configurations --------------------------------------------------------------------------------------------


async def test_one_press_launches_with_its_options(alice: Person, saved: list[SavedConfiguration]) -> None:
    answer = await launch(alice, saved[0])
    assert (answer.status_code, answer.headers["location"]) == (302, "/hub/spawn-pending/alice")
    await alice.settle()
    spawner = alice.user.spawner
    assert spawner.ready
    assert spawner.orm_spawner.display_name == "Cours, chapitre 3"
    options = spawner.launch_options
    assert (options.git.branch, options.vault.secret) == ("main", ["projet_patate"])
    # The secret value goes to the secret store, not into the hub's database.
    assert {"name": "TOKEN", "secret": True} in spawner.user_options["options"]["extraEnvVars"]
    assert SECRET.encode() not in SESSIONS.database.read_bytes()
    kept = SESSIONS.store.kept["alice", ".datalab/sessions/default/env"]
    assert kept[-1] == {"TOKEN": SECRET}


async def test_the_same_press_twice_is_one_session_and_another_press_is_another(
    alice: Person, saved: list[SavedConfiguration]
) -> None:
    first = await launch(alice, saved[0], "one-press")
    again = await launch(alice, saved[0], "one-press")
    assert first.headers["location"] == again.headers["location"]
    other = await launch(alice, saved[0], "another-press")
    assert re.fullmatch(r"/hub/spawn-pending/alice/python-\w{4}", other.headers["location"])
    await alice.settle()
    assert len(alice.active) == 2


async def test_a_stopped_session_keeps_its_disk_to_itself(
    alice: Person, saved: list[SavedConfiguration]
) -> None:
    await launch(alice, saved[0])
    await alice.settle()
    await alice.user.stop("")
    answer = await launch(alice, saved[0])
    assert answer.headers["location"] != "/hub/spawn-pending/alice"
    await alice.settle()
    assert "" not in alice.active


async def test_a_card_s_launch_leaves_a_stopped_session_alone(
    alice: Person, saved: list[SavedConfiguration]
) -> None:
    await launch(alice, saved[0])
    await alice.settle()
    await alice.user.stop("")
    before = alice.user.orm_spawners[""].user_options
    page = await alice.open("/hub/spawn?service=r")
    # Nothing of the stopped one is in the form, and nothing of it is replaced.
    assert page.posted()["display_name"] == [""]
    answer = await alice.press(page)
    assert re.fullmatch(r"/hub/spawn-pending/alice/r-\w{4}", answer.headers["location"])
    await alice.settle()
    assert alice.user.orm_spawners[""].user_options == before
    # Its own address starts it again, with its options.
    again = await alice.open("/hub/spawn/alice")
    assert again.posted()["git.branch"] == ["main"]
    assert (await alice.press(again)).headers["location"] == "/hub/spawn-pending/alice"


async def test_what_the_form_refuses_is_refused_and_the_form_opens_with_it(
    alice: Person, saved: list[SavedConfiguration]
) -> None:
    answer = await launch(alice, saved[1])
    assert answer.status_code == 422
    page = Html(answer.text)
    assert page.by_id("spawn_form").attributes["action"].startswith("/hub/spawn?_xsrf=")
    fields = page.posted()
    assert fields["resources.limits.cpu"] == ["64"]
    assert fields["_configuration"] == [saved[1].id]
    assert "from 100m to 4" in answer.text
    assert (SESSIONS.started, alice.servers) == ([], {""})
    # Mended and launched from there.
    launched = await alice.press(page, resources__limits__cpu="2")
    assert launched.status_code == 302
    await alice.settle()
    assert alice.user.spawner.launch_options.resources.limits.cpu == "2"


async def test_edit_opens_the_form_with_everything_but_secret_values(
    alice: Person, saved: list[SavedConfiguration]
) -> None:
    page = await alice.open(f"/hub/spawn?configuration={saved[0].id}")
    fields = page.posted()
    assert fields["git.branch"] == ["main"]
    assert fields["display_name"] == ["Cours, chapitre 3"]
    assert fields["extraEnvVars[0].name"] == ["TOKEN"]
    assert fields["extraEnvVars[0].value"] == [""]
    assert SECRET not in json.dumps(fields)
    assert SESSIONS.started == []
    # Nothing typed: the kept value is used.
    answer = await alice.press(page)
    assert answer.status_code == 302, answer.text
    await alice.settle()
    assert SESSIONS.store.kept["alice", ".datalab/sessions/default/env"][-1] == {"TOKEN": SECRET}


async def test_a_get_starts_nothing(alice: Person, saved: list[SavedConfiguration]) -> None:
    answer = await alice.client.get(f"/hub/datalab/configurations/{saved[0].id}/launch")
    assert (answer.status_code, answer.headers["location"]) == (
        302,
        f"/hub/spawn?configuration={saved[0].id}",
    )
    forged = await alice.client.post(f"/hub/datalab/configurations/{saved[0].id}/launch")
    assert forged.status_code == 403
    assert SESSIONS.started == []


async def test_another_s_configuration_is_not_there(app: Any, saved: list[SavedConfiguration]) -> None:
    async with signed_in(app, "bob") as client:
        page = await client.get(CATALOGUE_PAGE)
        assert saved[0].name not in page.text
        data = {"_xsrf": client.cookies["_xsrf"], "_launch": "x"}
        answer = await client.post(f"/hub/datalab/configurations/{saved[0].id}/launch", data=data)
        assert answer.status_code == 404
        assert (await client.get(f"/hub/spawn?configuration={saved[0].id}")).status_code == 404
    assert SESSIONS.started == []


async def test_a_link_is_in_the_page_and_no_secret_value(
    alice: Person, saved: list[SavedConfiguration]
) -> None:
    page = await alice.client.get(CATALOGUE_PAGE)
    assert SECRET not in page.text
    link = re.search(r'href="([^"]+)" data-copy-link="TOKEN"', page.text)
    assert link is not None
    opened = await alice.open(link[1].replace("&amp;", "&"))
    fields = opened.posted()
    assert (fields["git.branch"], fields["extraEnvVars[1].value"]) == (["main"], ["1 & 2"])
    assert SESSIONS.started == []


async def test_names_are_shown_as_text(
    alice: Person, datalab: Datalab, saved: list[SavedConfiguration]
) -> None:
    subject = datalab.subject_for(alice.user)
    data = {"name": EVIL, "service": EVIL, "options": {}, "created": "x", "changed": EVIL}
    SESSIONS.store.write_internal(subject, f"{FOLDER}/abcdefghijkm", data)
    page = await alice.client.get(CATALOGUE_PAGE)
    assert page.status_code == 200
    assert EVIL not in page.text
    assert "Its service is no longer in your catalogue" in page.text


async def test_without_vault_the_catalogue_works_and_says_what_is_down(
    alice: Person, saved: list[SavedConfiguration]
) -> None:
    SESSIONS.store.failure = SourceError("vault", "unreachable", "Vault does not answer.")
    page = await alice.client.get(CATALOGUE_PAGE, headers={"Accept-Language": "fr"})
    assert page.status_code == 200
    assert shown(page.text) == ["Labo Python", "R lab"]
    assert fr("catalogue.saved.down") in page.text
    data = {"_xsrf": alice.client.cookies["_xsrf"]}
    answer = await alice.client.post(f"/hub/datalab/configurations/{saved[0].id}/launch", data=data)
    assert answer.status_code == 503
    assert "Vault" in answer.text


async def test_a_vault_that_hangs_holds_the_page_up_for_two_seconds(
    alice: Person, saved: list[SavedConfiguration], monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr(SESSIONS.store, "_fail", lambda: release.wait(8))
    try:
        page = await asyncio.wait_for(alice.client.get(CATALOGUE_PAGE), 4)
    finally:
        release.set()
    assert shown(page.text) == ["Python lab", "R lab"]
    assert "does not answer" in page.text


async def test_without_a_vault_there_is_no_such_section(
    alice: Person, datalab: Datalab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datalab, "saved", None)
    page = await alice.client.get(CATALOGUE_PAGE)
    assert page.status_code == 200
    assert 'id="saved"' not in page.text


# Home, terms, announcement ---------------------------------------------------------------------------------------


async def test_home_text_and_links(alice: Person, datalab: Datalab) -> None:
    datalab.home = Home.model_validate(
        {
            "text": {"en": f"# Welcome\n\n{EVIL} **here**", "fr": "# Bienvenue"},
            "links": {"training": "https://t.example.org", "support": "mailto:help@example.org"},
        }
    )
    page = await alice.client.get(CATALOGUE_PAGE)
    assert "<h1>Welcome</h1>" in page.text
    assert "<strong>here</strong>" in page.text
    assert EVIL not in page.text
    assert page.text.count("<h1") == 1
    assert 'href="mailto:help@example.org"' in page.text
    french = await alice.client.get(CATALOGUE_PAGE, headers={"Accept-Language": "fr"})
    assert "<h1>Bienvenue</h1>" in french.text


async def test_terms_come_before_everything_else_and_again_with_a_new_version(
    app: Any, datalab: Datalab
) -> None:
    terms = Terms.model_validate({"version": "1", "text": "Be *kind*.", "url": "https://terms.example.org"})
    datalab.home = Home(terms=terms)
    async with signed_in(app, "carol") as client:
        for path in (
            CATALOGUE_PAGE,
            "/hub/datalab/account",
            "/hub/spawn?git.branch=a%20b",
            "/hub/spawn/carol",
        ):
            led = await client.get(path)
            assert led.status_code == 303, path
            assert led.headers["location"].startswith("/hub/datalab/terms?next=")
        page = await client.get(led.headers["location"])
        assert "<em>kind</em>" in page.text
        assert 'href="https://terms.example.org"' in page.text
        xsrf = {"_xsrf": client.cookies["_xsrf"]}
        posted = await client.post("/hub/spawn", data=xsrf)
        assert posted.headers["location"] == "/hub/datalab/terms"
        headers = {"X-XSRFToken": xsrf["_xsrf"], "Referer": f"{client.base_url}/hub/home"}
        launched = await client.post("/hub/api/users/carol/server", json={}, headers=headers)
        assert (launched.status_code, launched.json()["code"]) == (403, "terms")
        refused = await client.get("/hub/api/datalab/v1/credentials", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "terms")
        assert SESSIONS.started == []

        terms_page = "/hub/datalab/terms?next=%2Fhub%2Fspawn"
        for wrong in ({"version": "0", "accept": "yes"}, {"version": "1"}, {}):
            assert (await client.post(terms_page, data={**xsrf, **wrong})).status_code == 422
        assert (await client.post(terms_page, data={"version": "1", "accept": "yes"})).status_code == 403
        accepted = await client.post(terms_page, data={**xsrf, "version": "1", "accept": "yes"})
        assert (accepted.status_code, accepted.headers["location"]) == (303, "/hub/spawn")
        assert (await client.get(CATALOGUE_PAGE)).status_code == 200
        assert "You accepted these terms on" in (await client.get("/hub/datalab/terms")).text
        record = datalab.documents.get("terms", "carol")
        assert record is not None
        assert (record["version"], record["language"]) == ("1", "en")

        datalab.home = Home(terms=terms.model_copy(update={"version": "2"}))
        assert (await client.get(CATALOGUE_PAGE)).status_code == 303
        assert "have changed" in (await client.get("/hub/datalab/terms")).text


async def test_terms_leave_running_sessions_alone(alice: Person, datalab: Datalab) -> None:
    await alice.press(await alice.open("/hub/spawn"))
    await alice.settle()
    datalab.home = Home(terms=Terms.model_validate({"version": "1", "text": "x"}))
    client = alice.client
    headers = {"X-XSRFToken": client.cookies["_xsrf"], "Referer": f"{client.base_url}/hub/home"}
    stopped = await client.delete("/hub/api/users/alice/server", headers=headers)
    assert stopped.status_code in {202, 204}


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
async def test_terms_lead_nowhere_else(app: Any, datalab: Datalab, target: str) -> None:
    datalab.home = Home(terms=Terms.model_validate({"version": "9", "text": "x"}))
    async with signed_in(app, "dave") as client:
        data = {"_xsrf": client.cookies["_xsrf"], "version": "9", "accept": "yes"}
        answer = await client.post("/hub/datalab/terms", params={"next": target}, data=data)
        assert answer.status_code == 303
        assert re.match(r"/[^/\\\\]", answer.headers["location"])


async def test_an_announcement_is_on_every_page_until_it_is_closed(alice: Person, datalab: Datalab) -> None:
    text = {"en": f"Closed on **Friday** {EVIL}", "fr": "Fermé **vendredi**"}
    datalab.home = Home(announcement=Announcement.model_validate({"text": text, "level": "warning"}))
    login = await signed_in(alice.app, "nobody").client.get("/hub/login", headers={"Accept-Language": "fr"})
    assert "Fermé <strong>vendredi</strong>" in login.text
    page = await alice.client.get("/hub/spawn")
    assert "Closed on <strong>Friday</strong>" in page.text
    assert EVIL not in page.text
    close = re.search(r'action="([^"]+announcement[^"]*)".*?name="id" value="(\w+)"', page.text, re.DOTALL)
    assert close is not None
    data = {"_xsrf": alice.client.cookies["_xsrf"], "id": close[2]}
    back = await alice.client.post(close[1], data=data)
    assert (back.status_code, back.headers["location"]) == (303, "/hub/spawn")
    assert "Friday" not in (await alice.client.get(CATALOGUE_PAGE)).text
    # What an administrator writes takes its place, and is news.
    await datalab.documents.put("announcement", "current", {"text": {"en": "Open again"}, "level": "info"})
    try:
        assert "Open again" in (await alice.client.get(CATALOGUE_PAGE)).text
        assert "Open again" in (await alice.client.get("/hub/datalab/announcement")).text
        await datalab.documents.put("announcement", "current", {"hidden": True})
        assert "dl-announcement-inner" not in (await alice.client.get(CATALOGUE_PAGE)).text
    finally:
        await datalab.documents.delete("announcement", "current")


async def test_one_that_cannot_be_closed_stays(alice: Person, datalab: Datalab) -> None:
    announcement = Announcement.model_validate({"text": "Maintenance", "dismissable": False})
    datalab.home = replace_announcement(datalab.home, announcement)
    alice.client.cookies.set("datalab-announcement", announcement.id, path="/hub/")
    page = await alice.client.get(CATALOGUE_PAGE)
    assert "Maintenance" in page.text
    assert "data-close-announcement" not in page.text


def replace_announcement(home: Home, announcement: Announcement) -> Home:
    return home.model_copy(update={"announcement": announcement})
