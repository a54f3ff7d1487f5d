"""What the catalogue page shows of services, and the search in it. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sardonyx_spawner.catalogue import Service
from sardonyx_spawner.quantities import parse_cpu

from .markdown import render

_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae", "’": "'", "ø": "o", "ł": "l"})
#: Versions named on a card; of more there is the number.
_SHOWN_VERSIONS = 3


@dataclass(frozen=True)
class Category:
    """A category with services that the person sees; `id` stands in the page's address."""

    id: str
    name: str
    count: int


@dataclass(frozen=True)
class Card:
    """One service, in one language.

    Parameters
    ----------
    versions, more_versions
        Names of the first versions, and how many others there are.
    gpu
        ``""``, ``possible`` or ``needed``.
    groups
        Those of the service that the person is in; empty where everybody sees it.
    words
        What a search looks into, normalised.
    unavailable
        Message key of why it cannot be launched here; empty if it can.
    """

    id: str
    name: str
    description: str
    readme: Markup | None
    category: Category
    icon: str
    initials: str
    tags: Sequence[str]
    versions: Sequence[str]
    more_versions: int
    memory: str
    cpu: str
    gpu: str
    groups: Sequence[str]
    links: Sequence[tuple[str, str]]
    words: str
    unavailable: str
    shown: bool = True


def normalise(text: str) -> str:
    """Return text as it is compared: without accents and case.

    Examples
    --------
    >>> normalise("Données, Œuvres")
    'donnees, oeuvres'
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_LIGATURES))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def matches(words: str, query: str) -> bool:
    """Return whether all words of a query are somewhere in normalised `words`."""
    return all(word in words for word in normalise(query).split())


def category_id(service: Service) -> str:
    """Return the id of a service's category, from its English name: the same in all languages."""
    return re.sub(r"[^a-z0-9]+", "-", normalise(service.category.en)).strip("-") or "other"


def categories_of(services: Iterable[Service], language: str) -> list[Category]:
    """Return the categories of services, in the order in which these come."""
    counts: dict[str, tuple[str, int]] = {}
    for service in services:
        id_ = category_id(service)
        name, count = counts.get(id_, (service.category.in_language(language), 0))
        counts[id_] = (name, count + 1)
    return [Category(id_, name, count) for id_, (name, count) in counts.items()]


@dataclass(frozen=True)
class View:
    """Who looks at the catalogue, and what they look for.

    Parameters
    ----------
    groups
        The person's.
    local
        Whether the local spawner runs the sessions.
    icon_url
        Gives the URL of an icon of the datalab's, empty if there is none.
    category, query
        What they chose; empty: everything.
    """

    language: str
    groups: Collection[str] = ()
    local: bool = False
    icon_url: Callable[[str], str] = str
    category: str = ""
    query: str = ""


def make_cards(services: Sequence[Service], view: View) -> list[Card]:
    """Return a card for each service; those that category and query leave out are not `shown`."""
    known = {one.id: one for one in categories_of(services, view.language)}
    return [_card(service, known[category_id(service)], view) for service in services]


def _card(service: Service, category: Category, view: View) -> Card:
    language = view.language
    words, versions, limits = _words(service), _versions(service, view), service.resources
    return Card(
        id=service.id,
        name=service.name.in_language(language),
        description=service.description.in_language(language) if service.description else "",
        readme=render(service.readme.in_language(language), headings_from=4) if service.readme else None,
        category=category,
        icon=icon_address(service.icon, view.icon_url),
        initials=initials(service.name.in_language(language)),
        tags=service.tags,
        versions=versions[:_SHOWN_VERSIONS],
        more_versions=max(0, len(versions) - _SHOWN_VERSIONS),
        memory=memory_in_words(limits.memory.limit.default, language) if limits.memory.limit else "",
        cpu=_number(float(parse_cpu(limits.cpu.limit.default)), language) if limits.cpu.limit else "",
        gpu="" if view.local else _gpu(service),
        groups=[group for group in service.groups if group in view.groups],
        links=[(link.name.in_language(language), link.url) for link in service.links],
        words=words,
        unavailable=service.local_limits().get("", "") if view.local else "",
        shown=(not view.category or category.id == view.category) and matches(words, view.query),
    )


def _words(service: Service) -> str:
    """Return what a search looks into, in all languages: who reads French may type the English name."""
    texts = [service.id, *service.tags]
    for text in (service.name, service.description, service.category):
        texts += [text.en, text.fr] if text else []
    texts += [version.id for version in service.image.versions]
    return normalise(" ".join(texts))


def _versions(service: Service, view: View) -> list[str]:
    """Return the names of the versions. Locally sessions run what is installed, not images: naming these would be wrong."""
    if view.local:
        return []
    return [one.name.in_language(view.language) if one.name else one.id for one in service.image.versions]


def icon_address(icon: str, icon_url: Callable[[str], str]) -> str:
    """Return the address of a service's icon, as the catalogue writes it; empty if there is none."""
    return icon if not icon or icon.startswith("https://") else icon_url(f"icons/{icon}")


def initials(name: str) -> str:
    """Return what stands in the place of an icon.

    Examples
    --------
    >>> initials("Cours de statistique"), initials("PostgreSQL")
    ('CS', 'P')
    """
    words = [word for word in re.findall(r"\w+", name) if len(word) > 2] or re.findall(r"\w+", name)
    return "".join(word[0] for word in words[:2]).upper()


def memory_in_words(quantity: str, language: str) -> str:
    """Return an amount of memory as people write it.

    Examples
    --------
    >>> memory_in_words("512Mi", "en"), memory_in_words("1.5Gi", "fr")
    ('512\\xa0MiB', '1,5\\xa0Gio')
    """
    match = re.fullmatch(r"([0-9.]+)([KkMGTPE]?)(i?)", quantity)
    if match is None:
        return quantity
    number, prefix, binary = match.groups()
    unit = f"{prefix}{binary}{'o' if language.startswith('fr') else 'B'}"
    # A no-break space: the amount and its unit belong together.
    return f"{_number(float(number), language)}\u00a0{unit}"


def _number(value: float, language: str) -> str:
    text = f"{value:g}"
    return text.replace(".", ",") if language.startswith("fr") else text


def _gpu(service: Service) -> str:
    devices = [one for one in service.resources.extended if one.max > 0]
    if not devices:
        return ""
    return "needed" if any(one.min > 0 or one.default > 0 for one in devices) else "possible"
