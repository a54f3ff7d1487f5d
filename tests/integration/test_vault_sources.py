"""The Vault and Git sources and the secret store against the real OpenBao, in good times and bad."""

from __future__ import annotations

import nowhere
import pytest
from credential_backends import changed
from nowhere import life, web_server

from sardonyx_hub.credentials.broker import Broker
from sardonyx_hub.credentials.errors import SecretConflictError, SourceError
from sardonyx_hub.credentials.model import GitAccount, Grant, Subject
from sardonyx_hub.credentials.s3 import S3Source
from sardonyx_hub.credentials.vault import VaultSource

ALICE = Subject("alice")
black_hole, nobody = nowhere.black_hole, nowhere.nobody


def test_several_secrets_at_once_and_what_is_wrong_with_some(backends):
    subject = Subject("vera")
    nasty = 'it\'s "$HOME" {x}\n🥔'
    backends.secrets.write(subject, "projet patate", {"PATATE_TOKEN": nasty, "PATATE_PORT": 5432})
    backends.secrets.write(
        subject, "db/main", {"PGPASSWORD": "s3cret", "PATH": "/evil", "LD_PRELOAD": "/evil.so"}
    )
    grant = Grant("vera//1", secrets=("projet patate", "gone", "db/main"), vault_token=True)
    given = backends.vault.fetch(subject, grant)
    assert given.values == {"PATATE_TOKEN": nasty, "PATATE_PORT": "5432", "PGPASSWORD": "s3cret"}
    assert set(given.refused) == {"db/main:PATH", "db/main:LD_PRELOAD"}
    told = {(problem.code, problem.message) for problem in given.problems}
    assert ("missing", "The secret gone is not there: it was deleted or renamed.") in told
    assert any("'LD_PRELOAD' of the secret db/main" in message for _, message in told)
    assert "/evil" not in str(told)
    assert (given.top_dir, given.mount, given.address) == ("vera", "onyxia-kv", backends.openbao.address)
    assert 3590 < life(given) <= 3600
    backends.vault.end(given)


def test_a_token_of_each_session_that_ends_alone(backends):
    first = backends.vault.fetch(ALICE, Grant("alice//1", vault_token=True))
    second = backends.vault.fetch(ALICE, Grant("alice//2", vault_token=True))
    assert backends.token_works(first)
    backends.vault.end(first)
    assert not backends.token_works(first)
    assert backends.token_works(second)
    backends.vault.end(first)  # once more is no error
    backends.vault.end(second)


def test_without_secret_and_token_vault_is_not_asked(backends):
    assert backends.vault.cache_key(ALICE, Grant("s")) is None
    assert backends.git.cache_key(ALICE, Grant("s", git_hosts=())) is None


@pytest.mark.parametrize(("changes", "cause"), [({"audience": "x"}, "audience"), ({"role": "x"}, "role")])
def test_a_login_that_is_refused_says_why(backends, changes, cause):
    source = VaultSource(changed(backends.vault_config, **changes), backends.issuer)
    with pytest.raises(SourceError, match="Vault refused the login") as caught:
        source.fetch(ALICE, Grant("s", vault_token=True))
    assert cause in caught.value.message
    assert caught.value.code == "denied"


def test_vault_that_is_not_there_or_hangs(backends, nobody, black_hole):
    for address, code in ((nobody, "unreachable"), (black_hole, "timeout")):
        config = changed(backends.vault_config, address=address, read_timeout=0.5)
        with pytest.raises(SourceError) as caught:
            VaultSource(config, backends.issuer).fetch(ALICE, Grant("s", vault_token=True))
        assert caught.value.code == code
        assert "Vault" in caught.value.message


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"{}", b"[]"])
def test_an_answer_that_is_not_vaults_or_stss(backends, body):
    """What a wrong address leads to: some web server that answers 200."""
    with web_server(body) as address:
        config = changed(backends.vault_config, address=address)
        with pytest.raises(SourceError, match="is the address right") as from_vault:
            VaultSource(config, backends.issuer).fetch(ALICE, Grant("s", vault_token=True))
        with pytest.raises(SourceError, match="address right") as from_sts:
            S3Source(changed(backends.s3_config, endpoint_url=address), backends.issuer).fetch(
                ALICE, Grant("s")
            )
    assert (from_vault.value.code, from_sts.value.code) == ("invalid", "invalid")


