"""The variables of a session, whatever their values hold."""

import json
import shlex
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from sardonyx_hub.credentials.environment import host_of, session_environment, timestamp
from sardonyx_hub.credentials.errors import SourceError
from sardonyx_hub.credentials.model import (
    Credentials,
    GitAccount,
    GitCredentials,
    Grant,
    S3Credentials,
    Subject,
    VaultCredentials,
)
from sardonyx_hub.credentials.secret_values import (
    MAX_TOTAL_BYTES,
    MAX_VALUE_BYTES,
    check_path,
    secret_variables,
)

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
END = NOW + timedelta(hours=1)
ALICE = Subject("alice", name="Alice", email="alice@example.org", full_name="Alice Martin")

NASTY_VALUES = [
    "it's",
    'say "hi"',
    "$HOME ${PATH} $(id) `id`",
    '{"a": 1} {} {x}',
    "two\nlines\r\n",
    "🥔 patate déjà vu",
    "tab\tand \\ backslash",
    " spaces ",
    "%s %(x)s",
    "",
    "#!& ; | < > * ?",
]


def s3(**changes: Any) -> S3Credentials:
    fields: dict[str, Any] = {
        "access_key_id": "AK",
        "secret_access_key": "SK/+=",
        "session_token": "to.ken/+==",
        "issued_at": NOW,
        "expiration": END,
        "endpoint_url": "https://s3.example.org:8333",
        "region": "us-east-1",
        "path_style": True,
        "bucket": "alice",
        "access": "read-write",
    }
    return S3Credentials(**(fields | changes))


def vault(values: dict[str, str] | None = None) -> VaultCredentials:
    return VaultCredentials(
        "hvs.token", NOW, END, "https://vault.example.org", "onyxia-kv", "alice", values=values or {}
    )


def git(*accounts: GitAccount) -> GitCredentials:
    return GitCredentials(accounts, NOW, END)


def test_s3_variables():
    environment = session_environment(ALICE, Grant("s"), Credentials(s3=s3()))
    assert environment["MC_HOST_s3"] == "https://AK:SK/+=:to.ken/+==@s3.example.org:8333"
    expected = {
        "AWS_ACCESS_KEY_ID": "AK",
        "AWS_SECRET_ACCESS_KEY": "SK/+=",
        "AWS_SESSION_TOKEN": "to.ken/+==",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_S3_ENDPOINT": "s3.example.org:8333",
        "AWS_ENDPOINT_URL": "https://s3.example.org:8333",
        "S3_ENDPOINT": "https://s3.example.org:8333",
        "AWS_PATH_STYLE_ACCESS": "true",
        "AWS_WORKING_DIRECTORY_PATH": "alice/",
        "AWS_CREDENTIAL_EXPIRATION": "2026-11-21T09:00:00Z",
    }
    assert {name: environment.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://s3.example.org", "s3.example.org"),
        ("http://127.0.0.1:8333", "127.0.0.1:8333"),
        ("http://[::1]:8333", "[::1]:8333"),
    ],
)
def test_the_endpoint_without_scheme(url, host):
    environment = session_environment(ALICE, Grant("s"), Credentials(s3=s3(endpoint_url=url)))
    assert environment["AWS_S3_ENDPOINT"] == host
    assert environment["MC_HOST_s3"].startswith(url.partition("://")[0] + "://AK:")
    assert environment["MC_HOST_s3"].endswith("@" + host)


def test_virtual_host_style():
    environment = session_environment(ALICE, Grant("s"), Credentials(s3=s3(path_style=False)))
    assert environment["AWS_PATH_STYLE_ACCESS"] == "false"


def test_times_are_utc_wherever_they_come_from():
    paris = timezone(timedelta(hours=1))
    assert timestamp(datetime(2026, 11, 21, 10, 0, 0, 999999, tzinfo=paris)) == "2026-11-21T09:00:00Z"


