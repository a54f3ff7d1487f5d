"""A session's description in words, for the templates. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sardonyx_spawner.quantities import parse_cpu, parse_memory

Translate = Callable[..., str]

#: State -> look of its badge, and icon.
_BADGES: Final = {
    "starting": ("info", "spinner"),
    "running": ("success", "check-circle"),
    "stopping": ("neutral", "spinner"),
    "stopped": ("neutral", "pause"),
    "failed": ("danger", "error"),
}
#: Reasons of an ending that have a sentence; others are told as "unknown".
_ENDINGS: Final = frozenset({"idle", "administrator", "out-of-memory", "exited", "unknown"})
_UNITS: Final = {"en": ("B", "KiB", "MiB", "GiB", "TiB"), "fr": ("o", "Kio", "Mio", "Gio", "Tio")}


def human_bytes(size: float, language: str) -> str:
    """Return an amount of bytes for people.

    Examples
    --------
    >>> human_bytes(1_610_612_736, "fr")
    '1,5\\xa0Gio'
    """
    units = _UNITS.get(language, _UNITS["en"])
    power = 0
    while size >= 1024 and power < len(units) - 1:
        size, power = size / 1024, power + 1
    text = f"{size:.0f}" if power == 0 or size >= 100 else f"{size:.1f}".removesuffix(".0")
    return f"{human_number(text, language)}\xa0{units[power]}"


def human_number(text: str, language: str) -> str:
    """Return a number with the decimal sign of a language."""
    return text.replace(".", ",") if language == "fr" else text


@dataclass(frozen=True)
class SessionView:
    """What a card says.

    Parameters
    ----------
    data
        The description of :func:`sardonyx_hub.sessions.describe`.
    path
        What the session is called in paths.
    title, service
        Its name for people, and its service's.
    icon
        Address of the service's icon; empty if there is none.
    badge, badge_icon, state
        Look and words of its state.
    resources
        What was asked for, in words.
    ending
        Key and parameters of the sentence that says why it is stopped; None if its owner did it.
    """

    data: Mapping[str, Any]
    path: str
    title: str
    service: str
    icon: str
    badge: str
    badge_icon: str
    state: str
    resources: tuple[str, ...]
    ending: tuple[str, Mapping[str, Any]] | None

    def __getattr__(self, name: str) -> Any:
        """Return a member of the description."""
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(name) from None


def view_of(
    data: Mapping[str, Any], *, path: str, t: Translate, language: str, icon_url: Callable[[str], str]
) -> SessionView:
    """Return a session in words.

    Parameters
    ----------
    icon_url
        Address of a static file of ours.
    """
    names = data["service"]["name"]
    service = (names.get("fr") if language == "fr" else "") or names["en"] or t("services.unknown_service")
    icon = data["service"]["icon"]
    kind, badge_icon = _BADGES[data["state"]]
    return SessionView(
        data=data,
        path=path,
        title=data["display_name"] or data["name"] or t("services.default_name"),
        service=service,
        icon=icon if icon.startswith("https://") or not icon else icon_url(f"icons/{icon}"),
        badge=kind,
        badge_icon=badge_icon,
        state=t(f"services.state.{data['state']}"),
        resources=tuple(_resources(data["resources"], t, language)),
        ending=_ending(data["ended"]),
    )


def _resources(resources: Mapping[str, Mapping[str, str | None]], t: Translate, language: str) -> list[str]:
    words = []
    cpu = resources["cpu"].get("limit") or resources["cpu"].get("guaranteed")
    if cpu:
        amount = _cores(cpu)
        words.append(
            t("services.cpu.one")
            if amount == "1"
            else t("services.cpu", amount=human_number(amount, language))
        )
    memory = resources["memory"].get("limit") or resources["memory"].get("guaranteed")
    if memory:
        words.append(t("services.memory", amount=_memory(memory, language)))
    return words


def _cores(text: str) -> str:
    try:
        return f"{float(parse_cpu(text)):g}"
    except ValueError:  # options of a session whose launch was never checked
        return text


def _memory(text: str, language: str) -> str:
    try:
        return human_bytes(parse_memory(text), language)
    except ValueError:
        return text


def _ending(ended: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any]] | None:
    if not ended:
        return None
    reason = ended.get("reason") if ended.get("reason") in _ENDINGS else "unknown"
    return f"services.ended.{reason}", {
        "code": ended.get("code", ""),
        "since": ended.get("since", ended.get("at", "")),
    }
