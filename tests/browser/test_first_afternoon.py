"""A student's first afternoon, in French and in one go: what journey 1 says in its steps 1-6, 8, 9, 12, 13 and 15-17."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checks import check_page, watch
from git_server import GitServer
from pages import SECOND, Lab, screenshot
from playwright.sync_api import Locator, Page, expect
from stack import PASSWORD, Stack, eventually, running_stack

from sardonyx_hub.pages.messages import PageMessages
from sardonyx_spawner.catalogue import DEFAULT_CATALOGUE

pytestmark = pytest.mark.timeout(900)

say = PageMessages("fr").translate
SLOW = 120 * SECOND
COURSE = """
  - id: cours
    name: {en: Statistics course, fr: Cours de statistique}
    description: {en: The notebooks of the course., fr: Les notebooks du cours.}
    category: {en: Teaching, fr: Formation}
    local: {environment: jupyter-python}
"""
TOKEN = "jeton-patate-4711"
CONFIGURATION, RENAMED = "Projet de semestre", "Projet du premier semestre"
SECTIONS = ("resources", "persistence", "git", "secrets", "s3", "init", "environment")
#: A package as pip and uv install it, made here: a test does not depend on a registry.
WHEEL = "./patate-1.0-py3-none-any.whl"
MAKE_WHEEL = f"""
import zipfile
with zipfile.ZipFile("{WHEEL}", "w") as wheel:
    wheel.writestr("patate.py", "couleur = 'orange'")
    wheel.writestr("patate-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: patate\\nVersion: 1.0\\n")
    tags = "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    wheel.writestr("patate-1.0.dist-info/WHEEL", tags)
    wheel.writestr("patate-1.0.dist-info/RECORD", "")
"""
READ_AND_WRITE = """
import os, boto3, pandas as pd, polars as pl, s3fs
endpoint = "https://" + os.environ["AWS_S3_ENDPOINT"]
fs = s3fs.S3FileSystem(client_kwargs={"endpoint_url": endpoint})
pd.DataFrame({"n": range(7)}).to_csv("s3://alice/diffusion/airports.csv", index=False)
print(len(pd.read_csv("s3://alice/diffusion/airports.csv")), pl.read_csv("s3://alice/diffusion/airports.csv").height,
      fs.ls("alice/diffusion"), boto3.client("s3").list_objects_v2(Bucket="alice")["KeyCount"])
"""


@pytest.fixture(scope="module")
def datalab(session_environment: Path, minio_client: Path) -> Iterator[Stack]:
    """A datalab with services of two categories, that nobody has used."""
    with running_stack(started=False) as running:
        catalogue = running.home.parent / "catalogue.yaml"
        catalogue.write_text(DEFAULT_CATALOGUE.read_text(encoding="utf-8") + COURSE, encoding="utf-8")
        running.command = [*running.command, f"--catalogue={catalogue}"]
        yield running.start()


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A server with a private repository."""
    server = GitServer(tmp_path_factory.mktemp("repositories"))
    server.fill()
    yield server
    server.stop()


class Student:
    """Alice at her browser: what she sees, by its words."""

    def __init__(self, page: Page, stack: Stack) -> None:
        self.page = page
        self.stack = stack

    def go(self, room: str) -> None:
        """Go to a room by the navigation."""
        names = {
            "catalogue": "common.nav.catalogue",
            "services": "common.nav.services",
            "secrets": "common.nav.secrets",
            "account": "common.nav.account",
        }
        self.page.goto(f"{self.stack.url}/hub/datalab/catalogue")
        self.page.get_by_role("navigation").get_by_role("link", name=say(names[room])).first.click()
        expect(self.page).to_have_url(re.compile(f"/hub/datalab/{room}"))

    def button(self, key: str, where: Page | Locator | None = None, **params: object) -> Locator:
        return (where or self.page).get_by_role("button", name=say(key, **params), exact=True)

    def fill(self, key: str, text: str, where: Page | Locator | None = None) -> None:
        (where or self.page).get_by_label(say(key), exact=True).fill(text)

    def toast(self, key: str, **params: object) -> None:
        expect(self.page.locator("#dl-toasts")).to_contain_text(say(key, **params), timeout=20 * SECOND)

    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def session(self, title: str) -> Locator:
        return self.page.get_by_role("article", name=title, exact=True)

    def wait_for_lab(self, session: str = "") -> Lab:
        """Wait through the page that shows the progress until JupyterLab is there; it asks for no password."""
        self.page.wait_for_url(re.compile(rf"/user/alice/{session}[^?]*lab"), timeout=SLOW)
        lab = Lab(self.page)
        lab.wait(120)
        return lab


