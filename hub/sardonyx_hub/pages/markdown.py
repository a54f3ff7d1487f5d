"""Markdown of operators and of the catalogue as HTML: CommonMark without raw HTML, links to the web and mail only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_MAX_KNOWN = 256


def _link_open(_renderer: Any, tokens: Sequence[Token], index: int, *_more: Any) -> str:
    """Open links of other sites without telling them where the person comes from."""
    address = str(tokens[index].attrs.get("href", ""))
    outside = ' rel="noopener noreferrer"' if address.startswith(("http:", "https:")) else ""
    return f'<a href="{Markup.escape(address)}"{outside}>'


def _make() -> MarkdownIt:
    # "js-default" has tables; no raw HTML, and no pictures, which would load from anywhere.
    parser = MarkdownIt("js-default", {"html": False, "linkify": False}).disable("image")
    parser.validateLink = _is_link  # type: ignore[method-assign]
    parser.add_render_rule("link_open", _link_open)
    return parser


def _is_link(url: str) -> bool:
    scheme = url.strip().partition(":")[0].lower()
    return scheme in ("http", "https", "mailto") or (url.startswith("/") and not url.startswith("//"))


_parser = _make()


@lru_cache(_MAX_KNOWN)
def render(text: str, *, headings_from: int = 2) -> Markup:
    """Return Markdown as HTML.

    Parameters
    ----------
    headings_from
        Level of the page's outline at which the text's first-level headings stand.
    """
    tokens = _parser.parse(text)
    for token in tokens:
        # Columns that are aligned: the pages allow no style attribute.
        token.attrs.pop("style", None)
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + headings_from - 1)}"
    # Safe: the renderer escapes all that was not Markdown, as raw HTML is off.
    return Markup(_parser.renderer.render(tokens, _parser.options, {}))  # noqa: S704


@lru_cache(_MAX_KNOWN)
def render_line(text: str) -> Markup:
    """Return Markdown without blocks (emphasis, code, links) as HTML."""
    return Markup(_parser.renderInline(" ".join(text.split())))  # noqa: S704
