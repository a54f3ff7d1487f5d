"""Reads an HTML form as a browser without script does."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"input", "img", "br", "link", "meta", "hr", "source", "wbr", "area", "col", "embed", "base", "track"}


@dataclass
class Element:
    """One element, with its text and what it is inside of."""

    tag: str
    attributes: dict[str, str]
    parent: Element | None = None
    text: str = ""

    def inside(self, tag: str) -> Element | None:
        """Return the nearest element of that tag around this one."""
        at = self.parent
        while at is not None and at.tag != tag:
            at = at.parent
        return at

    @property
    def disabled(self) -> bool:
        """Whether it or a fieldset around it is disabled."""
        at: Element | None = self
        while at is not None:
            if "disabled" in at.attributes and at.tag in (
                "input",
                "select",
                "textarea",
                "button",
                "fieldset",
            ):
                return True
            at = at.parent
        return False


@dataclass
class Html(HTMLParser):
    """A parsed page."""

    source: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(
            tag, {name: value or "" for name, value in attrs}, self._open[-1] if self._open else None
        )
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            if self._open.pop().tag == tag:
                break

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Return the elements of a tag whose attributes have these values (``class_`` and the like for keywords)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            one
            for one in self.elements
            if one.tag == tag and all(one.attributes.get(name) == value for name, value in wanted.items())
        ]

    def by_id(self, wanted: str) -> Element:
        """Return the one element with that id."""
        (found,) = [one for one in self.elements if one.attributes.get("id") == wanted]
        return found

    def control(self, name: str) -> Element:
        """Return the last visible control of that name."""
        return [
            one
            for one in self.elements
            if one.attributes.get("name") == name and one.attributes.get("type") != "hidden"
        ][-1]

    def beside(self, name: str) -> str:
        """Return the text that ``aria-describedby`` ties to a control."""
        control = self.control(name)
        described = control.attributes.get("aria-describedby", "")
        if not described and control.inside("fieldset"):
            described = control.inside("fieldset").attributes.get("aria-describedby", "")  # type: ignore[union-attr]
        return " ".join(self.by_id(one).text.strip() for one in described.split())

    def posted(self) -> dict[str, list[str]]:
        """Return what pressing the button sends, by name in the order of the page."""
        sent: dict[str, list[str]] = {}
        for one in self.elements:
            name = one.attributes.get("name")
            if not name or one.disabled or one.tag not in ("input", "textarea", "select"):
                continue
            kind = one.attributes.get("type", "text")
            if kind in ("checkbox", "radio") and "checked" not in one.attributes:
                continue
            sent.setdefault(name, []).append(self._value(one))
        return sent

    def _value(self, one: Element) -> str:
        if one.tag == "textarea":
            return one.text.removeprefix("\n")
        if one.tag == "select":
            options = [other for other in self.all("option") if other.inside("select") is one]
            chosen = [other for other in options if "selected" in other.attributes] or options
            return chosen[0].attributes["value"]
        return one.attributes.get(
            "value", "on" if one.attributes.get("type") in ("checkbox", "radio") else ""
        )
