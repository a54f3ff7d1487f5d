"""The launch form filled in by a link, Onyxia's too, and what it shows of secret variables, quota and images."""

from __future__ import annotations

from typing import Any

import pytest
from html_form import Html
from test_form import FULL, filled, make, page

from sardonyx_spawner.errors import OptionProblem
from sardonyx_spawner.form import FormRequest, read_link, render_form
from sardonyx_spawner.messages import Messages

#: As Onyxia's "copy launch link" writes it (https://docs.onyxia.sh), decoded.
ONYXIA = {
    "name": ["«cours»"],
    "version": ["2.3.1"],
    "s3": ["region-ec97c721"],
    "autoLaunch": ["true"],
    "service.image.version": ["«example.org/lab:3.11»"],
    "resources.requests.memory": ["«2Gi»"],
    "persistence.size": ["«20Gi»"],
    "git.repository": ["«https://github.com/owner/name.git»"],
    "init.personalInit": ["«https://example.org/other.sh»"],
    "init.personalInitArgs": ["«a b»"],
    "vault.secret": ["«other»"],
    "extraEnvVars[0].name": ["«GREETING»"],
    "extraEnvVars[0].value": ["«bonjour»"],
    "kubernetes.role": ["«admin»"],
}


#: A variable that is marked secret, as a form posts it.
ROW = {
    "extraEnvVars[0].name": ["A"],
    "extraEnvVars[0].value": ["hunter2"],
    "extraEnvVars[0].secret": ["true"],
}


def linked(query: dict[str, list[str]], **changes: Any) -> Html:
    """Return the form that a link's query opens."""
    values, unknown = read_link(query)
    return page(request=FormRequest(values=values, unknown=unknown, from_link=True), **changes)


class TestLink:
    """A link fills in, is checked, and every field it changed can be put back."""

    def test_onyxias_link(self) -> None:
        html = linked({name: texts for name, texts in ONYXIA.items() if name != "name"})
        sent = html.posted()
        assert sent["service.image.version"] == ["3.11"]
        assert sent["resources.requests.memory"] == ["2Gi"]
        assert sent["persistence.size"] == ["20Gi"]
        assert sent["vault.secret"] == ["", "other"]
        assert sent["extraEnvVars[0].value"] == ["bonjour"]
        listed = [one.attributes["data-filled"] for one in html.elements if "data-filled" in one.attributes]
        assert listed == [
            "service.image.version",
            "resources.requests.memory",
            "persistence.size",
            "git.repository",
            "vault.secret",
            "init.personalInit",
            "init.personalInitArgs",
            "extraEnvVars[0].name",
        ]
        (box,) = [one for one in html.all("div") if "datalab-link" in one.attributes.get("class", "")]
        assert "no meaning here: autoLaunch, s3, version." in box.text
        assert "kubernetes.role" in box.text

    def test_each_changed_field_is_marked_and_goes_to_its_control(self) -> None:
        html = linked(ONYXIA)
        for one in html.all("a", class_="alert-link"):
            html.by_id(one.attributes["href"][1:])
        marked = [
            one.inside("div")
            for one in html.elements
            if "data-changed" in one.attributes and "hidden" not in one.attributes
        ]
        assert len(marked) == 7

    @pytest.mark.parametrize(
        ("name", "value", "key"),
        [
            ("resources.limits.memory", "900Gi", "option.out_of_range"),
            ("resources.limits.cpu", "lots", "option.not_cpu"),
            ("git.repository", "https://me:ghp_x@example.org/a.git", "option.git_password"),
            ("init.personalInit", "javascript:alert(1)", "option.not_an_address"),
            ("extraEnvVars[0].name", "LD_PRELOAD", "envname.programs"),
            ("service.image.version", "2.7", "option.not_a_choice"),
        ],
    )
    def test_what_is_not_allowed_is_said_beside_the_field(self, name: str, value: str, key: str) -> None:
        context = make(request=FormRequest(values={name: [value]}, from_link=True))
        (problem,) = context.request.problems
        assert (problem.path, problem.key) == (name, key)
        text = Messages("en").translate(key, **problem.params)
        assert text in Html(render_form(context)).beside(name)

    def test_what_a_form_holds_is_not_checked_before_it_is_posted(self) -> None:
        assert make(request=FormRequest(values={"git.branch": ["-x"]})).request.problems == ()

    def test_unknown_is_told_once(self) -> None:
        context = make(request=FormRequest(values={"git.nonsense": ["1"]}, from_link=True))
        assert list(context.request.problems) == []
        assert "git.nonsense" in render_form(context)


