"""The script of the launch form, in a real browser without a hub: rows, sliders, changes, command, YAML and link."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from sardonyx_hub.launch_cli import merge_options
from sardonyx_hub.launch_file import read_launch_file
from sardonyx_hub.pages.assets import ASSETS
from sardonyx_hub.pages.messages import PageMessages
from sardonyx_spawner.catalogue import Catalogue
from sardonyx_spawner.form import FormRequest, make_context, read_link, render_form
from sardonyx_spawner.options import options_from_form, validate_options
from sardonyx_spawner.service import Service

SERVICE = Service.model_validate(
    {
        "id": "lab",
        "name": "Lab",
        "image": {
            "versions": [
                {"id": "3.12", "image": "example.org/lab:3.12", "default": True},
                {"id": "3.11", "image": "example.org/lab:3.11"},
            ],
            "custom": {"enabled": True, "allow": [r"example\.org/.*"]},
        },
        "resources": {
            "cpu": {"guaranteed": {"default": "0.5", "max": 2}, "limit": {"default": 1, "max": 4}},
            "memory": {
                "guaranteed": {"default": "1Gi", "max": "4Gi"},
                "limit": {"default": "2Gi", "max": "8Gi"},
            },
            "extended": [{"resource": "nvidia.com/gpu", "name": "GPU", "max": 2}],
        },
        "secrets": {"default": ["course"]},
    }
)
POSTED = """() => [...new FormData(document.getElementById("spawn_form")).entries()]
  .filter(([name]) => name.startsWith("extra"))"""
ORIGIN = "http://datalab.test"
PAGE = """<!DOCTYPE html><html lang="en" class="dl-scripted" data-hub="/hub/" data-bs-theme="light"><head>
<meta charset="utf-8"><title>Form</title>
<link rel="stylesheet" href="/static/datalab.css">
<link rel="stylesheet" href="/static/components.css">
<link rel="stylesheet" href="/static/form.css"></head><body class="dl-body"><main class="dl-main">
<div class="container datalab-page"><h1>Launch</h1><form id="spawn_form" class="launch">{form}
<div class="datalab-actions"><p class="datalab-summary" data-summary></p>
<button type="submit" class="btn btn-primary btn-lg" data-busy-label="Launching">Launch</button></div></form></div></main>
<script type="application/json" id="datalab-messages">{messages}</script>
<script type="module" src="/static/ui/spawn.js"></script></body></html>"""

Opened = Callable[..., Page]


@pytest.fixture
def open_form(browser: Browser) -> Iterator[Opened]:
    """Open the form of one service with its script, all sections unfolded; nothing of it goes over a network."""
    errors: list[str] = []
    pages: list[Page] = []

    def opened(answer: Any = None, **request: Any) -> Page:
        context = make_context(
            Catalogue(services=(SERVICE,)),
            (),
            FormRequest(display_name="", **request),
            secrets=[f"secret-{number}" for number in range(9)] + ["course"],
            quota={"memory": {"limit": 8 * 2**30, "used": 5 * 2**30, "left": 3 * 2**30}},
        )
        messages = json.dumps(PageMessages("en").starting_with(["spawn.script.", "common."]))
        form = render_form(context).replace("<details", "<details open")
        html = PAGE.format(form=form, messages=messages.replace("<", "\\u003c"))

        def serve(route: Route) -> None:
            path = urlsplit(route.request.url).path
            if path == "/hub/spawn":
                route.fulfill(body=html, content_type="text/html")
            elif path.startswith("/hub/api/"):
                status, body = answer(route.request) if answer else (500, {})
                route.fulfill(status=status, body=json.dumps(body), content_type="application/json")
            else:
                file = ASSETS / path.removeprefix("/static/")
                route.fulfill(path=file) if file.is_file() else route.fulfill(status=404)

        page = browser.new_page(viewport={"width": 1280, "height": 900})
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.route(f"{ORIGIN}/**", serve)
        page.goto(f"{ORIGIN}/hub/spawn")
        expect(page.get_by_role("button", name="Copy launch link")).to_be_visible()
        return page

    yield opened
    for page in pages:
        page.close()
    assert errors == []


@pytest.fixture
def form(open_form: Opened) -> Page:
    """A form with one variable."""
    return open_form(values={"extraEnvVars[0].name": ["KEPT"], "extraEnvVars[0].value": ["1"]})


def chosen(page: Page) -> dict[str, Any]:
    """Return the options that posting the form would mean."""
    entries = page.evaluate("() => [...new FormData(document.getElementById('spawn_form')).entries()]")
    fields: dict[str, list[str]] = {}
    for name, value in entries:
        fields.setdefault(name, []).append(value.replace("\r\n", "\n"))
    fields.pop("display_name", None)
    return validate_options(SERVICE, options_from_form(fields)["options"]).options.to_dict()


def fill_in(page: Page) -> None:
    """Choose something of each kind."""
    page.get_by_label("Version", exact=True).select_option("3.11")
    page.get_by_label("Memory, limit").first.fill("2.5Gi")
    page.get_by_label("GPU").fill("1")
    page.get_by_label("Repository").fill("https://example.org/it's.git")
    page.get_by_label("Read only").check()
    page.get_by_label("course").uncheck()
    page.get_by_label("secret-3").check()
    page.get_by_label("secret-4").check()
    page.get_by_label("Arguments").fill('a "b" $HOME #x: y')
    page.get_by_label("Value of variable 1").fill("two\nlines «é» 100%")


class TestRows:
    """Environment variables."""

    def test_are_added_and_removed(self, form: Page) -> None:
        rows = form.locator(".datalab-row")
        expect(rows).to_have_count(1)
        form.get_by_role("button", name="Add a variable").click()
        form.get_by_role("button", name="Add a variable").click()
        expect(rows).to_have_count(3)
        form.keyboard.type("LAST")
        form.get_by_label("Value of variable 3").fill("a\nb")
        form.get_by_label("Variable 3 is secret").check()
        form.get_by_role("button", name="Remove – Variable 2").click()
        expect(rows).to_have_count(2)
        assert form.evaluate(POSTED) == [
            ["extraEnvVars[0].name", "KEPT"],
            ["extraEnvVars[0].value", "1"],
            ["extraEnvVars[2].name", "LAST"],
            ["extraEnvVars[2].value", "a\nb"],
            ["extraEnvVars[2].secret", "true"],
        ]

    def test_the_last_one_is_emptied_not_removed(self, form: Page) -> None:
        form.get_by_role("button", name="Remove – Variable 1").click()
        expect(form.locator(".datalab-row")).to_have_count(1)
        assert [value for _, value in form.evaluate(POSTED)] == ["", ""]

    def test_a_secret_value_cannot_be_read_over_a_shoulder(self, form: Page) -> None:
        value = form.get_by_label("Value of variable 1")
        expect(value).to_have_css("-webkit-text-security", "none")
        form.get_by_label("Variable 1 is secret").check()
        expect(value).to_have_css("-webkit-text-security", "disc")


class TestSliders:
    """Guaranteed amount and limit, by slider, by keyboard and typed."""

    def test_slider_and_text_say_the_same(self, form: Page) -> None:
        text = form.locator("[name='resources.limits.memory']")
        slider = form.get_by_role("slider", name="Memory, limit")
        before = int(slider.input_value())
        slider.press("ArrowRight")
        expect(text).to_have_value("4Gi")
        expect(slider).to_have_attribute("aria-valuetext", "4Gi")
        text.fill("2100Mi")
        assert int(slider.input_value()) == before
        expect(text).to_have_value("2100Mi")
        text.fill("lots")
        assert int(slider.input_value()) == before
        expect(form.get_by_text("Not a quantity, such as")).to_be_visible()

    def test_guaranteed_is_never_above_the_limit(self, form: Page) -> None:
        low, high = (form.locator(f"[name='resources.{kind}.memory']") for kind in ("requests", "limits"))
        guaranteed = form.get_by_role("slider", name="Memory, guaranteed")
        for _ in range(4):
            guaranteed.press("ArrowRight")
        expect(low).to_have_value("4Gi")
        expect(high).to_have_value("4Gi")
        form.get_by_role("slider", name="Memory, limit").press("Home")
        expect(high).to_have_value("128Mi")
        expect(low).to_have_value("128Mi")
        low.fill("3Gi")
        low.press("Tab")
        expect(high).to_have_value("3Gi")

    def test_quota_is_said_at_once(self, form: Page) -> None:
        expect(form.get_by_text("Your quota leaves 3Gi of 8Gi of memory.")).to_be_visible()
        form.locator("[name='resources.limits.memory']").fill("4Gi")
        expect(form.get_by_text("More than your quota leaves (3Gi).")).to_be_visible()


class TestChanges:
    """What is not the default is marked, and goes back by one press."""

    def test_marked_and_taken_back(self, form: Page) -> None:
        branch = form.get_by_label("Branch")
        field = form.locator("[data-field='git.branch']")
        expect(field.get_by_text("changed")).to_be_hidden()
        branch.fill("dev")
        expect(field.get_by_text("changed")).to_be_visible()
        field.get_by_role("button", name="Reset – Branch").click()
        expect(branch).to_have_value("")
        expect(branch).to_be_focused()
        expect(field.get_by_text("changed")).to_be_hidden()

    def test_a_quantity_written_otherwise_is_no_change(self, form: Page) -> None:
        form.locator("[name='resources.limits.memory']").fill("2048Mi")
        expect(form.locator("[data-field='resources.limits.memory']").get_by_text("changed")).to_be_hidden()

    def test_list_of_a_link(self, open_form: Opened) -> None:
        page = open_form(
            values={"git.branch": ["dev"], "extraEnvVars[0].name": ["A"], "extraEnvVars[0].value": ["1"]},
            from_link=True,
        )
        listed = page.locator(".datalab-filled li")
        expect(listed).to_have_count(2)
        page.get_by_role("button", name="Reset to the default: Branch").click()
        page.get_by_role("button", name="Reset to the default: Name of variable 1").click()
        expect(listed).to_have_count(0)
        assert chosen(page) == validate_options(SERVICE, {}).options.to_dict()

    def test_long_list_is_searched(self, form: Page) -> None:
        form.get_by_label("Filter the list").fill("cour")
        expect(form.get_by_label("secret-3")).to_be_hidden()
        expect(form.get_by_label("course")).to_be_visible()

    def test_naming_an_image_ticks_its_box(self, form: Page) -> None:
        form.get_by_label("Container image").fill("example.org/mine")
        expect(form.get_by_label("Use an image of my own")).to_be_checked()
        form.get_by_label("Container image").fill("")
        expect(form.get_by_label("Use an image of my own")).not_to_be_checked()
        expect(form.get_by_text("Allowed: all whose name begins with example.org/.")).to_be_visible()

    def test_button_is_pressed_once_and_says_what_of(self, form: Page) -> None:
        expect(form.locator("[data-summary]")).to_have_text("LabCPU 1Memory 2GiDisk 10Gi")
        form.evaluate("() => document.forms[0].addEventListener('submit', (event) => event.preventDefault())")
        form.get_by_role("button", name="Launch", exact=True).click()
        expect(form.get_by_role("button", name="Launching")).to_be_disabled()


class TestWritten:
    """The options as command, YAML and link mean what the form would post."""

    def test_command_yaml_and_link(self, form: Page) -> None:
        fill_in(form)
        wanted = chosen(form)
        assert wanted["vault"]["secret"] == ["secret-3", "secret-4"]
        words = shlex.split(form.locator("[data-tool='command']").inner_text().replace("\\\n", ""))
        assert words[:5] == ["sardonyx", "launch", "lab", "--url", f"{ORIGIN}/hub/"]
        given = [word for before, word in pairwise(words) if before == "--set"]
        assert validate_options(SERVICE, merge_options({}, given)).options.to_dict() == wanted
        read = read_launch_file(form.get_by_label("Options in YAML").input_value())
        assert read.service == "lab"
        assert validate_options(SERVICE, read.options).options.to_dict() == wanted
        form.evaluate("() => { navigator.clipboard ??= {}; }")
        form.evaluate(
            "() => { document.execCommand = () => { window.copied = document.activeElement.value; return true; }; }"
        )
        form.get_by_role("button", name="Copy launch link").click()
        form.wait_for_function("() => window.copied")
        query = parse_qs(urlsplit(form.evaluate("() => window.copied")).query, keep_blank_values=True)
        assert query.pop("service") == ["lab"]
        values, unknown = read_link(query)
        assert unknown == []
        assert validate_options(SERVICE, options_from_form(values)["options"]).options.to_dict() == wanted

    def test_secret_values_are_in_none_of_them(self, form: Page) -> None:
        form.get_by_label("Value of variable 1").fill("hunter2")
        form.get_by_label("Variable 1 is secret").check()
        for text in (
            form.locator("[data-tool='command']").inner_text(),
            form.get_by_label("Options in YAML").input_value(),
        ):
            assert "hunter2" not in text
            assert "KEPT" in text
            assert "secret" in text

    def test_pasted_yaml_fills_in(self, open_form: Opened) -> None:
        asked: list[Any] = []

        def answer(request: Any) -> tuple[int, Any]:
            asked.append(request.post_data_json)
            values = {
                "git.branch": ["pasted"],
                "vault.secret": ["secret-1"],
                "extraEnvVars[0].name": ["X"],
                "extraEnvVars[0].secret": ["true"],
                "extraEnvVars[1].name": ["Y"],
                "extraEnvVars[1].value": ["2"],
            }
            problems = [{"field": "git.brunch", "message": "There is no such launch option."}]
            return 200, {"service": "lab", "name": "Mine", "values": values, "problems": problems}

        page = open_form(answer, values={"git.repository": ["https://example.org/x.git"]})
        page.get_by_label("Options in YAML").fill("git: {branch: pasted}")
        page.get_by_role("button", name="Fill in the form from this").click()
        expect(page.get_by_label("Branch")).to_have_value("pasted")
        expect(page.get_by_text("git.brunch – There is no such launch option.")).to_be_visible()
        assert asked == [{"service": "lab", "yaml": "git: {branch: pasted}"}]
        assert chosen(page)["git"]["repository"] == "", "what the text does not say is the default"
        assert chosen(page)["vault"]["secret"] == ["secret-1"]
        assert chosen(page)["extraEnvVars"] == [{"name": "X", "secret": True}, {"name": "Y", "value": "2"}]
        expect(page.get_by_label("Name of the session")).to_have_value("Mine")

    def test_saved_as_configuration(self, open_form: Opened) -> None:
        asked: list[Any] = []

        def answer(request: Any) -> tuple[int, Any]:
            asked.append(request.post_data_json)
            return (
                (409, {"message": "You have one of that name.", "code": "name"})
                if len(asked) == 1
                else (201, {})
            )

        page = open_form(answer, values={"git.branch": ["dev"]})
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("Give the configuration a name.")).to_be_visible()
        page.get_by_label("Save as configuration").fill("Course")
        page.get_by_label("Save as configuration").press("Enter")
        expect(page.get_by_text("You have one of that name.")).to_be_visible()
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("“Course” is saved.")).to_be_visible()
        assert asked[-1] == {"name": "Course", "service": "lab", "options": {"git": {"branch": "dev"}}}
