"""The launch form's page: ``/hub/spawn``.

JupyterHub's own handler starts a server on a GET with unknown query arguments, and shows the default server's form after an
error on a named one. This one starts something on POST only, keeps what was typed, and offers a further session where the
default one is running.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.slugs import is_valid_display_name, normalise_unicode
from jupyterhub.spawner import SpawnException
from jupyterhub.utils import maybe_future, url_path_join
from tornado import web
from tornado.httputil import url_concat

from sardonyx_spawner.errors import OptionProblem
from sardonyx_spawner.form import FormRequest, current_request, read_link
from sardonyx_spawner.launch_form import NO_SERVER, SERVER_FIELD

from ..sessions import was_used
from .assets import asset_url
from .launches import RecentLaunches, make_server_name
from .markdown import render
from .messages import PageMessages
from .room import RoomMixin
from .saved_form import CONFIGURATION_ARGUMENT, SavedForm, posted_saved, read_saved

#: Query arguments that are the page's own, not launch options.
_RESERVED = frozenset({"next", "lang", "redirects", "_xsrf", CONFIGURATION_ARGUMENT})
#: Those of them that fill in the form.
_FILLS = frozenset({CONFIGURATION_ARGUMENT})
_SERVICE_ARGUMENTS = ("service", "profile", "opt-service", "opt-profile")
_NAME_ARGUMENTS = ("display_name", "name")
#: Hidden field: which press of a button a POST comes from.
LAUNCH_FIELD = "_launch"
#: Hidden field: the form was opened to launch something new.
_NEW_FIELD = "_new"

_recent = RecentLaunches()


@dataclass(frozen=True)
class Posted:
    """What a browser posted, apart from what is JupyterHub's own."""

    fields: Mapping[str, list[str]] = field(repr=False)
    files: Mapping[str, list[Any]] = field(repr=False)
    display_name: str = ""
    launch: str = ""

    @property
    def service(self) -> str | None:
        """Id of the service."""
        return self.fields.get("service", [""])[-1] or None

    @property
    def form_data(self) -> dict[str, list[Any]]:
        """What ``Spawner.options_from_form`` gets."""
        return {**self.fields, **self.files}


