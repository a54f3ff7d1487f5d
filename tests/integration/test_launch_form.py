"""The launch form in a real JupyterHub: what starts a session and what does not, and what a person reads when it did not."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from html_form import Html
from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.proxy import Proxy
from jupyterhub.slugs import is_valid_safe_slug
from jupyterhub.spawner import Spawner, SpawnException
from traitlets.config import Config

from sardonyx_hub.pages import TEMPLATE_PATHS, page_handlers, room
from sardonyx_spawner.messages import Messages
from sardonyx_spawner.mixin import DatalabSpawnerMixin

pytestmark = pytest.mark.asyncio(loop_scope="module")

CATALOGUE = """
services:
  - id: python
    name: {en: Python lab, fr: Labo Python}
    default: true
    category: {en: Notebooks, fr: Carnets}
    image:
      versions:
        - {id: "3.12", image: example.org/lab:3.12, default: true}
        - {id: "3.11", image: example.org/lab:3.11}
      custom: {enabled: true, allow: ['example\\\\.org/.*']}
    resources:
      cpu: {limit: {default: 1, max: 4}}
      memory: {guaranteed: {default: 1Gi, max: 4Gi}, limit: {default: 2Gi, max: 8Gi}}
      extended: [{resource: nvidia.com/gpu, name: GPU, max: 2}]
  - id: r
    name: R lab
    category: {en: Statistics, fr: Statistiques}
  - id: hidden
    name: Hidden
    groups: [nobody]
"""


class NoProxy(Proxy):  # type: ignore[misc]
    """A hub without a proxy: the tests ask the hub itself."""

    should_start = False

    async def add_route(self, routespec: str, target: str, data: object) -> None: ...

    async def delete_route(self, routespec: str) -> None: ...

    async def get_all_routes(self) -> dict[str, Any]:
        return {}


@dataclass
class Sessions:
    """What the spawner did, and how it is to behave."""

    port: int = 0
    started: list[str] = field(default_factory=list)
    failure: Exception | None = None
    #: Seconds that reading the catalogue takes: requests at once then meet in the middle.
    delay: float = 0


SESSIONS = Sessions()


class QuietSpawner(DatalabSpawnerMixin, Spawner):  # type: ignore[misc]
    """The datalab's mixin over a session that is nothing but an answering port."""

    running = False

    async def get_catalogue(self) -> Any:
        await asyncio.sleep(SESSIONS.delay)
        return await super().get_catalogue()

    async def start(self) -> tuple[str, int]:
        SESSIONS.started.append(self.name)
        if SESSIONS.failure is not None:
            raise SESSIONS.failure
        self.running = True
        return "127.0.0.1", SESSIONS.port

    async def stop(self, now: bool = False) -> None:
        self.running = False

    async def poll(self) -> int | None:
        return None if self.running else 0


