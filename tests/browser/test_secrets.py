"""My secrets (journey 12), in French, as a person sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from checks import check_page, console_errors
from playwright.sync_api import Dialog, Locator, Page, expect
from stack import Person, Stack, eventually

from sardonyx_hub.pages.messages import PageMessages

say = PageMessages("fr").translate
#: In a value: must be in no page until somebody asks for it.
VALUE = "s3cr3t-4711 <b>\"'é😀"
EVIL = "<img src=x onerror=document.title='owned'>"
EVIL_KEYS = ["a\"b'c", "é😀", "{{ 7*7 }}", "__proto__", "a b", "</script><b>", "..", "%2F&x=1#y", EVIL]


@pytest.fixture(scope="module")
def bob(stack: Stack) -> Iterator[Person]:
    """Somebody with no secret, before and after."""
    person = stack.person("bob")
    yield person
    for name in ("projet_patate", "onglets", "versions", "clavier", "lignes", "utilise", "mal", "mal@été+1"):
        person.api("DELETE", f"datalab/v1/secrets/{name}?forever=1")
    for folder in ("bases", "archives"):
        person.api("DELETE", f"datalab/v1/secrets/{folder}/?forever=1")


def put(person: Person, path: str, **values: str) -> None:
    answer = person.api("PUT", f"datalab/v1/secrets/{path}", json={"values": values})
    assert answer.status_code == 200, answer.text


def values_of(person: Person, path: str) -> dict[str, Any]:
    answer = person.api("GET", f"datalab/v1/secrets/{path}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["values"])


class Secrets:
    """The page, by its words."""

    def __init__(self, page: Page, stack: Stack) -> None:
        self.page = page
        self.url = f"{stack.url}/hub/datalab/secrets"

    def open(self, path: str = "") -> Secrets:
        self.page.goto(f"{self.url}/{path}" if path else self.url)
        return self

    def button(self, key: str, **params: object) -> Locator:
        return self.page.get_by_role("button", name=say(key, **params), exact=True)

    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def in_dialog(self, key: str, **params: object) -> Locator:
        return self.dialog().get_by_role("button", name=say(key, **params), exact=True)

    def toast(self, key: str, **params: object) -> None:
        expect(self.page.locator("#dl-toasts")).to_contain_text(say(key, **params))

    def add_key(self, name: str, value: str) -> None:
        form = self.page.locator("#editor form")
        if not form.is_visible():
            self.button("secrets.add").click()
        form.get_by_label(say("secrets.key"), exact=True).fill(name)
        form.get_by_label(say("secrets.value"), exact=True).fill(value)
        form.get_by_role("button", name=say("common.save"), exact=True).click()


@pytest.fixture
def secrets(sign_in: Callable[..., Page], bob: Person, stack: Stack) -> Secrets:
    return Secrets(sign_in("bob"), stack)


def test_projet_patate(secrets: Secrets, bob: Person) -> None:
    page = secrets.page
    secrets.open()
    expect(page.get_by_role("heading", level=1)).to_have_text(say("secrets.title"))
    expect(page.get_by_text(say("secrets.empty"))).to_be_visible()
    check_page(page)
    secrets.button("secrets.new").first.click()
    name = secrets.dialog().get_by_label(say("secrets.new.name"))
    for wrong, why in (
        (".git", "secrets.path.reserved"),
        ("a<b", "secrets.path.characters"),
        (" ", "secrets.path.empty"),
    ):
        name.fill(wrong)
        secrets.in_dialog("secrets.new.continue").click()
        expect(secrets.dialog().get_by_role("alert")).to_have_text(say(why))
    name.fill("projet_patate")
    secrets.in_dialog("secrets.new.continue").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("projet_patate")
    form = page.locator("#editor form")
    key = form.get_by_label(say("secrets.key"), exact=True)
    expect(key).to_be_focused()
    for wrong, reason in (
        ("2FA", "envname.invalid"),
        ("LD_PRELOAD", "envname.programs"),
        ("VAULT_TOKEN", "envname.credentials"),
    ):
        key.fill(wrong)
        expect(form.get_by_role("alert")).to_have_text(say(reason, name=wrong))
    check_page(page)
    secrets.add_key("PATATE_TOKEN", f"{VALUE}\nligne 2")
    secrets.toast("secrets.saved", name="PATATE_TOKEN")
    secrets.button("secrets.add").click()
    form.get_by_label(say("secrets.key"), exact=True).fill("PATATE_PORT")
    form.get_by_role("button", name=say("secrets.generate")).click()
    generated = form.get_by_label(say("secrets.value"), exact=True).input_value()
    assert re.fullmatch(r"[A-Za-z0-9]{32}", generated)
    form.get_by_role("button", name=say("common.save"), exact=True).click()
    secrets.toast("secrets.saved", name="PATATE_PORT")
    assert values_of(bob, "projet_patate") == {"PATATE_TOKEN": f"{VALUE}\nligne 2", "PATATE_PORT": generated}

    assert "s3cr3t" not in page.content()
    assert generated not in page.content()
    secrets.button("secrets.reveal.key", name="PATATE_TOKEN").click()
    expect(page.locator("[data-key=PATATE_TOKEN] pre")).to_have_text(f"{VALUE}\nligne 2")
    assert generated not in page.content()
    check_page(page)
    secrets.button("secrets.reveal.key", name="PATATE_TOKEN").click()
    expect(page.locator("[data-key=PATATE_TOKEN] pre")).to_have_count(0)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    secrets.button("secrets.copy.key", name="PATATE_PORT").click()
    secrets.toast("common.copied")
    assert page.evaluate("navigator.clipboard.readText()") == generated
    assert generated not in page.content()


def test_versions(secrets: Secrets, bob: Person) -> None:
    page = secrets.page
    for text in ("un", "deux", "trois"):
        put(bob, "versions", CLE=text)
    secrets.open("versions")
    secrets.button("secrets.version.view.one", version=1).click()
    expect(page.locator("[data-version='1'] pre")).to_have_text("un")
    check_page(page)
    secrets.button("secrets.version.restore.one", version=1).click()
    secrets.toast("secrets.restored", version=1)
    assert values_of(bob, "versions") == {"CLE": "un"}
    secrets.button("secrets.version.destroy.one", version=2).click()
    secrets.in_dialog("secrets.destroy").click()
    secrets.toast("secrets.destroyed")
    expect(page.locator("[data-version='2']")).to_contain_text(say("secrets.version.destroyed"))

    secrets.button("common.delete").click()
    secrets.in_dialog("common.delete").click()
    expect(page.get_by_text(say("secrets.is_deleted"), exact=True)).to_be_visible()
    check_page(page)
    secrets.open()
    expect(page.get_by_role("link", name="versions", exact=True)).to_be_hidden()
    page.get_by_text(say("secrets.deleted", count=1)).click()
    check_page(page)
    secrets.button("secrets.undelete.secret", name="versions").click()
    secrets.toast("secrets.undeleted")
    assert values_of(bob, "versions") == {"CLE": "un"}

    secrets.open("versions")
    secrets.button("secrets.destroy.all").click()
    secrets.dialog().get_by_label(say("secrets.destroy.type", name="versions")).fill("version")
    secrets.in_dialog("secrets.destroy").click()
    expect(secrets.dialog().get_by_role("alert")).to_have_text(say("secrets.destroy.other"))
    secrets.dialog().get_by_label(say("secrets.destroy.type", name="versions")).fill("versions")
    secrets.in_dialog("secrets.destroy").click()
    secrets.toast("secrets.destroyed")
    assert bob.api("GET", "datalab/v1/secrets/versions?history=1").status_code == 404


def test_two_tabs(secrets: Secrets, bob: Person) -> None:
    page = secrets.page
    put(bob, "onglets", A="1", B="1")
    secrets.open("onglets")
    assert (
        bob.api("PATCH", "datalab/v1/secrets/onglets", json={"cas": 1, "set": {"A": "autre"}}).status_code
        == 200
    )
    secrets.button("secrets.edit.key", name="B").click()
    page.locator("#editor").get_by_label(say("secrets.value"), exact=True).fill("mienne")
    page.locator("#editor").get_by_role("button", name=say("common.save"), exact=True).click()
    expect(secrets.dialog()).to_contain_text(say("secrets.conflict.help", seen=1, newest=2))
    secrets.in_dialog("secrets.conflict.keep").click()
    assert values_of(bob, "onglets") == {"A": "autre", "B": "1"}
    expect(page.locator("#editor").get_by_label(say("secrets.value"), exact=True)).to_have_value("mienne")
    page.locator("#editor").get_by_role("button", name=say("common.save"), exact=True).click()
    secrets.in_dialog("secrets.conflict.on_top").click()
    secrets.toast("secrets.saved", name="B")
    assert values_of(bob, "onglets") == {"A": "autre", "B": "mienne"}
    check_page(page, ignore="409")


def test_lines_of_an_env_file(secrets: Secrets, bob: Person) -> None:
    page = secrets.page
    put(bob, "lignes", PGHOST="ancien")
    secrets.open("lignes")
    secrets.button("secrets.import").click()
    lines = secrets.dialog().get_by_label(say("secrets.import.lines"))
    lines.fill("PGHOST=nouveau\nrien\nLD_PRELOAD=x")
    expect(secrets.dialog().get_by_role("status")).to_contain_text("PGHOST " + say("secrets.import.replaces"))
    secrets.in_dialog("secrets.import.do").click()
    expect(secrets.dialog().get_by_role("alert")).to_have_text(say("secrets.import.wrong", lines="2"))
    check_page(page)
    lines.fill("LD_PRELOAD=x")
    secrets.in_dialog("secrets.import.do").click()
    expect(secrets.dialog().get_by_role("alert")).to_have_text(say("envname.programs", name="LD_PRELOAD"))
    lines.fill(
        '# base\nexport PGHOST=\'nouveau\'\nPGPASSWORD="a\\"b\\nc $HOME" # non\nPEM="-----\nligne\n-----"\n'
        "VIDE=\nSIMPLE = un deux # reste\nBRUT='a\\n'\nURL=postgres://u:p@h/b?x=1#y"
    )
    secrets.in_dialog("secrets.import.do").click()
    secrets.toast("secrets.imported", count=7)
    assert values_of(bob, "lignes") == {
        "PGHOST": "nouveau",
        "PGPASSWORD": 'a"b\nc $HOME',
        "PEM": "-----\nligne\n-----",
        "VIDE": "",
        "SIMPLE": "un deux",
        "BRUT": "a\\n",
        "URL": "postgres://u:p@h/b?x=1#y",
    }


def test_folders(secrets: Secrets, bob: Person) -> None:
    page = secrets.page
    for path in ("bases/postgres", "bases/interne/mongo", "bases/interne/redis"):
        put(bob, path, URL="x")
    secrets.open()
    page.get_by_role("link", name="bases", exact=True).click()
    page.get_by_role("link", name="interne", exact=True).click()
    expect(page.get_by_role("link", name="redis")).to_be_visible()
    check_page(page)
    page.get_by_role("navigation", name=say("secrets.crumbs")).get_by_role("link", name="bases").click()
    secrets.button("secrets.move.folder", name="interne").click()
    target = secrets.dialog().get_by_label(say("secrets.move.to"))
    expect(target).to_have_value("bases/interne")
    target.fill("archives/2026")
    check_page(page)
    secrets.in_dialog("secrets.move").click()
    secrets.toast("secrets.moved")
    assert values_of(bob, "archives/2026/mongo") == {"URL": "x"}
    secrets.open()
    put(bob, "archives/2026/plus", URL="x")
    secrets.button("secrets.delete.folder", name="archives").click()
    expect(secrets.dialog()).to_contain_text(say("secrets.count", count=2))
    secrets.in_dialog("secrets.delete.folder.confirm", count=2).click()
    expect(page.locator("#dl-toasts")).to_contain_text(say("secrets.conflict.delete"))
    secrets.open()
    secrets.button("secrets.delete.folder", name="archives").click()
    secrets.in_dialog("secrets.delete.folder.confirm", count=3).click()
    secrets.toast("secrets.deleted.folder", count=3)
    secrets.button("secrets.destroy.folder", name="archives").click()
    expect(secrets.dialog()).to_contain_text(say("secrets.destroy.folder.help", count=3))
    secrets.in_dialog("secrets.destroy").click()
    secrets.toast("secrets.destroyed")
    assert bob.api("GET", "datalab/v1/secrets/archives/2026/mongo?history=1").status_code == 404
    secrets.button("secrets.move.secret", name="postgres").or_(
        page.get_by_role("link", name="bases", exact=True)
    ).click()
    secrets.button("secrets.move.secret", name="postgres").click()
    secrets.dialog().get_by_label(say("secrets.move.to")).fill("onglets")
    put(bob, "onglets", A="1")
    secrets.in_dialog("secrets.move").click()
    expect(secrets.dialog().get_by_role("alert")).to_have_text(say("secrets.exists"))
    console_errors(page)


def test_by_keyboard_alone(secrets: Secrets, bob: Person) -> None:
    page = secrets.page
    secrets.open()

    def tab_to(target: Locator) -> None:
        for _ in range(40):
            if target.evaluate("(one) => one === document.activeElement"):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"not reached by the keyboard: {target}")

    tab_to(secrets.button("secrets.new").first)
    page.keyboard.press("Enter")
    expect(secrets.dialog().get_by_label(say("secrets.new.name"))).to_be_focused()
    page.keyboard.press("Escape")
    expect(secrets.dialog()).to_have_count(0)
    expect(secrets.button("secrets.new").first).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("clavier")
    page.keyboard.press("Enter")
    expect(page.get_by_label(say("secrets.key"), exact=True)).to_be_focused()
    page.keyboard.type("TOUCHE")
    page.keyboard.press("Tab")
    page.keyboard.type("une")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    secrets.toast("secrets.saved", name="TOUCHE")
    expect(secrets.button("secrets.add")).to_be_focused()
    tab_back = secrets.button("secrets.reveal.key", name="TOUCHE")
    for _ in range(20):
        page.keyboard.press("Shift+Tab")
        if tab_back.evaluate("(one) => one === document.activeElement"):
            break
    page.keyboard.press("Space")
    expect(page.locator("[data-key=TOUCHE] pre")).to_have_text("une")
    assert values_of(bob, "clavier") == {"TOUCHE": "une"}


def test_keys_written_by_other_programs_are_shown_as_they_are(
    secrets: Secrets, bob: Person, stack: Stack
) -> None:
    page = secrets.page
    write_by_vault(stack, bob, "mal", dict.fromkeys(EVIL_KEYS, EVIL))
    alerts: list[Dialog] = []
    page.on("dialog", lambda dialog: alerts.append(dialog))  # noqa: PLW0108  (Playwright wants a function of Python)
    secrets.open("mal")
    expect(page.locator(".dl-key")).to_have_count(len(EVIL_KEYS))
    for key in EVIL_KEYS:
        row = page.locator(
            ".dl-key", has=page.get_by_role("button", name=say("secrets.reveal.key", name=key), exact=True)
        )
        expect(row.locator("code").first).to_have_text(key)
        row.locator("[data-action=reveal]").click()
        expect(row.locator("pre")).to_have_text(EVIL)
    row.get_by_role("button", name=say("secrets.remove.key", name=EVIL_KEYS[-1]), exact=True).click()
    expect(secrets.dialog()).to_contain_text(EVIL_KEYS[-1])
    secrets.in_dialog("common.delete").click()
    secrets.toast("secrets.removed", name=EVIL_KEYS[-1])
    assert page.title() != "owned"
    assert page.locator("img[src=x]").count() == 0
    assert not alerts
    check_page(page)


def vault_url(stack: Stack) -> str:
    """Return where the stack's OpenBao listens."""
    server = json.loads((stack.home / "vault" / "server.json").read_text())
    return f"http://{server['listener']['tcp']['address']}"


