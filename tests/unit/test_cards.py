"""Cards of the catalogue: what they say of a service, and what a search finds. Markdown of operators as safe HTML."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardonyx_hub.pages.cards import (
    View,
    categories_of,
    initials,
    make_cards,
    matches,
    memory_in_words,
    normalise,
)
from sardonyx_hub.pages.markdown import render, render_line
from sardonyx_spawner.catalogue import Catalogue, Service


def service(**more: Any) -> Service:
    data = {"id": "lab", "name": {"en": "Data lab", "fr": "Labo de données"}, **more}
    return Catalogue.model_validate({"services": [data]}).services[0]


@pytest.mark.parametrize(
    ("text", "query", "found"),
    [
        ("Données géographiques", "geographiques", True),
        ("Données géographiques", "DONNÉES GÉO", True),
        ("Données géographiques", "géo données", True),
        ("Données géographiques", "géo patate", False),
        ("Œuvres", "oeuvre", True),
        ("Straße", "STRASSE", True),
        ("L’étude", "l'etude", True),
        ("x", "   ", True),
        ("", "x", False),
    ],
)
def test_accents_case_and_order_do_not_matter(text: str, query: str, found: bool) -> None:
    assert matches(normalise(text), query) is found


@given(st.text())
def test_a_text_is_found_by_itself(text: str) -> None:
    assert matches(normalise(text), text)


def test_a_search_finds_both_languages_tags_and_categories() -> None:
    one = service(tags=["SQL"], category={"en": "Teaching", "fr": "Formation"}, description="Maps")
    for language in ("en", "fr"):
        for query in ("données", "data", "sql", "formation", "teaching", "maps", "lab"):
            (card,) = make_cards([one], View(language, query=query))
            assert card.shown, query
        (card,) = make_cards([one], View(language, query="secret"))
        assert not card.shown


def test_categories_are_in_the_order_of_services_and_the_same_in_all_languages() -> None:
    services = [
        service(category={"en": "Teaching & more", "fr": "Formation"}),
        service(category="Databases"),
        service(category={"en": "Teaching & more", "fr": "Formation"}),
        service(category="数据"),
    ]
    french = categories_of(services, "fr")
    assert [(one.id, one.name, one.count) for one in french] == [
        ("teaching-more", "Formation", 2),
        ("databases", "Databases", 1),
        ("other", "数据", 1),
    ]
    assert [one.id for one in categories_of(services, "en")] == [one.id for one in french]
    shown = [card.shown for card in make_cards(services, View("fr", category="teaching-more"))]
    assert shown == [True, False, True, False]


def test_a_card_says_what_a_session_gets() -> None:
    one = service(
        groups=["a", "b"],
        links=[{"name": {"en": "Guide", "fr": "Guide"}, "url": "https://x.org"}],
        image={"versions": [{"id": f"3.{number}", "image": "x"} for number in (12, 11, 10, 9)]},
        resources={
            "cpu": {"limit": {"default": "500m", "max": 2}},
            "memory": {"limit": {"default": "1.5Gi", "max": "4Gi"}},
            "extended": [{"resource": "nvidia.com/gpu", "name": "GPU", "min": 1, "default": 1, "max": 2}],
        },
        local={},
    )
    (card,) = make_cards([one], View("fr", groups=["b", "c"]))
    assert (card.cpu, card.memory, card.gpu) == ("0,5", "1,5\u00a0Gio", "needed")
    assert (list(card.versions), card.more_versions) == (["3.12", "3.11", "3.10"], 1)
    assert (card.groups, card.links) == (["b"], [("Guide", "https://x.org")])
    assert card.unavailable == ""
    # Locally there are neither images nor GPUs to be had.
    (card,) = make_cards([one], View("fr", local=True))
    assert (list(card.versions), card.gpu) == ([], "")
    (card,) = make_cards([service()], View("fr", local=True))
    assert card.unavailable == "unavailable.service"


def test_icons_are_the_datalab_s_own_or_from_the_web() -> None:
    def url(name: str) -> str:
        return f"/static/{name}"

    icons = ["", "jupyter.svg", "https://x.org/i.png"]
    cards = [make_cards([service(icon=icon)], View("en", icon_url=url))[0] for icon in icons]
    assert [card.icon for card in cards] == ["", "/static/icons/jupyter.svg", "https://x.org/i.png"]
    assert cards[0].initials == "DL"
    assert [initials(name) for name in ("R", "", "PostgreSQL 17", "!!")] == ["R", "", "P", ""]


@pytest.mark.parametrize(
    ("quantity", "text"), [("512Mi", "512 MiB"), ("2Gi", "2 GiB"), ("1G", "1 GB"), ("odd", "odd"), ("", "")]
)
def test_memory_in_words(quantity: str, text: str) -> None:
    assert memory_in_words(quantity, "en") == text.replace(" ", "\u00a0")


# Markdown --------------------------------------------------------------------------------------------------------

DANGEROUS = [
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[x](javascript:alert(1))",
    "[x]( JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:x)",
    "[x](//evil.example)",
    '[x](https://a.b/" onclick="alert(1))',
    "[x](https://a.b 'ti\"tle')",
    "<https://a.b/'\"><b>",
    "![x](https://tracker.example/p.png)",
    "![x](javascript:alert(1))",
    "| a |\n|:-:|\n| b |",
    '```"><script>\nx\n```',
]


@pytest.mark.parametrize("text", DANGEROUS)
@pytest.mark.parametrize("to_html", [render, render_line])
def test_markdown_makes_nothing_that_runs_or_loads(text: str, to_html: Any) -> None:
    from html.parser import HTMLParser

    allowed = {"p", "a", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}

    class Check(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag in allowed
            for name, value in attrs:
                assert name in {"href", "rel", "class"}
                assert name != "href" or str(value).startswith("https://")

    Check().feed(str(to_html(text)))


@given(st.text())
def test_no_text_makes_a_script(text: str) -> None:
    html = f"{render(text)}{render_line(text)}".lower()
    assert "<script" not in html
    assert "<img" not in html
    assert "javascript:" not in html.replace(text.lower(), "") or 'href="javascript:' not in html


def test_headings_take_their_place_in_the_page() -> None:
    assert "<h1>a</h1>" in render("# a", headings_from=1)
    assert render("# a\n\n## b", headings_from=4) == "<h4>a</h4>\n<h5>b</h5>\n"
    assert "<h6>" in render("###### a", headings_from=4)


def test_links_inside_the_datalab_stay() -> None:
    html = render("[files](/hub/datalab/services) [help](mailto:a@b.org) [web](https://x.org/?a=1&b=2)")
    assert '<a href="/hub/datalab/services">files</a>' in html
    assert '<a href="mailto:a@b.org">' in html
    assert '<a href="https://x.org/?a=1&amp;b=2" rel="noopener noreferrer">' in html
