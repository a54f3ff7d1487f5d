"""The launch form: picker of services and launch options, one page that works without script.

:func:`make_context` gathers what the form shows, :func:`render_form` makes the HTML that stands inside the
``<form>`` of JupyterHub's ``spawn.html``. Controls are named by the dotted paths of their
options, as Onyxia writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from .catalogue import Catalogue
from .errors import LaunchOptionsError, OptionProblem
from .form_fields import Field
from .form_sections import Section, SectionBuilder
from .messages import LANGUAGES, Messages
from .options import options_from_form, validate_options
from .paths import PathError, flatten, join_path, split_path, unflatten
from .service import Service

#: What Onyxia's links say of its own page and charts: nothing here, and no mistake of whoever wrote the link.
_ONYXIAS = frozenset({"autoLaunch", "autoOpen", "version", "shared", "s3", "catalogId", "chartName"})
#: Longest name of something unknown in a link that the form repeats.
_SHOWN = 80


@dataclass(frozen=True)
class FormRequest:
    """What a request asks of the form; made by the page handler. The default is a form nobody filled in.

    Parameters
    ----------
    service
        Id of the service asked for; None for the default one.
    values
        Raw strings by dotted path, from a launch link or from what was posted; None if there were none.
    from_link
        Whether `values` come from a link, so that a person has to be told what it filled in.
    unknown
        Names in the link that no service has.
    problems
        What was wrong with what was posted.
    display_name
        What the person called the session; None where the form does not ask.
    new_session
        Whether the launch makes a further session beside one that runs, which the form says.
    own_options
        Whether the spawner that is asked is the session's own; not for one that is yet to be made.
    hidden
        Further hidden fields; their names begin with ``_``.
    known_secrets
        Names of secret variables whose value the page has otherwise, from a saved configuration.
    kept
        Query arguments that links of the form carry on.
    asset_url
        Gives the URL of a static file of the datalab, or None if there is no such file.
    markdown
        Makes HTML that is safe of a service's readme; None shows it as it was written.
    """

    language: str = LANGUAGES[0]
    service: str | None = None
    values: Mapping[str, Sequence[str]] | None = None
    from_link: bool = False
    unknown: Sequence[str] = ()
    problems: Sequence[OptionProblem] = ()
    display_name: str | None = None
    new_session: bool = False
    own_options: bool = True
    hidden: Mapping[str, str] = field(default_factory=dict)
    known_secrets: frozenset[str] = frozenset()
    kept: Mapping[str, str] = field(default_factory=dict)
    asset_url: Callable[[str], str | None] | None = None
    markdown: Callable[[str], Markup] | None = None


#: What the request in hand asks of the form. The page handler sets it: ``Spawner.get_options_form()`` takes no arguments,
#: and an attribute of the spawner would be shared by all requests of a person.
current_request: ContextVar[FormRequest | None] = ContextVar("sardonyx_form_request", default=None)


@dataclass(frozen=True)
class FormContext:
    """All that the form shows.

    Parameters
    ----------
    services
        What the person may see, in the order of the catalogue.
    service
        The selected one; None if there is none to select.
    values
        Raw strings by dotted path; what is absent shows the service's default.
    secrets, git_hosts
        The person's own; None where the Vault does not answer, which the form says.
    unavailable
        Option path -> message key of what is not honoured where the session will run; ``""`` is the service.
    isolated
        Whether people are isolated from each other where the session will run; the form says so if not.
    kept
        Names of the secret variables whose value is kept for the session: the form never shows one.
    quota
        What is left for the person: ``{"cpu": {"limit", "used", "left"}, ...}``.
    known
        Repositories that the person launched with before -> their branches.
    again
        Whether what is shown are the options of the session's last launch.
    """

    services: Sequence[Service]
    service: Service | None
    messages: Messages
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    secrets: Sequence[str] | None = ()
    git_hosts: Sequence[str] | None = ()
    unavailable: Mapping[str, str] = field(default_factory=dict)
    unavailable_services: Mapping[str, str] = field(default_factory=dict)
    isolated: bool = True
    kept: frozenset[str] = frozenset()
    quota: Mapping[str, Any] | None = None
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    again: bool = False
    request: FormRequest = field(default_factory=FormRequest)


def make_context(
    catalogue: Catalogue,
    groups: Collection[str],
    request: FormRequest,
    *,
    secrets: Sequence[str] | None = (),
    git_hosts: Sequence[str] | None = (),
    local: bool = False,
    isolated: bool = True,
    saved: Mapping[str, Any] | None = None,
    kept: frozenset[str] = frozenset(),
    quota: Mapping[str, Any] | None = None,
    known: Mapping[str, Sequence[str]] | None = None,
) -> FormContext:
    """Gather what the form shows to a person.

    Parameters
    ----------
    groups
        The person's groups: they see what :meth:`Catalogue.visible_to` says.
    local
        Whether the local spawner runs the session.
    saved
        ``user_options`` of the session when it ran before: shown when the request brings nothing.
    """
    services = catalogue.visible_to(groups)
    values = request.values
    wanted = request.service
    own = request.own_options and not request.new_session
    again = bool(values is None and wanted is None and saved and own)
    if again and saved:
        wanted, values = _saved_values(saved)
    chosen = next((one for one in services if one.id == wanted), None) or catalogue.default_for(groups)
    limits = chosen.local_limits() if chosen and local else {}
    if request.from_link and chosen is not None and "" not in limits:
        request = replace(request, problems=[*request.problems, *_link_problems(chosen, values or {}, local)])
    elsewhere = {one.id: one.local_limits().get("", "") for one in services} if local else {}
    return FormContext(
        services=services,
        service=chosen,
        messages=Messages(request.language),
        values=_canonical(values or {}),
        secrets=secrets,
        git_hosts=git_hosts,
        unavailable=limits,
        unavailable_services={name: key for name, key in elsewhere.items() if key},
        isolated=isolated,
        kept=(kept if own else frozenset()) | request.known_secrets,
        quota=quota,
        known=known or {},
        again=again,
        request=request,
    )


def _link_problems(service: Service, values: Mapping[str, Sequence[str]], local: bool) -> list[OptionProblem]:
    """Return what a link asks and the service does not allow, without what the form's notices tell."""
    try:
        raw = options_from_form(values).get("options", {})
        validate_options(service, raw, local=local)
    except LaunchOptionsError as error:
        told = ("option.unknown", "option.not_a_path", "option.missing", "unavailable.")
        return [problem for problem in error.problems if not problem.key.startswith(told)]
    return []