def write_by_vault(stack: Stack, person: Person, path: str, values: dict[str, str]) -> None:
    """Write a secret as another program does, past the checks of the page."""
    token = person.api("POST", "datalab/v1/vault-tokens").json()["token"]
    url = f"{vault_url(stack)}/v1/onyxia-kv/data/{person.name}/{path}"
    answer = httpx.post(url, json={"data": values}, headers={"X-Vault-Token": token}, trust_env=False)
    assert answer.status_code == 200, answer.text


def test_who_uses_it(secrets: Secrets, bob: Person) -> None:
    page = secrets.page
    put(bob, "utilise", PATATE_TOKEN="x")
    bob.launch({"vault": {"secret": ["utilise"]}}, session="avec-secret")
    try:
        secrets.open("utilise")
        used = page.locator("section", has=page.get_by_role("heading", name=say("secrets.used")))
        expect(used).to_contain_text("avec-secret")
        expect(used).to_contain_text(say("secrets.used.now"))
        check_page(page)
        secrets.button("common.delete").click()
        expect(secrets.dialog()).to_contain_text(say("secrets.delete.used", count=1))
        secrets.in_dialog("common.cancel").click()
        secrets.open()
        expect(page.locator(".dl-row", has_text="utilise")).to_contain_text(
            say("secrets.used.running", count=1)
        )
    finally:
        bob.end("avec-secret", remove=True)


