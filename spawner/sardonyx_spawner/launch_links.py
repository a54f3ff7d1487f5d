"""From launch options to what carries them: only what differs from the defaults, form fields, a launch link.

A launch link is the address of the launch form with options in its query. :func:`~.form.read_link` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from .options import validate_options
from .paths import flatten
from .service import Service

#: Longest query of a link: proxies and servers on the way refuse longer addresses.
MAX_LINK = 8000
#: The one option that is a list of texts; in a form and in a link its name stands once for each of them.
_TEXT_LIST = "vault.secret"


@dataclass(frozen=True)
class LaunchLink:
    """A launch link's query.

    Parameters
    ----------
    query
        Without the question mark. Never holds the value of a variable that is marked secret.
    left_out
        Names of those variables: whoever opens the link has to fill them in.
    """

    query: str
    left_out: tuple[str, ...] = ()

    @property
    def too_long(self) -> bool:
        """Whether servers on the way may refuse the link."""
        return len(self.query) > MAX_LINK


def changed_options(service: Service, options: Mapping[str, Any], *, local: bool = False) -> dict[str, Any]:
    """Return those of `options` that are not the service's defaults, nested.

    What was not chosen follows the catalogue when that changes later.

    Parameters
    ----------
    options
        As people may send them: nested or dotted.
    local
        Whether the local spawner runs the sessions.

    Raises
    ------
    LaunchOptionsError
        With a problem for each field that is wrong.

    Examples
    --------
    >>> changed_options(Service(id="a", name="A"), {"git.branch": "main", "s3.access": "read-write"})
    {'git': {'branch': 'main'}}
    """
    complete = validate_options(service, options, local=local).options.to_dict()
    defaults = validate_options(service, {}, local=local, lenient=True).options.to_dict()
    return _difference(complete, defaults)


def option_texts(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return nested options as the launch form would post them: texts by dotted path.

    Examples
    --------
    >>> option_texts({"vault": {"secret": ["a", "b"], "token": True}})
    {'vault.secret': ['a', 'b'], 'vault.token': ['true']}
    """
    found: dict[str, list[str]] = {}
    for path, value in flatten(options).items():
        name = _TEXT_LIST if path.startswith(f"{_TEXT_LIST}[") else path
        if isinstance(value, bool):
            found.setdefault(name, []).append("true" if value else "false")
        elif isinstance(value, str | int | float):
            found.setdefault(name, []).append(str(value))
        elif name == _TEXT_LIST and not value:
            # None of them, where the service's default is some.
            found[name] = [""]
    return found


def without_secrets(options: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return `options` without the values of variables that are marked secret, and the names of these."""
    rows = options.get("extraEnvVars")
    if not isinstance(rows, list):
        return dict(options), ()
    secret = [row for row in rows if isinstance(row, Mapping) and row.get("secret")]
    shown = [
        {key: text for key, text in row.items() if key != "value"} if row in secret else row for row in rows
    ]
    names = tuple(str(row.get("name", "")) for row in secret)
    return {**options, "extraEnvVars": shown}, names


def launch_link(service_id: str, options: Mapping[str, Any], *, name: str = "") -> LaunchLink:
    """Return the launch link of nested options.

    Parameters
    ----------
    name
        What the session is to be called; empty: the link does not say.

    Examples
    --------
    >>> launch_link("jupyter", {"git": {"branch": "main"}}).query
    'service=jupyter&git.branch=main'
    """
    shown, left_out = without_secrets(options)
    pairs = [("service", service_id)]
    if name:
        pairs.append(("display_name", name))
    pairs += [(path, _quoted(text)) for path, texts in option_texts(shown).items() for text in texts]
    return LaunchLink(urlencode(pairs), left_out)


def _quoted(text: str) -> str:
    """Return `text` so that a reader who takes one pair of Onyxia's quotes away gets it back."""
    return f"«{text}»" if len(text) > 1 and text.startswith("«") and text.endswith("»") else text


def _difference(chosen: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in chosen.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            if inner := _difference(value, default):
                found[key] = inner
        elif value != default:
            found[key] = value
    return found