@pytest.fixture
def alice(sign_in: Callable[..., Page], datalab: Stack) -> Student:
    page = sign_in("")  # nobody yet
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return Student(page, datalab)


def test_a_students_first_afternoon(
    alice: Student, datalab: Stack, git: GitServer, screenshots: Path
) -> None:
    signs_in_and_finds_a_service(alice)
    launches_without_changing_anything(alice, screenshots)
    works_and_comes_back(alice)
    keeps_git_account(alice, git)
    makes_a_secret(alice)
    fills_the_form_and_saves_it(alice, git, screenshots)
    launches_it_with_one_click(alice)
    pushes_and_reads(alice, git)
    looks_at_snippets(alice)
    gives_the_link_to_others(alice)
    watches_and_deletes(alice, screenshots)


def signs_in_and_finds_a_service(alice: Student) -> None:
    """Step 1."""
    page = alice.page
    page.goto(alice.stack.url)
    page.get_by_label(say("hub.login.username"), exact=True).fill("alice")
    page.locator("#password_input").fill(PASSWORD)
    page.locator("#login_submit").click()
    expect(page).to_have_url(f"{alice.stack.url}/hub/datalab/catalogue", timeout=30 * SECOND)
    tabs = page.get_by_role("navigation", name=say("catalogue.categories"))
    for name in (say("catalogue.all"), "Environnements de développement", "Formation"):
        expect(tabs.get_by_role("link", name=re.compile(f"^{name}"))).to_be_visible()
    page.get_by_role("searchbox", name=say("catalogue.search")).fill("polars")
    cards = page.get_by_role("article").locator("visible=true")
    expect(cards).to_have_count(1)
    card = page.get_by_role("article", name="Jupyter Python")
    expect(card.locator("img").first).to_be_visible()
    expect(card).to_contain_text("bibliothèques usuelles pour les données")
    check_page(page)
    card.get_by_role("link", name=say("catalogue.launch.named", name="Jupyter Python")).click()
    expect(page.locator("#spawn_form")).to_be_visible()


def launches_without_changing_anything(alice: Student, screenshots: Path) -> None:
    """Step 2."""
    alice.button("page.launch").click()
    steps = alice.page.get_by_role("region", name=say("hub.pending.steps"))
    expect(steps).to_be_visible(timeout=30 * SECOND)
    expect(steps).to_contain_text(re.compile("identifiants|accès", re.I), timeout=60 * SECOND)
    screenshot(alice.page, screenshots, "afternoon-pending")
    alice.wait_for_lab()


def works_and_comes_back(alice: Student) -> None:
    """Steps 4 and 5: a notebook, a package; the browser is closed, and the session is found again."""
    lab = Lab(alice.page)
    notebook = lab.new_notebook()
    notebook.run(MAKE_WHEEL.strip())
    assert "Successfully installed patate-1.0" in notebook.run(f"%pip install --no-index {WHEEL}", 120)
    lab.use_screen_reader(reload=False)
    context = alice.page.context
    alice.page.close()
    alice.page = context.new_page()
    watch(alice.page)
    alice.go("services")
    with context.expect_page() as opened:
        mine = say("services.default_name")
        label = re.compile(f"^{re.escape(say('services.open.of', name=mine))}")
        alice.session(mine).get_by_label(label).click()
    again = Lab(opened.value)
    again.wait(60)
    terminal = again.new_terminal()
    assert terminal.run("python -c 'import patate; print(patate.couleur)'") == "orange"
    assert "patate" in terminal.run("uv pip list -q 2>&1")
    opened.value.close()


def keeps_git_account(alice: Student, git: GitServer) -> None:
    """Step 6, its first half."""
    alice.go("account")
    page = alice.page
    page.get_by_role("navigation", name=say("account.tabs")).get_by_role("link", name="Git").click()
    alice.button("account.git.add").click()
    alice.fill("account.git.host", git.url)
    alice.fill("account.git.name", "Alice Étudiante")
    alice.fill("account.git.email", "alice@example.org")
    alice.fill("account.git.username", "alice")
    alice.fill("account.git.token", git.token)
    alice.button("common.save").click()
    alice.toast("account.git.saved", host=git.host)
    assert git.token not in page.content()


