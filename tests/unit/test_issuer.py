"""Identity tokens: what they say, that they verify against the published keys, and what is never signed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from sardonyx_hub.credentials.model import Subject
from sardonyx_hub.identity.issuer import Issuer
from sardonyx_hub.identity.keys import CLOCK_SKEW, KeyRing

URL = "https://hub.example/hub/datalab/oidc"
ALICE = Subject(handle="alice", name="Alice", email="alice@mail.example", groups=("project-one",))


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(KeyRing(tmp_path / "keys"), URL + "/")


def decode(token: str, jwks: dict[str, Any], audience: str = "datalab-s3", **options: Any) -> dict[str, Any]:
    """Verify as a backend does: choose the key by ``kid`` among the published ones."""
    kid = jwt.get_unverified_header(token)["kid"]
    key = jwt.PyJWKSet.from_dict(jwks)[kid]
    return jwt.decode(token, key, algorithms=["RS256"], audience=audience, issuer=URL, **options)


def test_claims(issuer: Issuer) -> None:
    before = int(time.time())
    claims = decode(issuer.token(ALICE, "datalab-s3"), issuer.jwks())
    assert claims.keys() == {
        *("iss", "sub", "preferred_username", "datalab_id", "groups", "aud", "iat", "nbf", "exp", "jti")
    }
    assert claims["sub"] == claims["preferred_username"] == claims["datalab_id"] == "alice"
    assert claims["groups"] == ["project-one"]
    assert claims["aud"] == "datalab-s3"
    assert claims["iss"] == URL
    assert 0 <= claims["exp"] - before - 300 <= 2
    assert claims["nbf"] <= before - CLOCK_SKEW + 2


def test_header(issuer: Issuer) -> None:
    header = jwt.get_unverified_header(issuer.token(ALICE, "datalab-s3"))
    assert header == {"alg": "RS256", "typ": "JWT", "kid": issuer.keys.signing_key()[0]}


def test_two_tokens_differ(issuer: Issuer) -> None:
    assert issuer.token(ALICE, "datalab-s3") != issuer.token(ALICE, "datalab-s3")


def test_a_token_is_good_at_one_backend(issuer: Issuer) -> None:
    with pytest.raises(jwt.InvalidAudienceError):
        decode(issuer.token(ALICE, "datalab-s3"), issuer.jwks(), "datalab-vault")


@pytest.mark.parametrize("ahead", [-120, 120])
def test_a_clock_that_is_two_minutes_wrong_is_believed(tmp_path: Path, ahead: int) -> None:
    issuer = Issuer(KeyRing(tmp_path / "keys"), URL, clock=lambda: time.time() + ahead)
    assert decode(issuer.token(ALICE, "datalab-s3"), issuer.jwks())["sub"] == "alice"


def test_a_token_ends(tmp_path: Path) -> None:
    issuer = Issuer(KeyRing(tmp_path / "keys"), URL, clock=lambda: time.time() - 301)
    with pytest.raises(jwt.ExpiredSignatureError):
        decode(issuer.token(ALICE, "datalab-s3"), issuer.jwks())


@pytest.mark.parametrize(
    "subject",
    [
        *(
            Subject(handle=handle)
            for handle in ["", "*", "bob*", "Alice", "a/b", "..", "${x}", "al?ce", "alice\n"]
        ),
        Subject(handle="alice", groups=("*",)),
    ],
    ids=repr,
)
def test_only_handles_are_signed(issuer: Issuer, subject: Subject) -> None:
    with pytest.raises(ValueError, match="no handle"):
        issuer.token(subject, "datalab-s3")


def test_a_token_needs_an_audience(issuer: Issuer) -> None:
    with pytest.raises(ValueError, match="audience"):
        issuer.token(ALICE, "")


@pytest.mark.parametrize(
    "url", ["", "hub.example", "ftp://hub.example", "https://hub.example?x=1", "https://h#x", "//h"]
)
def test_a_wrong_issuer_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="issuer URL"):
        Issuer(KeyRing(tmp_path / "keys"), url)


@pytest.mark.parametrize("life", [0, -1, 301])
def test_a_life_longer_than_keys_are_published_is_refused(tmp_path: Path, life: int) -> None:
    with pytest.raises(ValueError, match="life"):
        Issuer(KeyRing(tmp_path / "keys", token_seconds=300), URL, life)


def test_tokens_verify_all_through_a_rotation_and_not_after_a_revocation(tmp_path: Path) -> None:
    now = [time.time()]
    keys = KeyRing(tmp_path / "keys", publish_seconds=3600, clock=lambda: now[0], monotonic=lambda: now[0])
    issuer = Issuer(keys, URL, clock=lambda: now[0])
    options = {"options": {"verify_exp": False, "verify_nbf": False, "verify_iat": False}}

    cached, fetched_at = issuer.jwks(), now[0]  # a backend that asks once an hour, whatever it meets
    keys.rotate()
    for _ in range(70):
        now[0] += 120
        if now[0] - fetched_at >= 3600:
            cached, fetched_at = issuer.jwks(), now[0]
        assert decode(issuer.token(ALICE, "datalab-s3"), cached, **options)

    stolen = issuer.token(ALICE, "datalab-s3")
    keys.revoke(keys.signing_key()[0])
    with pytest.raises(KeyError):
        decode(stolen, issuer.jwks(), **options)
    assert decode(issuer.token(ALICE, "datalab-s3"), issuer.jwks(), **options)


def test_discovery(issuer: Issuer) -> None:
    document = issuer.discovery()
    assert document["issuer"] == URL
    assert document["jwks_uri"] == URL + "/jwks"
    assert document["id_token_signing_alg_values_supported"] == ["RS256"]


def test_export_is_what_the_hub_serves(issuer: Issuer, tmp_path: Path) -> None:
    written = issuer.export(tmp_path / "static")
    assert [str(path.relative_to(tmp_path / "static")) for path in written] == [
        ".well-known/openid-configuration",
        "jwks",
    ]
    assert [json.loads(path.read_text()) for path in written] == [issuer.discovery(), issuer.jwks()]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in written)
    assert "PRIVATE" not in "".join(path.read_text() for path in written)
