"""What every page has to be: usable by all (axe-core), without errors in the console, no wider than a telephone."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from playwright.sync_api import ConsoleMessage, Page

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
#: Width of a small telephone, in CSS pixels.
NARROW = 375
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_RUN_AXE = """async (rules) => {
  const found = await window.axe.run(document, {runOnly: rules, resultTypes: ["violations"]});
  return found.violations.map(({id, impact, help, nodes}) =>
    ({id, impact, help, nodes: nodes.map((node) => `${node.target.join(" ")}: ${node.failureSummary}`)}));
}"""
_WIDER = """() => [...document.querySelectorAll("body *")]
  .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((one) => `${one.tagName.toLowerCase()}.${one.className}`).slice(-5)"""

_errors: WeakKeyDictionary[Page, list[str]] = WeakKeyDictionary()


def watch(page: Page) -> None:
    """Note the errors of a page's console from now on; violations of the content security policy are among them."""
    errors = _errors.setdefault(page, [])

    def noted(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"{message.text} ({message.location.get('url', '')})")

    page.on("console", noted)
    page.on("pageerror", lambda error: errors.append(str(error)))


def console_errors(page: Page, ignore: str = "") -> list[str]:
    """Return and forget the errors since the last call, without those that match `ignore`."""
    noted = list(_errors.get(page, []))
    _errors.get(page, []).clear()
    return [error for error in noted if not (ignore and re.search(ignore, error))]


@cache
def _axe() -> str:
    return AXE.read_text(encoding="utf-8")


def violations(page: Page) -> list[dict[str, Any]]:
    """Return what axe-core finds serious or critical; movement is waited for, half-faded text has no contrast."""
    page.evaluate(
        "() => Promise.all(document.getAnimations().filter((one) => one.effect.getTiming().iterations < 9)"
        ".map((one) => one.finished.catch(() => 0)))"
    )
    if not page.evaluate("() => 'axe' in window"):
        # by the debugger's protocol: the page's own policy would refuse it as a script
        page.evaluate(_axe())
    found: list[dict[str, Any]] = page.evaluate(_RUN_AXE, _RULES)
    return [one for one in found if one["impact"] in ("serious", "critical")]


def overflow(page: Page) -> list[str]:
    """Return what stands out to the right at 375 px of width; nothing if the page does not scroll sideways."""
    before = page.viewport_size
    page.set_viewport_size({"width": NARROW, "height": 800})
    try:
        if page.evaluate(
            "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        ):
            return []
        return list(page.evaluate(_WIDER)) or ["the page"]
    finally:
        if before is not None:
            page.set_viewport_size(before)


def check_page(page: Page, *, ignore: str = "") -> None:
    """Check a page as it stands; `ignore` is a pattern of console errors that the test provoked."""
    errors = console_errors(page, ignore)
    assert not errors, errors
    found = violations(page)
    assert not found, found
    wider = overflow(page)
    assert not wider, wider
    # axe-core tries style elements of its own, which the page's policy refuses: nothing that a person would have met
    console_errors(page)