@dataclass(frozen=True)
class Refusal:
    """Why a launch did not happen: what the page says, and its status."""

    status: int
    problems: Sequence[OptionProblem] = ()
    message: str = ""
    html: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class DatalabSpawnHandler(RoomMixin, SpawnHandler):  # type: ignore[misc]
    """The launch form: GET shows it, POST launches."""

    @web.authenticated
    def get(self, user_name: str | None = None, server_name: str = "") -> Any:
        """Show the form. Never starts anything, whatever the query: a launch link only fills it in."""
        return self._get(user_name or self.current_user.name, server_name or "", "")

    @web.authenticated
    def post(self, user_name: str | None = None, server_name: str = "", display_name: str = "") -> Any:
        """Launch with what was posted, or show the form again with what was wrong."""
        return self._post(user_name or self.current_user.name, server_name or "", "")

    def _log(self) -> None:
        """Log the request without a link's variables: whoever wrote the link may have put a secret in it."""
        if "extraEnvVars" in self.request.query:
            self.request.uri = f"{self.request.path}?[options]"
        super()._log()

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _get(self, user_name: str, server_name: str, display_name: str) -> None:
        user = self._person(user_name)
        if server_name:
            await self._check_named_server_request(user, server_name, server_name)
        spawner = self._known_spawner(user, server_name)
        if spawner is not None and spawner.active and (server_name or not self.allow_named_servers):
            self.redirect(self._where_it_runs(user, server_name, spawner))
            return
        self.remember_language()
        configuration = self.get_query_argument(CONFIGURATION_ARGUMENT, "")
        request = (await read_saved(self, configuration)).request if configuration else self._link_request()
        if request.display_name == "" and spawner is not None and not self._adds_session(user, server_name):
            request = replace(request, display_name=_given_name(spawner))
        await self._show(user, server_name, request)

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _post(self, user_name: str, server_name: str, display_name: str) -> None:
        user = self._person(user_name)
        if server_name:
            await self._check_named_server_request(user, server_name, server_name, check_limit=False)
        await self._launch_or_show(user, server_name, self._posted())

    async def _launch_or_show(
        self, user: Any, server_name: str, posted: Posted, saved: SavedForm | None = None
    ) -> None:
        """Launch; or show the form with what was posted, or with what `saved` filled in, and what is wrong with it."""
        launched = self._launched_before(user, posted)
        if launched is not None:
            self.redirect(self._get_pending_url(user, launched))
            return
        try:
            saved = saved or await posted_saved(self)
            await self._launch(user, server_name, saved.fill(posted) if saved else posted)
        except Exception as error:
            refusal = self._explain(error)
            keys = [problem.key for problem in refusal.problems]
            self.log.info("Launch for %s refused: %s", user.name, keys or refusal.status)
            await self._show_again(user, server_name, posted, refusal, saved)

    # Launching ---------------------------------------------------------------------------------------------------

    async def _launch(self, user: Any, server_name: str, posted: Posted) -> None:
        """Check everything before anything is created, then start the session."""
        problems = _display_name_problems(posted.display_name)
        spawner = self._form_spawner(user, server_name)
        if not spawner.active:
            spawner.handler = self
        try:
            form = {**posted.form_data, SERVER_FIELD: [self._keeps_of(user, server_name)]}
            options = await maybe_future(spawner.run_options_from_form(form))
        except Exception as error:
            found = problems_in(error)
            if not found:
                raise
            raise _Refused([*problems, *found]) from error
        if problems:
            raise _Refused(problems)
        limit = await self.get_current_user_named_server_limit()

        # No await from here until the launch is noted and the record exists: two launches at once see each other.
        earlier = self._launched_before(user, posted)
        if earlier is not None:
            self.redirect(self._get_pending_url(user, earlier))
            return
        target = self._target(user, server_name, posted.service or "session")
        created = target not in user.orm_spawners
        if created and target:
            self._check_limit(user, limit)
        _recent.note(user.name, posted.launch, target)
        launched = user.get_or_create_spawner(target, posted.display_name or target, replace_failed=True)
        if posted.display_name and not created:
            launched.orm_spawner.display_name = posted.display_name
            self.db.commit()
        try:
            pending_url = self._get_pending_url(user, target)
            name = posted.display_name or target
            await self._wrap_spawn_single_user(user, target, name, launched, pending_url, options)
        except Exception:
            _recent.release(user.name, posted.launch)
            if created and target:
                await self._forget(user, target)
            raise

    def _launched_before(self, user: Any, posted: Posted) -> str | None:
        """Return the server that the very form which was posted has launched and that runs or starts."""

        def runs(name: str) -> bool:
            spawner = self._known_spawner(user, name)
            return bool(spawner is not None and spawner.active)

        return _recent.find(user.name, posted.launch, runs)

    def _target(self, user: Any, server_name: str, service_id: str) -> str:
        """Return the name of the server to start; a generated one where the default server is another session."""
        if self._adds_session(user, server_name):
            return make_server_name(service_id, user.orm_spawners)
        spawner = self._known_spawner(user, server_name)
        if spawner is not None and spawner.active:
            raise web.HTTPError(400, self._t("page.running"))
        return server_name

    def _check_limit(self, user: Any, limit: int) -> None:
        named = [name for name in user.orm_spawners if name]
        if limit > 0 and len(named) >= limit:
            raise web.HTTPError(400, self._t("page.limit", limit=limit))

    async def _forget(self, user: Any, server_name: str) -> None:
        """Remove a server that this request made and that did not start: it would count against the limit."""
        spawner = user.spawners.get(server_name)
        if spawner is None or spawner.active:
            return
        await user._delete_spawner(spawner)
        self.db.delete(spawner.orm_spawner)
        user.spawners.pop(server_name, None)
        self.db.commit()

    def _explain(self, error: Exception) -> Refusal:
        """Return what to tell the person; what is not theirs to know is logged under a number."""
        headers = {str(name): str(value) for name, value in (getattr(error, "headers", None) or {}).items()}
        problems = problems_in(error)
        if problems:
            return Refusal(422, problems=problems)
        if isinstance(error, SpawnException):
            return Refusal(error.status_code, message=error.message, html=error.message_html, headers=headers)
        if isinstance(error, web.HTTPError) and error.status_code < 500 and error.log_message:
            return Refusal(error.status_code, message=error.get_message() or "", headers=headers)
        number = secrets.token_hex(4)
        self.log.error("Launch failed [%s]", number, exc_info=error)
        status = error.status_code if isinstance(error, web.HTTPError) else 500
        return Refusal(status, message=self._t("page.failed", number=number), headers=headers)

    # Showing -----------------------------------------------------------------------------------------------------

    async def _show(
        self, user: Any, server_name: str, request: FormRequest, refusal: Refusal | None = None
    ) -> None:
        spawner = self._form_spawner(user, server_name)
        if not spawner.active:
            spawner.handler = self
            await spawner.run_auth_state_hook(await user.get_auth_state())
        request = replace(
            request,
            language=self.datalab_language,
            new_session=bool(user.spawner.active and self._adds_session(user, server_name)),
            own_options=self._keeps_of(user, server_name) != NO_SERVER,
            hidden={
                **request.hidden,
                LAUNCH_FIELD: secrets.token_urlsafe(12),
                **({_NEW_FIELD: "yes"} if self._asks_for_new() else {}),
            },
            kept=self._kept_arguments(),
            asset_url=partial(asset_url, self.hub.base_url),
            markdown=partial(render, headings_from=3),
        )
        current_request.set(request)
        form = await spawner.get_options_form()
        title = server_name and _title_of(user, server_name)
        self.finish(await self._render_page(user, spawner, form or "", title, refusal))

    async def _show_again(
        self, user: Any, server_name: str, posted: Posted, refusal: Refusal, saved: SavedForm | None
    ) -> None:
        """Show the form with what was posted in it."""
        self.set_status(refusal.status)
        for name, value in refusal.headers.items():
            self.set_header(name, value)
        values = {name: texts for name, texts in posted.fields.items() if name != "service"}
        request = FormRequest(
            service=posted.service,
            values=values,
            problems=refusal.problems,
            display_name=posted.display_name,
        )
        await self._show(user, server_name, saved.mark(request) if saved else request, refusal)

    async def _render_page(
        self, user: Any, spawner: Any, form: str, title: str, refusal: Refusal | None
    ) -> str:
        """Render ``spawn.html`` with JupyterHub's own context and ours."""
        own = {"_xsrf": self.xsrf_token.decode("ascii"), **self._kept_arguments()}
        page: str = await self.render_template(
            "spawn.html",
            for_user=user,
            auth_state=await user.get_auth_state(),
            spawner_options_form=form,
            error_message=refusal.message if refusal else "",
            html_error_message=refusal.html if refusal else "",
            url=url_concat(self.request.path, own),
            spawner=spawner,
            t=self._t,
            language=self.datalab_language,
            session_title=title,
            messages=("spawn.script.",),
            asset_url=partial(asset_url, self.hub.base_url),
        )
        return page

    # What was asked ----------------------------------------------------------------------------------------------

    def _link_request(self) -> FormRequest:
        """Read the query: names of options fill in the form, ``service`` selects, the rest is told."""
        query = {
            name: [text.decode("utf-8", "replace") for text in texts]
            for name, texts in self.request.query_arguments.items()
            if name not in _RESERVED
        }
        services = [query.pop(name)[-1] for name in _SERVICE_ARGUMENTS if name in query]
        names = [query.pop(name)[-1] for name in _NAME_ARGUMENTS if name in query]
        values, unknown = read_link(query)
        return FormRequest(
            service=services[0] if services else None,
            values=values or None,
            from_link=bool(values or unknown),
            unknown=unknown,
            display_name=names[0].strip("«» ")[:255] if names else "",
        )

    def _posted(self) -> Posted:
        fields: dict[str, list[str]] = {}
        for name, texts in self.request.body_arguments.items():
            try:
                # Browsers end the lines of a text area with CR LF; shells and variables have LF.
                fields[name] = [text.decode("utf-8").replace("\r\n", "\n") for text in texts]
            except UnicodeDecodeError:
                raise web.HTTPError(400, "The form is not UTF-8") from None
        name = normalise_unicode(fields.pop("display_name", [""])[-1].strip())
        launch = fields.get(LAUNCH_FIELD, [""])[-1][:64]
        own = {name: texts for name, texts in fields.items() if not name.startswith("_")}
        files = {f"{name}_file": list(parts) for name, parts in self.request.files.items()}
        return Posted(fields=own, files=files, display_name=name, launch=launch)

    def _kept_arguments(self) -> dict[str, str]:
        following = self.get_query_argument("next", "")
        return {"next": following} if following else {}

    # People and their servers ------------------------------------------------------------------------------------

    def _person(self, name: str) -> Any:
        user = self.current_user if name == self.current_user.name else self.find_user(name)
        if user is None:
            raise web.HTTPError(404, self._t("page.no_such_user"))
        return user

    def _known_spawner(self, user: Any, server_name: str) -> Any:
        """Return the person's server of that name; None if there is none yet. Creates no named server."""
        if not server_name:
            return user.spawner
        return user.get_spawner(server_name) if server_name in user.orm_spawners else None

    def _form_spawner(self, user: Any, server_name: str) -> Any:
        """Return the spawner whose form is shown; the default one stands in for a server that does not exist yet."""
        return self._known_spawner(user, server_name) or user.spawner

    def _keeps_of(self, user: Any, server_name: str) -> str:
        """Return the session whose secret variables a launch goes on with; an impossible name for a new one."""
        if self._adds_session(user, server_name) or self._known_spawner(user, server_name) is None:
            return NO_SERVER
        return server_name

    def _where_it_runs(self, user: Any, server_name: str, spawner: Any) -> str:
        """Return the address of a session that runs, or of its progress; a launch link's options do not go there."""
        if not spawner.ready:
            return self._get_pending_url(user, server_name)
        url: str = self.get_next_url(user) if self._kept_arguments() else user.server_url(server_name)
        return url

    def _adds_session(self, user: Any, server_name: str) -> bool:
        """Whether a launch makes a further session with a generated name."""
        in_use = user.spawner.active or (self._asks_for_new() and was_used(user.spawner))
        return bool(not server_name and self.allow_named_servers and in_use)

    def _asks_for_new(self) -> bool:
        """Whether the form was opened for a service or by a link, not for the person's default session.

        One that was stopped keeps its disk and options to itself: what the catalogue launches is another one.
        """
        if self.request.method == "POST":
            return bool(self.get_body_argument(_NEW_FIELD, "") == "yes")
        return not self.path_args and not self.request.query_arguments.keys() <= _RESERVED - _FILLS

    def _t(self, key: str, /, **params: object) -> str:
        return PageMessages(self.datalab_language).translate(key, **params)

    def _get_pending_url(self, user: Any, server_name: str) -> str:
        """Return the page that shows the progress; launch options in the query do not go there."""
        path = url_path_join(self.hub.base_url, "spawn-pending", user.escaped_name, server_name)
        return url_concat(path, self._kept_arguments()) or path


class _Refused(Exception):  # noqa: N818
    """The form is shown again; ``problems`` says what is wrong."""

    def __init__(self, problems: Sequence[OptionProblem]) -> None:
        self.problems = list(problems)
        super().__init__("launch options refused")


def problems_in(error: BaseException) -> list[OptionProblem]:
    """Return the problems of launch options in an error or in what it was raised from."""
    seen: BaseException | None = error
    while seen is not None:
        problems = getattr(seen, "problems", None)
        if isinstance(problems, list | tuple) and problems and isinstance(problems[0], OptionProblem):
            return list(problems)
        seen = seen.__cause__ or seen.__context__
    return []


def _display_name_problems(name: str) -> list[OptionProblem]:
    if not name or is_valid_display_name(name):
        return []
    return [OptionProblem("display_name", "form.display_name.invalid")]


def _given_name(spawner: Any) -> str:
    """Return what the person called a session; empty if it only has its technical name."""
    name = spawner.orm_spawner.display_name or ""
    return name if name != spawner.name else ""


def _title_of(user: Any, server_name: str) -> str:
    known = user.orm_spawners.get(server_name)
    return (known.display_name if known else "") or server_name
