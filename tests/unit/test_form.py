"""The launch form's HTML: what it shows, what it would send, what nobody can smuggle into it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from html_form import Html

from sardonyx_spawner.catalogue import Catalogue
from sardonyx_spawner.errors import LaunchOptionsError, OptionProblem
from sardonyx_spawner.form import FormContext, FormRequest, make_context, read_link, render_form
from sardonyx_spawner.messages import LANGUAGES, Messages
from sardonyx_spawner.options import options_from_form, parse_options, validate_options
from sardonyx_spawner.service import Service

FULL: dict[str, Any] = {
    "id": "full",
    "name": {"en": "Full", "fr": "Complet"},
    "description": "All of it",
    "readme": "Long",
    "links": [{"name": "Docs", "url": "https://example.org/docs"}],
    "image": {
        "versions": [
            {"id": "3.12", "image": "example.org/lab:3.12", "default": True},
            {"id": "3.11", "name": "Python 3.11", "image": "example.org/lab:3.11"},
        ],
        "custom": {"enabled": True, "allow": [r"example\.org/.*"]},
    },
    "resources": {
        "cpu": {"guaranteed": {"default": "0.1", "max": 2}, "limit": {"default": 2, "max": 4}},
        "memory": {"guaranteed": {"default": "1Gi", "max": "4Gi"}, "limit": {"default": "2Gi", "max": "8Gi"}},
        "extended": [{"resource": "nvidia.com/gpu", "name": "GPU", "max": 2}],
    },
    "git": {"repository": "https://example.org/course.git", "branch": "main"},
    "secrets": {"default": ["course"]},
    "vault_token": {"allowed": True},
    "init": {"personalInit": "https://example.org/init.sh"},
    "local": {},
    "profile_options": {
        "flavour": {
            "display_name": "Flavour",
            "choices": {"a": {"display_name": "A"}, "b": {"display_name": "B", "default": True}},
            "unlisted_choice": {"enabled": True},
        }
    },
    "kubespawner_override": {"priority_class_name": "high"},
}
#: Onyxia's paths, as the design fixes them: launch links rely on the names of the controls.
NAMES = {
    "service.image.version",
    "service.image.custom.enabled",
    "service.image.custom.version",
    "profileOptions.flavour",
    "profileOptions.flavour--unlisted-choice",
    "resources.requests.cpu",
    "resources.limits.cpu",
    "resources.requests.memory",
    "resources.limits.memory",
    r"resources.limits.nvidia\.com/gpu",
    "persistence.enabled",
    "persistence.size",
    "git.enabled",
    "git.repository",
    "git.branch",
    "vault.enabled",
    "vault.secret",
    "vault.token",
    "s3.access",
    "init.personalInit",
    "init.personalInitArgs",
    "extraEnvVars[0].name",
    "extraEnvVars[0].value",
}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus=alert(1) autofocus='",
    "</textarea><script>alert(1)</script>",
    "</option></select><svg onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "&lt;b&gt; &amp; &#x3c;",
    "\u202e\u2028 emoji 🥔 {max}",
]


def make(service: Mapping[str, Any] = FULL, **changes: Any) -> FormContext:
    """Return the context of a form for one service, with one secret of the course."""
    request = changes.pop("request", FormRequest())
    catalogue = Catalogue(services=(Service.model_validate(service),))
    arguments: dict[str, Any] = {"secrets": ["course", "other"], "git_hosts": ["github.com"], **changes}
    return make_context(catalogue, (), request, **arguments)


def page(service: Mapping[str, Any] = FULL, **changes: Any) -> Html:
    """Return the form of one service."""
    return Html(render_form(make(service, **changes)))


def filled(values: Mapping[str, list[str]], **changes: Any) -> Html:
    """Return the form with values posted before."""
    return page(request=FormRequest(values=values, **changes))


class TestWhatItSends:
    """An untouched form means the service's defaults; what is filled in comes back as it was."""

    def test_names_are_onyxias_paths(self) -> None:
        assert {one.attributes["name"] for one in page().elements if "name" in one.attributes} >= NAMES

    @pytest.mark.parametrize("local", [False, True])
    def test_untouched_form_is_the_default(self, local: bool) -> None:
        service = Service.model_validate(FULL)
        _, raw = parse_options(options_from_form(page(local=local).posted()))
        sent = validate_options(service, raw, local=local, available_secrets=["course", "other"])
        default = validate_options(service, {}, local=local, available_secrets=["course", "other"])
        assert sent == default

    def test_unticking_every_secret_sends_none(self) -> None:
        sent = filled({"vault.secret": [""]}).posted()
        _, raw = parse_options(options_from_form(sent))
        assert validate_options(Service.model_validate(FULL), raw).options.vault.secret == []

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_values_are_kept(self, name: str) -> None:
        value = {
            "service.image.version": "3.11",
            "profileOptions.flavour": "a",
            "s3.access": "none",
            "vault.secret": "other",
        }.get(name, "true" if name.endswith(("enabled", "token")) else "kept & <b>")
        sent = filled({name: [value]}).posted()
        assert sent[name][-1] == value

    @pytest.mark.parametrize("value", ["\n", "\nleading", "a\nb\n", "  spaces  ", "<&\"'>", "é🥔"])
    def test_values_of_variables_are_kept(self, value: str) -> None:
        sent = filled({"extraEnvVars[0].name": ["A"], "extraEnvVars[0].value": [value]}).posted()
        assert sent["extraEnvVars[0].value"] == [value]

    def test_rows_move_up_as_in_the_problems(self) -> None:
        posted = {
            "extraEnvVars[1].name": ["A"],
            "extraEnvVars[1].value": ["1"],
            "extraEnvVars[7].name": ["PATH"],
            "extraEnvVars[7].value": ["2"],
        }
        with pytest.raises(LaunchOptionsError) as caught:
            validate_options(Service.model_validate(FULL), options_from_form(posted)["options"])
        html = filled(posted, problems=caught.value.problems)
        assert "PATH" in html.beside("extraEnvVars[1].name")
        assert html.control("extraEnvVars[1].name").attributes["value"] == "PATH"
        assert "aria-invalid" not in html.control("extraEnvVars[0].name").attributes

    def test_empty_rows_are_there_without_script(self) -> None:
        names = [one for one in page().posted() if re.fullmatch(r"extraEnvVars\[\d+\]\.name", one)]
        assert len(names) == 3
        more = filled({"extraEnvVars[0].name": ["A"], "extraEnvVars[1].name": ["B"]}).posted()
        assert len([one for one in more if one.endswith("].name")]) == 5

    def test_saved_options_fill_in(self) -> None:
        options = validate_options(
            Service.model_validate(FULL),
            {
                "git.branch": "dev",
                "vault.secret": [],
                "persistence.enabled": False,
                "resources.limits.cpu": "3",
            },
        ).options
        sent = page(saved={"service": "full", "options": options.to_dict()}).posted()
        assert sent["git.branch"] == ["dev"]
        assert sent["vault.secret"] == [""]
        assert sent["persistence.enabled"] == ["false"]
        assert sent["resources.limits.cpu"] == ["3"]

    def test_saved_options_give_way_to_a_link_and_to_a_new_session(self) -> None:
        saved = {"service": "full", "options": {"git": {"branch": "dev"}}}
        asked = FormRequest(values={"git.repository": ["https://example.org/b.git"]}, from_link=True)
        assert page(saved=saved, request=asked).posted()["git.branch"] == ["main"]
        assert page(saved=saved, request=FormRequest(new_session=True)).posted()["git.branch"] == ["main"]

    def test_onyxias_image_means_the_version(self) -> None:
        asked = FormRequest(values={"service.image.version": ["example.org/lab:3.11"]}, from_link=True)
        assert page(request=asked).posted()["service.image.version"] == ["3.11"]


