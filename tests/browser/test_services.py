"""My services (journeys 2, 5, 16, 17), in French, as a person sees it: one session from launch to deletion."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checks import check_page, console_errors
from pages import SECOND, Lab
from playwright.sync_api import BrowserContext, Locator, Page, expect
from stack import Person, Stack, eventually

from sardonyx_hub.pages.messages import PageMessages

say = PageMessages("fr").translate
NAME = "essai"
TITLE = "Analyse d’été <b>"
SLOW = 90 * SECOND


@pytest.fixture(scope="module")
def bob(stack: Stack) -> Iterator[Person]:
    """Somebody with no session, before and after."""
    person = stack.person("bob")
    person.clear()
    yield person
    person.clear()


class Services:
    """The page, by its words."""

    def __init__(self, page: Page, stack: Stack) -> None:
        self.page = page
        self.url = f"{stack.url}/hub/datalab/services"

    def open(self, path: str = "") -> Services:
        self.page.goto(f"{self.url}/{path}" if path else self.url)
        return self

    def card(self, title: str = TITLE) -> Locator:
        return self.page.get_by_role("article", name=title, exact=True)

    def press(self, key: str, title: str = TITLE) -> None:
        """Press the button or link that is said to do something to a session."""
        label = say(f"services.{key}.of", name=title)
        self.card(title).get_by_label(re.compile(rf"^{re.escape(label)}( \(|$)")).click()

    def confirm(self, key: str) -> None:
        """Answer a question with yes."""
        dialog = self.page.get_by_role("dialog", name=say(f"services.{key}.question", name=TITLE))
        dialog.get_by_role("button", name=say(f"services.{key}"), exact=True).click()

    def is_in(self, state: str, title: str = TITLE) -> None:
        expect(self.card(title).locator(".svc-state")).to_have_text(
            say(f"services.state.{state}"), timeout=SLOW
        )


def test_empty_page_leads_to_the_catalogue(bob: Person, stack: Stack, sign_in: Callable[..., Page]) -> None:
    services = Services(sign_in("bob"), stack).open()
    expect(services.page.get_by_text(say("services.empty"))).to_be_visible()
    link = services.page.get_by_role("link", name=say("services.empty.go"))
    expect(link).to_have_attribute("href", "/hub/datalab/catalogue")
    check_page(services.page)


def test_one_session_from_launch_to_deletion(
    bob: Person, stack: Stack, sign_in: Callable[..., Page], screenshots: Path
) -> None:
    page = sign_in("bob")
    services = Services(page, stack).open()
    other = Services(sign_in("bob"), stack).open()

    # It appears by itself on a page that was open before, says what happens, and needs no reload to be ready.
    answer = bob.api("POST", f"users/bob/servers/{NAME}", json={"display_name": TITLE, "user_options": {}})
    assert answer.status_code in (201, 202), answer.text
    services.is_in("running")
    other.is_in("running")
    page.screenshot(path=screenshots / "services-fr.png", full_page=True)
    check_page(page)

    with page.context.expect_page() as opened:
        services.press("open")
    Lab(opened.value).wait(60)
    opened.value.close()

    _look_at_the_details(services)
    _rename_and_back(services, other)

    services.open()
    services.press("stop")
    services.confirm("stop")
    services.is_in("stopped")
    other.is_in("stopped")

    # With more memory, on the same disk.
    services.press("change")
    page.locator("#section-resources > summary").click()
    page.locator("[name='resources.limits.memory']").fill("3Gi")
    page.get_by_role("button", name=say("page.launch"), exact=True).click()
    page.wait_for_url(re.compile(rf"/spawn-pending/bob/{NAME}|/user/bob/{NAME}/"))
    services.open()
    services.is_in("running")
    expect(services.card()).to_contain_text("3\xa0Gio")

    services.press("restart")
    services.confirm("restart")
    services.is_in("starting")
    services.is_in("running")
    assert not console_errors(page)

    _delete(services, other, screenshots)
    eventually(lambda: bob.server(NAME) is None, 20, what="the session is gone")


def _look_at_the_details(services: Services) -> None:
    """Log, events, use, README and keep-alive of a session that runs."""
    page = services.page
    services.press("details")
    expect(page.get_by_role("heading", level=1, name=TITLE)).to_be_visible()
    log = page.get_by_role("region", name=say("services.log.label", name=TITLE))
    expect(log).to_contain_text("Jupyter Server")
    assert "token=" not in log.inner_text().replace("token=[hidden]", "")
    expect(page.locator("[data-usage=memory]")).to_have_text(re.compile(r"^[0-9,]+\xa0(Mio|Gio)$"))
    events = page.locator("#events li")
    expect(events.first).to_contain_text("Jupyter Python")
    expect(
        page.get_by_text("command-line tools").or_(page.get_by_text("outils en ligne de commande"))
    ).to_be_visible()
    label = say("services.keep.of", name=TITLE, hours=24)
    page.get_by_role("button", name=label).click()
    expect(page.get_by_text(say("services.done.keep-alive", name=TITLE))).to_be_visible()
    check_page(page)


def _rename_and_back(services: Services, other: Services) -> None:
    field = services.page.get_by_label(say("services.rename.label"))
    for name in ("Autre nom", TITLE):
        field.fill(name)
        services.page.get_by_role("button", name=say("services.rename.save")).click()
        expect(services.card(name)).to_be_visible()
        expect(other.card(name)).to_be_visible()


def _delete(services: Services, other: Services, screenshots: Path) -> None:
    """The page says what is lost and kept; the button does nothing until the box is ticked."""
    page = services.page
    services.press("delete")
    lost = page.get_by_role("region", name=say("services.delete.lost"))
    expect(lost).to_contain_text(say("services.delete.lost.disk"))
    expect(lost).to_contain_text("fichiers")
    expect(page.get_by_role("region", name=say("services.delete.kept"))).to_contain_text("bob")
    expect(page.get_by_text(say("services.delete.running"))).to_be_visible()
    page.screenshot(path=screenshots / "services-delete-fr.png", full_page=True)
    check_page(page)
    button = page.get_by_role("button", name=say("services.delete.button"))
    button.click()
    expect(button).to_be_visible()
    page.get_by_label(say("services.delete.confirm")).check()
    button.click()
    expect(page.get_by_text(say("services.done.delete"))).to_be_visible(timeout=SLOW)
    expect(page.get_by_text(say("services.empty"))).to_be_visible()
    expect(other.page.get_by_text(say("services.empty"))).to_be_visible()


def test_pages_of_a_browser_share_a_stream_and_end_with_the_sign_out(
    bob: Person, stack: Stack, sign_in: Callable[..., Page]
) -> None:
    first = sign_in("bob")
    context: BrowserContext = first.context
    asked: list[str] = []
    context.on(
        "request", lambda request: asked.append(request.url) if request.url.endswith("/live") else None
    )
    Services(first, stack).open()
    second = context.new_page()
    Services(second, stack).open()
    second.wait_for_timeout(1500)
    assert len(asked) == 1
    # The one with the stream is closed: the other goes on.
    first.close()
    eventually(
        lambda: len(asked) == 2 or second.wait_for_timeout(200), 10, what="the other page has the stream"
    )
    third = context.new_page()
    third.goto(f"{stack.url}/hub/logout")
    expect(second.get_by_text(say("common.live.signed_out"))).to_be_visible(timeout=15 * SECOND)


def test_offline_is_said_and_heals(bob: Person, stack: Stack, sign_in: Callable[..., Page]) -> None:
    page = sign_in("bob")
    Services(page, stack).open()
    note = page.get_by_text(say("common.offline"))
    expect(note).to_be_hidden()
    page.context.set_offline(True)
    expect(note).to_be_visible(timeout=15 * SECOND)
    page.context.set_offline(False)
    expect(note).to_be_hidden(timeout=30 * SECOND)


def test_works_without_script(bob: Person, stack: Stack, sign_in: Callable[..., Page]) -> None:
    state = sign_in("bob").context.storage_state()
    browser = sign_in("bob").context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False, storage_state=state, locale="fr-FR")
    try:
        page = context.new_page()
        answer = page.goto(f"{stack.url}/hub/datalab/services")
        assert answer is not None
        assert answer.status == 200
        expect(page.get_by_text(say("services.empty"))).to_be_visible()
    finally:
        context.close()
