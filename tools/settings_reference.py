"""Writes docs/operators/settings.md from the traits of `Sardonyx`: ``settings_reference.py`` (no arguments).

The words are those of each trait's help; a unit test holds the file against them.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sardonyx_hub.settings import Sardonyx

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "operators" / "settings.md"
#: Heading -> beginnings of the names below it; the last one takes what no other does.
GROUPS = {
    "The datalab": ("title", "state_dir", "handles_url", "issuer_url", "catalogue_file", "public_ca_file"),
    "What people read": ("home_", "announcement", "terms", "monitoring_url"),
    "Quotas and idle sessions": ("quota", "idle_", "keep_alive"),
    "S3 storage": ("s3_", "shared_buckets"),
    "Secrets (Vault or OpenBao)": ("vault_",),
    "Others": ("",),
}
INTRODUCTION = """\
# Settings

Every setting of `c.Sardonyx`, as its help says it. With `sardonyx run` they stand in `sardonyx_config.py` (`--config` names
another file), else in `jupyterhub_config.py` before `configure(c)`; see [the guide](README.md). This page is made by
`python tools/settings_reference.py`.
"""


@dataclass(frozen=True)
class Setting:
    """One setting as it is shown; `example` is code, without a common indent."""

    name: str
    default: str
    text: str
    example: str


def read_settings() -> list[Setting]:
    """Return all settings, those of one base class after the other, each in the order of its file."""
    traits = Sardonyx.class_traits(config=True)
    order = [name for base in reversed(Sardonyx.__mro__) for name in vars(base) if name in traits]
    return [read_setting(name, traits[name]) for name in dict.fromkeys(order)]


def read_setting(name: str, trait: Any) -> Setting:
    """Split a trait's help into its text and its example."""
    told = inspect.cleandoc(trait.help)
    text, _, rest = told.partition("Example::")
    example = re.split(r"^\.\. versionadded", rest, flags=re.MULTILINE)[0]
    text = re.split(r"^\.\. versionadded", text, flags=re.MULTILINE)[0]
    return Setting(name, _default(trait), " ".join(text.split()), inspect.cleandoc(example).strip())


def _default(trait: Any) -> str:
    """Return a default in Markdown: code, a word for none, and no path of this machine."""
    value = trait.default()
    if isinstance(value, str) and Path(value).is_absolute():
        return f"the package's `{Path(value).name}`"
    return "empty" if value in ("", [], {}) else f"`{value!r}`"


def make_page(settings: list[Setting]) -> str:
    """Return the page in Markdown."""
    lines = [INTRODUCTION]
    left = list(settings)
    for heading, beginnings in GROUPS.items():
        here = [one for one in left if one.name.startswith(beginnings)]
        left = [one for one in left if one not in here]
        if here:
            lines += [f"## {heading}", "", "| setting | default | what it does |", "|---|---|---|"]
            lines += [f"| `{one.name}` | {one.default} | {_cell(one.text)} |" for one in here]
            examples = [one.example for one in here if one.example]
            lines += ["", "```python", *examples, "```", ""] if examples else [""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


def main() -> int:
    """Write the page."""
    TARGET.write_text(make_page(read_settings()), encoding="utf-8")
    sys.stderr.write(f"settings_reference: {TARGET.relative_to(ROOT)} is written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