class TestProblems:
    """Each problem stands beside its field, in an open section, and in the summary with a link to it."""

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_beside_its_field(self, name: str) -> None:
        path = name.replace(r"nvidia\.com/gpu", '"nvidia.com/gpu"')
        problem = OptionProblem(path, "option.too_long", {"max": "7"})
        html = filled({}, problems=[problem])
        text = Messages("en").translate("option.too_long", max="7")
        assert text in html.beside(name)
        control = html.control(name)
        marked = control if "aria-invalid" in control.attributes else control.inside("fieldset")
        assert marked is not None
        assert marked.attributes["aria-invalid"] == "true"
        section = control.inside("details")
        assert section is not None
        assert "open" in section.attributes
        (link,) = [
            one for one in html.all("a", class_="alert-link") if one.attributes["href"].startswith("#option")
        ]
        html.by_id(link.attributes["href"][1:])

    def test_of_a_whole_section(self) -> None:
        html = filled({}, problems=[OptionProblem("extraEnvVars", "option.too_many", {"max": "5"})])
        assert "open" in html.by_id("section-extraEnvVars").attributes
        assert "These are too many" in html.by_id("section-extraEnvVars").text

    @pytest.mark.parametrize("path", ["", "nonsense", "a.b[3]", "kubernetes.role"])
    def test_of_no_field_is_in_the_summary(self, path: str) -> None:
        html = filled({}, problems=[OptionProblem(path, "option.unknown")])
        assert "There is no such launch option." in html.by_id("form-problems").text
        assert path in html.by_id("form-problems").text

    def test_none_no_summary(self) -> None:
        assert "form-problems" not in page().source

    def test_sections_are_closed_where_nothing_is_to_be_seen(self) -> None:
        html = filled({"git.branch": ["dev"]})
        opened = [one.attributes["id"] for one in html.all("details") if "open" in one.attributes]
        assert opened == ["section-git"]

    def test_default_in_thousandths_is_shown_in_cores(self) -> None:
        cpu = {"limit": {"default": "250m", "max": 2}}
        html = page({**FULL, "resources": {"cpu": cpu}})
        assert html.control("resources.limits.cpu").attributes["value"] == "0.25"
        assert "default 0.25" in html.beside("resources.limits.cpu")

    def test_a_quantity_written_otherwise_is_no_change(self) -> None:
        html = filled({"resources.limits.memory": ["2048Mi"], "resources.requests.cpu": ["0.1"]})
        assert not [one for one in html.all("details") if "open" in one.attributes]


