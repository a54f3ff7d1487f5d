"""The launch form's page in a real JupyterHub: what it shows, in which language, and that showing it starts nothing."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

import httpx
import pytest
from form_hub import SESSIONS, Person, alice, app, signed_in
from html_form import Html
from jupyterhub.app import JupyterHub

from sardonyx_spawner.messages import Messages

__all__ = ["alice", "app"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
        assert "git.nonsense" in notices
        assert "no meaning here: autoLaunch." in notices

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
        assert {urlsplit(one).path.rpartition("/")[2] for one in addresses} >= {
            "form.css",
            "spawn.js",
            "datalab.css",
        }
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
