"""Audit: events fit their schemas, hold no value, and a failing disk fails nothing."""

from __future__ import annotations

import json
import logging
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sardonyx_hub.api import audit as audit_module
from sardonyx_hub.api.audit import Audit, new_request_id
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

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ALICE = Subject(handle="alice-xabcdefghij", name="Alice", email="alice@mail.example")
GRANT = Grant(session="alice/run1/42", secrets=("db",), git_hosts=("git.example",), vault_token=True)
MARK = "VALUE-THAT-MUST-NOT-BE-WRITTEN"


def make_credentials(issued_at: datetime = NOW) -> Credentials:
    life = {"issued_at": issued_at, "expiration": issued_at + timedelta(hours=1)}
    return Credentials(
        s3=S3Credentials(MARK, MARK, MARK, **life, endpoint_url="https://s3.example", region="r",
                         path_style=True, bucket="alice", access="read-write"),
        vault=VaultCredentials(MARK, **life, address="https://vault.example", mount="kv", top_dir="alice",
                               values={"DB_PASSWORD": MARK}),
        git=GitCredentials((GitAccount("git.example", "alice", MARK),), **life),
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "audit.jsonl"


@pytest.fixture
def audit(path: Path) -> Iterator[Audit]:
    audit = Audit(path)
    yield audit
    audit.close()


def lines(audit: Audit, path: Path) -> list[dict[str, Any]]:
    assert audit.flush()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_issued_credentials(audit: Audit, path: Path) -> None:
    audit.credentials(ALICE, GRANT, make_credentials(), request_id="r1")
    events = lines(audit, path)
    assert [event["source"] for event in events] == ["s3", "vault", "git"]
    for event in events:
        assert event["__schema__"] == "urn:sardonyx:events:credentials-issued"
        assert event["person"] == "Alice"
        assert event["handle"] == "alice-xabcdefghij"
        assert event["session"] == "alice/run1/42"
        assert event["outcome"] == "issued"
        assert event["expires_at"] == "2026-11-21T13:00:00Z"
        assert event["request_id"] == "r1"
        assert datetime.fromisoformat(event["__timestamp__"]).utcoffset() == timedelta(0)
    assert events[0]["grant"] == {"s3": "read-write"}
    assert events[0]["backend"] == "https://s3.example"
    assert events[1]["grant"] == {"secrets": ["db"], "vault_token": True}
    assert events[2]["grant"] == {"git_hosts": ["git.example"]}


def test_the_same_credentials_are_recorded_once_a_session(audit: Audit, path: Path) -> None:
    other, renewed = Grant(session="alice/run2/43"), make_credentials(NOW + timedelta(minutes=30))
    for request, grant, credentials in [
        ("r1", GRANT, make_credentials()),
        ("r2", GRANT, make_credentials()),
        ("r3", other, make_credentials()),
        ("r4", GRANT, renewed),
    ]:
        audit.credentials(ALICE, grant, credentials, request_id=request)
    assert [event["request_id"] for event in lines(audit, path)] == ["r1"] * 3 + ["r3"] * 3 + ["r4"] * 3


def test_what_was_recorded_is_remembered_in_bounded_memory(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "_REMEMBERED", 6)
    for number in range(50):
        audit.credentials(ALICE, Grant(session=str(number)), make_credentials(), request_id="r")
    assert len(audit._given) == 6


def test_refusals(audit: Audit, path: Path) -> None:
    problem = SourceProblem("vault", "timeout", "Vault did not answer.")
    audit.credentials(ALICE, GRANT, Credentials(problems=(problem,)), request_id="r1")
    audit.refused("Alice", "rate-limit", session="run1", request_id="r2")
    first, second = lines(audit, path)
    assert (first["source"], first["reason"], first["outcome"]) == ("vault", "timeout", "refused")
    assert (second["reason"], second["session"]) == ("rate-limit", "run1")


def test_secrets_git_accounts_and_keys(audit: Audit, path: Path) -> None:
    audit.secret(ALICE, "write", "projects/db", request_id="r1")
    audit.secret(ALICE, "read", "db", reason="denied", request_id="r2")
    audit.git_account(ALICE, "reveal", "git.example", request_id="r3")
    audit.key("revoke", "kid1", successor="kid2", operator="root")
    write, read, reveal, key = lines(audit, path)
    assert (write["action"], write["path"], write["outcome"]) == ("write", "projects/db", "done")
    assert (read["outcome"], read["reason"]) == ("refused", "denied")
    assert (reveal["action"], reveal["host"]) == ("reveal", "git.example")
    assert (key["action"], key["kid"], key["successor"]) == ("revoke", "kid1", "kid2")


def test_no_value_is_written(audit: Audit, path: Path) -> None:
    audit.credentials(ALICE, GRANT, make_credentials(), request_id="r1")
    assert audit.flush()
    assert MARK not in path.read_text()
    assert "DB_PASSWORD" not in path.read_text()


def test_the_file_is_private(audit: Audit, path: Path) -> None:
    audit.key("rotate", "kid1")
    assert audit.flush()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_rotated_file_is_made_anew(audit: Audit, path: Path) -> None:
    audit.key("rotate", "kid1")
    assert audit.flush()
    path.rename(path.with_suffix(".1"))
    audit.key("rotate", "kid2")
    assert [event["kid"] for event in lines(audit, path)] == ["kid2"]


def test_a_line_is_one_line(audit: Audit, path: Path) -> None:
    audit.refused("mal\nlory\u2028\ud800", "forbidden", request_id="r1")
    [event] = lines(audit, path)
    assert event["person"] == "mal\nlory\u2028\ud800"


def test_a_failing_disk_fails_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    audit = Audit(tmp_path / "file" / "audit.jsonl")
    for _ in range(5):
        audit.credentials(ALICE, GRANT, make_credentials(), request_id="r1")
    audit.flush()
    audit.close()
    told = [record for record in caplog.records if "audit events were not written" in record.getMessage()]
    assert len(told) == 1
    assert MARK not in caplog.text


def test_a_hanging_disk_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_module, "_QUEUE_LENGTH", 10)
    release = threading.Event()

    class Hanging(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            release.wait(30)

    audit = Audit(None, [Hanging()])
    start = time.monotonic()
    for _ in range(50):
        audit.key("rotate", "kid")
    assert time.monotonic() - start < 2
    assert "audit events were not written" in caplog.text
    release.set()
    audit.close()


def test_an_event_that_fits_no_schema_is_told_without_its_content(
    audit: Audit, caplog: pytest.LogCaptureFixture
) -> None:
    audit.key("rotate", MARK * 10)
    assert audit.flush()
    assert "ValidationError" in caplog.text
    assert MARK not in caplog.text


def test_every_schema_refuses_what_it_does_not_name() -> None:
    schemas = list(audit_module._SCHEMAS.glob("*.yaml"))
    assert len(schemas) == 6
    for path in schemas:
        schema = YAML(typ="safe").load(path)
        assert schema["$id"] == f"urn:sardonyx:events:{path.stem}"
        assert schema["additionalProperties"] is False
        assert not {"value", "values", "token", "password"} & schema["properties"].keys()


def test_closing_twice_and_recording_after_it(path: Path) -> None:
    audit = Audit(path)
    audit.key("rotate", "kid1")
    audit.close()
    audit.close()
    assert len(path.read_text().splitlines()) == 1
    audit.key("rotate", "kid2")


def test_request_ids_differ() -> None:
    assert len({new_request_id() for _ in range(100)}) == 100


def test_who_records_does_not_wait_for_the_check(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check takes a millisecond: hundreds at once would stop the hub's event loop."""

    def slow(**_event: object) -> None:
        time.sleep(0.05)

    monkeypatch.setattr(audit._events, "emit", slow)
    begun = time.monotonic()
    for _ in range(20):
        audit.refused("alice", "forbidden", request_id="1")
    assert time.monotonic() - begun < 0.5
    assert not audit.flush(0.2)
    assert audit.flush(5)
