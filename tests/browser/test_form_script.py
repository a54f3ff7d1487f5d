"""The small script of the launch form, in a real browser: rows, sliders, one press; and the form without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from sardonyx_hub.pages.assets import ASSETS
from sardonyx_spawner.catalogue import Catalogue
from sardonyx_spawner.form import FormRequest, make_context, render_form
from sardonyx_spawner.service import Service

SERVICE = Service.model_validate(
    {
        "id": "lab",
        "name": "Lab",
        "image": {"custom": {"enabled": True, "allow": [".*"]}},
        "resources": {"memory": {"limit": {"default": "2Gi", "max": "8Gi"}}},
    }
)
POSTED = "[...new FormData(document.getElementById('spawn_form')).entries()].filter(([name]) => name.startsWith('extra'))"


@pytest.fixture
def form(browser: Browser) -> Iterator[Page]:
    """The form of one service with its script, all sections open."""
    values = {"extraEnvVars[0].name": ["KEPT"], "extraEnvVars[0].value": ["1"]}
    context = make_context(Catalogue(services=(SERVICE,)), (), FormRequest(values=values))
    button = '<button type="submit" data-busy-label="Launching">Launch</button>'
    html = f'<form id="spawn_form" onsubmit="return false">{render_form(context)}{button}</form>'
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content(html.replace("<details", "<details open"))
    page.add_script_tag(path=Path(ASSETS / "form.js"), type="module")
    yield page
    assert errors == []
    page.close()


def test_rows_are_added_and_removed(form: Page) -> None:
    rows = form.locator(".datalab-row")
    expect(rows).to_have_count(1)
    form.get_by_role("button", name="Add a variable").click()
    form.get_by_role("button", name="Add a variable").click()
    expect(rows).to_have_count(3)
    form.keyboard.type("LAST")
    form.get_by_label("Value of variable 3").fill("a\nb")
    form.get_by_role("button", name="Remove – Variable 2").click()
    expect(rows).to_have_count(2)
    assert form.evaluate(POSTED) == [
        ["extraEnvVars[0].name", "KEPT"],
        ["extraEnvVars[0].value", "1"],
        ["extraEnvVars[2].name", "LAST"],
        ["extraEnvVars[2].value", "a\nb"],
    ]


def test_the_last_row_is_emptied_not_removed(form: Page) -> None:
    form.get_by_role("button", name="Remove – Variable 1").click()
    expect(form.locator(".datalab-row")).to_have_count(1)
    assert [value for _, value in form.evaluate(POSTED)] == ["", ""]


def test_slider_and_text_say_the_same(form: Page) -> None:
    text = form.locator("[name='resources.limits.memory']")
    slider = form.get_by_role("slider", name="Memory, limit")
    before = int(slider.input_value())
    slider.press("ArrowRight")
    expect(text).to_have_value("4Gi")
    text.fill("2100Mi")
    assert int(slider.input_value()) == before
    expect(text).to_have_value("2100Mi")
    text.fill("lots")
    assert int(slider.input_value()) == before


def test_button_is_pressed_once(form: Page) -> None:
    form.get_by_role("button", name="Launch", exact=True).click()
    expect(form.get_by_role("button", name="Launching")).to_be_disabled()


def test_naming_an_image_ticks_its_box(form: Page) -> None:
    form.get_by_label("Container image").fill("example.org/mine")
    expect(form.get_by_label("Use an image of my own")).to_be_checked()
    form.get_by_label("Container image").fill("")
    expect(form.get_by_label("Use an image of my own")).not_to_be_checked()