def read_link(query: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the options in a launch link's query, by dotted path, and the names that are no option's path.

    Names may have JupyterHub's prefix ``opt-``; values may have the quotes ``«»`` of Onyxia's links.

    Examples
    --------
    >>> read_link({"git.repository": ["«https://example.org/a.git»"], "": ["x"]})
    ({'git.repository': ['https://example.org/a.git']}, [''])
    """
    found: dict[str, list[str]] = {}
    unknown = []
    for name, texts in query.items():
        try:
            path = join_path(*split_path(name.removeprefix("opt-")))
        except PathError:
            unknown.append(name)
            continue
        found.setdefault(path, []).extend(_unquoted(text) for text in texts)
    return found, unknown


def _canonical(values: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return `values` by the one way to write each path; what is no path stays, to be told."""
    found: dict[str, Sequence[str]] = {}
    for name, texts in values.items():
        try:
            found[join_path(*split_path(name))] = texts
        except PathError:
            found[name] = texts
    return found


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text.startswith("«") and text.endswith("»") else text


def render_form(context: FormContext) -> str:
    """Return the HTML of the form, without the ``<form>`` element and its button. All text is escaped."""
    sections = _sections(context)
    fields = [one for section in sections for one in section.all_fields()]
    general, summary = _summary(context, sections)
    return _template().render(
        context=context,
        request=context.request,
        language=context.messages.language,
        t=context.messages.translate,
        groups=_by_category(context),
        link=lambda service: "?" + urlencode({**context.request.kept, "service": service.id}),
        icon=lambda service: _icon_url(service, context.request),
        sections=sections,
        general_problems=general,
        summary=summary,
        picker_open=context.service is None or "" in context.unavailable or _nothing_chosen(context),
        link_notices=_link_notices(context, fields),
        filled=_filled(sections) if context.request.from_link else [],
        name_errors=_messages_for(context, "display_name"),
        notices=_notices(context),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("launch_form.html")


def _sections(context: FormContext) -> list[Section]:
    if context.service is None or "" in context.unavailable:
        return []
    return SectionBuilder(
        service=context.service,
        messages=context.messages,
        values=context.values,
        problems=context.request.problems,
        unavailable=context.unavailable,
        secrets=context.secrets,
        git_hosts=context.git_hosts,
        kept=context.kept,
        from_link=context.request.from_link,
        quota=context.quota,
        known=context.known,
    ).sections()


def _messages_for(context: FormContext, path: str) -> list[str]:
    translate = context.messages.translate
    return [translate(one.key, **one.params) for one in context.request.problems if one.path == path]


def _summary(
    context: FormContext, sections: Sequence[Section]
) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Return the problems that belong to no field, and for each other one: id to go to, label, sentence."""
    linked: list[tuple[str, str, str]] = []
    paths = {"display_name"}
    linked += [
        ("display_name", context.messages.translate("form.display_name"), text)
        for text in _messages_for(context, "display_name")
    ]
    for section in sections:
        linked += [(section.id, section.title, error) for error in section.errors]
        for one in section.all_fields():
            paths.add(one.path)
            linked += [(_anchor(one), one.label, error) for error in one.errors]
    shown = {text for _, _, text in linked}
    translate = context.messages.translate
    general = []
    for problem in context.request.problems:
        text = translate(problem.key, **problem.params)
        if problem.path not in paths and text not in shown:
            general.append(f"{problem.path[:_SHOWN]} – {text}" if problem.path else text)
    return general, linked


def _nothing_chosen(context: FormContext) -> bool:
    """Whether the person has yet to say which service they want: the picker is then what they look at first."""
    return context.request.service is None and not context.values and not context.again


def _filled(sections: Sequence[Section]) -> list[tuple[str, Field]]:
    """Return the fields that are not at their default, each with the id to go to; of a row its name."""
    return [
        (_anchor(one), one)
        for section in sections
        for field in section.fields
        for one in (field.parts[:1] if field.kind == "row" else (field,))
        if one.changed
    ]


def _anchor(one: Field) -> str:
    return f"{one.id}-0" if one.kind in ("radio", "checks") else one.id


def _by_category(context: FormContext) -> list[tuple[str, list[Service]]]:
    found: dict[str, list[Service]] = {}
    for service in context.services:
        found.setdefault(service.category.in_language(context.messages.language), []).append(service)
    return list(found.items())


def _icon_url(service: Service, request: FormRequest) -> str | None:
    if not service.icon or service.icon.startswith("https://"):
        return service.icon or None
    return request.asset_url(f"icons/{service.icon}") if request.asset_url else None


def _link_notices(context: FormContext, fields: Sequence[Field]) -> list[str]:
    """Return what a launch link asks that this form cannot give."""
    request = context.request
    translate = context.messages.translate
    notices = []
    if request.service is not None and (context.service is None or context.service.id != request.service):
        notices.append(translate("form.link.service", service=request.service[:_SHOWN]))
    if not request.from_link:
        return notices
    places = {one.path: one for one in fields}
    asked = [*request.unknown, *(path for path in context.values if path not in places)]
    foreign = sorted({name for name in asked if name in _ONYXIAS})
    if foreign:
        notices.append(translate("form.link.onyxia", names=", ".join(foreign)))
    unknown = [name for name in asked if name not in _ONYXIAS]
    if unknown and not (context.service is None or "" in context.unavailable):
        names = ", ".join(name[:_SHOWN] for name in sorted(set(unknown))[:20])
        notices.append(translate("form.link.unknown", names=names))
    for path, one in places.items():
        given = context.values.get(path)
        if one.disabled and given and given[-1] != one.value:
            notices.append(translate("form.link.unavailable", label=one.label, value=given[-1][:_SHOWN]))
    return notices


def _notices(context: FormContext) -> list[str]:
    """Return what is not honoured here and has no field to be said beside."""
    key = context.unavailable.get("kubespawner_override")
    return [context.messages.translate(key)] if key else []


def _saved_values(saved: Mapping[str, Any]) -> tuple[str | None, dict[str, Sequence[str]]]:
    service = saved.get("service")
    options = saved.get("options")
    values: dict[str, Sequence[str]] = {}
    if isinstance(options, Mapping):
        for path, value in flatten(unflatten(options, refused=[])).items():
            name = "vault.secret" if path.startswith("vault.secret[") else path
            values[name] = [*values.get(name, ()), *_texts(value)]
    return (service if isinstance(service, str) else None), values


def _texts(value: object) -> list[str]:
    """Return a saved value as a form would post it; nothing for an empty list."""
    if isinstance(value, bool):
        return ["true" if value else "false"]
    return [str(value)] if isinstance(value, str | int | float) else []
