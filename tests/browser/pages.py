"""The pages as a person sees and uses them."""

from __future__ import annotations

import re
import time
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

SECOND = 1000  # Playwright counts in milliseconds
#: Ends what a terminal prints for a line; pasted in two parts, so that the echo of the line is not taken for it.
_END = "done-with-line"
_ROWS = ".xterm-accessibility-tree"
_PASTE = """(terminal, text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  terminal.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
}"""
_SET_SCREEN_READER = """async () => {
  const {baseUrl} = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  const token = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
  const answer = await fetch(`${baseUrl}lab/api/settings/@jupyterlab/terminal-extension:plugin`, {
    method: "PUT",
    headers: {"Content-Type": "application/json", "X-XSRFToken": token ? token[1] : ""},
    body: JSON.stringify({raw: JSON.stringify({screenReaderMode: true})}),
  });
  return answer.status;
}"""


class SignIn:
    """The hub's sign-in page."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def sign_in(self, name: str, password: str) -> None:
        """Open the site as a stranger does, and sign in."""
        self.page.goto(self.url)
        self.page.get_by_label(re.compile("user ?name", re.I)).fill(name)
        self.page.get_by_label(re.compile("password", re.I)).fill(password)
        self.page.get_by_role("button", name=re.compile("sign in", re.I)).click()
        expect(self.page.get_by_label(re.compile("password", re.I))).to_have_count(0, timeout=30 * SECOND)


class LaunchForm:
    """The launch form, from choosing a service to JupyterLab."""

    def __init__(self, page: Page, url: str, name: str) -> None:
        self.page = page
        self.url = url
        self.name = name

    def open(self) -> None:
        """Open the form of the person's default session."""
        self.page.goto(f"{self.url}/hub/spawn/{self.name}")
        expect(self.page.locator(".datalab-form")).to_be_visible(timeout=30 * SECOND)

    def choose_service(self, name: str) -> None:
        """Pick a service where there are several; the form of the only one is shown at once."""
        folded = self.page.locator(".datalab-picker-box:not([open]) > summary")
        if folded.count():
            folded.click()
        links = self.page.locator(".datalab-services a", has_text=name)
        if links.count():
            links.first.click()
        expect(self.page.locator(".datalab-heading")).to_contain_text(name)

    def section(self, title: str) -> Locator:
        """Open a section of the form."""
        section = self.page.locator(
            ".datalab-section", has=self.page.locator("summary", has_text=title)
        ).first
        if section.get_attribute("open") is None:
            section.locator("summary").first.click()
        return section

    def choose_secret(self, name: str) -> None:
        """Tick one of the person's secrets."""
        self.section("Secrets").get_by_label(re.compile(rf"^\s*{re.escape(name)}\b")).check()

    def launch(self) -> None:
        """Press the button."""
        self.page.get_by_role("button", name=re.compile("launch|start", re.I)).click()

    def wait_for_lab(self, limit: float = 120) -> Lab:
        """Wait through the page that shows the progress until JupyterLab is there."""
        self.page.wait_for_url(re.compile(rf"/user/{self.name}/[^/]*/?lab"), timeout=limit * SECOND)
        lab = Lab(self.page)
        lab.wait(limit)
        return lab


class Lab:
    """JupyterLab."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wait(self, limit: float = 60) -> None:
        """Wait until it can be used."""
        expect(self.page.locator("#jp-main-dock-panel")).to_be_visible(timeout=limit * SECOND)
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0, timeout=limit * SECOND)

    def _from_launcher(self, card: str) -> None:
        # a workspace that was restored may have launchers behind other tabs
        launcher = self.page.locator(".jp-Launcher").locator("visible=true")
        if not launcher.count():
            self.page.get_by_role("button", name=re.compile("new launcher", re.I)).first.click()
        expect(launcher).to_be_visible(timeout=30 * SECOND)
        launcher.locator(
            f".jp-LauncherCard[title*='{card}'], .jp-LauncherCard:has-text('{card}')"
        ).first.click()

    def new_notebook(self) -> Notebook:
        """Make a notebook with the Python kernel."""
        self._from_launcher("Python 3")
        notebook = Notebook(self.page)
        notebook.wait()
        return notebook

    def use_screen_reader(self, *, reload: bool = True) -> None:
        """Set Lab's option for screen readers: terminals then also have their text, not only a drawing.

        Lab reads it when it is loaded: without `reload`, the next time.
        """
        status = self.page.evaluate(_SET_SCREEN_READER)
        assert status == 204, f"the setting was not saved: {status}"
        if reload:
            self.page.reload()
            self.wait()

    def new_terminal(self) -> Terminal:
        """Open a terminal; :meth:`use_screen_reader` was called before."""
        self._from_launcher("Terminal")
        terminal = Terminal(self.page)
        terminal.wait()
        return terminal


class Notebook:
    """The visible notebook."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)").last
        self.count = 0

    def wait(self, limit: float = 60) -> None:
        """Wait until it has a cell and a kernel that is idle."""
        expect(self.panel.locator(".jp-CodeCell").first).to_be_visible(timeout=limit * SECOND)
        # the notebook's own sign says "idle" before the kernel is connected, and a cell run then is lost
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=limit * SECOND)

    def run(self, code: str, limit: float = 60) -> str:
        """Type `code` into the last cell, run it, and return what stands below it (also an error's text)."""
        cell = self.panel.locator(".jp-CodeCell").last
        cell.locator(".cm-content").click()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")
        self.count += 1
        prompt = self.page.locator(".jp-InputPrompt", has_text=f"[{self.count}]:")
        done = self.panel.locator(".jp-CodeCell", has=prompt)
        expect(done).to_have_count(1, timeout=limit * SECOND)
        return "\n".join(done.locator(".jp-OutputArea-output").all_inner_texts()).strip()


class Terminal:
    """The visible terminal."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.panel = page.locator(".jp-Terminal").last
        self.lines = 0

    def wait(self, limit: float = 60) -> None:
        """Wait for the prompt."""
        expect(self.panel.locator(_ROWS)).to_contain_text(re.compile(r"[$#] "), timeout=limit * SECOND)

    def screen(self) -> str:
        """Return the text on the screen; rows that were wrapped are joined only by the reader."""
        rows = self.panel.locator(f"{_ROWS} > div").all_inner_texts()
        return "\n".join(row.replace("\xa0", " ").rstrip() for row in rows)

    def run(self, line: str, limit: float = 60) -> str:
        """Paste a line, press Enter, and return what the screen then shows before the next prompt."""
        self.lines += 1
        end = f"{_END}-{self.lines}"
        self.panel.locator(".xterm-helper-textarea").focus()
        # pasted: each key pressed would be a message to the browser and one to the session
        self.panel.locator(".xterm-helper-textarea").evaluate(
            _PASTE, f"clear; {line}; echo {end[:4]}''{end[4:]}"
        )
        self.page.keyboard.press("Enter")
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            rows = self.screen().split("\n")
            if end in rows:
                return "\n".join(rows[: rows.index(end)]).strip()
            self.page.wait_for_timeout(100)
        raise AssertionError(f"no end of `{line}` within {limit:.0f} s; the screen shows:\n{self.screen()}")


def screenshot(page: Page, folder: Path, name: str) -> None:
    """Keep a picture of the page for people who look at the results."""
    folder.mkdir(parents=True, exist_ok=True)
    # with the caret as it is: to hide it Playwright adds a <style>, which the pages' policy refuses
    page.screenshot(path=folder / f"{name}.png", caret="initial")