class TestWhatIsShown:
    """A section is there when the service shows it; what is not honoured here says why."""

    @pytest.mark.parametrize(
        ("key", "section"),
        [
            ("resources", "section-resources"),
            ("persistence", "section-persistence"),
            ("git", "section-git"),
            ("s3", "section-s3"),
            ("init", "section-init"),
            ("environment", "section-extraEnvVars"),
        ],
    )
    def test_hidden_section(self, key: str, section: str) -> None:
        assert section in page().source
        assert section not in page({**FULL, key: {**FULL.get(key, {}), "shown": False}}).source

    def test_secrets_are_hidden_but_the_token_is_not(self) -> None:
        hidden = {**FULL, "secrets": {"shown": False}}
        assert "vault.token" in page(hidden).posted()
        assert "vault.secret" not in page(hidden).posted()
        assert "section-vault" not in page({**hidden, "vault_token": {}}).source

    def test_nothing_to_choose_is_no_section(self) -> None:
        bare = {"id": "bare", "name": "Bare"}
        assert "section-service" not in page(bare).source
        assert "section-resources" not in page(bare).source

    def test_unavailable_is_disabled_with_the_reason(self) -> None:
        html = page(local=True)
        for name, key in {
            "service.image.version": "unavailable.image_version",
            "service.image.custom.version": "unavailable.image_custom",
            "resources.requests.memory": "unavailable.guaranteed",
            r"resources.limits.nvidia\.com/gpu": "unavailable.device",
            "profileOptions.flavour--unlisted-choice": "unavailable.profile_option",
        }.items():
            assert "disabled" in html.control(name).attributes, name
            assert Messages("en").translate(key) in html.beside(name)
            assert name not in html.posted()
        assert Messages("en").translate("unavailable.kubespawner_override") in html.source
        assert "disabled" not in html.control("resources.limits.memory").attributes

    def test_unavailable_service_has_no_options(self) -> None:
        html = page({"id": "elsewhere", "name": "Elsewhere"}, local=True)
        assert Messages("en").translate("unavailable.service") in html.source
        assert html.posted() == {"service": ["elsewhere"]}

    def test_what_a_link_asks_and_is_unavailable_is_told(self) -> None:
        asked = FormRequest(values={'resources.limits."nvidia.com/gpu"': ["2"]}, from_link=True)
        html = page(local=True, request=asked)
        assert "The link asks for “2” (GPU), which is not available here" in html.source
        assert html.control(r"resources.limits.nvidia\.com/gpu").attributes["value"] == "0"

    def test_people_are_told_when_not_isolated(self) -> None:
        notice = "People are not isolated from each other"
        assert notice in page(isolated=False).source
        assert notice not in page(isolated=True).source

    def test_vault_is_down(self) -> None:
        asked = FormRequest(values={"vault.secret": ["mine"]}, from_link=True)
        html = page(secrets=None, git_hosts=None, request=asked)
        assert "the secret store (Vault) does not answer" in html.by_id("section-vault").text
        assert "the secret store (Vault) does not answer" in html.by_id("section-git").text
        assert html.posted()["vault.secret"] == ["", "mine"]
        assert "git.repository" in html.posted()

    def test_a_chosen_secret_that_is_gone_can_be_unticked(self) -> None:
        html = filled({"vault.secret": ["gone", "other"]})
        assert html.posted()["vault.secret"] == ["", "gone", "other"]
        assert "gone (not found)" in html.by_id("section-vault").text

    def test_no_secrets_and_no_accounts_yet(self) -> None:
        html = page({**FULL, "secrets": {}}, secrets=[], git_hosts=[])
        assert "You have no secrets yet" in html.source
        assert "You have no Git account yet" in html.source

    def test_nobody_has_a_service(self) -> None:
        html = page({**FULL, "groups": ["nobody"]})
        assert "There is no service for you" in html.source
        assert html.posted() == {}

    def test_display_name_only_where_it_is_asked(self) -> None:
        assert "display_name" not in page().posted()
        assert page(request=FormRequest(display_name="Mine")).posted()["display_name"] == ["Mine"]

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_language(self, language: str) -> None:
        html = page(request=FormRequest(language=language), local=True, secrets=None)
        messages = Messages(language)
        for key in (
            "form.section.environment",
            "form.s3.read_only",
            "form.secrets.unknown",
            "unavailable.device",
        ):
            assert messages.translate(key) in html.by_id("section-git").parent.text  # type: ignore[union-attr]
        assert html.all("div", lang=language)
        assert ("Complet" if language == "fr" else "Full") in html.by_id("service").text


