"""Journeys 3 and 15, in French and by keyboard alone: the launch form, a secret variable, the same options again."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from checks import check_page, console_errors
from playwright.sync_api import Locator, Page, expect
from session_client import SessionClient
from stack import Stack, eventually

from sardonyx_hub.pages.messages import PageMessages

pytestmark = pytest.mark.timeout(300)

SECOND = 1000
SESSION = "clavier"
SECRET = "m0t-de-passe-du-test"
#: More presses than the form has controls.
PRESSES = 90

t = PageMessages("fr").translate


def tab_to(page: Page, target: Locator) -> Locator:
    """Press Tab until `target` has the focus, as somebody without a mouse does."""
    for _ in range(PRESSES):
        if target.evaluate("(element) => element === document.activeElement"):
            return target
        page.keyboard.press("Tab")
    raise AssertionError(f"{target} is not reached by the Tab key")


def unfold(page: Page, key: str) -> None:
    """Open a section by keyboard."""
    summary = page.locator(f"#section-{key} > summary")
    tab_to(page, summary)
    page.keyboard.press("Enter")
    expect(page.locator(f"#section-{key}")).to_have_attribute("open", "")


def test_launch_by_keyboard_with_a_secret_variable(stack: Stack, sign_in: Callable[..., Page]) -> None:
    bob = stack.person("bob")
    page = sign_in("bob")
    _from_the_catalogue(page, stack)
    page.goto(f"{stack.url}/hub/spawn/bob/{SESSION}?service=jupyter-python")
    summary = page.locator("[data-summary]")
    expect(summary).to_contain_text(f"{t('spawn.script.memory')} ")
    tab_to(page, page.get_by_label(t("form.display_name")))
    page.keyboard.type("Sans souris")
    unfold(page, "resources")
    slider = page.get_by_role("slider", name=t("form.memory.limit"))
    tab_to(page, slider)
    page.keyboard.press("Home")
    expect(summary).to_contain_text("512Mi")
    expect(page.locator("#section-resources > summary")).to_contain_text(t("form.section.changed"))
    unfold(page, "extraEnvVars")
    tab_to(page, page.get_by_label(t("form.environment.name", number=1)))
    page.keyboard.type("MOT_SECRET")
    tab_to(page, page.get_by_label(t("form.environment.value", number=1)))
    page.keyboard.type(SECRET)
    tab_to(page, page.get_by_label(t("form.environment.secret", number=1)))
    page.keyboard.press("Space")
    unfold(page, "tools")
    expect(page.locator("[data-tool=command]")).to_contain_text("MOT_SECRET")
    expect(page.locator("[data-tool=command]")).not_to_contain_text(SECRET)
    check_page(page)
    tab_to(page, page.get_by_role("button", name=t("page.launch"), exact=True))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(rf"/spawn-pending/bob/{SESSION}|/user/bob/{SESSION}/"), timeout=30 * SECOND)
    try:
        eventually(lambda: (bob.server(SESSION) or {}).get("ready"), 90, what="bob's session is ready")
        read = "import os; print(os.environ['MOT_SECRET'])"
        # In a thread: Playwright's own event loop runs in this one.
        with ThreadPoolExecutor(1) as thread:
            shown = thread.submit(SessionClient(bob, SESSION).python, read).result(60)
        assert shown.strip() == SECRET
        model = bob.server(SESSION) or {}
        assert model["user_options"]["options"]["extraEnvVars"][0] == {"name": "MOT_SECRET", "secret": True}
        assert model["user_options"]["options"]["resources"]["limits"]["memory"] == "512Mi"
        # JupyterLab complains in the console when its session ends; that is not the form's.
        page.goto("about:blank")
        bob.end(SESSION)
        console_errors(page)
        page.goto(f"{stack.url}/hub/spawn/bob/{SESSION}")
        expect(page.get_by_text(t("form.again"))).to_be_visible()
        value = page.get_by_label(t("form.environment.value", number=1))
        expect(value).to_have_attribute("placeholder", t("form.environment.kept_placeholder"))
        expect(value).to_have_value("")
        assert SECRET not in page.content()
        check_page(page)
        _delete(page, "Sans souris")
        assert bob.server(SESSION) is None
    finally:
        bob.end(SESSION, remove=True)


def _from_the_catalogue(page: Page, stack: Stack) -> None:
    """Find the service and open its form."""
    page.goto(f"{stack.url}/hub/datalab/catalogue")
    tab_to(page, page.get_by_role("searchbox"))
    page.keyboard.type("jupyter")
    tab_to(page, page.get_by_role("link", name=t("catalogue.launch.named", name="Jupyter Python")))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name=t("page.title"))).to_be_visible()


def _delete(page: Page, name: str) -> None:
    """Delete a session by My services."""
    tab_to(page, page.get_by_role("link", name=t("common.nav.services"), exact=True))
    page.keyboard.press("Enter")
    card = page.get_by_role("article", name=name, exact=True)
    tab_to(page, card.get_by_role("link", name=t("services.delete.of", name=name)))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label(t("services.delete.confirm")))
    page.keyboard.press("Space")
    tab_to(page, page.get_by_role("button", name=t("services.delete.button")))
    page.keyboard.press("Enter")
    expect(page.get_by_text(t("services.done.delete"))).to_be_visible(timeout=60 * SECOND)


def test_link_of_onyxia_fills_in_and_is_refused_beside_the_field(
    stack: Stack, sign_in: Callable[..., Page]
) -> None:
    page = sign_in("bob")
    page.goto(
        f"{stack.url}/hub/spawn?name=«cours»&version=2.3.1&autoLaunch=true&service=jupyter-python"
        "&resources.limits.memory=«900Gi»&git.branch=«dev»&init.personalInit=«https://example.org/init.sh»"
    )
    problems = page.locator("#form-problems")
    expect(problems).to_be_focused()
    expect(page.get_by_label(t("form.display_name"))).to_have_value("cours")
    problems.get_by_role("link").first.press("Enter")
    memory = page.locator("[name='resources.limits.memory']")
    expect(memory).to_be_focused()
    expect(memory).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name=t("form.take_back.of", label=t("form.git.branch"))).press("Enter")
    expect(page.get_by_label(t("form.git.branch"), exact=True)).to_have_value("")
    check_page(page)
    unknown = page.get_by_text("autoLaunch")
    expect(unknown).to_be_visible()
    assert "clavier" not in page.url
    assert stack.person("bob").server("cours") is None
