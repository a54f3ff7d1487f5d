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
from .option_secrets import SplitOptions

#: Query arguments of JupyterHub's own.
_NOT_OPTIONS = frozenset({"next", "display_name", "_xsrf", "service"})
#: Field by which the page handler names the session; browsers cannot send it.
SERVER_FIELD = "_server"
#: No session can be called that: two hyphens are not allowed in a name.
NO_SERVER = "--"
#: Sessions that are looked at for suggestions.
_SUGGESTED = 50
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
    secrets
        The same with what was marked secret in them, until that was handed over.
    kept
        Names of the secret variables that were kept for the session before.
    """

    server_name: str
    form: Mapping[str, Sequence[Any]] = field(repr=False)
    problems: tuple[OptionProblem, ...] = ()
    options: dict[str, Any] | None = field(default=None, repr=False)
    secrets: SplitOptions | None = field(default=None, repr=False)
    kept: frozenset[str] = frozenset()


def remember_language(user: Any, language: str) -> None:
    """Keep the language of a person's request for what they are told outside one."""
    _languages[user] = language


def language_of(user: Any) -> str:
    """Return the language of a person's last request; English if there was none."""
    return _languages.get(user, LANGUAGES[0])


def begin_attempt(spawner: Any, form: Mapping[str, Any]) -> FormAttempt:
    """Note that the request of the present context posted `form`."""
    texts = {name: values for name, values in form.items() if _are_texts(values)}
    # The page handler says for which session; its form may be that of another spawner.
    server_name = str((form.get(SERVER_FIELD) or [spawner.name])[-1])
    attempt = FormAttempt(server_name, texts, kept=spawner.kept_secrets(server_name))
    _attempt.set(attempt)
    return attempt


def begin_request(server_name: str, split: SplitOptions, kept: frozenset[str]) -> None:
    """Note that the request of the present context (of the REST API) launches a session with `split`."""
    _attempt.set(FormAttempt(server_name, {}, options=split.user_options, secrets=split, kept=kept))


def attempt_for(spawner: Any) -> FormAttempt | None:
    """Return the attempt of the present context if it is what `spawner` launches."""
    attempt = _attempt.get()
    return attempt if attempt is not None and attempt.options == spawner.user_options else None


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
    own = await own_context(spawner)
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
        kept=spawner.kept_secrets(),
        quota=own.get("quota"),
        known=_known_repositories(spawner),
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


def _known_repositories(spawner: Any) -> dict[str, list[str]]:
    """Return the repositories of the person's own sessions and their branches: no Git host is asked for them."""
    found: dict[str, list[str]] = {}
    for row in list(spawner.user.orm_spawners.values())[:_SUGGESTED]:
        options = (row.user_options or {}).get("options") if isinstance(row.user_options, Mapping) else None
        git = options.get("git") if isinstance(options, Mapping) else None
        if (
            not isinstance(git, Mapping)
            or not isinstance(git.get("repository"), str)
            or not git["repository"]
        ):
            continue
        branches = found.setdefault(git["repository"], [])
        branch = git.get("branch")
        if isinstance(branch, str) and branch and branch not in branches:
            branches.append(branch)
    return found


def _saved(spawner: Any, attempt: FormAttempt | None) -> Mapping[str, Any] | None:
    stored = getattr(spawner.orm_spawner, "user_options", None) if attempt is None else None
    return stored if isinstance(stored, Mapping) and stored else None


async def own_context(spawner: Any) -> Mapping[str, Any]:
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
