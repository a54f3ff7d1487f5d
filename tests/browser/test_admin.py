"""An administrator's afternoon, in French: sees who runs what, warns, stops, sets a quota, announces, mends the catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from checks import check_page, console_errors
from pages import SECOND
from playwright.sync_api import Locator, Page, expect
from stack import DIRECT, Person, Stack

from sardonyx_hub.embedded.settings import EmbeddedSettings
from sardonyx_hub.pages.messages import PageMessages

say = PageMessages("fr").translate
SESSION = "calcul"
SLOW = 60 * SECOND


@pytest.fixture(scope="module")
def alice(stack: Stack) -> Iterator[Person]:
    """Somebody who has one session that runs."""
    person = stack.person("alice")
    person.launch(session=SESSION)
    yield person
    person.end(SESSION, remove=True)


class Panel:
    """The admin panel, by its words."""

    def __init__(self, page: Page, stack: Stack) -> None:
        self.page = page
        self.url = f"{stack.url}/hub/datalab/admin"

    def open(self, tab: str) -> None:
        """Go to a tab as a person does."""
        if not self.page.url.startswith(self.url):
            self.page.goto(self.url)
        tabs = self.page.get_by_role("navigation", name=say("admin.tabs"))
        tabs.get_by_role("link", name=say(f"admin.tab.{tab}")).click()
        expect(tabs.get_by_role("link", name=say(f"admin.tab.{tab}"))).to_have_attribute(
            "aria-current", "page"
        )

    def row(self, *texts: str) -> Locator:
        """Return the row of a table that has all these texts."""
        found = self.page.get_by_role("row")
        for text in texts:
            found = found.filter(has_text=text)
        return found

    def act(self, key: str) -> None:
        """Choose an action in the menu of alice's session."""
        self.row("alice", SESSION).locator("summary").click()
        self.row("alice", SESSION).get_by_text(say(key), exact=True).click()

    def toast(self, key: str, **params: object) -> None:
        """Wait for a short message."""
        expect(self.page.locator("#dl-toasts")).to_contain_text(say(key, **params), timeout=20 * SECOND)


@pytest.fixture
def panel(stack: Stack, sign_in: Callable[..., Page]) -> Panel:
    found = Panel(sign_in("admin"), stack)
    found.page.goto(found.url)
    return found


@pytest.fixture
def pictures(screenshots: Path) -> Callable[[Page, str], None]:
    def take(page: Page, name: str) -> None:
        page.screenshot(path=screenshots / f"admin-{name}.png", full_page=True)

    return take


def test_l_administrateur_voit_avertit_et_arrete_la_session_d_alice(
    stack: Stack,
    alice: Person,
    panel: Panel,
    sign_in: Callable[..., Page],
    pictures: Callable[[Page, str], None],
) -> None:
    row = panel.row("alice", SESSION)
    expect(row).to_contain_text(say("admin.state.running"))
    expect(row).to_contain_text(say("admin.grant.s3.read-write", bucket="alice"))
    expect(row).to_contain_text(say("admin.grant.until"))
    check_page(panel.page)
    pictures(panel.page, "sessions")

    # The search needs no button, and finds nothing for a nonsense word.
    panel.page.get_by_label(say("common.search")).fill("zzz")
    expect(panel.page.get_by_text(say("admin.sessions.none"), exact=True)).to_be_visible()
    panel.page.get_by_label(say("common.search")).fill(SESSION.upper())
    expect(row).to_be_visible()

    # Alice has a page open, and is told there at once.
    hers = sign_in("alice")
    hers.goto(f"{stack.url}/hub/datalab/account/profile")
    hers.wait_for_timeout(500)
    panel.act("admin.warn")
    dialog = panel.page.get_by_role("dialog", name=say("admin.warn.title", person="alice"))
    dialog.get_by_role("button", name=say("admin.warn.send")).click()
    expect(dialog.get_by_role("alert")).to_have_text(say("admin.warn.empty"))
    dialog.get_by_label(say("admin.warn.text")).fill("Merci de libérer <b>la mémoire</b>.")
    dialog.get_by_role("button", name=say("admin.warn.send")).click()
    panel.toast("admin.warn.sent", person="alice")
    notice = hers.get_by_role("complementary", name=say("notices.label"))
    expect(notice).to_contain_text("Merci de libérer <b>la mémoire</b>.", timeout=10 * SECOND)
    expect(notice).to_contain_text(say("notices.from", by="admin"))
    check_page(hers)
    pictures(hers, "message")
    notice.get_by_role("button", name=say("notices.close")).click()
    expect(notice).to_have_count(0)
    hers.reload()
    expect(hers.get_by_role("complementary", name=say("notices.label"))).to_have_count(0)

    # The administrator stops the session: it leaves the list, alice reads why and that her disk is kept.
    panel.act("admin.stop")
    dialog = panel.page.get_by_role("dialog", name=say("admin.stop.title", person="alice", session=SESSION))
    dialog.get_by_role("button", name=say("admin.stop"), exact=True).click()
    expect(dialog).to_have_count(0, timeout=SLOW)
    expect(row).to_have_count(0, timeout=SLOW)
    hers.goto(f"{stack.url}/hub/datalab/services")
    expect(hers.get_by_text(say("services.ended.administrator"))).to_be_visible()
    assert not console_errors(panel.page)