class TestSecretVariables:
    """The value of a variable that is marked secret is in no form."""

    def test_a_link_that_carries_one_says_to_type_it(self) -> None:
        html = linked({name: [f"«{text}»" for text in texts] for name, texts in ROW.items()})
        assert html.posted()["extraEnvVars[0].value"] == [""]
        assert "Links never carry secret values" in html.beside("extraEnvVars[0].value")

    @pytest.mark.parametrize("mark", ["true", "on", "TRUE"])
    @pytest.mark.parametrize("from_link", [True, False])
    def test_typed_value_does_not_come_back(self, mark: str, from_link: bool) -> None:
        html = filled({**ROW, "extraEnvVars[0].secret": [mark]}, from_link=from_link)
        assert "hunter2" not in html.source
        assert html.posted()["extraEnvVars[0].secret"] == ["true"]

    def test_one_that_is_kept_says_so(self) -> None:
        saved = {"service": "full", "options": {"extraEnvVars": [{"name": "A", "secret": True}]}}
        html = page(saved=saved, kept=frozenset({"A"}))
        assert html.control("extraEnvVars[0].value").attributes["placeholder"] == "kept, type to replace"
        assert "A value is kept" in html.beside("extraEnvVars[0].value")

    def test_a_new_session_keeps_nothing(self) -> None:
        request = FormRequest(values=ROW, new_session=True)
        html = page(request=request, kept=frozenset({"A"}))
        assert "kept, type" not in html.source
        html = page(request=FormRequest(values=ROW, own_options=False), kept=frozenset({"A"}))
        assert "kept, type" not in html.source

    def test_what_is_wrong_stands_beside_it(self) -> None:
        problem = OptionProblem("extraEnvVars[0].value", "option.secret_missing")
        html = filled(ROW, problems=[problem])
        assert "Type the value" in html.beside("extraEnvVars[0].value")


class TestWords:
    """What people are told beside the controls."""

    def test_allowed_images_are_in_words(self) -> None:
        assert "Allowed: all whose name begins with example.org/." in page().beside(
            "service.image.custom.version"
        )

    def test_quota_is_said_and_known_to_the_script(self) -> None:
        quota = {"memory": {"limit": 2**33, "used": 0, "left": 2**32}, "cpu": {"limit": None, "left": None}}
        html = page(quota=quota)
        assert "Your quota leaves 4Gi of 8Gi of memory." in html.by_id("section-resources").text
        assert html.control("resources.limits.memory").attributes["data-left"] == "4Gi"
        assert "data-left" not in html.control("resources.limits.cpu").attributes

    def test_repositories_of_before_are_suggested(self) -> None:
        known = {"https://example.org/<a>.git": ["main", "dev"], "https://example.org/b.git": []}
        html = page(known=known)
        lists = {one.attributes["id"]: one for one in html.all("datalist")}
        offered = {
            name: [one.attributes["value"] for one in html.all("option") if one.inside("datalist") is found]
            for name, found in lists.items()
        }
        assert offered[html.control("git.repository").attributes["list"]] == list(known)
        assert offered[html.control("git.branch").attributes["list"]] == ["main", "dev"]

    def test_options_of_the_last_launch_are_said_to_be_that(self) -> None:
        saved = {"service": "full", "options": {"git": {"branch": "dev"}}}
        assert "options of the last launch" in page(saved=saved).source
        assert "options of the last launch" not in page().source

    def test_defaults_are_in_the_page_for_the_script(self) -> None:
        defaults = {
            one.attributes["data-field"]: one.attributes["data-default"]
            for one in page().elements
            if "data-field" in one.attributes
        }
        assert defaults["git.branch"] == '["main"]'
        assert defaults["vault.secret"] == '["course"]'
        assert defaults["vault.enabled"] == '["true"]'
        assert set(defaults) >= {"resources.limits.memory", "s3.access", 'resources.limits."nvidia.com/gpu"'}

    def test_tools_post_nothing(self) -> None:
        assert not [name for name in page(FULL).posted() if "tool" in name]
