"""The credentials document, as the agent of a session reads it."""

import json
from datetime import UTC, datetime, timedelta

from sardonyx_hub.credentials.document import credentials_document
from sardonyx_hub.credentials.model import (
    Credentials,
    GitAccount,
    GitCredentials,
    Grant,
    S3Credentials,
    SourceProblem,
    Subject,
    VaultCredentials,
)

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
ALICE = Subject("alice", name="Alice")


def full() -> Credentials:
    hour, half = NOW + timedelta(hours=1), NOW + timedelta(minutes=30)
    return Credentials(
        s3=S3Credentials("AK", "SK", "TOK", NOW, hour, "https://s3:1", "r1", True, "alice", "read-only"),
        vault=VaultCredentials("hvs.t", NOW, half, "http://v", "onyxia-kv", "alice", values={"PATATE": "1"}),
        git=GitCredentials((GitAccount("github.com", "al", "ghp", "Al", "a@b"),), NOW, hour),
        problems=(SourceProblem("vault", "missing", "The secret x is not there."),),
    )


def test_everything_in_it():
    grant = Grant("s", secrets=("patate",), vault_token=True)
    document = credentials_document(
        ALICE, grant, full(), {"git.repository": "https://github.com/a/b"}, now=NOW
    )
    environment = document.pop("environment")
    assert document == {
        "version": 1,
        "issued_at": "2026-11-21T08:00:00Z",
        "expires_at": "2026-11-21T08:30:00Z",
        "s3": {
            "access_key_id": "AK",
            "secret_access_key": "SK",
            "session_token": "TOK",
            "expiration": "2026-11-21T09:00:00Z",
            "endpoint_url": "https://s3:1",
            "region": "r1",
            "path_style": True,
            "bucket": "alice",
            "access": "read-only",
        },
        "vault": {
            "address": "http://v",
            "mount": "onyxia-kv",
            "top_dir": "alice",
            "relative_path": "patate",
            "expiration": "2026-11-21T08:30:00Z",
            "token": "hvs.t",
        },
        "git": [{"host": "github.com", "username": "al", "token": "ghp", "name": "Al", "email": "a@b"}],
        "problems": [{"source": "vault", "code": "missing", "message": "The secret x is not there."}],
    }
    assert environment["PATATE"] == "1"
    assert environment["VAULT_TOKEN"] == "hvs.t"
    assert environment["GIT_PERSONAL_ACCESS_TOKEN"] == "ghp"
    assert environment["AWS_ACCESS_KEY_ID"] == "AK"
    assert json.loads(json.dumps(document)) == document


def test_the_vault_token_is_nowhere_in_it_where_it_is_not_granted():
    document = credentials_document(ALICE, Grant("s", secrets=("patate",)), full())
    assert "hvs.t" not in json.dumps(document)
    assert document["vault"]["top_dir"] == "alice"


def test_sources_that_gave_nothing_are_null():
    document = credentials_document(ALICE, Grant("s"), Credentials())
    assert (document["s3"], document["vault"], document["git"], document["expires_at"]) == (
        None,
        None,
        [],
        None,
    )
    assert not any(name.startswith(("AWS_", "VAULT_", "MC_")) for name in document["environment"])
