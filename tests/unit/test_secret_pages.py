"""What the page My secrets is made of: versions, who uses a secret, commands, and what the API takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sardonyx_hub.api.validation import (
    InvalidRequestError,
    SecretAction,
    parse_action,
    parse_change,
    parse_number,
    parse_secret,
)
from sardonyx_hub.credentials.secret_commands import folder_commands, secret_commands
from sardonyx_hub.credentials.secret_history import read_history
from sardonyx_hub.credentials.vault_client import VaultConfig
from sardonyx_hub.secret_use import Use, chosen_secrets, uses_by_path
from sardonyx_spawner.envnames import refused_names, why_refused

VAULT = VaultConfig("http://127.0.0.1:1")
#: As Vault answers (https://openbao.org/api-docs/secret/kv/kv-v2/#read-secret-metadata).
METADATA = {
    "current_version": 3,
    "versions": {
        "1": {"created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": True},
        "2": {
            "created_time": "2026-01-02T00:00:00Z",
            "deletion_time": "2026-01-04T00:00:00Z",
            "destroyed": False,
        },
        "3": {"created_time": "2026-01-03T00:00:00Z", "deletion_time": "", "destroyed": False},
    },
}


def test_versions_are_the_newest_first_and_say_what_became_of_them() -> None:
    history = read_history(METADATA)
    assert [version.number for version in history.versions] == [3, 2, 1]
    assert [version.readable for version in history.versions] == [True, False, False]
    assert not history.deleted
    assert history.get(2) is history.versions[1]


@pytest.mark.parametrize("field", [{"deletion_time": "2026-01-05T00:00:00Z"}, {"destroyed": True}])
def test_a_secret_whose_newest_version_is_gone_is_deleted(field: dict[str, Any]) -> None:
    newest = {**METADATA["versions"]["3"], **field}  # type: ignore[index]
    assert read_history({**METADATA, "versions": {"3": newest}}).deleted
    assert read_history({"current_version": 0, "versions": {}}).deleted


def test_ten_versions_are_sorted_as_numbers() -> None:
    versions = {str(number): METADATA["versions"]["3"] for number in range(1, 12)}  # type: ignore[index]
    assert read_history({"current_version": 11, "versions": versions}).versions[0].number == 11


# Who uses it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({"vault": {"secret": ["a", "b/c"]}}, ["a", "b/c"]),
        ({"vault": {"secret": "a, b/c"}}, ["a", "b/c"]),
        ({"vault.secret": ["a"]}, ["a"]),
        ({"vault": {}}, []),
        ({"vault": {"secret": None}}, []),
        ({}, []),
        (None, []),
        ("x", []),
    ],
)
def test_chosen_secrets(options: Any, paths: list[str]) -> None:
    assert chosen_secrets(options) == paths


def test_running_sessions_count_by_their_grant_and_stopped_ones_by_their_options() -> None:
    options = {"service": "jupyter-python", "options": {"vault": {"secret": ["old"]}}}
    records = {
        "run": SimpleNamespace(display_name="<b>R</b>", user_options=options),
        "off": SimpleNamespace(display_name="", user_options=options),
        "never": SimpleNamespace(display_name="", user_options=None),
    }
    spawners = {"run": SimpleNamespace(active=True, grant={"secrets": ["new"]})}
    user = SimpleNamespace(orm_user=SimpleNamespace(orm_spawners=records), spawners=spawners)
    saved = [SimpleNamespace(name="conf", id="x1", options={"vault": {"secret": ["new"]}})]
    assert uses_by_path(user, saved) == {
        "new": [Use("running", "<b>R</b>", "run"), Use("saved", "conf", "x1")],
        "old": [Use("stopped", "off", "off")],
    }


# Commands -------------------------------------------------------------------------------------------


def test_commands_name_the_secret_safely_and_hold_no_value() -> None:
    lines = [one.line for one in secret_commands(VAULT, "alice", "a b/$(x)", keys=["K"], version=2)]
    assert "bao kv get -mount=onyxia-kv 'alice/a b/$(x)'" in lines
    assert "bao kv patch -mount=onyxia-kv 'alice/a b/$(x)' K=-" in lines
    assert "bao kv rollback -mount=onyxia-kv -version=1 'alice/a b/$(x)'" in lines
    assert folder_commands(VAULT, "alice", "")[0].line == "bao kv list -mount=onyxia-kv alice"


def test_commands_fit_what_the_secret_is() -> None:
    assert [one.what for one in secret_commands(VAULT, "alice", "a", keys=[], version=0)] == ["put"]
    deleted = secret_commands(VAULT, "alice", "a", keys=[], version=4, deleted=True)
    assert [one.what for one in deleted] == ["undelete", "history"]
    assert "-versions=4" in deleted[0].line
    assert "rollback" not in [one.what for one in secret_commands(VAULT, "alice", "a", keys=["K"], version=1)]


# Requests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("LD_PRELOAD", "envname.programs"),
        ("AWS_ACCESS_KEY_ID", "envname.credentials"),
        ("2FA", "envname.invalid"),
        ("A-B", "envname.invalid"),
        ("É", "envname.invalid"),
        ("<img src=x>", "envname.invalid"),
    ],
)
def test_a_key_that_can_be_no_variable_is_refused_with_the_reason(key: str, reason: str) -> None:
    for check in (
        lambda: parse_secret({"values": {key: "x"}}),
        lambda: parse_change({"cas": 1, "set": {key: "x"}}),
        lambda: parse_change({"cas": 1, "rename": {"A": key}}),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            check()
        assert caught.value.extra == {"code": "invalid-name", "key": key, "reason": reason}


def test_keys_of_programs_may_be_written() -> None:
    assert parse_secret({"values": {".onyxia": "{}"}}).values == {".onyxia": "{}"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"cas": 1},
        {"set": {"A": "x"}},
        {"cas": None, "set": {"A": "x"}},
        {"cas": "1", "set": {"A": "x"}},
        {"cas": True, "set": {"A": "x"}},
        {"cas": 1, "set": ["A"]},
        {"cas": 1, "set": {"A": 1}},
        {"cas": 1, "set": {"A": "x\0"}},
        {"cas": 1, "remove": "A"},
        {"cas": 1, "remove": [1]},
        {"cas": 1, "rename": {"A": None}},
        {"cas": 1, "rename": ["A"]},
        {"cas": 1, "set": {"A": "x"}, "more": 1},
    ],
)
def test_changes_that_are_refused(body: Any) -> None:
    with pytest.raises(InvalidRequestError):
        parse_change(body)


def test_a_change_leaves_what_it_does_not_name() -> None:
    change = parse_change({"cas": 1, "set": {"A": "2", "N": "x"}, "remove": ["C"], "rename": {"D": "E"}})
    before = {"A": "1", "B": {"nested": 1}, "C": "c", "D": "d"}
    assert change.apply(before) == {"A": "2", "B": {"nested": 1}, "E": "d", "N": "x"}


@pytest.mark.parametrize(
    "body",
    [{"remove": ["A", "B"]}, {"remove": ["Z"]}, {"rename": {"A": "B"}}, {"rename": {"Z": "Y"}}],
)
def test_changes_that_do_not_fit_the_secret(body: Any) -> None:
    with pytest.raises(InvalidRequestError):
        parse_change({"cas": 1, **body}).apply({"A": "1", "B": "2"})


def test_two_keys_change_names() -> None:
    change = parse_change({"cas": 1, "rename": {"A": "B", "B": "A"}})
    assert change.apply({"A": "1", "B": "2"}) == {"A": "2", "B": "1"}


def test_actions() -> None:
    assert parse_action({"action": "move", "to": "b"}) == SecretAction("move", to="b")
    assert parse_action({"action": "restore", "version": 2}) == SecretAction("restore", version=2)
    for body in (
        {},
        {"action": "destroy", "version": 1},
        {"action": ["move"]},
        {"action": "move"},
        {"action": "move", "to": 1},
        {"action": "move", "to": "b", "version": 1},
        {"action": "undelete"},
        {"action": "undelete", "version": 0},
        {"action": "restore", "version": "2"},
    ):
        with pytest.raises(InvalidRequestError):
            parse_action(body)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "x", "٣", "1" * 10])
def test_numbers_in_the_query(text: str) -> None:
    assert parse_number(None, "version") is None
    assert parse_number("3", "version") == 3
    with pytest.raises(InvalidRequestError):
        parse_number(text, "version")


def test_the_table_for_the_page_says_what_the_server_says() -> None:
    table = refused_names()
    assert all(why_refused(name) == reason for name, reason in table["exact"].items())
    assert all(why_refused(f"{prefix}X") == reason for prefix, reason in table["prefixes"].items())
