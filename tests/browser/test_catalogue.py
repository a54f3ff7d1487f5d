"""Journeys 1, 12 and 15, in French: the terms, the catalogue, a saved configuration from its making to its end."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checks import check_page, watch
from conftest import cookies_of
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from stack import PASSWORD, Stack, running_stack

from sardonyx_hub.pages.messages import PageMessages

pytestmark = pytest.mark.timeout(300)

SECOND = 1000
CATALOGUE = Path(__file__).parents[1] / "data" / "catalogue.yaml"
CONFIG = f"""
c.Sardonyx.catalogue_file = {str(CATALOGUE)!r}
c.Sardonyx.home_links = {{"support": "mailto:aide@example.org"}}
c.Sardonyx.announcement = {{"text": {{"en": "Closed on Friday", "fr": "Fermé **vendredi** soir"}}, "level": "warning"}}
c.Sardonyx.terms = {{"version": "2026-09", "text": {{"en": "Be kind.", "fr": "Soyez **raisonnables**."}}}}
c.JupyterHub.load_groups = {{"methodes": {{"users": ["alice"]}}}}
"""
Window = Callable[..., Page]
t = PageMessages("fr").translate


@pytest.fixture(scope="module")
def datalab(session_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A datalab with several services, terms of use and an announcement."""
    config = tmp_path_factory.mktemp("catalogue") / "sardonyx_config.py"
    config.write_text(f"c = get_config()\n{CONFIG}")
    sardonyx = str(Path(sys.executable).with_name("sardonyx"))
    with running_stack(command=[sardonyx, "run", "--config", str(config)]) as running:
        yield running


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    """Open windows of a French person."""
    contexts: list[BrowserContext] = []

    def opened(cookies: list[Any] | None = None, **options: Any) -> Page:
        context = browser.new_context(
            viewport={"width": 1280, "height": 900},
            locale="fr-FR",
            permissions=["clipboard-read", "clipboard-write"],
            storage_state={"cookies": cookies or [], "origins": []},
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        watch(page)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def alice(datalab: Stack) -> Callable[..., Any]:
    """Alice at the REST API; she has accepted the terms by then."""
    person = datalab.person("alice")

    def call(method: str, path: str, **options: Any) -> Any:
        answer = person.api(method, f"datalab/v1/{path}", **options)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    call.cookies = cookies_of(person)  # type: ignore[attr-defined]
    return call


def home(datalab: Stack) -> str:
    return f"{datalab.url}/hub/datalab/catalogue"


def cards(page: Page) -> list[str]:
    """Return the names of the services that are to be seen."""
    return page.get_by_role("article").locator("visible=true").locator("h3").all_inner_texts()


def saved(page: Page, name: str) -> Locator:
    section = page.get_by_role("region", name=t("catalogue.saved"))
    return section.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


def choose(page: Page, name: str, action: str) -> None:
    """Press an entry in the menu of a saved configuration."""
    one = saved(page, name)
    one.locator("summary").click()
    one.locator(".dl-menu-panel").get_by_text(t(action), exact=True).click()


def test_terms_come_first_and_the_catalogue_after_them(
    datalab: Stack, window: Window, screenshots: Path
) -> None:
    page = window()
    page.goto(datalab.url)
    page.get_by_label(re.compile("utilisateur|username", re.I)).fill("alice")
    page.locator("#password_input").fill(PASSWORD)
    page.locator("#login_submit").click()
    expect(page.get_by_role("heading", name=t("home.terms.title"))).to_be_visible(timeout=30 * SECOND)
    expect(page.get_by_text("Soyez raisonnables.")).to_be_visible()
    check_page(page)
    page.screenshot(path=screenshots / "terms-fr.png")
    accept = page.get_by_role("button", name=t("home.terms.send"))
    accept.click()  # the box is not ticked
    expect(page.get_by_role("heading", name=t("home.terms.title"))).to_be_visible()
    page.get_by_label(t("home.terms.accept")).check()
    accept.click()
    expect(page).to_have_url(home(datalab))
    expect(page.get_by_role("heading", name="Bienvenue dans votre datalab")).to_be_visible()
    expect(page.get_by_role("link", name=t("home.links.support"))).to_have_attribute(
        "href", "mailto:aide@example.org"
    )
    page.get_by_role("link", name=t("home.terms")).click()
    expect(page.get_by_text(t("home.terms.accepted"))).to_be_visible()


def test_the_announcement_is_closed_for_good(datalab: Stack, alice: Any, window: Window) -> None:
    page = window(alice.cookies)
    page.goto(home(datalab))
    announced = page.get_by_role("complementary", name=t("home.announcement"))
    expect(announced).to_contain_text("Fermé vendredi soir")
    check_page(page)
    announced.get_by_role("button", name=t("home.announcement.close")).click()
    expect(announced).to_have_count(0)
    page.goto(f"{datalab.url}/hub/spawn")
    expect(page.locator("#spawn_form")).to_be_visible()
    expect(announced).to_have_count(0)


EVERYTHING = ["Jupyter Python", "Données géographiques", "Cours de statistique", "Méthodologie", "PostgreSQL"]


def test_search_and_categories(datalab: Stack, alice: Any, window: Window, screenshots: Path) -> None:
    page = window(alice.cookies)
    page.goto(home(datalab))
    assert cards(page) == EVERYTHING
    check_page(page)
    page.screenshot(path=screenshots / "catalogue-fr.png", full_page=True)
    search = page.get_by_role("searchbox", name=t("catalogue.search"))
    search.fill("GEOGRAPHIQUES")
    assert cards(page) == ["Données géographiques"]
    expect(page.get_by_role("status").filter(has_text=t("catalogue.found.one"))).to_have_count(1)
    search.fill("python territoires")
    assert cards(page) == ["Données géographiques"]
    search.fill("patate")
    assert cards(page) == []
    expect(page.get_by_text(t("catalogue.none"), exact=True)).to_be_visible()
    check_page(page)
    page.get_by_role("link", name=t("catalogue.clear")).click()
    assert cards(page) == EVERYTHING
    tabs = page.get_by_role("navigation", name=t("catalogue.categories"))
    tabs.get_by_role("link", name=re.compile("^Formation")).click()
    assert cards(page) == ["Cours de statistique", "Méthodologie"]
    search.fill("débutant")
    assert cards(page) == ["Cours de statistique"]
    # What is in the address is what a colleague sees, script or not.
    expect(page).to_have_url(re.compile(r"\?category=teaching&q=d%C3%A9butant$"))
    plain = window(alice.cookies, java_script_enabled=False)
    plain.goto(page.url)
    assert cards(plain) == ["Cours de statistique"]
    plain.get_by_role("link", name=re.compile(f"^{t('catalogue.all')}")).click()
    plain.get_by_role("searchbox").fill("")
    plain.get_by_role("button", name=t("catalogue.search.submit")).click()
    assert cards(plain) == EVERYTHING


def test_what_only_a_group_sees(datalab: Stack, alice: Any, window: Window) -> None:
    page = window(alice.cookies)
    page.goto(home(datalab))
    card = page.get_by_role("article", name="Méthodologie")
    expect(card.get_by_text(t("catalogue.group", group="methodes"))).to_be_visible()
    postgresql = page.get_by_role("article", name="PostgreSQL")
    expect(postgresql.get_by_role("link", name=t("catalogue.launch"))).to_have_count(0)
    card.get_by_role("link", name=t("catalogue.launch.named", name="Méthodologie")).click()
    expect(page).to_have_url(f"{datalab.url}/hub/spawn?service=jupyter-methods")
    expect(page.locator("#spawn_form")).to_be_visible()


def test_a_saved_configuration_to_its_end(
    datalab: Stack, alice: Any, window: Window, screenshots: Path
) -> None:
    page = window(alice.cookies)
    page.goto(home(datalab))
    expect(page.get_by_text(t("catalogue.saved.none"))).to_be_visible()
    variables = [{"name": "MODE", "value": "a & b"}, {"name": "TOKEN", "value": "MARK-4711", "secret": True}]
    options = {"git": {"branch": "main"}, "extraEnvVars": variables}
    body = {"name": "Cours, chapitre 3", "service": "jupyter-course", "options": options}
    made = alice("POST", "saved-configurations", json=body)
    page.reload()
    expect(saved(page, "Cours, chapitre 3")).to_contain_text("Cours de statistique")

    choose(page, "Cours, chapitre 3", "catalogue.saved.rename")
    dialog = page.get_by_role("dialog", name=t("catalogue.saved.rename.title"))
    field = dialog.get_by_label(t("catalogue.saved.name"), exact=True)
    expect(field).to_be_focused()
    field.fill("")
    dialog.get_by_role("button", name=t("catalogue.saved.rename.save")).click()
    expect(dialog.get_by_text(t("catalogue.saved.name.invalid"))).to_be_visible()
    check_page(page, ignore="400")
    field.fill("Chapitre 4")
    field.press("Enter")
    expect(saved(page, "Chapitre 4")).to_be_visible()
    expect(dialog).to_have_count(0)

    choose(page, "Chapitre 4", "catalogue.saved.copy_link")
    expect(page.get_by_text(t("catalogue.saved.left_out", names="TOKEN"))).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert "MARK-4711" not in link
    course = window(alice.cookies)
    course.goto(link)
    expect(course.locator("[name='git.branch']")).to_have_value("main")
    expect(course.locator("[name='extraEnvVars[0].value']")).to_have_value("a & b")
    expect(course.locator("[name='extraEnvVars[1].value']")).to_have_value("")

    choose(page, "Chapitre 4", "catalogue.saved.edit")
    expect(page.locator("[name='extraEnvVars[1].name']")).to_have_value("TOKEN")
    assert "MARK-4711" not in page.content()
    page.locator("[name='git.branch']").fill("semaine-4")
    page.get_by_role("button", name=t("form.tools.save.button"), exact=True).click()
    expect(page.get_by_text(t("spawn.script.saved", name="Chapitre 4"))).to_be_visible()
    changed = alice("GET", f"saved-configurations/{made['id']}?reveal=1")
    assert changed["options"]["git"]["branch"] == "semaine-4"
    assert changed["options"]["extraEnvVars"][1] == variables[1]
    page.goto(home(datalab))
    expect(page.locator("#running")).to_be_hidden()

    choose(page, "Chapitre 4", "catalogue.saved.delete")
    dialog = page.get_by_role("dialog", name=t("catalogue.saved.delete.title"))
    expect(dialog).to_contain_text(t("catalogue.saved.delete.text", name="Chapitre 4"))
    page.screenshot(path=screenshots / "catalogue-delete-fr.png")
    dialog.get_by_role("button", name=t("catalogue.saved.delete")).click()
    expect(page.get_by_text(t("catalogue.saved.none"))).to_be_visible()
    assert alice("GET", "saved-configurations")["configurations"] == []


def test_one_press_launches_a_saved_configuration(
    datalab: Stack, alice: Any, window: Window, screenshots: Path
) -> None:
    body = {
        "name": "Gros calculs",
        "service": "jupyter-python",
        "options": {"resources": {"limits": {"cpu": "2"}}},
    }
    alice("POST", "saved-configurations", json=body)
    page = window(alice.cookies)
    page.goto(home(datalab))
    watching = window(alice.cookies)
    watching.goto(home(datalab))
    page.get_by_role("button", name=t("catalogue.launch.named", name="Gros calculs")).click()
    expect(page).to_have_url(re.compile("/hub/spawn-pending/|/user/alice/"), timeout=30 * SECOND)
    # The other window learns of it by itself.
    running = watching.get_by_role("region", name=t("catalogue.sessions.one"))
    expect(running).to_contain_text("Gros calculs", timeout=30 * SECOND)
    opened = running.get_by_role("link", name=t("catalogue.sessions.open.named", name="Gros calculs"))
    expect(opened).to_be_visible(timeout=60 * SECOND)
    check_page(watching)
    watching.screenshot(path=screenshots / "catalogue-running-fr.png", full_page=True)
    opened.click()
    expect(watching.locator("#jp-main-dock-panel")).to_be_visible(timeout=60 * SECOND)
