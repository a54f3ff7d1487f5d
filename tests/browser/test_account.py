"""Account (journeys 6 and 13), in French, as a person sees it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from checks import check_page
from playwright.sync_api import Locator, Page, expect
from stack import Person, Stack

from sardonyx_hub.pages.messages import PageMessages

say = PageMessages("fr").translate
TOKEN = "ghp_4711-not-for-the-page"
EVIL = "<img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def bob(stack: Stack) -> Iterator[Person]:
    """Somebody without Git accounts, before and after."""
    person = stack.person("bob")
    yield person
    for account in person.api("GET", "datalab/v1/git-accounts").json()["accounts"]:
        person.api("DELETE", f"datalab/v1/git-accounts/{account['host']}")


class Account:
    """The page, by its words."""

    def __init__(self, page: Page, stack: Stack) -> None:
        self.page = page
        self.url = f"{stack.url}/hub/datalab/account"

    def open(self, tab: str, query: str = "") -> Account:
        self.page.goto(f"{self.url}/{tab}{query}")
        current = self.page.get_by_role("navigation", name=say("account.tabs")).locator("[aria-current=page]")
        expect(current).to_have_text(say(f"account.tab.{tab}"))
        return self

    def button(self, key: str, **params: object) -> Locator:
        return self.page.get_by_role("button", name=say(key, **params), exact=True)

    def field(self, key: str) -> Locator:
        return self.page.get_by_label(say(key), exact=True)

    def in_dialog(self, key: str) -> Locator:
        return self.page.get_by_role("dialog").get_by_role("button", name=say(key), exact=True)

    def toast(self, key: str, **params: object) -> None:
        expect(self.page.locator("#dl-toasts")).to_contain_text(say(key, **params))

    def clipboard(self) -> str:
        self.toast("common.copied")
        return str(self.page.evaluate("navigator.clipboard.readText()"))


@pytest.fixture
def account(sign_in: Callable[..., Page], bob: Person, stack: Stack) -> Account:
    page = sign_in("bob")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return Account(page, stack)


def test_profile(account: Account) -> None:
    page = account.page
    page.goto(account.url)
    expect(page.get_by_text(say("account.profile.handle.help"))).to_be_visible()
    expect(page.locator("#handle")).to_have_text("bob")
    check_page(page)
    main = page.get_by_role("main")
    main.get_by_role("link", name=say("common.language.en")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(PageMessages("en").translate("account.title"))
    main.get_by_role("link", name=say("common.language.fr")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(say("account.title"))
    main.get_by_role("link", name=say("common.theme.dark")).click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    for tab in ("profile", "git", "storage", "vault", "tokens"):
        account.open(tab)
        check_page(page)
    page.goto(f"{account.url}/nowhere")
    check_page(page, ignore="404")


# Git (journey 6) ------------------------------------------------------------------------------------


def test_git(account: Account, bob: Person) -> None:
    page = account.page
    account.open("git")
    expect(page.get_by_text(say("account.git.empty"), exact=True)).to_be_visible()
    account.button("account.git.add").click()
    expect(account.field("account.git.host")).to_be_focused()
    account.field("account.git.host").fill("a b")
    account.button("common.save").click()
    expect(page.locator("#git-editor").get_by_role("alert")).to_have_text(say("account.git.host.wrong"))
    account.field("account.git.host").fill("https://github.com/bob/depot.git")
    link = page.get_by_role("link", name=say("account.git.token.make", host="github.com"))
    expect(link).to_have_attribute("href", re.compile(r"^https://github\.com/settings/tokens/new\?"))
    account.field("account.git.name").fill("Bob <b>Éponge")
    account.field("account.git.email").fill("bob@example.org")
    account.field("account.git.username").fill("bob")
    account.field("account.git.token").fill(TOKEN)
    check_page(page)
    account.button("common.save").click()
    account.toast("account.git.saved", host="github.com")
    row = page.locator(".dl-row", has_text="github.com")
    expect(row).to_contain_text("Bob <b>Éponge <bob@example.org>")
    expect(row).to_contain_text(say("account.git.token_set"))
    assert TOKEN not in page.content()

    account.button("account.git.change.one", host="github.com").click()
    expect(page.get_by_text(say("account.git.token.kept"))).to_be_visible()
    expect(account.field("account.git.token")).to_have_value("")
    account.field("account.git.name").fill("Bob Martin")
    account.button("common.save").click()
    expect(row).to_contain_text("Bob Martin")
    kept = bob.api("GET", "datalab/v1/git-accounts/github.com?reveal=1").json()
    assert (kept["name"], kept["token"]) == ("Bob Martin", TOKEN)
    check_page(page)

    account.button("account.git.delete.one", host="github.com").click()
    account.in_dialog("common.delete").click()
    account.toast("account.git.deleted", host="github.com")
    assert bob.api("GET", "datalab/v1/git-accounts").json()["accounts"] == []


# Storage (journey 13) -------------------------------------------------------------------------------


def test_storage(account: Account, bob: Person) -> None:
    page = account.page
    keys = bob.api("GET", "datalab/v1/credentials").json()["s3"]
    secret = ("access_key_id", "secret_access_key", "session_token")
    account.open("storage")
    expect(page.locator("#expiry-text")).to_have_text(re.compile(r"^Expire dans \d+ min \d\d s \("))
    first = page.locator("#expiry-text").inner_text()
    expect(page.locator("#expiry-text")).not_to_have_text(first)
    assert not [name for name in secret if keys[name] in page.content()]
    expect(page.get_by_text(say("account.snippets.not_tried"))).to_have_count(4)

    account.button("account.snippets.copy", name="boto3").click()
    code = account.clipboard()
    assert all(keys[name] in code for name in secret)
    assert 'Bucket="bob"' in code
    assert "•" not in code
    assert not [name for name in secret if keys[name] in page.content()]
    compile(code, "boto3", "exec")

    account.button("account.storage.show").click()
    expect(page.locator("dd [data-fill=secret_access_key]")).to_have_text(keys["secret_access_key"])
    expect(page.locator("[data-snippet=boto3]")).to_contain_text(keys["session_token"])
    check_page(page)
    account.button("account.storage.renew").click()
    account.toast("account.storage.renewed")
    expect(page.locator("dd [data-fill=access_key_id]")).not_to_have_text(keys["access_key_id"])
    account.button("account.storage.hide").click()
    expect(page.locator("dd [data-fill=access_key_id]")).to_contain_text("••••")
    newer = bob.api("GET", "datalab/v1/credentials").json()["s3"]
    assert newer["access_key_id"] != keys["access_key_id"]
    assert newer["access_key_id"] not in page.content()

    page.get_by_role("link", name="shared").click()
    page.locator("#snippet-mc summary").click()
    expect(page.locator("[data-snippet=mc]")).to_contain_text("datalab/shared/")
    with page.expect_download() as download:
        page.get_by_role("link", name="datalab-ca.pem").click()
    assert "BEGIN CERTIFICATE" in download.value.path().read_text()


def test_a_bucket_that_is_not_ones_own_is_not_shown(account: Account) -> None:
    account.open("storage", "?bucket=alice%22%3E%3Cimg")
    expect(account.page.locator("[data-snippet=boto3]")).to_contain_text('Bucket="bob"')
    check_page(account.page)


# Vault ----------------------------------------------------------------------------------------------


def test_vault(account: Account) -> None:
    page = account.page
    account.open("vault")
    address = page.get_by_label(say("account.vault.address")).first.input_value()
    expect(page.locator("#vault-path")).to_have_value("bob/")
    account.button("account.vault.token.get").click()
    expect(page.locator("#expiry-text")).to_have_text(re.compile("^Expire dans "))
    account.button("account.snippets.copy", name="bao").click()
    copied = account.clipboard()
    assert "bao kv list -mount=onyxia-kv bob" in copied
    token = re.search(r"VAULT_TOKEN='([^'•]+)'", copied)
    assert token is not None

    def lookup() -> int:
        url = f"{address}/v1/auth/token/lookup-self"
        return httpx.get(url, headers={"X-Vault-Token": token[1]}, trust_env=False).status_code

    assert lookup() == 200
    check_page(page)
    account.button("account.vault.token.end").click()
    account.toast("account.vault.token.ended")
    assert token[1] not in page.content()
    expect(account.button("account.vault.token.get")).to_be_focused()
    page.wait_for_timeout(300)
    assert lookup() == 403


# API tokens -----------------------------------------------------------------------------------------


def test_api_tokens(account: Account, bob: Person) -> None:
    page = account.page
    page.goto(f"{bob.stack.url}/hub/token")
    expect(page).to_have_url(f"{account.url}/tokens")
    account.button("account.tokens.create").click()
    error = page.locator("#token-error")
    expect(error).to_have_text(say("account.tokens.note.missing"))
    account.field("account.tokens.note").fill(f"script {EVIL}")
    account.button("account.tokens.create").click()
    expect(error).to_have_text(say("account.tokens.may.missing"))
    account.field("account.tokens.may.secrets").check()
    account.field("account.tokens.expiry").select_option(label=say("account.tokens.expiry.day"))
    account.button("account.tokens.create").click()
    shown = page.locator("#new-token-value")
    expect(shown).to_be_focused()
    token = shown.input_value()
    assert len(token) >= 32
    check_page(page)
    with bob.with_token(token) as client:
        assert client.get("/hub/api/datalab/v1/secrets").status_code == 200
        assert client.get("/hub/api/datalab/v1/git-accounts").status_code == 403
        assert client.get("/hub/api/datalab/v1/credentials").status_code == 403
    account.button("account.tokens.new.done").click()
    expect(shown).to_have_count(0)
    assert token not in page.content()
    row = page.locator(".dl-row", has_text=EVIL)
    expect(row).to_contain_text(say("account.tokens.may.secrets"))
    expect(row.locator(".dl-badge")).to_have_count(1)
    assert_expires(bob, f"script {EVIL}", timedelta(days=1))
    assert page.title() != "owned"
    check_page(page)
    row.get_by_role("button", name=say("account.tokens.revoke")).click()
    expect(page.get_by_role("dialog")).to_contain_text(EVIL)
    account.in_dialog("account.tokens.revoke").click()
    account.toast("account.tokens.revoked")
    expect(row).to_have_count(0)
    with bob.with_token(token) as client:
        assert client.get("/hub/api/datalab/v1/secrets").status_code in {401, 403}


def assert_expires(person: Person, note: str, after: timedelta) -> None:
    tokens: list[dict[str, Any]] = person.api("GET", f"users/{person.name}/tokens").json()["api_tokens"]
    mine = next(one for one in tokens if one["note"] == note)
    end = datetime.fromisoformat(mine["expires_at"].replace("Z", "+00:00"))
    assert abs(end - datetime.now(UTC) - after) < timedelta(minutes=5)


def test_a_token_by_keyboard_alone(account: Account, bob: Person) -> None:
    page = account.page
    account.open("tokens")

    def tab_to(target: Locator) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if target.evaluate("(one) => one === document.activeElement"):
                return
        raise AssertionError(f"not reached by the keyboard: {target}")

    tab_to(account.field("account.tokens.note"))
    page.keyboard.type("clavier")
    tab_to(account.field("account.tokens.may.storage"))
    page.keyboard.press("Space")
    tab_to(account.button("account.tokens.create"))
    page.keyboard.press("Enter")
    expect(page.locator("#new-token-value")).to_be_focused()
    with bob.with_token(page.locator("#new-token-value").input_value()) as client:
        assert client.get("/hub/api/datalab/v1/credentials").json()["s3"]["bucket"] == "bob"
    account.button("account.tokens.new.done").click()
    account.button("account.tokens.revoke.one", note="clavier").click()
    account.in_dialog("account.tokens.revoke").click()
    account.toast("account.tokens.revoked")


def test_in_english(sign_in: Callable[..., Page], stack: Stack) -> None:
    english = PageMessages("en").translate
    page = sign_in("bob", language="en", dark=True)
    page.goto(f"{stack.url}/hub/datalab/account/storage")
    expect(page.get_by_role("button", name=english("account.storage.show"))).to_be_visible()
    expect(page.locator("#expiry-text")).to_have_text(re.compile("^Ends in "))
    check_page(page)