class TestAccessible:
    """A person who uses a screen reader or no script gets through it."""

    @pytest.mark.parametrize("local", [False, True])
    def test_every_control_has_a_label_and_its_descriptions_exist(self, local: bool) -> None:
        problems = [OptionProblem(name, "option.missing") for name in NAMES]
        html = page(local=local, request=FormRequest(display_name="", problems=problems, values={}))
        ids = [one.attributes["id"] for one in html.elements if "id" in one.attributes]
        assert len(ids) == len(set(ids))
        labelled = {one.attributes["for"] for one in html.all("label")}
        for one in html.elements:
            if one.tag in ("input", "select", "textarea") and one.attributes.get("type") != "hidden":
                assert one.attributes["id"] in labelled, one
            for described in one.attributes.get("aria-describedby", "").split():
                assert described in ids
        for section in html.all("details"):
            if section.attributes.get("class") == "datalab-section":
                assert [one for one in html.all("legend") if one.inside("details") is section]

    def test_no_inline_script_or_style(self) -> None:
        source = render_form(make())
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|javascript:", source)


class TestEscaping:
    """Text is text, wherever it comes from."""

    @pytest.mark.parametrize("text", HOSTILE)
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_hostile_text(self, text: str, language: str) -> None:
        one_line = text.replace("\u2028", "")
        service = {
            **FULL,
            "name": text,
            "description": text,
            "readme": text,
            "category": text,
            "links": [
                {"name": text, "url": "https://example.org/?" + re.sub(r"\s", "", text).replace("\\", "")}
            ],
            "image": {"versions": [{"id": "1", "name": text, "image": one_line}]},
            "profile_options": {
                one_line[:60]: {"display_name": text, "choices": {one_line: {"display_name": text}}},
            },
        }
        service["resources"] = {"extended": [{"resource": "x.y/z", "name": text, "max": 1}]}
        values = {name: [text] for name in NAMES if not name.startswith("resources")} | {text: [text]}
        request = FormRequest(
            language=language,
            service=text,
            values=values,
            from_link=True,
            unknown=[text],
            problems=[
                OptionProblem("git.branch", "option.not_a_choice", {"allowed": text}),
                OptionProblem(text, "option.no_match", {"pattern": text}),
                OptionProblem("", "option.no_such_secret", {"secret": text}),
            ],
            display_name=text,
            hidden={"_launch": text},
            kept={"next": text},
        )
        other = {**service, "id": "other"}
        catalogue = Catalogue(services=(Service.model_validate(service), Service.model_validate(other)))
        context = make_context(catalogue, (), request, secrets=[text], git_hosts=[text])
        html = Html(render_form(context))
        assert {one.tag for one in html.elements}.isdisjoint({"script", "img", "svg", "b", "iframe"})
        for one in html.elements:
            assert not [name for name in one.attributes if name.startswith("on")], one.attributes
            assert not one.attributes.get("href", "").lower().startswith("javascript")
        assert text in html.by_id("service").text
        assert html.control("display_name").attributes["value"] == text
        assert html.posted()["extraEnvVars[0].value"] == [text]
        assert text in html.posted()["vault.secret"]
        assert "49" not in html.by_id("service").text

    def test_icon_is_a_file_of_ours_or_an_https_address(self) -> None:
        def asset(name: str) -> str | None:
            return f"/static/{name}" if name == "icons/known.svg" else None

        base = Service.model_validate({"id": "a", "name": "A"})
        for icon, source in {
            "known.svg": "/static/icons/known.svg",
            "unknown.svg": None,
            "https://example.org/i.svg": "https://example.org/i.svg",
        }.items():
            services = (base.model_copy(update={"icon": icon}), base.model_copy(update={"id": "b"}))
            context = make_context(Catalogue(services=services), (), FormRequest(asset_url=asset))
            shown = {one.attributes["src"] for one in Html(render_form(context)).all("img")}
            assert shown == ({source} if source else set())


