"""Both languages say everything, with the same placeholders, in correct typography; nothing else is in the files."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sardonyx_hub
import sardonyx_spawner
from sardonyx_spawner.messages import (
    LANGUAGES,
    Messages,
    MissingMessageError,
    load_messages,
    pick_language,
    placeholders,
)

SOURCES = [Path(str(package.__file__)).parent for package in (sardonyx_spawner, sardonyx_hub)]
GROUPS = ("envname", "form", "launch", "option", "page", "progress", "unavailable")
KEY = re.compile(rf"(?!.*\.(?:py|jsonl?)$)(?:{'|'.join(GROUPS)})\.[a-z0-9_]+(?:\.[a-z0-9_]+)*(?<!_)")

ENGLISH, FRENCH = load_messages("en"), load_messages("fr")


def literals() -> Iterator[str]:
    """All texts in code, and in templates those that ``t()`` gets."""
    for folder in SOURCES:
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
        for path in folder.rglob("*.html"):
            yield from re.findall(r'\bt\("([^"]+)"', path.read_text(encoding="utf-8"))


def composed() -> Iterator[re.Pattern[str]]:
    """What formatted strings in code can make, if they begin like a key."""
    for folder in SOURCES:
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.JoinedStr) or not isinstance(node.values[0], ast.Constant):
                    continue
                if str(node.values[0].value).partition(".")[0] in GROUPS and "." in str(node.values[0].value):
                    parts = (
                        re.escape(str(one.value)) if isinstance(one, ast.Constant) else "[a-z0-9_]+"
                        for one in node.values
                    )
                    yield re.compile("".join(parts))


def test_same_keys() -> None:
    assert set(ENGLISH) == set(FRENCH)


@pytest.mark.parametrize("key", sorted(ENGLISH))
def test_same_placeholders(key: str) -> None:
    assert placeholders(ENGLISH[key]) == placeholders(FRENCH[key])
    braces = re.sub(r"\{[a-z_]+\}", "", ENGLISH[key] + FRENCH[key])
    assert "{" not in braces
    assert "}" not in braces


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_empty_or_padded(language: str) -> None:
    assert not [key for key, text in load_messages(language).items() if not text or text != text.strip()]


@pytest.mark.parametrize("key", sorted(FRENCH))
def test_french_typography(key: str) -> None:
    text = re.sub(r"https?://\S+", "", FRENCH[key])
    assert "'" not in text, "the apostrophe is ’"
    assert not re.search(r"[^\u202f][;!?]", text), "a narrow no-break space (U+202F) stands before ; ! ?"
    assert not re.search(r"[^\u00a0]:(?!\S)", text), "a no-break space stands before :"
    assert not re.search(r"«[^\u00a0]|[^\u00a0]»", text), "no-break spaces stand inside « »"
    assert not re.search(r'["“”]', text), "quotes are « »"


def test_every_key_in_code_and_templates_exists() -> None:
    used = {text for text in literals() if KEY.fullmatch(text)}
    assert sorted(used - set(ENGLISH)) == []


def test_every_key_in_the_files_is_used() -> None:
    used = set(literals())
    patterns = list(composed())
    unused = {key for key in ENGLISH if key not in used and not any(one.fullmatch(key) for one in patterns)}
    assert sorted(unused) == []


@pytest.mark.parametrize(
    ("header", "preferred", "language"),
    [
        (None, None, "en"),
        ("", "", "en"),
        ("fr", None, "fr"),
        ("FR-ca", None, "fr"),
        ("fr_FR", None, "fr"),
        ("de,fr;q=0.4,en;q=0.5", None, "en"),
        ("de,fr;q=0.5,en;q=0.4", None, "fr"),
        ("en;q=0.9, fr", None, "fr"),
        ("fr;q=0", None, "en"),
        ("de, *;q=0.5, fr;q=0.1", None, "en"),
        ("de", None, "en"),
        ("fr;q=nonsense", None, "fr"),
        (",;=,;q=,\x00", None, "en"),
        ("fr," * 100_000, None, "fr"),
        ("en", "fr", "fr"),
        ("fr", "en", "en"),
        ("fr", "tlh", "fr"),
        ("fr", "<script>", "fr"),
        ("en", "../../fr", "en"),
    ],
)
def test_pick_language(header: str | None, preferred: str | None, language: str) -> None:
    assert pick_language(header, preferred) == language


def test_values_are_put_in_once_and_as_they_are() -> None:
    text = Messages("en").translate("option.out_of_range", min="{max}", max="<b>{0.__class__}%s")
    assert text == "This should be from {max} to <b>{0.__class__}%s."


def test_missing_key_or_value_is_an_error() -> None:
    with pytest.raises(MissingMessageError, match=r"nothing\.of_that_name"):
        Messages("fr").translate("nothing.of_that_name")
    with pytest.raises(MissingMessageError, match="max"):
        Messages("fr").translate("option.out_of_range", min="1")


def test_unknown_language_is_english() -> None:
    assert Messages("tlh").language == "en"
    assert Messages("fr-CH").translate("form.git.branch") == "Branche"


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_key_stands_twice(language: str) -> None:
    """JSON would keep the last one and say nothing."""
    pairs: list[tuple[str, str]] = []
    path = SOURCES[0] / "messages" / f"{language}.json"
    json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=pairs.extend)
    assert len(pairs) == len(dict(pairs)) > 100
