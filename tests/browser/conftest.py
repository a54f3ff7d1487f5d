"""A real Chromium; each person has a browser context (cookies) of their own."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from checks import watch
from playwright.sync_api import Browser, BrowserContext, Error, Page, StorageState, sync_playwright
from stack import Person, Stack

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-3d-apis",  # terminals then draw text, which a test can read, not pixels
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
RESULTS = Path(__file__).parents[2] / "test-results"
_windows: list[Page] = []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium from Debian."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "Chromium is not installed (apt-get install chromium)"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def screenshots(results: Path) -> Path:
    """The folder of pictures."""
    folder = results / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def new_window(browser: Browser) -> Iterator[Callable[[], Page]]:
    """Open a window of another person: with cookies of its own."""
    contexts: list[BrowserContext] = []

    def opened() -> Page:
        context = browser.new_context(viewport={"width": 1400, "height": 1000}, locale="en-GB")
        contexts.append(context)
        page = context.new_page()
        _windows.append(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    _windows.clear()


_LOCALES = {"fr": "fr-FR", "en": "en-GB"}


@pytest.fixture(scope="session")
def signed_in(stack: Stack) -> Callable[[str], StorageState]:
    """Return the cookies of a person who has signed in, once for all tests."""
    kept: dict[str, StorageState] = {}

    def state(name: str) -> StorageState:
        if name not in kept:
            kept[name] = {"cookies": cookies_of(stack.person(name)), "origins": []}
        return kept[name]

    return state


def cookies_of(person: Person) -> list[Any]:
    """Return a person's cookies as a browser has them."""
    jar = person.http.cookies.jar
    return [
        {"name": one.name, "value": one.value or "", "domain": "127.0.0.1", "path": one.path} for one in jar
    ]


@pytest.fixture
def sign_in(browser: Browser, signed_in: Callable[[str], StorageState]) -> Iterator[Callable[..., Page]]:
    """Open windows of people who have signed in: ``sign_in("alice", language="fr", dark=False)``.

    The person's own preferences are those of the browser; no test has to undo what another chose. Errors in the console
    are noted for `checks.check_page`.
    """
    contexts: list[BrowserContext] = []

    def opened(name: str, language: str = "fr", *, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": 1280, "height": 900},
            locale=_LOCALES[language],
            color_scheme="dark" if dark else "light",
            storage_state=signed_in(name) if name else None,
        )
        contexts.append(context)
        page = context.new_page()
        _windows.append(page)
        watch(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    _windows[:] = [page for page in _windows if not page.is_closed()]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep a picture of every window when a test, or what it needs, fails."""
    report = yield
    if report.failed and report.when != "teardown":
        folder = RESULTS / "screenshots"
        folder.mkdir(parents=True, exist_ok=True)
        for number, page in enumerate(_windows):
            with contextlib.suppress(Error):
                page.screenshot(path=folder / f"failed-{re.sub(r'[^a-z0-9]+', '-', item.name)}-{number}.png")
    return report
