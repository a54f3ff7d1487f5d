"""When credentials are replaced, and that grants survive the hub's database."""

from datetime import UTC, datetime, timedelta

import pytest

from sardonyx_hub.credentials.model import (
    Credentials,
    GitCredentials,
    Grant,
    S3Credentials,
    VaultCredentials,
    needs_replacement,
)

START = datetime(2026, 11, 21, 8, tzinfo=UTC)


@pytest.mark.parametrize("life", [60, 900, 3600, 12 * 3600])
@pytest.mark.parametrize(
    ("share_of_life_gone", "replaced"),
    [(0.0, False), (0.25, False), (0.49, False), (0.5, False), (0.51, True), (0.99, True), (1.5, True)],
)
def test_a_credential_is_replaced_once_less_than_half_of_its_life_is_left(life, share_of_life_gone, replaced):
    now = START + timedelta(seconds=life * share_of_life_gone)
    assert needs_replacement(START, START + timedelta(seconds=life), now) is replaced


def test_the_present_is_the_default():
    now = datetime.now(UTC)
    assert not needs_replacement(now, now + timedelta(hours=1))
    assert needs_replacement(now - timedelta(hours=1), now + timedelta(minutes=5))


@pytest.mark.parametrize(
    "grant",
    [
        Grant("alice//1"),
        Grant("alice//2", s3="none", git_hosts=()),
        Grant(
            "alice/run1/3",
            s3="read-only",
            secrets=("a", "b/c"),
            git_hosts=("github.com",),
            vault_token=True,
            required=frozenset({"s3", "vault"}),
        ),
    ],
)
def test_a_grant_survives_storage(grant):
    assert Grant.from_dict(grant.to_dict()) == grant


def test_a_grant_of_which_something_is_missing_allows_nothing():
    grant = Grant.from_dict({"session": "alice//1"})
    assert (grant.s3, grant.secrets, grant.git_hosts, grant.vault_token) == ("none", (), (), False)


def s3(end: datetime) -> S3Credentials:
    return S3Credentials(
        "AK-VALUE", "SK-VALUE", "TOKEN-VALUE", START, end, "https://s3", "r", True, "b", "none"
    )


def test_credentials_end_with_the_first_of_them():
    early, late = START + timedelta(minutes=5), START + timedelta(hours=1)
    credentials = Credentials(s3=s3(late), git=GitCredentials((), START, early))
    assert credentials.expires_at == early
    assert Credentials().expires_at is None


def test_nothing_secret_shows_in_a_repr():
    vault = VaultCredentials("TOKEN-VALUE", START, START, "a", "m", "t", values={"KEY": "SECRET-VALUE"})
    assert "VALUE" not in repr(Credentials(s3=s3(START), vault=vault))