def makes_a_secret(alice: Student) -> None:
    """Step 12, its first half: masked until asked for."""
    alice.go("secrets")
    page = alice.page
    alice.button("secrets.new").first.click()
    alice.dialog().get_by_label(say("secrets.new.name")).fill("projet_patate")
    alice.button("secrets.new.continue", alice.dialog()).click()
    form = page.locator("#editor form")
    expect(form).to_be_visible(timeout=30 * SECOND)
    for name, value in (("PATATE_TOKEN", TOKEN), ("PATATE_PORT", "8443")):
        if name != "PATATE_TOKEN":
            alice.button("secrets.add").click()
        alice.fill("secrets.key", name, form)
        alice.fill("secrets.value", value, form)
        alice.button("common.save", form).click()
        alice.toast("secrets.saved", name=name)
    assert TOKEN not in page.content()
    alice.button("secrets.reveal.key", name="PATATE_TOKEN").click()
    expect(page.locator("[data-key=PATATE_TOKEN] pre")).to_have_text(TOKEN)


def section(page: Page, name: str) -> Locator:
    """Open a section of the form."""
    title = say(f"form.section.{name}")
    found = page.locator(".datalab-section", has=page.locator(".datalab-section-title", has_text=title)).first
    if found.get_attribute("open") is None:
        found.locator("summary").first.click()
    return found


def fills_the_form_and_saves_it(alice: Student, git: GitServer, screenshots: Path) -> None:
    """Steps 3 and 15: every section, help for every field; what is chosen is kept under a name."""
    alice.go("catalogue")
    page = alice.page
    page.get_by_role("link", name=say("catalogue.launch.named", name="Jupyter Python")).click()
    expect(page.locator("#spawn_form")).to_be_visible()
    for name in SECTIONS:
        opened = section(page, name)
        # a list of one's own secrets has its help at the section's beginning
        for field in opened.locator("[data-field]:not(:has(.datalab-list))").all():
            told = field.locator(".form-text, .datalab-reason")
            assert told.count(), f"no help: {field.get_attribute('data-field')}"
    section(page, "git").get_by_label(say("form.git.repository"), exact=True).fill(git.url)
    section(page, "secrets").get_by_label(re.compile(r"^\s*projet_patate\b")).check()
    section(page, "environment").get_by_label(say("form.environment.name", number=1)).fill("MODE")
    section(page, "environment").get_by_label(say("form.environment.value", number=1)).fill("essai")
    page.screenshot(path=screenshots / "afternoon-form.png", full_page=True)
    tools = page.locator("#section-tools")
    tools.locator("summary").first.click()
    tools.get_by_label(say("form.tools.save"), exact=True).fill(CONFIGURATION)
    alice.button("form.tools.save.button", tools).click()
    alice.toast("spawn.script.saved", name=CONFIGURATION)


def launches_it_with_one_click(alice: Student) -> None:
    """Step 15."""
    alice.go("catalogue")
    alice.page.get_by_role("button", name=say("catalogue.launch.named", name=CONFIGURATION)).click()
    alice.wait_for_lab("jupyter-python-")


def pushes_and_reads(alice: Student, git: GitServer) -> None:
    """Steps 6, 8, 9 and 12: in a terminal and a notebook, with nothing configured by hand."""
    lab = Lab(alice.page)
    lab.use_screen_reader()
    notebook = lab.new_notebook()
    read = notebook.run(READ_AND_WRITE.strip())
    assert read.startswith("7 7 ['alice/diffusion/airports.csv'] ")
    assert notebook.run("os.environ['PATATE_PORT'], os.environ['MODE']") == "('8443', 'essai')"
    terminal = lab.new_terminal()
    commit = "git -C projet commit -q --allow-empty -m deux && git -C projet push -q 2>&1; echo pushed $?"
    assert "pushed 0" in terminal.run(commit)
    assert git.log().startswith("Alice Étudiante <alice@example.org> deux\n")
    found = terminal.run(f"grep -rc {git.token[:9]}'{git.token[9:]}' projet | grep -v ':0$' | wc -l")
    assert found == "0"
    assert terminal.run("echo $PATATE_TOKEN") == TOKEN
    assert "airports.csv" in terminal.run("mc ls s3/alice/diffusion/")
    copied = terminal.run("mc cp -q s3/alice/diffusion/airports.csv . >/dev/null; wc -l < airports.csv")
    assert copied == "8", copied
    assert re.search(r" alice$", terminal.run("aws s3 ls"), re.MULTILINE)
    assert "AWS_SESSION_TOKEN" in terminal.run("env | grep AWS | cut -d= -f1")


