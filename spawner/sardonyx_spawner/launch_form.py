"""The launch form of a spawner: what a request asks of it, what was posted, and in which language.

JupyterHub renders the form again after a failed POST by another spawner object (that of the default server)
and does not tell it of the request. What was posted therefore travels in a context variable: each request of
Tornado's runs in a context of its own, and the launch that a request begins inherits it. No other request,
not even the same person's in another tab, sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from .errors import OptionProblem
from .form import FormRequest, current_request, make_context, read_link, render_form
from .messages import LANGUAGES

#: Query arguments of JupyterHub's own.
_NOT_OPTIONS = frozenset({"next", "display_name", "_xsrf", "service"})
#: Seconds that the form waits for what is the person's own.
_CONTEXT_SECONDS = 4.0

_attempt: ContextVar[FormAttempt | None] = ContextVar("sardonyx_form_attempt", default=None)
#: JupyterHub's User -> the language of their last request.
_languages: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


@dataclass
class FormAttempt:
    """A form that was posted.

    Parameters
    ----------
    server_name
        Name of the session that it is for.
    form
        Fields and their values, as they came.
    problems
        What is wrong with it.
    options
        The ``user_options`` that it means, once they were found right.
    """

    server_name: str
    form: Mapping[str, Sequence[Any]] = field(repr=False)
    problems: tuple[OptionProblem, ...] = ()
    options: dict[str, Any] | None = field(default=None, repr=False)


def remember_language(user: Any, language: str) -> None:
    """Keep the language of a person's request for what they are told outside one."""
    _languages[user] = language


def language_of(user: Any) -> str:
    """Return the language of a person's last request; English if there was none."""
    return _languages.get(user, LANGUAGES[0])


def begin_attempt(spawner: Any, form: Mapping[str, Any]) -> FormAttempt:
    """Note that the request of the present context posted `form`."""
    texts = {name: values for name, values in form.items() if _are_texts(values)}
    attempt = FormAttempt(spawner.name, texts)
    _attempt.set(attempt)
    return attempt


def _are_texts(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)


def is_fresh(spawner: Any) -> bool:
    """Return whether the launch of `spawner` was begun by a form in the present context."""
    attempt = _attempt.get()
    return (
        attempt is not None
        and attempt.server_name == spawner.name
        and attempt.options == spawner.user_options
    )


async def build_form(spawner: Any) -> str:
    """Return the HTML of the form for the request in hand.

    It holds, in this order: what was just posted; what a link's query says; the options of the session's last
    launch; the service's defaults.
    """
    attempt = _attempt.get()
    request = current_request.get() or _request(spawner, attempt)
    own = await _own_context(spawner)
    catalogue = await spawner.get_catalogue()
    context = make_context(
        catalogue,
        spawner.groups_of_owner(),
        request,
        secrets=own.get("secrets"),
        git_hosts=own.get("git_hosts"),
        local=spawner.sessions_are_local,
        isolated=await spawner.people_are_isolated(),
        saved=_saved(spawner, attempt),
    )
    return render_form(context)


def _request(spawner: Any, attempt: FormAttempt | None) -> FormRequest:
    language = spawner.messages.language
    if attempt is not None:
        values = {name: tuple(texts) for name, texts in attempt.form.items() if not name.startswith("_")}
        service = values.pop("service", ("",))[-1]
        return FormRequest(
            language=language, service=service or None, values=values, problems=attempt.problems
        )
    query = _query(spawner)
    service = query.get("service", query.get("opt-service", [""]))[-1]
    values_of_link, unknown = read_link(
        {name: texts for name, texts in query.items() if name.removeprefix("opt-") not in _NOT_OPTIONS}
    )
    kept = {"next": query["next"][-1]} if query.get("next") else {}
    return FormRequest(
        language=language,
        service=service or None,
        values=values_of_link or None,
        from_link=bool(values_of_link or unknown),
        unknown=unknown,
        kept=kept,
    )


def _query(spawner: Any) -> dict[str, list[str]]:
    handler = getattr(spawner, "handler", None)
    if handler is None:
        return {}
    found = {}
    for name, values in handler.request.query_arguments.items():
        found[name] = [value.decode("utf-8", "replace") for value in values]
    return found


def _saved(spawner: Any, attempt: FormAttempt | None) -> Mapping[str, Any] | None:
    stored = getattr(spawner.orm_spawner, "user_options", None) if attempt is None else None
    return stored if isinstance(stored, Mapping) and stored else None


async def _own_context(spawner: Any) -> Mapping[str, Any]:
    """Return what is the person's own; a backend that is down must not keep anybody from the form."""
    if spawner.form_context_hook is None:
        return {"secrets": [], "git_hosts": []}
    try:
        async with asyncio.timeout(_CONTEXT_SECONDS):
            found: Mapping[str, Any] = await spawner.form_context_hook(spawner)
    except Exception as error:
        spawner.log.warning(
            "The form of %s is shown without secrets: %s", spawner._log_name, type(error).__name__
        )
        return {}
    return found
