"""What surrounds every page, and JupyterHub's own pages: signing in, finding one's way, waiting for a session."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from checks import check_page
from pages import SECOND
from playwright.sync_api import Page, expect
from stack import PASSWORD, Stack

from sardonyx_hub.pages.messages import PageMessages

pytestmark = pytest.mark.timeout(300)
SignIn = Callable[..., Page]
fr, en = PageMessages("fr").translate, PageMessages("en").translate


def test_signing_in_by_keyboard(stack: Stack, sign_in: SignIn) -> None:
    page = sign_in("")
    page.goto(f"{stack.url}/hub/login")
    check_page(page)
    expect(page.get_by_label(fr("hub.login.username"))).to_be_focused()
    page.keyboard.type("bob")
    page.keyboard.press("Tab")
    page.keyboard.type("not the password")
    page.get_by_role("button", name=fr("hub.login.show")).click()
    expect(page.get_by_label(fr("hub.login.password"))).to_have_attribute("type", "text")
    page.get_by_label(fr("hub.login.password")).press("Enter")
    expect(page.get_by_role("alert")).to_have_text(fr("hub.login.wrong"))
    check_page(page, ignore="403")

    # the name is still there; only the password is typed again
    expect(page.get_by_label(fr("hub.login.password"))).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/hub/datalab/catalogue"))
    rooms = page.get_by_role("navigation", name=fr("common.nav"))
    expect(rooms.get_by_role("link", name=fr("common.nav.catalogue"))).to_have_attribute(
        "aria-current", "page"
    )


def test_finding_ones_way(stack: Stack, sign_in: SignIn) -> None:
    page = sign_in("alice")
    page.goto(f"{stack.url}/hub/no-such-page")
    expect(page.get_by_role("heading", name=fr("hub.error.404.title"))).to_be_visible()
    check_page(page, ignore="404")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=fr("common.skip"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    menu = page.get_by_label(fr("common.menu.person", name="alice"))
    menu.click()
    expect(page.get_by_role("link", name=fr("common.sign_out"))).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name=fr("common.sign_out"))).to_be_hidden()
    expect(menu).to_be_focused()

    # a narrow screen has the same rooms in a menu
    page.set_viewport_size({"width": 375, "height": 800})
    page.get_by_label(fr("common.menu"), exact=True).click()
    rooms = page.get_by_role("navigation", name=fr("common.nav"))
    check_page(page)
    rooms.get_by_role("link", name=fr("common.nav.services")).click()
    page.wait_for_url(re.compile("/hub/datalab/services"))


def test_language_and_theme(stack: Stack, sign_in: SignIn) -> None:
    page = sign_in("", dark=True)
    page.goto(f"{stack.url}/hub/login?next=%2Fhub%2Fspawn")
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    check_page(page)
    page.emulate_media(color_scheme="light")
    expect(root).to_have_attribute("data-bs-theme", "light")

    # a theme takes effect at once, and what was typed stays
    page.get_by_label(fr("hub.login.username")).fill("alice")
    page.locator("summary", has_text=fr("common.menu.preferences")).click()
    page.get_by_role("link", name=fr("common.theme.dark")).click()
    expect(root).to_have_attribute("data-bs-theme", "dark")
    expect(page.get_by_label(fr("hub.login.username"))).to_have_value("alice")

    # the language leads back to the same page, and both stay
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", name=en("hub.login.title", title="Sardonyx"))).to_be_visible()
    assert page.url.endswith("/hub/login?next=%2Fhub%2Fspawn")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.goto(f"{stack.url}/hub/nowhere")
    expect(page.get_by_role("heading", name=en("hub.error.404.title"))).to_be_visible()


def test_waiting_for_a_session_and_changing_ones_mind(stack: Stack, sign_in: SignIn) -> None:
    page = sign_in("bob", dark=True)
    page.goto(f"{stack.url}/hub/spawn/bob")
    page.locator("#spawn_form button[type=submit]").first.click()
    page.wait_for_url(re.compile("/hub/spawn-pending/bob"))
    steps = page.get_by_role("list", name=fr("hub.pending.steps"))
    expect(steps.get_by_role("listitem").first).to_be_visible(timeout=20 * SECOND)
    check_page(page)

    page.get_by_role("button", name=fr("hub.pending.cancel")).click()
    dialog = page.get_by_role("dialog", name=fr("hub.pending.cancel_title"))
    check_page(page)
    # what destroys is not what Enter does
    expect(dialog.get_by_role("button", name=fr("hub.pending.cancel_no"))).to_be_focused()
    dialog.get_by_role("button", name=fr("hub.pending.cancel")).click()
    page.wait_for_url(re.compile(r"/hub/spawn/bob|/hub/spawn-pending/bob"), timeout=30 * SECOND)
    page.goto(f"{stack.url}/hub/spawn/bob")
    expect(page.locator("#spawn_form")).to_be_visible(timeout=30 * SECOND)