def test_un_quota_est_affiche_dans_le_formulaire_et_applique(
    stack: Stack, panel: Panel, sign_in: Callable[..., Page], pictures: Callable[[Page, str], None]
) -> None:
    panel.open("people")
    check_page(panel.page)
    panel.page.get_by_role("link", name="alice", exact=True).click()
    expect(panel.page.get_by_role("heading", name="alice")).to_be_visible()
    try:
        memory = panel.page.get_by_label(say("admin.field.memory"), exact=True)
        memory.fill("beaucoup")
        panel.page.get_by_role("button", name=say("common.save")).click()
        expect(panel.page.get_by_text(say("admin.quota.wrong.memory"))).to_be_visible()
        memory.fill("1Gi")
        panel.page.get_by_role("button", name=say("common.save")).click()
        panel.toast("admin.quota.saved")
        expect(panel.row(say("admin.field.memory"), say("admin.by.user"))).to_contain_text("1Gi")
        check_page(panel.page, ignore="400")
        pictures(panel.page, "person")

        # Alice's form says what is left, and refuses more beside the field.
        hers = sign_in("alice")
        hers.goto(f"{stack.url}/hub/spawn/alice?service=jupyter-python")
        hers.locator("summary", has_text="Ressources").first.click()
        expect(hers.locator(".datalab-form")).to_contain_text(re.compile(r"quota", re.I))
        expect(hers.locator(".datalab-form")).to_contain_text("1Gi")
        hers.get_by_role("button", name=re.compile("^Lancer")).last.click()
        expect(hers.locator("main")).to_contain_text("il reste 1Gi sur votre quota de 1Gi", timeout=SLOW)
        expect(hers.locator("main")).to_contain_text("Un administrateur l’a fixé pour vous.")
        pictures(hers, "quota-refused")
    finally:
        panel.page.get_by_role("button", name=say("admin.quota.remove")).click()
        panel.toast("admin.quota.removed")


def test_une_annonce_apparait_sur_la_page_ouverte_d_alice(
    stack: Stack, panel: Panel, sign_in: Callable[..., Page], pictures: Callable[[Page, str], None]
) -> None:
    hers = sign_in("alice")
    hers.goto(f"{stack.url}/hub/datalab/account/profile")
    panel.open("announcement")
    panel.page.get_by_role("button", name=say("admin.announcement.publish")).click()
    expect(panel.page.get_by_text(say("admin.announcement.empty"))).to_be_visible()
    panel.page.get_by_label(say("admin.announcement.text.fr")).fill("Maintenance **ce soir** à 18 h")
    expect(panel.page.locator("#announcement-preview strong")).to_have_text("ce soir")
    panel.page.get_by_label(say("admin.announcement.level")).select_option("warning")
    check_page(panel.page)
    panel.page.get_by_role("button", name=say("admin.announcement.publish")).click()
    panel.toast("admin.announcement.published")
    try:
        announcement = hers.locator("#dl-announcements")
        expect(announcement).to_contain_text("Maintenance ce soir à 18 h", timeout=10 * SECOND)
        pictures(panel.page, "announcement")
    finally:
        panel.page.get_by_role("button", name=say("admin.announcement.remove")).click()
        panel.toast("admin.announcement.removed")
    expect(announcement).not_to_contain_text("ce soir", timeout=10 * SECOND)