@pytest.mark.parametrize("granted", [True, False])
def test_the_vault_token_enters_only_where_it_is_granted(granted):
    grant = Grant("s", secrets=("patate", "other"), vault_token=granted)
    environment = session_environment(ALICE, grant, Credentials(vault=vault({"PATATE_PORT": "5432"})))
    assert ("VAULT_TOKEN" in environment) is granted
    assert {name: value for name, value in environment.items() if name != "VAULT_TOKEN"} == {
        "VAULT_ADDR": "https://vault.example.org",
        "VAULT_MOUNT": "onyxia-kv",
        "VAULT_TOP_DIR": "alice",
        "VAULT_RELATIVE_PATH": "patate",
        "PATATE_PORT": "5432",
        "GIT_USER_NAME": "Alice Martin",
        "GIT_USER_MAIL": "alice@example.org",
    }


def test_nothing_of_ours_can_be_replaced_by_a_secret():
    everything = Credentials(s3=s3(), vault=vault(), git=git(GitAccount("h", "u", "t", "n", "e")))
    grant = Grant("s", secrets=("a",), vault_token=True)
    options = {"git.repository": "https://h/r", "git.branch": "main", "kubernetes.namespace": "lab"}
    ours = session_environment(ALICE, grant, everything, options)
    hostile = Credentials(
        s3=everything.s3, vault=vault(dict.fromkeys(ours, "stolen") | {"MINE": "1"}), git=everything.git
    )
    assert session_environment(ALICE, grant, hostile, options) == ours | {"MINE": "1"}


ACCOUNTS = (
    GitAccount("github.com", "al", "gh-token", "Al", "al@github.com"),
    GitAccount("gitlab.example.org:8443", "alice", "gl-token", "Alice M.", "alice@gitlab"),
)


@pytest.mark.parametrize(
    ("accounts", "repository", "expected"),
    [
        ((), "", ("Alice Martin", "alice@example.org", None)),
        (ACCOUNTS[:1], "", ("Al", "al@github.com", "gh-token")),
        (ACCOUNTS[:1], "https://github.com/a/b.git", ("Al", "al@github.com", "gh-token")),
        (ACCOUNTS[:1], "https://evil.example.org/a/b.git", ("Al", "al@github.com", None)),
        (ACCOUNTS[:1], "https://github.com@evil.example.org/b.git", ("Al", "al@github.com", None)),
        (ACCOUNTS, "", ("Al", "al@github.com", None)),
        (ACCOUNTS, "https://GitLab.example.org:8443/a/b", ("Alice M.", "alice@gitlab", "gl-token")),
        (ACCOUNTS, "git@github.com:a/b.git", ("Al", "al@github.com", "gh-token")),
        ((GitAccount("github.com", token="t"),), "", ("Alice Martin", "alice@example.org", "t")),
    ],
)
def test_git_variables(accounts, repository, expected):
    credentials = Credentials(git=git(*accounts))
    options = {"git": {"repository": repository, "branch": "dev" if repository else None}}
    environment = session_environment(ALICE, Grant("s"), credentials, options)
    names = ("GIT_USER_NAME", "GIT_USER_MAIL", "GIT_PERSONAL_ACCESS_TOKEN")
    assert tuple(environment.get(name) for name in names) == expected
    assert environment.get("GIT_REPOSITORY") == (repository or None)
    assert environment.get("GIT_BRANCH") == ("dev" if repository else None)


@pytest.mark.parametrize(
    ("repository", "host"),
    [
        ("https://github.com/a/b", "github.com"),
        ("https://user:pw@github.com:444/a", "github.com:444"),
        ("ssh://git@host:22/a", "host:22"),
        ("git@host:a/b", "host"),
        ("./local/path", ""),
        ("", ""),
        ("not a repository", ""),
    ],
)
def test_the_host_of_a_repository(repository, host):
    assert host_of(repository) == host


