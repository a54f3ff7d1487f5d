"""What people read, in their language: ``messages/<language>.json``, key -> sentence with ``{params}``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

#: Languages there is a file for; the first is used when a person understands none of them.
LANGUAGES = ("en", "fr")

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class MissingMessageError(KeyError):
    """A key is in no file, or a placeholder was not given: an error in the program, not of a person."""


@cache
def load_messages(language: str) -> Mapping[str, str]:
    """Return key -> sentence of one of :data:`LANGUAGES`."""
    folder = files(__package__) / "messages"
    found: dict[str, str] = json.loads((folder / f"{language}.json").read_text(encoding="utf-8"))
    return found


class Messages:
    """The sentences of one language.

    Parameters
    ----------
    language
        One of :data:`LANGUAGES`, or a longer tag such as ``fr-CA``; others are English.

    Examples
    --------
    >>> Messages("en").translate("option.out_of_range", min="1", max="4")
    'This should be from 1 to 4.'
    """

    def __init__(self, language: str = LANGUAGES[0]) -> None:
        self.language = _known(language) or LANGUAGES[0]
        self._messages = load_messages(self.language)

    def __contains__(self, key: object) -> bool:
        return key in self._messages

    def translate(self, key: str, /, **params: object) -> str:
        """Return the sentence of `key`, placeholders filled in: plain text, escaped by whoever shows it.

        Values are put in once: braces in them stay as they are.

        Raises
        ------
        MissingMessageError
            If there is no such key, or a placeholder has no value.
        """
        if key not in self._messages:
            raise MissingMessageError(key)

        def fill(match: re.Match[str]) -> str:
            if match[1] not in params:
                raise MissingMessageError(f"{key}: {{{match[1]}}}")
            return str(params[match[1]])

        return _PLACEHOLDER.sub(fill, self._messages[key])


def placeholders(text: str) -> frozenset[str]:
    """Return the names of the placeholders in a sentence."""
    return frozenset(_PLACEHOLDER.findall(text))


def pick_language(accept_language: str | None, preferred: str | None = None) -> str:
    """Return the language to speak to a person.

    Parameters
    ----------
    accept_language
        The header of that name (RFC 9110, 12.5.4), such as ``fr-FR,fr;q=0.9,en;q=0.5``.
    preferred
        What the person chose, which wins if there is a file for it.

    Examples
    --------
    >>> pick_language("de, fr;q=0.8, en;q=0.5", None)
    'fr'
    >>> pick_language("fr", "en")
    'en'
    """
    chosen = _known(preferred or "")
    if chosen:
        return chosen
    weighted: list[tuple[float, int, str]] = []
    for position, part in enumerate((accept_language or "")[:500].split(",")):
        tag, _, weight = part.partition(";")
        language = LANGUAGES[0] if tag.strip() == "*" else _known(tag)
        match = re.fullmatch(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", weight)
        quality = float(match[1]) if match else 1.0
        if language and quality > 0:
            weighted.append((-quality, position, language))
    return min(weighted)[2] if weighted else LANGUAGES[0]


def _known(tag: str) -> str | None:
    language = tag.strip().lower().replace("_", "-").partition("-")[0]
    return language if language in LANGUAGES else None