class TestLinks:
    """What a launch link may say."""

    @pytest.mark.parametrize(
        ("query", "values", "unknown"),
        [
            ({"git.branch": ["a"]}, {"git.branch": ["a"]}, []),
            ({"opt-git.branch": ["a"]}, {"git.branch": ["a"]}, []),
            ({"init.personalInit": ["«https://x/y»"]}, {"init.personalInit": ["https://x/y"]}, []),
            ({"vault.secret": ["a", "b"]}, {"vault.secret": ["a", "b"]}, []),
            ({r"resources.limits.nvidia\.com/gpu": ["1"]}, {'resources.limits."nvidia.com/gpu"': ["1"]}, []),
            ({"": ["a"], "a..b": ["a"], "[0]": ["a"]}, {}, ["", "a..b", "[0]"]),
            ({"x": ["«"]}, {"x": ["«"]}, []),
        ],
    )
    def test_read_link(
        self, query: dict[str, list[str]], values: dict[str, list[str]], unknown: list[str]
    ) -> None:
        assert read_link(query) == (values, unknown)

    def test_what_was_filled_in_is_listed(self) -> None:
        html = page(
            request=FormRequest(values={"git.branch": ["dev"], "s3.access": ["none"]}, from_link=True)
        )
        linked = [one.text for one in html.all("a", class_="alert-link")]
        assert linked == ["Branch", "What the session may do on S3"]
        assert "A link filled in this form" not in filled({"git.branch": ["dev"]}).source

    def test_a_link_with_the_defaults_fills_in_nothing(self) -> None:
        html = page(request=FormRequest(values={"git.branch": ["main"]}, from_link=True))
        assert "A link filled in this form" not in html.source

    def test_service_of_a_link_that_is_not_there(self) -> None:
        html = page(request=FormRequest(service="x" * 500))
        assert html.posted()["service"] == ["full"]
        assert "x" * 80 + "”" in html.source
        assert "x" * 81 not in html.source

    def test_picker_keeps_what_has_to_be_kept(self) -> None:
        context = make()
        other = context.services[0].model_copy(update={"id": "b&c"})
        context = replace(
            context,
            services=[*context.services, other],
            request=FormRequest(kept={"next": "/hub/home?a=1&b"}),
        )
        links = [
            one.attributes["href"]
            for one in Html(render_form(context)).all("a")
            if "aria-current" not in one.attributes
        ]
        assert "?next=%2Fhub%2Fhome%3Fa%3D1%26b&service=b%26c" in links