def test_a_page_that_is_not_there(secrets: Secrets) -> None:
    answer = secrets.page.goto(f"{secrets.url}/.git/github.com")
    assert answer is not None
    assert answer.status == 404
    check_page(secrets.page, ignore="404")


def test_vault_sealed(secrets: Secrets, bob: Person, stack: Stack) -> None:
    page = secrets.page
    keys = json.loads((stack.home / "vault" / "init.json").read_text())
    headers = {"X-Vault-Token": keys["root_token"]}
    told = page.get_by_text(say("common.part_down", part="Vault"))
    for _ in range(20):
        # The supervisor unseals it within a second or two: sometimes before the page has asked.
        httpx.put(f"{vault_url(stack)}/v1/sys/seal", headers=headers, trust_env=False)
        secrets.open()
        if told.count():
            break
    expect(told).to_be_visible()
    check_page(page, ignore="503")
    page.goto(f"{stack.url}/hub/datalab/account/profile")
    expect(page.get_by_role("heading", level=1)).to_have_text(say("account.title"))

    def well() -> bool:
        return bob.api("GET", "datalab/v1/secrets").status_code == 200

    # The supervisor unseals it again; the hub leaves it alone for some seconds before it asks.
    eventually(well, 60, 1, "Vault is back")
    secrets.open()
    expect(page.get_by_role("heading", level=1)).to_have_text(say("secrets.title"))
