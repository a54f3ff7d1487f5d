"""A real Chromium; each person has a browser context (cookies) of their own."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

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
