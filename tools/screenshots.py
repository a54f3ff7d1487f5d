"""Takes pictures of the pages of a datalab that runs: in both languages, wide and narrow, light and dark.

``SARDONYX_DEMO_PASSWORD=... tools/screenshots.py http://127.0.0.1:8000 FOLDER`` takes them all; ``--pages login,catalogue``,
``--languages fr``, ``--widths 375`` and ``--themes dark`` choose. A page may also be a path: ``--pages /hub/spawn/alice``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, Page, StorageState, sync_playwright

#: Path by name; one whose name ends with "!" is seen without being signed in.
PAGES: Mapping[str, str] = {
    "login!": "/hub/login",
    "catalogue": "/hub/datalab/catalogue",
    "launch": "/hub/spawn",
    "services": "/hub/datalab/services",
    "secrets": "/hub/datalab/secrets",
    "account": "/hub/datalab/account",
    "admin": "/hub/datalab/admin",
    "jupyterhub-admin": "/hub/admin",
    "not-found": "/hub/no-such-page",
}
#: Pages of administrators.
ADMIN_PAGES = frozenset({"admin", "jupyterhub-admin"})
LOCALES = {"fr": "fr-FR", "en": "en-GB"}
WIDTHS = {1280: 900, 375: 800}
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--hide-scrollbars",
]


@dataclass(frozen=True)
class Picture:
    """One picture to take."""

    name: str
    path: str
    language: str
    width: int
    theme: str
    person: str

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.name}-{self.language}-{self.width}-{self.theme}.png"


def pictures(options: argparse.Namespace) -> Iterator[Picture]:
    """Return what to take."""
    by_name = {name.rstrip("!"): (name, path) for name, path in PAGES.items()}
    wanted = options.pages.split(",") if options.pages else list(by_name)
    for page, language, width, theme in product(
        wanted,
        options.languages.split(","),
        map(int, options.widths.split(",")),
        options.themes.split(","),
    ):
        known, path = by_name.get(page, (page, page))
        name = re.sub(r"[^a-z0-9]+", "-", page.removeprefix("/hub/").lower()).strip("-")
        person = "" if known.endswith("!") else ("admin" if page in ADMIN_PAGES else options.person)
        yield Picture(name, path, language, width, theme, person)


def sign_in(page: Page, url: str, name: str, password: str) -> StorageState:
    """Sign in by the form, and return the cookies."""
    page.goto(f"{url}/hub/login")
    page.locator("[name=username]").fill(name)
    page.locator("[name=password]").fill(password)
    page.locator("[name=password]").press("Enter")
    page.wait_for_url(re.compile(r"^(?!.*/login)"))
    return page.context.storage_state()


def take(browser: Browser, url: str, one: Picture, state: StorageState | None, folder: Path) -> None:
    """Take one picture of a whole page."""
    context = browser.new_context(
        viewport={"width": one.width, "height": WIDTHS.get(one.width, 900)},
        locale=LOCALES[one.language],
        color_scheme="dark" if one.theme == "dark" else "light",
        reduced_motion="reduce",
        storage_state=state,
    )
    page = context.new_page()
    page.goto(url + one.path)
    page.wait_for_load_state("load")
    page.wait_for_timeout(300)  # what a page asks for after it was loaded; live pages never are idle
    page.screenshot(path=folder / one.file, full_page=True, caret="initial")
    context.close()


def main() -> int:
    """Take the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", default="")
    parser.add_argument("--languages", default="fr,en")
    parser.add_argument("--widths", default="1280,375")
    parser.add_argument("--themes", default="light,dark")
    parser.add_argument("--person", default="alice")
    options = parser.parse_args()
    password = os.environ.get("SARDONYX_DEMO_PASSWORD", "")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not password or chromium is None:
        sys.stderr.write("SARDONYX_DEMO_PASSWORD is not set, or Chromium is not installed\n")
        return 2
    options.folder.mkdir(parents=True, exist_ok=True)
    states: dict[str, StorageState] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
        for one in pictures(options):
            if one.person and one.person not in states:
                states[one.person] = sign_in(browser.new_page(), options.url, one.person, password)
            take(browser, options.url, one, states.get(one.person), options.folder)
            sys.stdout.write(f"{options.folder / one.file}\n")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