class PageAuthenticator(DummyAuthenticator):  # type: ignore[misc]
    """Mounts the pages, as the datalab's own authenticators do."""

    def get_handlers(self, app: Any) -> list[tuple[Any, ...]]:
        return [*page_handlers(), *super().get_handlers(app)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer like a session that is up."""
    with suppress(ConnectionError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
    writer.close()


async def form_context(spawner: Any) -> Mapping[str, Any]:
    """Return what alice has."""
    return {"secrets": ["projet_patate", "<b>bold</b>"], "git_hosts": ["github.com"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app() -> AsyncIterator[JupyterHub]:
    session = await asyncio.start_server(answer, "127.0.0.1", 0)
    SESSIONS.port = session.sockets[0].getsockname()[1]
    config = Config()
    config.JupyterHub.update(
        bind_url=f"http://127.0.0.1:{free_port()}",
        hub_ip="127.0.0.1",
        hub_port=free_port(),
        db_url="sqlite:///:memory:",
        cookie_secret=b"0" * 32,
        proxy_class=NoProxy,
        spawner_class=QuietSpawner,
        authenticator_class=PageAuthenticator,
        template_paths=list(TEMPLATE_PATHS),
        allow_named_servers=True,
        named_server_limit_per_user=2,
        log_level=logging.WARNING,
    )
    config.PageAuthenticator.update(allow_all=True, admin_users={"admin"})
    config.QuietSpawner.update(catalogue=CATALOGUE)
    JupyterHub.clear_instance()
    hub = JupyterHub.instance(config=config)
    hub.init_signal = lambda: None
    await hub.initialize([])
    # Not through the configuration: traitlets copies that deeply.
    hub.config.QuietSpawner.form_context_hook = form_context
    hub.users.settings["config"] = hub.config
    hub.tornado_application.settings["sardonyx"] = SimpleNamespace(disk=None)
    await hub.start()
    yield hub
    hub.http_server.stop()
    for callback in hub._periodic_callbacks.values():
        callback.stop()
    session.close()
    JupyterHub.clear_instance()


@dataclass
class Person:
    """Somebody with a browser, and what the hub has of them."""

    name: str
    app: JupyterHub
    client: httpx.AsyncClient

    @property
    def user(self) -> Any:
        return self.app.users[self.name]

    @property
    def servers(self) -> set[str]:
        """Names of the servers in the hub's database."""
        rows = self.app.db.query(orm.Spawner).join(orm.User).filter(orm.User.name == self.name)
        return {row.name for row in rows}

    @property
    def active(self) -> set[str]:
        return {name for name, spawner in self.user.spawners.items() if spawner.active}

    async def open(self, path: str = "/hub/spawn", **headers: str) -> Html:
        response = await self.client.get(path, headers=headers)
        assert response.status_code == 200, response.text
        return Html(response.text)

    async def press(self, page: Html, **changes: str | Sequence[str]) -> httpx.Response:
        """Post the form of a page with some fields changed, as multipart like a browser."""
        fields = page.posted()
        for name, value in changes.items():
            fields[name.replace("__", ".")] = [value] if isinstance(value, str) else list(value)
        parts = [(name, (None, text)) for name, texts in fields.items() for text in texts]
        return await self.client.post(page.by_id("spawn_form").attributes["action"], files=parts)

    async def settle(self) -> None:
        """Wait until nothing is pending."""
        async with asyncio.timeout(20):
            while any(spawner.pending for spawner in self.user.spawners.values()):
                await asyncio.sleep(0.02)

    async def clean(self) -> None:
        """Stop and delete all of the person's servers."""
        await self.settle()
        for spawner in list(self.user.spawners.values()):
            if spawner.active:
                await self.user.stop(spawner.name)
        for name, row in list(self.user.orm_spawners.items()):
            if name:
                self.app.db.delete(row)
                self.user.spawners.pop(name, None)
        self.user.orm_spawners[""].user_options = None
        self.user.spawners.pop("", None)
        self.app.db.commit()


@pytest_asyncio.fixture(loop_scope="module")
async def alice(app: JupyterHub) -> AsyncIterator[Person]:
    async with signed_in(app, "alice") as client:
        person = Person("alice", app, client)
        SESSIONS.started.clear()
        yield person
        SESSIONS.failure = None
        SESSIONS.delay = 0
        app.tornado_application.settings["named_server_limit_per_user"] = 2
        app.tornado_application.settings["allow_named_servers"] = True
        await person.clean()


class signed_in:  # noqa: N801
    """A client with the cookies of a person."""

    def __init__(self, app: JupyterHub, name: str) -> None:
        port = urlsplit(app.hub.bind_url).port
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
        self.name = name

    async def __aenter__(self) -> httpx.AsyncClient:
        page = await self.client.get("/hub/login")
        token = page.cookies.get("_xsrf") or self.client.cookies["_xsrf"]
        data = {"username": self.name, "password": "pass", "_xsrf": token}
        response = await self.client.post("/hub/login", data=data)
        assert response.status_code == 302, response.text
        return self.client

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()


LINKS = [
    "",
    "?service=python",
    "?service=nonsense",
    "?opt-service=python",
    "?opt-profile=python&opt-x=1",
    "?profile=python",
    "?resources.limits.memory=4Gi",
    "?opt-resources.limits.memory=4Gi",
    "?init.personalInit=https://evil.example/x.sh&autoLaunch=true",
    "?display_name=x&next=%2Fhub%2Fhome&foo=bar",
    "?opt-=x",
    "?%ff=%ff&[0]=1&a..b=2",
    "?lang=fr",
]


class TestGet:
    """GET shows the form; it starts nothing and creates nothing, whatever it is asked."""

    @pytest.mark.parametrize("query", LINKS)
    @pytest.mark.parametrize("path", ["/hub/spawn", "/hub/spawn/alice", "/hub/spawn/alice/fresh"])
    async def test_starts_nothing(self, alice: Person, path: str, query: str) -> None:
        before = alice.servers | {""}
        response = await alice.client.get(path + query)
        assert response.status_code == 200, response.text
        assert 'id="spawn_form"' in response.text
        await asyncio.sleep(0)
        assert (SESSIONS.started, alice.active, alice.servers | {""}) == ([], set(), before)

    @pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
    async def test_other_methods_start_nothing(self, alice: Person, method: str) -> None:
        response = await alice.client.request(method, "/hub/spawn/alice?opt-service=python")
        assert response.status_code >= 400 or method == "OPTIONS"
        assert (SESSIONS.started, alice.active) == ([], set())

    async def test_link_fills_in_and_says_so(self, alice: Person) -> None:
        page = await alice.open(
            "/hub/spawn?service=python&resources.limits.memory=«4Gi»&vault.secret=projet_patate"
            "&service.image.version=example.org/lab:3.11&display_name=Course&git.nonsense=1&autoLaunch=true"
        )
        assert page.control("resources.limits.memory").attributes["value"] == "4Gi"
        assert page.posted()["vault.secret"] == ["", "projet_patate"]
        assert page.posted()["service.image.version"] == ["3.11"]
        assert page.control("display_name").attributes["value"] == "Course"
        assert "open" in page.by_id("section-resources").attributes
        assert "open" not in page.by_id("section-git").attributes
        notices = " ".join(one.text for one in page.all("div", role="status"))
        assert "A link filled in this form" in notices
        assert "autoLaunch, git.nonsense" in notices

    async def test_unknown_service_is_told(self, alice: Person) -> None:
        page = await alice.open("/hub/spawn?service=hidden")
        assert page.posted()["service"] == ["python"]
        assert "“hidden” is not in your catalogue" in page.source

    async def test_picker_is_links_and_marks_the_selected(self, alice: Person) -> None:
        page = await alice.open("/hub/spawn?service=r&next=/hub/home")
        links = [
            one for one in page.all("a") if one.attributes.get("class", "").startswith("datalab-service")
        ]
        assert [one.attributes["href"] for one in links] == [
            "?next=%2Fhub%2Fhome&service=python",
            "?next=%2Fhub%2Fhome&service=r",
        ]
        assert [one.attributes.get("aria-current") for one in links] == [None, "true"]

    async def test_invalid_server_name_is_refused(self, alice: Person) -> None:
        response = await alice.client.get("/hub/spawn/alice/Not--valid")
        assert response.status_code == 400
        assert "Not--valid" not in alice.servers

    async def test_other_person_is_refused(self, alice: Person, app: JupyterHub) -> None:
        async with signed_in(app, "bob") as bob:
            assert (await bob.get("/hub/spawn/alice")).status_code in (403, 404)
            page = Html((await bob.get("/hub/spawn")).text)
            action = page.by_id("spawn_form").attributes["action"].replace("/hub/spawn", "/hub/spawn/alice")
            assert (await bob.post(action, data={"service": "python"})).status_code in (403, 404)
        assert SESSIONS.started == []

    async def test_anonymous_is_sent_to_sign_in(self, alice: Person) -> None:
        response = await httpx.AsyncClient(base_url=alice.client.base_url, trust_env=False).get(
            "/hub/spawn?service=r"
        )
        assert response.status_code == 302
        assert "/hub/login" in response.headers["location"]

    async def test_admin_sees_for_whom(self, alice: Person, app: JupyterHub) -> None:
        async with signed_in(app, "admin") as admin:
            page = Html((await admin.get("/hub/spawn/alice")).text)
        assert "You are launching for alice" in page.source

    async def test_context_of_jupyterhub_is_kept(self, alice: Person) -> None:
        page = await alice.open()
        form = page.by_id("spawn_form")
        assert form.attributes["method"] == "post"
        assert form.attributes["enctype"] == "multipart/form-data"
        assert "_xsrf=" in form.attributes["action"]
        assert "/hub/logout" in page.by_id("logout").attributes["href"]

    async def test_no_inline_script_or_style_of_ours(self, alice: Person) -> None:
        page = await alice.open()
        form = page.source[page.source.index("datalab-page") : page.source.index("</form>")]
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|javascript:", form)


class TestPost:
    """POST launches, or shows what was wrong beside what was typed."""

    async def test_launches_the_default_session(self, alice: Person) -> None:
        response = await alice.press(await alice.open(), git__branch="dev")
        assert (response.status_code, response.headers["location"]) == (302, "/hub/spawn-pending/alice")
        await alice.settle()
        assert SESSIONS.started == [""]
        assert alice.user.spawner.launch_options.git.branch == "dev"
        assert alice.user.spawner.user_options["service"] == "python"

    async def test_a_full_disk_is_said_and_nothing_starts(
        self, alice: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = await alice.open("/hub/spawn?lang=fr")
        monkeypatch.setattr(room, "is_full", lambda folder: True)
        response = await alice.press(page)
        assert response.status_code == 507
        assert "Le disque de ce datalab est plein" in response.text
        assert SESSIONS.started == []

    async def test_untouched_form_means_the_defaults(self, alice: Person) -> None:
        await alice.press(await alice.open())
        await alice.settle()
        options = alice.user.spawner.launch_options
        assert options.resources.limits.memory == "2Gi"
        assert options.service.image.version == "3.12"
        assert (options.vault.secret, options.extra_env_vars, options.s3.access) == ([], [], "read-write")

    async def test_errors_stand_beside_their_fields_and_input_is_kept(self, alice: Person) -> None:
        response = await alice.press(
            await alice.open(),
            **{
                "resources__limits__memory": "9000Gi",
                "git__repository": "https://me:ghp_token@example.org/a.git",
                "extraEnvVars[0]__name": "LD_PRELOAD",
                "extraEnvVars[0]__value": "a\nb",
                "extraEnvVars[1]__name": "FINE",
                "extraEnvVars[1]__value": "<i>&amp;",
                "vault__secret": ["", "projet_patate"],
                "display_name": "My course",
                "service__image__version": "3.11",
            },
        )
        assert response.status_code == 422
        page = Html(response.text)
        memory = page.control("resources.limits.memory")
        assert memory.attributes["value"] == "9000Gi"
        assert memory.attributes["aria-invalid"] == "true"
        assert "from 128Mi to 8Gi" in page.beside("resources.limits.memory")
        assert "token or a password" in page.beside("git.repository")
        assert "LD_PRELOAD decides" in page.beside("extraEnvVars[0].name")
        sent = page.posted()
        assert sent["extraEnvVars[0].value"] == ["a\nb"]
        assert sent["extraEnvVars[1].value"] == ["<i>&amp;"]
        assert sent["vault.secret"] == ["", "projet_patate"]
        assert sent["display_name"] == ["My course"]
        assert sent["service.image.version"] == ["3.11"]
        for section in ("resources", "git", "extraEnvVars"):
            assert "open" in page.by_id(f"section-{section}").attributes
        problems = page.by_id("form-problems")
        targets = [
            one.attributes["href"][1:]
            for one in page.all("a", class_="alert-link")
            if one.inside("div") is problems
        ]
        assert len(targets) == 3
        for target in targets:
            page.by_id(target)
        assert (SESSIONS.started, alice.active) == ([], set())

    async def test_name_with_dots_in_it(self, alice: Person) -> None:
        name = r"resources.limits.nvidia\.com/gpu"
        wrong = await alice.press(await alice.open(), **{name: "3"})
        assert wrong.status_code == 422
        assert Html(wrong.text).control(name).attributes["value"] == "3"
        assert "from 0 to 2" in Html(wrong.text).beside(name)
        assert (await alice.press(Html(wrong.text), **{name: "2"})).status_code == 302
        await alice.settle()
        assert alice.user.spawner.launch_options.resources.limits.devices == {"nvidia.com/gpu": 2}

    async def test_corrected_form_launches(self, alice: Person) -> None:
        wrong = await alice.press(await alice.open(), resources__limits__memory="lots")
        assert wrong.status_code == 422
        right = await alice.press(Html(wrong.text), resources__limits__memory="3Gi")
        assert right.status_code == 302
        await alice.settle()
        assert alice.user.spawner.launch_options.resources.limits.memory == "3Gi"

    async def test_unknown_field_is_told(self, alice: Person) -> None:
        response = await alice.press(await alice.open(), **{"nonsense<x>": "1"})
        assert response.status_code == 422
        assert "nonsense&lt;x&gt;" in response.text
        assert "nonsense<x>" not in response.text

    async def test_hidden_service_is_refused(self, alice: Person) -> None:
        response = await alice.press(await alice.open(), service="hidden")
        assert response.status_code in (400, 422)
        assert "hidden" in response.text
        assert SESSIONS.started == []

    async def test_without_xsrf_token_is_refused(self, alice: Person) -> None:
        await alice.open()
        response = await alice.client.post("/hub/spawn", data={"service": "python"})
        assert response.status_code == 403
        assert SESSIONS.started == []

    async def test_bytes_that_are_no_text_are_refused(self, alice: Person) -> None:
        page = await alice.open()
        action = page.by_id("spawn_form").attributes["action"]
        response = await alice.client.post(
            action,
            content=b"service=python&git.branch=%ff",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert response.status_code == 400

    async def test_reason_of_a_refused_launch_is_told(self, alice: Person) -> None:
        SESSIONS.failure = SpawnException("No room today <b>", reason="capacity", status_code=503)
        response = await alice.press(await alice.open(), git__branch="kept")
        assert response.status_code == 503
        page = Html(response.text)
        assert "No room today &lt;b&gt;" in response.text
        assert page.control("git.branch").attributes["value"] == "kept"

    async def test_unexpected_error_is_a_number_not_a_traceback(self, alice: Person) -> None:
        SESSIONS.failure = ValueError("the password is hunter2")
        response = await alice.press(await alice.open(), git__branch="kept")
        assert response.status_code == 500
        assert "hunter2" not in response.text
        assert re.search(r"give them this number: [0-9a-f]{8}", response.text)
        assert Html(response.text).control("git.branch").attributes["value"] == "kept"


class TestNamedSessions:
    """Sessions with a name, given or generated."""

    async def test_named_session_launches_with_its_options(self, alice: Person) -> None:
        page = await alice.open("/hub/spawn/alice/mine")
        response = await alice.press(page, display_name="Mine, été", git__branch="b")
        assert response.headers["location"] == "/hub/spawn-pending/alice/mine"
        await alice.settle()
        assert SESSIONS.started == ["mine"]
        assert alice.user.spawners["mine"].launch_options.git.branch == "b"
        assert alice.user.orm_spawners["mine"].display_name == "Mine, été"

    async def test_error_shows_the_named_sessions_form(self, alice: Person) -> None:
        response = await alice.press(await alice.open("/hub/spawn/alice/mine"), git__branch="..")
        assert response.status_code == 422
        page = Html(response.text)
        assert urlsplit(page.by_id("spawn_form").attributes["action"]).path == "/hub/spawn/alice/mine"
        assert "mine" in page.all("h1")[0].text
        assert page.control("git.branch").attributes["value"] == ".."
        assert "mine" not in alice.servers

    async def test_stopped_session_offers_its_own_options_again(self, alice: Person) -> None:
        await alice.press(
            await alice.open("/hub/spawn/alice/mine?service=r"), git__branch="again", s3__access="read-only"
        )
        await alice.settle()
        await alice.user.stop("mine")
        page = await alice.open("/hub/spawn/alice/mine")
        assert page.posted()["service"] == ["r"]
        assert page.control("git.branch").attributes["value"] == "again"
        assert page.posted()["s3.access"] == ["read-only"]
        other = await alice.open("/hub/spawn/alice/other")
        assert other.control("git.branch").attributes["value"] == ""

    async def test_running_named_session_is_opened(self, alice: Person) -> None:
        await alice.press(await alice.open("/hub/spawn/alice/mine"))
        await alice.settle()
        response = await alice.client.get("/hub/spawn/alice/mine?opt-service=r")
        assert (response.status_code, response.headers["location"]) == (302, "/user/alice/mine/")
        assert SESSIONS.started == ["mine"]

    async def test_second_session_gets_a_name(self, alice: Person) -> None:
        await alice.press(await alice.open())
        await alice.settle()
        page = await alice.open("/hub/spawn?service=r")
        assert "Your default session is running" in page.source
        response = await alice.press(page, display_name="Second")
        await alice.settle()
        name = response.headers["location"].rpartition("/")[2]
        assert is_valid_safe_slug(name)
        assert re.fullmatch(r"r-[a-z0-9]{4}", name)
        assert SESSIONS.started == ["", name]
        assert alice.user.orm_spawners[name].display_name == "Second"
        assert alice.user.spawners[name].user_options["service"] == "r"

    async def test_second_session_does_not_take_the_first_ones_options(self, alice: Person) -> None:
        await alice.press(await alice.open(), git__branch="first")
        await alice.settle()
        assert (await alice.open()).control("git.branch").attributes["value"] == ""

    async def test_without_named_servers_the_running_one_is_opened(self, alice: Person) -> None:
        page = await alice.open()
        await alice.press(page)
        await alice.settle()
        alice.app.tornado_application.settings["allow_named_servers"] = False
        response = await alice.client.get("/hub/spawn")
        assert (response.status_code, response.headers["location"]) == (302, "/user/alice/")
        again = await alice.press(page, _launch="another-page")
        assert again.status_code == 400
        assert "running or starting already" in again.text
        assert SESSIONS.started == [""]

    async def test_limit_is_told_and_input_kept(self, alice: Person) -> None:
        for name in ("one", "two"):
            await alice.press(await alice.open(f"/hub/spawn/alice/{name}"))
        await alice.press(await alice.open())
        await alice.settle()
        response = await alice.press(await alice.open(), git__branch="kept")
        assert response.status_code == 400
        assert "You have 2 sessions, the most that is allowed" in response.text
        assert Html(response.text).control("git.branch").attributes["value"] == "kept"
        assert alice.servers == {"", "one", "two"}

    async def test_failed_new_session_does_not_count(self, alice: Person) -> None:
        await alice.press(await alice.open())
        await alice.settle()
        SESSIONS.failure = SpawnException("no", reason="x")
        for _ in range(3):
            assert (await alice.press(await alice.open())).status_code == 400
        assert alice.servers == {""}

    async def test_pressed_twice_launches_once(self, alice: Person) -> None:
        page = await alice.open()
        SESSIONS.delay = 0.1
        first, second = await asyncio.gather(alice.press(page), alice.press(page))
        await alice.settle()
        third = await alice.press(page)
        assert {one.headers["location"] for one in (first, second, third)} == {"/hub/spawn-pending/alice"}
        assert SESSIONS.started == [""]

    async def test_pressed_twice_at_the_limit_launches_once(self, alice: Person) -> None:
        alice.app.tornado_application.settings["named_server_limit_per_user"] = 1
        await alice.press(await alice.open())
        await alice.settle()
        page = await alice.open()
        SESSIONS.delay = 0.1
        answers = await asyncio.gather(alice.press(page), alice.press(page))
        await alice.settle()
        assert len({one.headers["location"] for one in answers}) == 1
        assert len(SESSIONS.started) == 2

    async def test_two_pages_at_once_make_two_sessions_within_the_limit(self, alice: Person) -> None:
        await alice.press(await alice.open())
        await alice.settle()
        pages = [await alice.open() for _ in range(3)]
        SESSIONS.delay = 0.1
        answers = await asyncio.gather(*(alice.press(page) for page in pages))
        await alice.settle()
        assert sorted(one.status_code for one in answers) == [302, 302, 400]
        assert len(alice.servers) == 3


class TestLanguage:
    """The language is chosen by link, kept in a cookie, else the browser's."""

    async def test_browser_chooses(self, alice: Person) -> None:
        page = await alice.open(**{"Accept-Language": "fr-FR,fr;q=0.9,en;q=0.5"})
        assert "Lancer un service" in page.source
        assert "Labo Python" in page.source

    async def test_link_chooses_and_cookie_keeps(self, alice: Person) -> None:
        response = await alice.client.get("/hub/spawn?service=r&lang=fr")
        (cookie,) = [one for one in response.headers.get_list("set-cookie") if "datalab-lang" in one]
        assert "Path=/hub/" in cookie
        assert "SameSite=Lax" in cookie
        assert "lang" not in Html(response.text).by_id("section-git").text
        wrong = await alice.press(await alice.open(), resources__limits__memory="9000Gi")
        assert Messages("fr").translate("option.out_of_range", min="128Mi", max="8Gi") in wrong.text
        back = await alice.open("/hub/spawn?lang=en")
        assert "Launch a service" in back.source

    async def test_unknown_language_sets_no_cookie(self, alice: Person) -> None:
        response = await alice.client.get("/hub/spawn?lang=%22%3E%3Cscript%3E")
        assert not any("datalab-lang" in one for one in response.headers.get_list("set-cookie"))
        assert '<script>"' not in response.text


class TestAssets:
    """Style and script are files with the hash of their content in their address."""

    async def test_served_and_kept_by_hash(self, alice: Person) -> None:
        page = await alice.open()
        addresses = [
            one.attributes["href"] for one in page.all("link") if "datalab" in one.attributes["href"]
        ]
        addresses += [one.attributes["src"] for one in page.all("script", type_="module")]
        assert len(addresses) == 2
        for address in addresses:
            response = await alice.client.get(address)
            assert response.status_code == 200
            assert "immutable" in response.headers["cache-control"]
            assert response.headers["x-content-type-options"] == "nosniff"
            plain = await alice.client.get(urlsplit(address).path + "?v=0")
            assert plain.headers["cache-control"] == "no-cache"

    @pytest.mark.parametrize("name", ["../spawn.py", "%2e%2e/spawn.py", "..%2fspawn.py", "", "nothing.css"])
    async def test_nothing_else_is_served(self, alice: Person, name: str) -> None:
        assert (await alice.client.get(f"/hub/datalab/static/{name}")).status_code in (403, 404)
