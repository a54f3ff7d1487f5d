"""The contents of the run directory's files, and how they are replaced."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardonyx_session import render
from sardonyx_session.rundir import RunDirectory
from sardonyx_session.state import State

S3: dict[str, Any] = {
    "access_key_id": "AK",
    "secret_access_key": "SK",
    "session_token": "ST",
    "endpoint_url": "http://127.0.0.1:8333",
    "region": "us-east-1",
    "path_style": True,
}


def test_the_expiration_is_set_last() -> None:
    names = [
        "AWS_CREDENTIAL_EXPIRATION",
        "Z",
        "AWS_ACCESS_KEY_ID",
        "A",
        "SARDONYX_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
    ]
    assert render.write_order(names) == [
        "A", "Z", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "SARDONYX_ACCESS_KEY_ID", "AWS_CREDENTIAL_EXPIRATION",
    ]  # fmt: skip


def test_the_list_holds_names_only() -> None:
    assert render.env_list({"B": "secret", "A": "secret"}) == b"A\nB\n"


def test_records_carry_the_generation_of_the_last_change() -> None:
    assert render.env_nul({"A": "1\n2", "B": "="}, {"A": 3}, 7) == b"7\x003 A=1\n2\x007 B==\x00"


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_any_value_passes_a_shell(shell: str) -> None:
    values = {
        f"V{number}": text
        for number, text in enumerate(["'", '"$x`y`', "\\", "a\nb\n", "é🥔", "", " * ", "{a}"])
    }
    script = render.env_sh(values).decode() + "".join(f'printf "%s\\0" "${name}";' for name in values)
    out = subprocess.run([shell, "-c", script], capture_output=True, check=True, timeout=20, env={}).stdout
    assert out.decode().split("\0")[:-1] == list(values.values())


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z]{1,5}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    )
)
def test_records_can_be_read_back(values: dict[str, str]) -> None:
    records = render.env_nul(values, {}, 1).split(b"\0")[1:-1]
    assert {
        r.split(b" ", 1)[1].split(b"=", 1)[0].decode(): r.split(b"=", 1)[1].decode() for r in records
    } == values


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (
            {"SARDONYX_GENERATION": "1", "AWS_ACCESS_KEY_ID": "K1", "SARDONYX_ACCESS_KEY_ID": "K1", "P": "0"},
            "K2 p 5",
        ),
        (
            {
                "SARDONYX_GENERATION": "4",
                "AWS_ACCESS_KEY_ID": "K1",
                "SARDONYX_ACCESS_KEY_ID": "K1",
                "P": "mine",
            },
            "K2 mine 5",
        ),
        ({"SARDONYX_GENERATION": "1", "AWS_ACCESS_KEY_ID": "own", "SARDONYX_ACCESS_KEY_ID": "K1"}, "own p 5"),
        ({"SARDONYX_GENERATION": "1", "SARDONYX_ACCESS_KEY_ID": "K1"}, "none p 5"),
        ({}, "K2 p 5"),
        ({"SARDONYX_GENERATION": "x; exit 1"}, "K2 p 5"),
    ],
)
def test_the_shell_hook_gives_way_to_what_a_person_set(before: dict[str, str], expected: str) -> None:
    values = {"AWS_ACCESS_KEY_ID": "K2", "SARDONYX_ACCESS_KEY_ID": "K2", "P": "p"}
    script = (
        render.hook_sh(values, {"P": 3}, 5).decode()
        + 'echo "${AWS_ACCESS_KEY_ID-none} $P $SARDONYX_GENERATION"'
    )
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, text=True, check=True, timeout=20, env=before
    )
    assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    ("s3", "names"),
    [
        (None, set()),
        ({}, set()),
        (
            S3,
            {
                "AWS_ALLOW_HTTP",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                "RCLONE_CONFIG_S3_ENDPOINT",
            },
        ),
        ({**S3, "endpoint_url": "https://s3.example"}, {"RCLONE_CONFIG_S3_ENDPOINT"}),
        ({**S3, "endpoint_url": ""}, {"RCLONE_CONFIG_S3_ENV_AUTH"}),
    ],
)
def test_variables_for_storage(s3: dict[str, Any] | None, names: set[str]) -> None:
    found = render.storage_environment(s3, "http://127.0.0.1:1/credentials", "t")
    assert names <= set(found)
    assert ("AWS_ALLOW_HTTP" in found) == bool(s3 and str(s3.get("endpoint_url")).startswith("http://"))
    assert "SK" not in found.values()


def test_rclone_configuration() -> None:
    lines = render.rclone_conf(S3).decode().splitlines()
    assert lines[1:] == [
        "[s3]", "type = s3", "provider = Other", "access_key_id = AK", "secret_access_key = SK", "session_token = ST",
        "endpoint = http://127.0.0.1:8333", "region = us-east-1", "force_path_style = true",
    ]  # fmt: skip
    assert len(render.rclone_conf(None).decode().splitlines()) == 1


def test_aliases_of_the_person_s_own_are_kept() -> None:
    existing = {"version": "10", "aliases": {"other": {"url": "http://x"}, "s3": {"url": "old"}}}
    aliases = json.loads(render.mc_config(S3, existing))["aliases"]
    assert aliases["other"] == {"url": "http://x"}
    assert aliases["s3"]["sessionToken"] == "ST"
    assert aliases["s3"]["path"] == "on"
    assert "s3" not in json.loads(render.mc_config(None, existing))["aliases"]


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ({"host": "github.com"}, "github.com"),
        ({"host": "https://GitLab.example:8443/"}, "gitlab.example:8443"),
        ({"host": "bad host"}, None),
        ({"host": 'x"]\n[core]\n\tsshCommand=touch'}, None),
        ({"host": ""}, None),
        ({"host": "github.com", "token": "a\nb"}, None),
        ({"host": "github.com", "username": "a\x1fb"}, None),
        ("github.com", None),
    ],
)
def test_git_accounts_that_could_break_out_are_left_out(entry: Any, host: str | None) -> None:
    assert [account["host"] for account in render.git_accounts({"git": [entry]})] == ([host] if host else [])


def test_identity_is_quoted(tmp_path: Path) -> None:
    name = 'A "q" \\ # ; é'
    path = tmp_path / "config"
    path.write_bytes(
        render.git_identity_config([], {"GIT_USER_NAME": name, "GIT_USER_MAIL": "a@b\n[core]\n\tx=1"})
    )

    def read(key: str) -> str:
        done = subprocess.run(
            ["git", "config", "-f", path, key], capture_output=True, text=True, timeout=20, check=False
        )
        return done.stdout.rstrip("\n")

    assert read("user.name") == name
    assert read("user.email") == "a@b [core]  x=1"
    assert read("core.x") == ""


@pytest.mark.parametrize(
    ("host", "schemes"),
    [("github.com", {"https"}), ("127.0.0.1:80", {"https", "http"}), ("127.0.0.1.evil.org", {"https"})],
)
def test_a_token_goes_over_plain_http_to_loopback_only(host: str, schemes: set[str]) -> None:
    account = {"host": host, "username": "", "token": "t", "name": "", "email": ""}
    text = render.git_helper_config([account], "/p", "/r").decode()
    assert {
        line.split("://")[0].rpartition('"')[2] for line in text.splitlines() if line.startswith("[")
    } == schemes
    assert text.count("\thelper =\n") == len(schemes)


def test_an_account_without_a_token_gets_no_helper() -> None:
    account = {"host": "github.com", "username": "a", "token": "", "name": "", "email": ""}
    assert "credential" not in render.git_helper_config([account], "/p", "/r").decode()
    assert render.git_list([account]) == b""


# -- replacing --


def test_a_set_is_replaced_whole(tmp_path: Path) -> None:
    directory = RunDirectory(str(tmp_path / "run"))
    directory.replace({"a": b"1", "sub/b": b"2"})
    assert directory.read_bytes("sub/b") == b"2"
    assert stat.S_IMODE(os.stat(tmp_path / "run" / "a").st_mode) == 0o600
    (tmp_path / "run" / "c").mkdir()  # cannot be replaced by a file, nor can what the path goes through
    (tmp_path / "run" / "file").write_text("")
    with pytest.raises(OSError):  # noqa: PT011
        directory.replace({"a": b"new", "file/x": b""})
    assert directory.read_bytes("a") == b"1"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["a", "c", "file", "sub"]


def test_links_and_devices_are_not_read(tmp_path: Path) -> None:
    directory = RunDirectory(str(tmp_path / "run"))
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "run" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "run" / "pipe")
    (tmp_path / "run" / "folder").mkdir()
    assert [directory.read_json(name) for name in ("link", "pipe", "folder", "none")] == [None] * 4
    directory.replace({"link": b"{}"})
    assert not (tmp_path / "run" / "link").is_symlink()


@pytest.mark.parametrize(("content", "number"), [(b"7\n", 7), (b"", 0), (b"x", 0)])
def test_the_generation(tmp_path: Path, content: bytes, number: int) -> None:
    directory = RunDirectory(str(tmp_path))
    assert directory.generation() == 0
    directory.replace({"generation": content})
    assert directory.generation() == number


@pytest.mark.parametrize(("padding", "kept"), [(1000, True), (1_100_000, False), (20_000_000, False)])
def test_aliases_are_looked_for_in_a_small_file_only(tmp_path: Path, padding: int, kept: bool) -> None:
    directory = RunDirectory(str(tmp_path / "run"))
    mine = {"aliases": {"mine": {"url": "http://x"}}, "padding": "x" * padding}
    directory.replace({"mc/config.json": json.dumps(mine).encode()})
    State(directory, "/run", "/opt").accept({"s3": S3, "environment": {}}, 1.8e9)
    written = json.loads((tmp_path / "run" / "mc" / "config.json").read_bytes())
    assert ("mine" in written["aliases"]) is kept
    assert written["aliases"]["s3"]["accessKey"] == "AK"
