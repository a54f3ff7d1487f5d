"""The static environment, the parsing of launch values, messages and the status in words."""

from __future__ import annotations

import ast
import re
import string
import sys
from pathlib import Path

import pytest

import sardonyx_session
from sardonyx_session import commands, init
from sardonyx_session.authorities import make_bundle, trusted_now
from sardonyx_session.environment import static_environment
from sardonyx_session.messages import MESSAGES, Messages
from sardonyx_session.rundir import RunDirectory
from sardonyx_session.state import State

PACKAGE = Path(sardonyx_session.__file__).parent
PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"


def test_what_the_environment_has_is_kept_behind_ours(tmp_path: Path) -> None:
    environ = {
        "PATH": "/a:/b", "PYTHONPATH": "/mine", "BASH_ENV": "/theirs", "R_PROFILE": "/theirs.R", "PROMPT_COMMAND": "mine",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "c",
    }  # fmt: skip
    found = static_environment(str(tmp_path), environ, "/opt/p")
    assert found["PATH"] == "/a:/b:/opt/p/bin"
    assert found["PYTHONPATH"] == "/opt/p/hooks/python:/mine"
    assert (found["BASH_ENV"], found["SARDONYX_BASH_ENV"]) == ("/opt/p/hooks/bash/env.bash", "/theirs")
    assert (found["R_PROFILE"], found["SARDONYX_R_PROFILE"]) == ("/opt/p/hooks/R/Rprofile", "/theirs.R")
    assert found["PROMPT_COMMAND"].endswith("; mine")
    assert (found["GIT_CONFIG_COUNT"], found["GIT_CONFIG_KEY_1"]) == ("2", "include.path")
    assert "GIT_CONFIG_KEY_0" not in found
    assert "SSL_CERT_FILE" not in found  # no authority of ours: nothing to change


def test_applying_it_twice_changes_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "ca-bundle.pem").touch()
    environ = {"PATH": "/a", "PYTHONPATH": "/mine", "BASH_ENV": "/theirs", "GIT_CONFIG_COUNT": "junk"}
    once = {**environ, **static_environment(str(tmp_path), environ)}
    assert {**once, **static_environment(str(tmp_path), once)} == once
    assert once["NODE_EXTRA_CA_CERTS"] == str(tmp_path / "ca-bundle.pem")


def test_authorities(tmp_path: Path) -> None:
    theirs, ours, system = (tmp_path / name for name in ("theirs", "ours", "none"))
    theirs.write_text("# company\n" + PEM.format("AAAA") + PEM.format("BBBB"))
    ours.write_text(PEM.format("BBBB") + PEM.format("CCCC"))
    environ = {"SSL_CERT_FILE": str(system), "REQUESTS_CA_BUNDLE": str(theirs)}
    assert trusted_now(environ) == theirs.read_bytes()  # the first of them that holds any
    assert make_bundle(environ) is None
    bundle = make_bundle({**environ, "SARDONYX_CA_FILE": str(ours)})
    assert bundle is not None
    assert re.findall(rb"[ABC]{4}", bundle) == [b"AAAA", b"BBBB", b"CCCC"]


