"""Account and My secrets as the server sends them: nothing secret in the HTML, and words for what is down or not there."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from whole_hub import API, OWNER, Lab

from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import Grant, S3Credentials, Subject
from sardonyx_hub.credentials.s3 import S3Config
from sardonyx_hub.credentials.s3_policy import SharedBucket
from sardonyx_hub.pages.messages import PageMessages

pytestmark = pytest.mark.asyncio(loop_scope="session")
say = PageMessages("en").translate
MARK = "MARK-4711"
CONFIG = S3Config(
    "http://s3.internal:1",
    public_endpoint_url="https://s3.example.org",
    shared_buckets=(
        SharedBucket("everyone", write=("*",)),
        SharedBucket("readable"),
        SharedBucket("closed", read=("somebody",)),
    ),
)


class Keys:
    """S3 keys that are marked, or none."""

    name, label, timeout, per_session = "s3", "S3 storage", 5.0, False
    failure: SourceError | None = None

    def cache_key(self, subject: Subject, grant: Grant) -> Hashable | None:
        return grant.s3

    def fetch(self, subject: Subject, grant: Grant) -> S3Credentials:
        if self.failure is not None:
            raise self.failure
        now = datetime.now(UTC)
        keys = (f"{MARK}-1", f"{MARK}-2", f"{MARK}-3")
        end = now + timedelta(hours=1)
        return S3Credentials(*keys, now, end, "https://s3.example.org", "fr", True, subject.handle, grant.s3)

    def end(self, value: Any) -> None: ...


@pytest.fixture
def keys(hub: Lab, monkeypatch: pytest.MonkeyPatch) -> Keys:
    source = Keys()
    monkeypatch.setattr(hub.datalab, "s3_config", CONFIG)
    monkeypatch.setattr(hub.datalab, "broker", Broker({"s3": source}, retries=0))
    return source


async def page(hub: Lab, path: str, name: str = OWNER) -> httpx.Response:
    async with hub.browser(name) as client:
        return await client.get(f"/hub/datalab/{path}", headers={"Accept-Language": "en"})


async def test_the_storage_page_has_the_end_of_keys_and_no_key(hub: Lab, keys: Keys) -> None:
    answer = await page(hub, "account/storage")
    assert answer.status_code == 200
    assert MARK not in answer.text
    assert "https://s3.example.org" in answer.text
    assert "s3.internal" not in answer.text
    assert f'"expiration": "{datetime.now(UTC).year}-' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


async def test_buckets_to_choose_from(hub: Lab, keys: Keys) -> None:
    text = (await page(hub, "account/storage?bucket=readable")).text
    assert "?bucket=everyone#" in text
    assert "closed" not in text
    assert say("account.snippets.read_only") in text
    assert "s3://readable/datalab-example.csv" in text
    assert "put_object" not in text
    assert "Bucket=&#34;alice&#34;" in (await page(hub, "account/storage?bucket=closed")).text


async def test_storage_that_is_down_is_told_and_the_other_tabs_work(hub: Lab, keys: Keys) -> None:
    keys.failure = SourceError("s3", "unreachable", "S3 storage cannot be <reached>.")
    answer = await page(hub, "account/storage")
    assert answer.status_code == 200
    assert say("common.part_down", part="S3") in answer.text
    # The cause is the log's and the health page's: it is English, and an operator's.
    assert "reached" not in answer.text
    assert say("account.storage.no_keys") in answer.text
    assert (await page(hub, "account/tokens")).status_code == 200


async def test_parts_that_the_operator_has_not_configured(hub: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.datalab, "vault_tokens", False)
    assert say("account.vault.token.not_allowed") in (await page(hub, "account/vault")).text
    for part in ("secrets", "git_accounts", "s3_config", "saved"):
        monkeypatch.setattr(hub.datalab, part, None)
    for path, words in (
        ("secrets", "secrets.none"),
        ("account/git", "account.git.none"),
        ("account/storage", "account.storage.none"),
        ("account/vault", "account.vault.none"),
    ):
        answer = await page(hub, path)
        assert (answer.status_code, say(words) in answer.text) == (200, True), path
    assert (await page(hub, "ca.pem")).status_code == 404


async def test_no_value_is_in_the_page_of_a_secret(hub: Lab) -> None:
    async with hub.client(hub.token(OWNER)) as client:
        body = {"values": {"HIDDEN_KEY": MARK}}
        assert (await client.put(f"{API}/secrets/pages/s", json=body)).status_code == 200
    for path in ("secrets", "secrets/pages/", "secrets/pages/s"):
        answer = await page(hub, path)
        assert answer.status_code == 200
        assert MARK not in answer.text
    assert "HIDDEN_KEY" in answer.text
    assert MARK not in (await page(hub, "secrets/pages/s", "bob")).text
    assert "HIDDEN_KEY" not in (await page(hub, "secrets/pages/s", "bob")).text


@pytest.mark.parametrize(
    "path", ["secrets/.git/github.com", "secrets/.datalab/", "secrets/a//b", "secrets/%0A", "secrets/%3Cb%3E"]
)
async def test_paths_that_are_none(hub: Lab, path: str) -> None:
    answer = await page(hub, path)
    assert answer.status_code == 404
    assert "<b>" not in answer.text.partition("<main")[2].partition("</main")[0]


async def test_names_of_others_making_are_escaped(hub: Lab) -> None:
    evil = "<img src=x onerror=alert(1)>"
    async with hub.client(hub.token(OWNER)) as client:
        made = await client.post(
            f"/hub/api/users/{OWNER}/tokens", json={"note": evil, "scopes": ["custom:datalab:git!user"]}
        )
        assert made.status_code == 201
        text = (await page(hub, "account/tokens")).text
        assert evil not in text
        assert "&lt;img src=x" in text
        assert made.json()["token"] not in text
        fields = {"name": evil, "email": "a@b.c"}
        assert (await client.put(f"{API}/git-accounts/evil.example", json=fields)).status_code == 200
        text = (await page(hub, "account/git")).text
        assert evil not in text
        await client.delete(f"{API}/git-accounts/evil.example")


async def test_the_hubs_own_page_of_tokens_is_ours(hub: Lab) -> None:
    async with hub.browser(OWNER) as client:
        answer = await client.get("/hub/token")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/datalab/account/tokens")


async def test_strangers_are_sent_to_the_sign_in_page(hub: Lab) -> None:
    async with hub.client() as client:
        for path in ("account/storage", "secrets/a", "secrets"):
            answer = await client.get(f"/hub/datalab/{path}")
            assert answer.status_code == 302
            assert "/hub/login" in answer.headers["Location"]
