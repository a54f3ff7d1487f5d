"""Every piece of code of Account > Storage that says "tried": run as it is, by people's own programs, on the real S3."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from stack import Stack

from sardonyx_hub.pages.snippets import CA_FILE, SNIPPETS, Snippet, Target, fill

TRIED = [snippet for snippet in SNIPPETS if snippet.tried]
_INSTALL_DUCKDB = "from duckdb_extensions import import_extension; import_extension('httpfs')"


@pytest.fixture(scope="module")
def keys(stack: Stack) -> Mapping[str, Any]:
    """S3 credentials of a person, as the page gets them."""
    answer = stack.person("alice").api("GET", "datalab/v1/credentials")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["s3"])


@pytest.fixture(scope="module")
def computer(
    stack: Stack, session_environment: Path, minio_client: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, str]:
    """The environment of somebody's own computer: programs, a home, the downloaded authorities, and no credentials."""
    home = tmp_path_factory.mktemp("computer")
    person = stack.person("alice")
    answer = person.http.get("/hub/datalab/ca.pem")
    assert answer.status_code == 200
    assert b"BEGIN CERTIFICATE" in answer.content
    (home / CA_FILE).write_bytes(answer.content)
    path = f"{session_environment}/bin:{minio_client}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    # Where there is a network, INSTALL in the snippet does that; here it finds it installed.
    subprocess.run(["python", "-c", _INSTALL_DUCKDB], env=environment, check=True, timeout=60, cwd=home)
    return environment


def run(snippet: Snippet, target: Target, keys: Mapping[str, Any], computer: Mapping[str, str]) -> str:
    """Run a snippet from a file, and return what it prints."""
    home = Path(computer["HOME"])
    file = home / f"try-{snippet.id}.{snippet.file.split('.')[-2]}"
    text = fill(snippet.render(target), dict(keys))
    # Others' exports are for programs that read the environment: one that does comes after them.
    if snippet.id == "exports":
        text += f"\npython -c \"import boto3; print(boto3.client('s3').list_objects_v2(Bucket='{target.bucket}'))\""
    file.write_text(text, encoding="utf-8")
    command = ["bash", "-eu", str(file)] if snippet.group == "shell" else ["python", str(file)]
    done = subprocess.run(
        command, env=dict(computer), cwd=home, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def target_of(keys: Mapping[str, Any], bucket: str, *, writable: bool) -> Target:
    return Target(keys["endpoint_url"], keys["region"], keys["path_style"], bucket, writable, needs_ca=True)


@pytest.mark.parametrize("snippet", TRIED, ids=[snippet.id for snippet in TRIED])
def test_a_snippet_writes_and_reads(
    snippet: Snippet, keys: Mapping[str, Any], computer: Mapping[str, str]
) -> None:
    printed = run(snippet, target_of(keys, "alice", writable=True), keys, computer)
    assert "datalab-example" in printed or "Paris" in printed


@pytest.mark.parametrize("snippet", TRIED, ids=[snippet.id for snippet in TRIED])
def test_a_snippet_for_a_bucket_that_one_may_only_read_writes_nothing(snippet: Snippet) -> None:
    readable = Target("https://s3.example.org", "fr", path_style=False, bucket="lab-data", writable=False)
    text = fill(
        snippet.render(readable), dict.fromkeys(("access_key_id", "secret_access_key", "session_token"), "K")
    )
    words = ("put_object", '"w"', "to_csv", "write_parquet", "output_stream", "COPY", "cp -", "mc cp", "rcat")
    assert not [word for word in words if word in text]
    assert CA_FILE not in text


def test_keys_are_only_where_they_are_asked_for() -> None:
    target = Target("https://s3.example.org", "fr", path_style=True, bucket="alice")
    for snippet in SNIPPETS:
        values = [segment.value for segment in snippet.render(target) if segment.value]
        assert set(values) == {"access_key_id", "secret_access_key", "session_token"}, snippet.id
