"""The pages say everything in both languages, with the same placeholders, in correct typography, and nothing in vain."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sardonyx_hub
from sardonyx_hub.pages import messages as page_messages
from sardonyx_hub.pages.messages import FOLDER, DuplicateMessageError, PageMessages, load_page_messages
from sardonyx_spawner.messages import LANGUAGES, load_messages, placeholders

HUB = Path(str(sardonyx_hub.__file__)).parent
SCRIPTS = HUB.parent / "ui" / "src"
FILES = sorted(FOLDER.glob("*.json"))
ROOMS = sorted({path.name.partition(".")[0] for path in FILES})
OWN = {
    language: {
        key: text for key, text in load_page_messages(language).items() if key not in load_messages(language)
    }
    for language in LANGUAGES
}
KEY = re.compile(r"[a-z_]+(?:\.[a-z0-9_-]+)+")


def sources() -> Iterator[tuple[Path, str]]:
    """All code that may say something."""
    for folder, ending in ((HUB, "*.py"), (HUB / "pages" / "templates", "*.html"), (SCRIPTS, "*.ts")):
        for path in sorted(folder.rglob(ending)):
            yield path, path.read_text(encoding="utf-8")


def texts() -> set[str]:
    """All quoted texts in code, templates and scripts."""
    found: set[str] = set()
    for path, code in sources():
        if path.suffix == ".py":
            constants = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant))
            found.update(node.value for node in constants if isinstance(node.value, str))
        else:
            # attributes hold calls: quotes stand within quotes, so only what touches a key counts
            found.update(re.findall(rf"(?<=[\"'`])({KEY.pattern})(?=[\"'`])", code))
    return found


def composed() -> list[re.Pattern[str]]:
    """What formatted texts can make, if they begin like a key: ``f"a.{b}"``, ``"a." ~ b ~ ".c"``, ``a.${b}``."""
    patterns: set[str] = set()
    for path, code in sources():
        if path.suffix == ".py":
            parts = re.findall(r'f"([a-z_]+\.[^"\n]*\{[^"\n]*)"', code)
            patterns.update(re.sub(r"\{[^}]*\}", "*", part) for part in parts)
        elif path.suffix == ".ts":
            parts = re.findall(r"`([a-z_]+\.[^`\n]*\$\{[^`\n]*)`", code)
            patterns.update(re.sub(r"\$\{[^}]*\}", "*", part) for part in parts)
        else:
            for start, rest in re.findall(
                r'"([a-z_]+\.[a-z0-9_.]*)"((?:\s*~\s*(?:"[^"]*"|[\w.\[\]]+))+)', code
            ):
                tail = re.sub(r'\s*~\s*(?:"([^"]*)"|[\w.\[\]]+)', lambda match: match[1] or "*", rest)
                patterns.add(start + tail)
    return [re.compile(re.escape(one).replace(r"\*", "[a-z0-9_-]+")) for one in patterns]


@pytest.mark.parametrize("room", ROOMS)
def test_same_keys_which_begin_with_the_room(room: str) -> None:
    english, french = (set(json.loads((FOLDER / f"{room}.{one}.json").read_bytes())) for one in LANGUAGES)
    assert english == french
    assert {key.partition(".")[0] for key in english} == {room}


def test_same_placeholders() -> None:
    english, french = OWN["en"], OWN["fr"]
    assert {key for key in english if placeholders(english[key]) != placeholders(french[key])} == set()
    braces = {
        key
        for key, text in [*english.items(), *french.items()]
        if re.search(r"[{}]", re.sub(r"\{[a-z_]+\}", "", text))
    }
    assert braces == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_key_stands_twice_and_nothing_is_empty_or_padded(path: Path) -> None:
    """JSON would keep the last one and say nothing."""
    pairs: list[tuple[str, str]] = []
    json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=pairs.extend)
    assert len(pairs) == len(dict(pairs)) > 0
    assert [key for key, text in pairs if not text or text != text.strip()] == []


def test_a_key_in_two_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.en.json").write_text('{"common.cancel": "Cancel"}')
    monkeypatch.setattr(page_messages, "FOLDER", tmp_path)
    with pytest.raises(DuplicateMessageError, match=r"two\.en\.json: common\.cancel"):
        load_page_messages.__wrapped__("en")


def wrong_typography(text: str) -> list[str]:
    """What is wrong with a French sentence; addresses and lines of YAML are let be."""
    text = re.sub(r"https?://\S+|[a-z]+:/\S*|«\u00a0[a-z_]+: [^»]*\u00a0»", "", text)
    rules = {
        "the apostrophe is ’": r"'",
        "a narrow no-break space (U+202F) stands before ; ! ?": r"[^\u202f][;!?]",
        "a no-break space stands before :": r"[^\u00a0]:(?!\S)",
        "no-break spaces stand inside « »": r"«[^\u00a0]|[^\u00a0]»",
        "quotes are « »": r'["“”]',
        "an ellipsis is one sign": r"\.\.\.",
    }
    return [rule for rule, pattern in rules.items() if re.search(pattern, text)]


@pytest.mark.parametrize("room", ROOMS)
def test_french_typography(room: str) -> None:
    sentences = json.loads((FOLDER / f"{room}.fr.json").read_bytes())
    assert {key: wrong for key, text in sentences.items() if (wrong := wrong_typography(text))} == {}


def test_the_typography_test_finds_mistakes() -> None:
    assert wrong_typography("Ça marche ! « oui » : d'accord…") != []
    assert wrong_typography("Ça marche\u202f! «\u00a0oui\u00a0»\u00a0: d’accord…") == []


def test_every_key_that_is_used_exists() -> None:
    known = set(load_page_messages("en"))
    groups = set(ROOMS)
    asked = {
        key
        for _, code in sources()
        for key in re.findall(r'\bt\(\s*"([^"\n]+)"', code)
        if KEY.fullmatch(key) and key.partition(".")[0] in groups
    }
    assert len(asked) > 100
    assert sorted(asked - known) == []


def test_every_key_in_the_files_is_used() -> None:
    used, patterns = texts(), composed()
    unused = [key for key in OWN["en"] if key not in used and not any(one.fullmatch(key) for one in patterns)]
    assert sorted(unused) == []


def test_page_messages_know_the_launch_form_and_their_own() -> None:
    french = PageMessages("fr-CA")
    assert french.language == "fr"
    assert french.translate("common.cancel") == "Annuler"
    assert french.translate("form.git.branch") == "Branche"
    assert set(french.starting_with(["common.error."])) == {
        key for key in OWN["fr"] if key.startswith("common.error.")
    }