def test_secrets_of_ones_own(backends):
    me, secrets = Subject("sam"), backends.secrets
    assert secrets.list(me) == []
    assert secrets.tree(me) == []
    assert secrets.write(me, "a", {"K": "1"}) == 1
    assert secrets.write(me, "a", {"K": "2"}, cas=1) == 2
    assert secrets.write(me, "folder/été", {"É": {"nested": [1]}}) == 1
    assert secrets.read(me, "a").data == {"K": "2"}
    assert (secrets.read(me, "a", version=1).data, secrets.read(me, "a").version) == ({"K": "1"}, 2)
    assert secrets.read(me, "folder/été").data == {"É": {"nested": [1]}}
    assert secrets.list(me) == ["a", "folder/"]
    assert secrets.list(me, "folder") == ["été"]
    assert secrets.tree(me) == ["a", "folder/été"]
    with pytest.raises(SecretConflictError):
        secrets.write(me, "a", {"K": "3"}, cas=1)
    with pytest.raises(SourceError) as too_long:
        secrets.write(me, "a", {"K": "x" * 300_000})
    assert too_long.value.code == "invalid"
    secrets.delete(me, "a")
    with pytest.raises(SourceError) as gone:
        secrets.read(me, "a")
    assert gone.value.code == "missing"
    assert secrets.tree(me) == ["folder/été"]


def test_git_accounts_are_kept_but_not_listed_among_secrets(backends):
    me, accounts = Subject("gil"), backends.git_accounts
    accounts.put(me, GitAccount("GitHub.com", "gil", "ghp_1", "Gil", "gil@example.org"))
    accounts.put(me, GitAccount("gitlab.example.org:8443", token="glpat"))
    assert [account.host for account in accounts.list(me)] == ["github.com", "gitlab.example.org:8443"]
    assert accounts.get(me, "github.com") == GitAccount(
        "github.com", "gil", "ghp_1", "Gil", "gil@example.org"
    )
    assert (backends.secrets.list(me), backends.secrets.tree(me)) == ([], [])
    everything = backends.git.fetch(me, Grant("s"))
    assert [account.token for account in everything.accounts] == ["ghp_1", "glpat"]
    one = backends.git.fetch(me, Grant("s", git_hosts=("github.com", "gone.example.org")))
    assert [account.host for account in one.accounts] == ["github.com"]
    assert [problem.code for problem in one.problems] == ["missing"]
    accounts.delete(me, "github.com")
    assert accounts.get(me, "github.com") is None
    assert [account.host for account in accounts.list(me)] == ["gitlab.example.org:8443"]


@pytest.mark.parametrize(
    "account",
    [
        GitAccount("https://github.com"),
        GitAccount("github.com/../x"),
        GitAccount(""),
        GitAccount("host:0"),
        GitAccount("host:99999"),
        GitAccount("a..b"),
        GitAccount("github.com", token="a\nhost=evil"),
        GitAccount("github.com", username="x" * 5000),
    ],
)
def test_git_accounts_that_are_not_valid(backends, account):
    with pytest.raises(SourceError) as caught:
        backends.git_accounts.put(ALICE, account)
    assert (caught.value.source, caught.value.code) == ("git", "invalid")


def test_a_store_token_that_an_administrator_revoked(backends):
    me = Subject("ron")
    backends.secrets.write(me, "a", {"K": "1"})
    root = backends.openbao.client()
    for accessor in root.auth.token.list_accessors()["data"]["keys"]:
        if root.auth.token.lookup_accessor(accessor)["data"]["display_name"].endswith("ron"):
            root.auth.token.revoke_accessor(accessor)
    assert backends.secrets.read(me, "a").data == {"K": "1"}


async def test_a_sealed_vault_is_told_and_heals_by_itself(backends):
    grant = Grant("alice//sealed", vault_token=True)
    broker = Broker({"s3": backends.s3, "vault": backends.vault, "git": backends.git}, retries=0)
    backends.openbao.client().sys.seal()
    try:
        down = await broker.credentials(ALICE, grant)
        with pytest.raises(SourceError, match="sealed"):
            backends.secrets.list(ALICE)
    finally:
        backends.openbao.ensure_unsealed()
        backends.openbao.wait_ready()
    assert down.s3 is not None
    assert {(problem.source, problem.code) for problem in down.problems} == {
        ("vault", "unreachable"),
        ("git", "unreachable"),
    }
    assert all("Vault is sealed" in problem.message for problem in down.problems)
    up = await broker.credentials(ALICE, grant)
    assert up.vault is not None
    assert up.problems == ()
    await broker.end_session(grant.session)
    await broker.close()
