"""The documents are true where a program can tell: links lead somewhere, tests that are named exist, words are the pages'."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

from sardonyx_hub.pages.messages import load_page_messages
from sardonyx_spawner.messages import load_messages

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ROOT / "docs" / "decisions"
GUIDES = ROOT / "docs" / "user"
CODE = re.compile(r"^ *(```|~~~).*?^ *\1|`[^`\n]*`", re.DOTALL | re.MULTILINE)
#: `[text](target)` and `![text](target "title")`, whose text may hold a picture; `<img src="target">`.
LINK = re.compile(r"(?:\]\(<?|<img[^>]* src=\")([^)>\s\"]+)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)


def documents() -> list[Path]:
    """All Markdown files of the repository, those that are not committed yet included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    names = listed.stdout.split("\n") if listed.returncode == 0 else []
    # a copy of the sources without a repository
    found = [ROOT / name for name in names if name] or [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(path for path in found if path.is_file())


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """The fragments that GitHub makes of headings."""
    found: Counter[str] = Counter()
    names = set()
    for heading in HEADING.findall(CODE.sub(lambda code: code[0].replace("#", " "), text)):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        anchor = plain.strip().replace(" ", "-")
        names.add(f"{anchor}-{found[anchor]}" if found[anchor] else anchor)
        found[anchor] += 1
    return names


def broken_links(document: Path) -> Iterator[str]:
    text = document.read_text(encoding="utf-8")
    for target in LINK.findall(CODE.sub("", text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, fragment = unquote(target).partition("#")
        found = (document.parent / path).resolve() if path else document
        there = found.is_relative_to(ROOT) and found.exists()
        if there and fragment and found.suffix == ".md":
            there = fragment in anchors(found.read_text(encoding="utf-8"))
        if not there:
            yield target


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_links_and_pictures_lead_somewhere(document: Path) -> None:
    assert list(broken_links(document)) == []


def test_what_is_broken_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# A `title`, twice\n\n## A title, twice\n")
    document = tmp_path / "one.md"
    document.write_text(
        "[a](other.md) [b](other.md#a-title-twice) [c](other.md#a-title-twice-1) [d](https://example.org/x)\n"
        '`[e](none.md)` [f](none.md) [![g](none.png)](none.txt) <img alt="" src="none.svg">\n'
        "[h](other.md#none) [i](../out.md) [j](#none)\n"
        "```text\n[k](none.md)\n```\n"
    )
    assert list(broken_links(document)) == [
        *("none.md", "none.png", "none.txt", "none.svg"),
        *("other.md#none", "../out.md", "#none"),
    ]


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "images").iterdir()), ids=lambda path: path.name)
def test_every_picture_is_shown_somewhere(picture: Path) -> None:
    assert any(picture.name in document.read_text(encoding="utf-8") for document in documents())


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_no_address_of_one_machine(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert not re.findall(r"/(?:work|root|tmp|home/(?!onyxia\b))/\S*", text)


def test_the_threats_name_tests_that_exist() -> None:
    text = (ROOT / "docs" / "architecture" / "threats.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z]+/test_\w+\.py)(?:::(\w+))?(?:::(\w+))?`", text)
    assert named
    for path, *names in named:
        file = ROOT / "tests" / path
        assert file.is_file(), path
        source = file.read_text(encoding="utf-8")
        for name in filter(None, names):
            defined = rf"^ *(?:async )?(?:def|class) {name}\b"
            assert re.search(defined, source, re.MULTILINE), f"{path}::{name}"


def test_decisions_are_all_listed_once_under_their_number_and_title() -> None:
    listed = (DECISIONS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \| (.+?) \|$", listed, re.MULTILINE)
    expected = []
    for path in sorted(DECISIONS.glob("[0-9]*.md")):
        number, _, title = path.read_text(encoding="utf-8").split("\n")[0].removeprefix("# ").partition(": ")
        assert path.name.startswith(f"{number}-")
        expected.append((number, path.name, title))
    assert rows == expected
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))


def tool(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_of_settings_is_what_their_help_says() -> None:
    reference = tool("settings_reference")
    page = reference.make_page(reference.read_settings())
    assert reference.TARGET.read_text(encoding="utf-8") == page, "run tools/settings_reference.py"
    for name in reference.Sardonyx.class_trait_names(config=True):
        assert page.count(f"| `{name}` |") == 1


def plain(text: str) -> str:
    """A text with one kind of space and of apostrophe, and a placeholder for all that is one."""
    return re.sub(r"\s+", " ", text).strip()


@pytest.mark.parametrize("language", ["en", "fr"])
def test_words_of_the_guide_in_bold_stand_on_the_pages(language: str) -> None:
    messages = {**load_messages(language), **load_page_messages(language)}
    patterns = [
        re.sub(r"\\\{\w+\\\}", r"\\S+", re.escape(plain(text)).replace(r"\ ", " "))
        for text in messages.values()
        if not re.fullmatch(r"\W*(?:\{\w+\}\W*)+", text)
    ]
    known = re.compile("|".join(patterns))
    text = CODE.sub("", (GUIDES / language / "README.md").read_text(encoding="utf-8"))
    words = {plain(word) for word in BOLD.findall(text)}
    assert len(words) > 40
    assert {word for word in words if not known.fullmatch(word)} == set()


def test_both_guides_say_the_same() -> None:
    """As far as a program can tell: as many headings, steps, rows, pictures and blocks of code."""
    kinds = (r"^#+ ", r"^\d\. ", r"^- ", r"^\| ", r"^!\[.*?\]\((.*?)\)", r"^```\w+")
    texts = [(GUIDES / name / "README.md").read_text(encoding="utf-8") for name in ("en", "fr")]
    english, french = ([re.findall(kind, text, re.MULTILINE) for kind in kinds] for text in texts)
    assert english == french
