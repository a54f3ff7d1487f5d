"""What an operator says to people: home text, links, announcement, terms of use, where a session is monitored.

Checked when the hub starts; what an administrator posts as an announcement is checked by the same models.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)

LinkKind = Literal["training", "documentation", "support"]
Level = Literal["info", "warning", "danger"]

MAX_TEXT = 20_000
MAX_ANNOUNCEMENT = 1_000
#: Placeholders of the monitoring address.
PLACEHOLDERS = ("namespace", "user", "handle", "session")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sentence(_Model):
    """A text in one language or more: a string, or ``{"en": ..., "fr": ...}``. Markdown, unless it says otherwise."""

    en: str = Field(default="", max_length=MAX_TEXT)
    fr: str = Field(default="", max_length=MAX_TEXT)

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"en": value} if isinstance(value, str) else value

    @field_validator("en", "fr")
    @classmethod
    def _stripped(cls, value: str) -> str:
        return value.strip()

    def in_language(self, language: str) -> str:
        """Return the text in `language`, or in the other one where it was not translated."""
        return (self.fr or self.en) if language.startswith("fr") else (self.en or self.fr)

    def language_of(self, language: str) -> str:
        """Return the language that :meth:`in_language` gives, for the page's ``lang``."""
        wanted = "fr" if language.startswith("fr") else "en"
        return wanted if getattr(self, wanted) else ("en" if wanted == "fr" else "fr")

    def __bool__(self) -> bool:
        return bool(self.en or self.fr)


class Announcement(_Model):
    """A sentence on every page.

    Parameters
    ----------
    text
        Markdown without blocks: emphasis, code and links.
    dismissable
        Whether people may close it; a changed announcement is shown again.
    """

    text: Sentence
    level: Level = "info"
    dismissable: StrictBool = True

    @field_validator("text")
    @classmethod
    def _says_something(cls, value: Sentence) -> Sentence:
        if not value:
            raise ValueError("should not be empty")
        if max(len(value.en), len(value.fr)) > MAX_ANNOUNCEMENT:
            raise ValueError(f"should have at most {MAX_ANNOUNCEMENT} characters")
        return value

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Announcement | None:
        """Return what is kept of an announcement; None if it is damaged."""
        known = {name: data[name] for name in cls.model_fields if name in data}
        try:
            return cls.model_validate(known)
        except ValidationError:
            return None

    @property
    def id(self) -> str:
        """What tells this announcement from others, in the cookie of those who closed it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class Terms(_Model):
    """Terms of use, which everybody accepts before they use the datalab.

    Parameters
    ----------
    version
        Another one is asked for again.
    text, url
        Markdown, or the address of a page; one of them or both.
    """

    version: str = Field(min_length=1, max_length=100)
    text: Sentence = Sentence()
    url: Sentence = Sentence()

    @field_validator("version", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("url")
    @classmethod
    def _are_addresses(cls, value: Sentence) -> Sentence:
        for address in filter(None, (value.en, value.fr)):
            check_address(address)
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.text and not self.url:
            raise ValueError("should have `text` or `url`")
        return self

    def accepted_by(self, record: Mapping[str, Any] | None) -> bool:
        """Return whether a person's record says that they accepted this version."""
        return record is not None and record.get("version") == self.version

    def record(self, language: str) -> dict[str, str]:
        """Return what is kept of somebody who accepts now."""
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"version": self.version, "accepted": moment, "language": language}


class Home(_Model):
    """All of it. The default says nothing."""

    text: Sentence = Sentence()
    links: dict[LinkKind, str] = Field(default_factory=dict)
    announcement: Announcement | None = None
    terms: Terms | None = None
    monitoring_url: str = ""

    @field_validator("links")
    @classmethod
    def _are_addresses(cls, value: dict[LinkKind, str]) -> dict[LinkKind, str]:
        for kind, address in value.items():
            try:
                check_address(address, mail=kind == "support")
            except ValueError as error:
                raise ValueError(f"{kind}: {error}") from None
        return value

    @field_validator("monitoring_url")
    @classmethod
    def _is_template(cls, value: str) -> str:
        wrong = [name for name in _PLACEHOLDER.findall(value) if name not in PLACEHOLDERS]
        if wrong or re.search(r"[{}]", _PLACEHOLDER.sub("", value)):
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise ValueError(f"should have no other braces than {known}")
        if value:
            check_address(_PLACEHOLDER.sub("x", value))
            # Who chooses a name must not choose the host.
            if _PLACEHOLDER.search(urlsplit(value).netloc):
                raise ValueError("should have placeholders in the path, query or fragment only")
        return value

    def monitoring_url_of(self, **values: str) -> str:
        """Return where a session's CPU and memory are shown; empty where the operator named no place.

        Parameters
        ----------
        values
            ``namespace``, ``user``, ``handle`` and ``session``; what is missing is empty.

        Examples
        --------
        >>> home = Home(monitoring_url="https://grafana.example.org/d/session?var-user={user}&var-pod={session}")
        >>> home.monitoring_url_of(user="alice", session="a&b")
        'https://grafana.example.org/d/session?var-user=alice&var-pod=a%26b'
        """
        return _PLACEHOLDER.sub(lambda match: quote(values.get(match[1], ""), safe=""), self.monitoring_url)


def check_address(value: str, *, mail: bool = False) -> str:
    """Return `value`, or raise: it ends up as the target of a link.

    Parameters
    ----------
    mail
        Whether ``mailto:`` is fine too.

    Raises
    ------
    ValueError
        With what is allowed.
    """
    if mail and re.fullmatch(r"mailto:[^\s@<>\"]+@[^\s@<>\"]+", value):
        return value
    split = urlsplit(value)
    good = split.scheme in ("http", "https") and split.hostname and "@" not in split.netloc
    if not good or re.search(r"[\s\\<>\"\x00-\x1f]", value):
        also = " or mailto:" if mail else ""
        raise ValueError(f"should be an address that begins with https://, http://{also}; it is {value!r}")
    return value


def read_home(data: Mapping[str, Any]) -> Home:
    """Return the checked settings.

    Parameters
    ----------
    data
        Name of the setting of `Sardonyx` -> value: ``home_text``, ``home_links``, ``announcement``, ``terms``,
        ``monitoring_url``. Empty values say nothing.

    Raises
    ------
    ValueError
        Naming each setting that is wrong and what is allowed.
    """
    names = {"home_text": "text", "home_links": "links"}
    given = {names.get(name, name): value for name, value in data.items() if value}
    try:
        return Home.model_validate(given)
    except ValidationError as error:
        back = {ours: setting for setting, ours in names.items()}
        problems = []
        for found in error.errors(include_url=False, include_context=False, include_input=False):
            first, *rest = [str(part) for part in found["loc"]]
            place = ".".join(
                ["Sardonyx", back.get(first, first), *(part for part in rest if part != "[key]")]
            )
            problems.append(f"{place}: {found['msg'].removeprefix('Value error, ')}")
        raise ValueError("; ".join(problems)) from None