def looks_at_snippets(alice: Student) -> None:
    """Step 13."""
    alice.go("account")
    page = alice.page
    page.get_by_role("navigation", name=say("account.tabs")).get_by_role(
        "link", name=say("account.tab.storage")
    ).click()
    expect(page.locator("#expiry-text")).to_have_text(re.compile(r"^Expire dans "))
    alice.button("account.snippets.copy", name="boto3").click()
    alice.toast("common.copied")
    assert 'Bucket="alice"' in str(page.evaluate("navigator.clipboard.readText()"))
    alice.button("account.storage.renew").click()
    alice.toast("account.storage.renewed")


def choose(alice: Student, name: str, action: str) -> None:
    """Press an entry in the menu of a saved configuration."""
    page = alice.page
    saved = page.get_by_role("region", name=say("catalogue.saved")).get_by_role("listitem")
    one = saved.filter(has=page.get_by_role("heading", name=name, exact=True))
    one.locator("summary").click()
    one.locator(".dl-menu-panel").get_by_text(say(action), exact=True).click()


def gives_the_link_to_others(alice: Student) -> None:
    """Step 15: the link fills the form in and starts nothing; the configuration is renamed and deleted."""
    alice.go("catalogue")
    page = alice.page
    choose(alice, CONFIGURATION, "catalogue.saved.copy_link")
    alice.toast("catalogue.saved.link_copied")
    link = str(page.evaluate("navigator.clipboard.readText()"))
    course = page.context.new_page()
    course.goto(link)
    expect(alice.button("page.launch", course)).to_be_enabled()
    expect(course.locator("[name='git.repository']")).to_have_value(re.compile("/projet.git$"))
    expect(course.locator("[name='extraEnvVars[0].value']")).to_have_value("essai")
    course.close()
    choose(alice, CONFIGURATION, "catalogue.saved.rename")
    alice.fill("catalogue.saved.name", RENAMED, alice.dialog())
    alice.button("catalogue.saved.rename.save", alice.dialog()).click()
    alice.toast("catalogue.saved.renamed", name=RENAMED)
    choose(alice, RENAMED, "catalogue.saved.delete")
    alice.button("catalogue.saved.delete", alice.dialog()).click()
    expect(page.get_by_text(say("catalogue.saved.none"))).to_be_visible()


def watches_and_deletes(alice: Student, screenshots: Path) -> None:
    """Steps 16 and 17."""
    alice.go("services")
    page = alice.page
    expect(page.get_by_role("article")).to_have_count(2)
    card = alice.session(CONFIGURATION)
    card.get_by_label(say("services.details.of", name=CONFIGURATION), exact=True).click()
    expect(page.get_by_role("region", name=say("services.log.label", name=CONFIGURATION))).to_contain_text(
        "Jupyter Server"
    )
    expect(page.locator("[data-usage=memory]")).to_have_text(re.compile(r"^[0-9,]+\xa0(Mio|Gio)$"))
    page.screenshot(path=screenshots / "afternoon-details.png", full_page=True)
    page.get_by_label(say("services.delete.of", name=CONFIGURATION), exact=True).click()
    expect(page.get_by_role("region", name=say("services.delete.lost"))).to_contain_text(
        say("services.delete.lost.disk")
    )
    kept = page.get_by_role("region", name=say("services.delete.kept"))
    expect(kept).to_contain_text(say("services.delete.kept.git"))
    expect(kept).to_contain_text("alice")
    check_page(page)
    page.get_by_label(say("services.delete.confirm")).check()
    alice.button("services.delete.button").click()
    expect(page.get_by_text(say("services.done.delete"))).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("article")).to_have_count(1)
    person = alice.stack.person("alice")
    eventually(lambda: set(servers(person.api("GET", "users/alice").json())) == {""}, 20)
    person.end()


def servers(model: dict[str, dict[str, object]]) -> dict[str, object]:
    """Return the sessions in the hub's model of a person."""
    return model["servers"]