@pytest.mark.parametrize(
    ("url", "clean", "folder"),
    [
        ("https://github.com/a/projet.git", "https://github.com/a/projet.git", "projet"),
        (" https://u:secret@github.com/a/projet/ ", "https://github.com/a/projet/", "projet"),
        ("https://tok@host:8443/a/b.git?x=1#f", "https://host:8443/a/b.git?x=1", "b"),
        ("ssh://git@host:22/a/b.git", "ssh://git@host:22/a/b.git", "b"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git", "b"),
        ("https://host/a/..", "https://host/a/..", "repository"),
        ("https://host/.git", "https://host/.git", "repository"),
        ("https://host/-x;y z.git".replace(" ", ""), "https://host/-x;yz.git", "x-yz"),
        ("https://[::1]:80/a.git", "https://[::1]:80/a.git", "a"),
    ],
)
def test_repositories(url: str, clean: str, folder: str) -> None:
    assert init.clean_repository(url) == clean
    assert init.folder_name(clean) == folder


@pytest.mark.parametrize(
    "url",
    ["", "-x", "--upload-pack=x", "ext::sh -c x", "file:///etc", "/etc", "ftp://h/x", "https://", "https:///x", "ssh://-o/x",
     "ssh://-l@h/x", "git@-h:x", "a@h::x", "https://h/a b", "https://h/\na", "https://h:port/x", "host:path", "javascript:x"],
)  # fmt: skip
def test_what_is_no_repository(url: str) -> None:
    assert init.clean_repository(url) is None


@pytest.mark.parametrize(
    "name", ["main", "dev/x", "v1.0.2", "feature/a_b-c", "é"[:0] + "1234abc", "a@b", "x=y", "issue#3"]
)
def test_branches(name: str) -> None:
    assert init.valid_branch(name)


@pytest.mark.parametrize(
    "name", ["", "-x", "--upload-pack=x", "a..b", "a b", "a\nb", "/a", "a/", "a//b", "a@{1}", "x.lock", "a/.b", ".a", "a.",
     "a" * 300, "a:b", "a^b"]
)  # fmt: skip
def test_what_is_no_branch(name: str) -> None:
    assert not init.valid_branch(name)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h:1/x?token=t#f", "https://h:1/x"),
        ("http://h/x", "http://h/x"),
        ("https://h:port/", "?"),
    ],
)
def test_shown_urls_hold_no_secret(url: str, shown: str) -> None:
    assert init.public_url(url) == shown


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "fr"),
        ({"LANG": "fr_FR.UTF-8", "SARDONYX_LANG": "en"}, "en"),
        ({"LANG": "de_DE"}, "en"),
        ({"LANG": "C.UTF-8", "SARDONYX_LANG": "FR"}, "fr"),
    ],
)
def test_languages(environ: dict[str, str], language: str) -> None:
    assert Messages.from_environ(environ).language == language


@pytest.mark.parametrize("key", MESSAGES)
def test_both_languages_have_the_same_gaps(key: str) -> None:
    gaps = [
        {name for _text, name, _spec, _conv in string.Formatter().parse(text)}
        for text in MESSAGES[key].values()
    ]
    assert set(MESSAGES[key]) == {"en", "fr"}
    assert gaps[0] == gaps[1]


def test_a_value_in_a_message_is_not_read_as_a_gap() -> None:
    assert Messages("en")("git.ok", url="{folder}{0}", folder="f") == "Cloned {folder}{0} into f"


def test_a_status_in_words() -> None:
    error = {"code": "timeout", "message": "Vault does not answer", "time": "x"}
    status = {
        "state": "degraded", "last_error": None, "next_refresh": "2026-01-01T00:10:00Z",
        "sources": {
            "s3": {"state": "ok", "valid_until": "2026-01-01T01:00:00Z", "last_error": None},
            "vault": {"state": "missing", "valid_until": None, "last_error": error},
        },
    }  # fmt: skip
    text = commands.describe_status(status, Messages("fr"))
    assert "s3 : valable, valable jusqu'à 2026-01-01T01:00:00Z" in text
    assert "vault : absent\n    Vault does not answer" in text
    assert commands.describe_status(None, Messages("en")).startswith("There is no status")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_the_package_is_old_enough_and_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append(node.module or "")
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names | {"sardonyx_hook", "__future__"}, name


def test_what_a_session_wrote_into_its_run_directory_does_not_end_the_agent(tmp_path: Path) -> None:
    directory = RunDirectory(str(tmp_path / "run"))
    directory.replace(
        {
            "generation": b"3",
            "document.json": b"[" * 100_000,
            "env.nul": "3\0² A=1\0".encode() + b"9" * 5000 + b" B=1\0" + b"2 C=1\0",
        }
    )
    assert directory.read_json("document.json") is None
    state = State(directory, "/run", "/package")
    state.restore(same_launch=True)
    assert state.changed == {"A": 0, "B": 0, "C": 2}