def test_une_erreur_du_catalogue_est_nommee_par_sa_ligne(
    panel: Panel, catalogue_file: Path, pictures: Callable[[Page, str], None]
) -> None:
    good = catalogue_file.read_text(encoding="utf-8")
    panel.open("catalogue")
    expect(panel.page.get_by_text(say("admin.catalogue.well"))).to_be_visible()
    expect(panel.row("jupyter-python")).to_be_visible()
    try:
        line = good.count("\n") + 1
        catalogue_file.write_text(f"{good}nonsense: true\n", encoding="utf-8")
        panel.page.get_by_role("button", name=say("admin.catalogue.reload")).click()
        panel.toast("admin.catalogue.reloaded.wrong")
        expect(panel.page.get_by_text(say("admin.catalogue.line", line=line))).to_be_visible()
        expect(panel.row("jupyter-python")).to_be_visible()
        check_page(panel.page)
        pictures(panel.page, "catalogue")
    finally:
        catalogue_file.write_text(good, encoding="utf-8")
    panel.page.get_by_role("button", name=say("admin.catalogue.reload")).click()
    expect(panel.page.get_by_text(say("admin.catalogue.well"))).to_be_visible()


@contextmanager
def nobody_mends(stack: Stack) -> Iterator[None]:
    """Stop the supervisor's clock, which would unseal within a second; what it supervises goes on."""
    assert stack.process is not None
    supervisor = psutil.Process(stack.process.pid)
    supervisor.suspend()
    try:
        yield
    finally:
        supervisor.resume()


def test_la_sante_dit_que_vault_est_scelle_puis_qu_il_est_gueri(
    stack: Stack, panel: Panel, pictures: Callable[[Page, str], None]
) -> None:
    settings = EmbeddedSettings.load(stack.home / "settings.json")
    token = json.loads((stack.home / "vault" / "init.json").read_text())["root_token"]
    panel.open("health")
    vault = panel.page.locator('[data-part="vault"]')
    expect(vault).to_contain_text(say("admin.verdict.ok"))
    check_page(panel.page)
    panel.page.wait_for_timeout(3_200)  # a look is shown for three seconds
    again = panel.page.get_by_role("button", name=say("admin.health.again"))
    with nobody_mends(stack):
        sealed = httpx.put(
            f"{settings.vault_address}/v1/sys/seal", headers={"X-Vault-Token": token}, **DIRECT
        )
        assert sealed.status_code == 204
        again.click()
        expect(vault).to_contain_text(say("admin.health.vault.sealed"))
        expect(panel.page.locator('[data-part="s3"]')).to_contain_text(say("admin.verdict.ok"))
        pictures(panel.page, "health")

    def healed() -> bool:
        again.click()
        panel.page.wait_for_timeout(1_500)
        return vault.get_attribute("data-verdict") == "ok"

    assert any(healed() for _ in range(30)), "Vault did not heal within 45 s"


def test_les_autres_onglets_et_l_anglais(panel: Panel, stack: Stack, sign_in: Callable[..., Page]) -> None:
    for tab in ("groups", "idle"):
        panel.open(tab)
        check_page(panel.page)
    english = sign_in("admin", language="en", dark=True)
    english.goto(f"{stack.url}/hub/datalab/admin/sessions?state=all")
    expect(english.get_by_role("link", name="JupyterHub’s admin page")).to_be_visible()
    check_page(english)
    # The two panels lead to each other.
    english.get_by_role("link", name="JupyterHub’s admin page").click()
    expect(english).to_have_url(re.compile(r"/hub/admin"))
    name = PageMessages("en").translate("common.nav.admin")
    english.get_by_role("navigation").get_by_role("link", name=name, exact=True).first.click()
    expect(english).to_have_url(re.compile(r"/hub/datalab/admin"))
