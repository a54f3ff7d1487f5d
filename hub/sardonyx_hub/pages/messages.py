"""What the pages say: ``messages/<room>.<language>.json``, all together, and the sentences of the launch form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from sardonyx_spawner.messages import LANGUAGES, Messages, load_messages

FOLDER = Path(__file__).with_name("messages")


class DuplicateMessageError(ValueError):
    """Two files have the same key: an error in the program."""


@cache
def load_page_messages(language: str) -> Mapping[str, str]:
    """Return key -> sentence of one of :data:`LANGUAGES`, of all rooms and of the launch form.

    Raises
    ------
    DuplicateMessageError
        If a key stands in two places.
    """
    found = dict(load_messages(language))
    for path in sorted(FOLDER.glob(f"*.{language}.json")):
        pairs: list[tuple[str, str]] = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
        for key, sentence in pairs:
            if key in found:
                raise DuplicateMessageError(f"{path.name}: {key} is there already")
            found[key] = sentence
    return found


class PageMessages(Messages):
    """The sentences of the pages in one language.

    Parameters
    ----------
    language
        One of :data:`LANGUAGES`, or a longer tag such as ``fr-CA``; others are English.

    Examples
    --------
    >>> PageMessages("fr").translate("common.cancel")
    'Annuler'
    """

    def __init__(self, language: str = LANGUAGES[0]) -> None:
        super().__init__(language)
        self._messages = load_page_messages(self.language)

    def starting_with(self, prefixes: Iterable[str]) -> dict[str, str]:
        """Return the sentences whose keys begin with one of `prefixes`, for the script of a page."""
        wanted = tuple(prefixes)
        return {key: text for key, text in sorted(self._messages.items()) if key.startswith(wanted)}