@pytest.mark.parametrize("value", NASTY_VALUES)
def test_values_reach_a_process_unchanged(value):
    """From the secret's content to a real process, with nothing formatted, expanded or cut on the way."""
    variables = secret_variables([("nasty", {"NASTY": value})])
    environment = session_environment(ALICE, Grant("s"), Credentials(vault=vault(dict(variables.values))))
    environment = json.loads(json.dumps(environment))
    script = 'import os, sys; sys.stdout.buffer.write(os.environb[b"NASTY"])'
    seen = subprocess.run(
        ["/usr/bin/env", "python3", "-c", script],
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", **environment},
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert seen.stdout.decode() == value
    quoted = f'export NASTY={shlex.quote(environment["NASTY"])}; printf %s "$NASTY"'
    assert subprocess.run(["sh", "-c", quoted], capture_output=True, check=True).stdout.decode() == value


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ({"A": "text"}, {"A": "text"}),
        ({"A": 5432, "B": 1.5, "C": True, "D": None}, {"A": "5432", "B": "1.5", "C": "true", "D": "null"}),
        ({"A": {"k": "é"}, "B": [1, 2]}, {"A": '{"k": "é"}', "B": "[1, 2]"}),
        ({".onyxia": {"hidden": True}, "A": "1"}, {"A": "1"}),
    ],
)
def test_what_becomes_of_a_value(content, values):
    variables = secret_variables([("s", content)])
    assert variables.values == values
    assert variables.refused == {}


@pytest.mark.parametrize(
    "key",
    [
        *("PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "BASH_ENV", "HOME"),
        *("JUPYTERHUB_API_TOKEN", "JUPYTERHUB_BASE_URL", "SARDONYX_RUN", "AWS_ACCESS_KEY_ID", "VAULT_TOKEN"),
        *("GIT_PERSONAL_ACCESS_TOKEN", "GIT_CONFIG_COUNT", "SSL_CERT_FILE", "MC_HOST_s3"),
        *("2fa", "with-dash", "with space", "", "a=b", "é", "new\nline", "nul\0"),
    ],
)
def test_keys_that_are_refused_with_a_reason(key):
    variables = secret_variables([("mine", {key: "a-value", "OTHER": "1"})])
    assert variables.values == {"OTHER": "1"}
    assert list(variables.refused) == [f"mine:{key}"]
    assert variables.refused[f"mine:{key}"] != "it may not be set by a secret"  # there is a better reason
    assert "a-value" not in str(variables.refused)


@pytest.mark.parametrize(
    ("value", "reason"), [("a\0b", "NUL"), ("x" * (MAX_VALUE_BYTES + 1), "too long"), ("\ud800", "not valid")]
)
def test_values_that_no_environment_takes(value, reason):
    variables = secret_variables([("mine", {"A": value})])
    assert variables.values == {}
    assert reason in variables.refused["mine:A"]


def test_secrets_do_not_fill_the_environment_to_the_kernels_limit():
    content = {f"KEY_{number}": "x" * 100_000 for number in range(12)}
    variables = secret_variables([("big", content)])
    assert sum(map(len, variables.values.values())) <= MAX_TOTAL_BYTES
    assert len(variables.values) + len(variables.refused) == 12


def test_of_two_secrets_with_the_same_key_the_later_counts_and_the_earlier_is_named():
    variables = secret_variables([("first", {"A": "1", "B": "2"}), ("second", {"A": "3"})])
    assert variables.values == {"A": "3", "B": "2"}
    assert list(variables.refused) == ["first:A"]
    assert "second" in variables.refused["first:A"]


@pytest.mark.parametrize("path", ["patate", "/folder/projet patate/", "été/ключ", "a.b@c+d=e,f-g"])
def test_paths_of_secrets(path):
    assert check_path(path) == path.strip("/")


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "..", "../bob/x", "a/../../bob", "./a", ".git/github.com", "a//b", "a/.hidden", "a."),
        *(
            "%2e%2e/bob",
            "a?version=1",
            "a#b",
            "a\\b",
            "a\nb",
            "a\0b",
            "{{x}}",
            "a*",
            " a",
            "a ",
            "x/" * 9 + "x",
        ),
        "x" * 500,
    ],
)
def test_paths_that_lead_elsewhere_are_refused(path):
    with pytest.raises(SourceError) as caught:
        check_path(path)
    assert caught.value.code == "invalid"
