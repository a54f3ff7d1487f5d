"""What an operator may meet: a fresh clone, an interrupted installation, a lost hub database."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from stack import Person, eventually, running_stack

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the repository, and nothing that was installed."""
    folder = tmp_path_factory.mktemp("clone") / "sardonyx"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    return folder


def test_make_run_from_a_fresh_clone(clone: Path, session_environment: Path) -> None:
    make = ["make", "--no-print-directory", "-C", str(clone), "run"]
    with running_stack(command=make, started=False) as stack:
        stack.spawn()
        eventually(lambda: "making .venv" in stack.printed, what="the installation begins")
        time.sleep(1)
        members = stack.family()
        assert stack.process is not None
        stack.process.send_signal(signal.SIGTERM)
        stack.process.wait(30)
        assert stack.left(members) == []
        assert "interrupted; run it again to go on" in stack.printed

        stack.start(limit=600)
        assert "installing Node packages" in stack.printed
        stack.stop()

        seen = len(stack.output)
        stack.start()
        assert stack.seconds_to_ready < 25
        again = "\n".join(stack.output[seen:])
        assert "installing" not in again
        assert "making .venv" not in again
        stack.person("alice")
        stack.stop()


def test_what_is_missing_is_one_line(clone: Path, tmp_path: Path) -> None:
    def bootstrap(**programs: str) -> list[str]:
        folder = tmp_path / "-".join(programs) / "bin"
        folder.mkdir(parents=True)
        for name, script in programs.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        python = Path(sys.executable).resolve()
        done = subprocess.run(
            [python, clone / "tools" / "bootstrap.py", "runtime"],
            env={"PATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        return done.stderr.splitlines()

    assert bootstrap(nothing="") == [
        "sardonyx: node is not installed: Node.js 20 or newer with npm is needed"
    ]
    assert bootstrap(node="echo v18.19.0", npm="") == [
        "sardonyx: Node.js v18.19.0 is too old: 20 or newer is needed"
    ]


@pytest.fixture
def s3_of() -> Iterator[Callable[[Person], object]]:
    """Make an S3 client with the credentials that a person gets from the hub."""

    def client(person: Person) -> object:
        answer = person.api("GET", "datalab/v1/credentials")
        assert answer.status_code == 200, answer.text
        s3 = answer.json()["s3"]
        return boto3.client(
            "s3",
            endpoint_url=s3["endpoint_url"],
            region_name=s3["region"],
            aws_access_key_id=s3["access_key_id"],
            aws_secret_access_key=s3["secret_access_key"],
            aws_session_token=s3["session_token"],
            verify=str(person.stack.home / "ca" / "ca.pem"),
        )

    return client


def test_a_lost_hub_database_loses_no_data(
    session_environment: Path, s3_of: Callable[[Person], object]
) -> None:
    with running_stack() as stack:
        alice = stack.person("alice")
        s3_of(alice).put_object(Bucket="alice", Key="kept.txt", Body=b"kept")
        body = {"values": {"KEPT": "value"}}
        assert alice.api("PUT", "datalab/v1/secrets/kept", json=body).status_code == 200
        stack.stop()
        for lost in stack.home.glob("jupyterhub.sqlite*"):
            lost.unlink()
        assert not (stack.home / "jupyterhub.sqlite").exists()

        stack.start()
        alice = stack.person("alice")
        assert s3_of(alice).get_object(Bucket="alice", Key="kept.txt")["Body"].read() == b"kept"
        assert alice.api("GET", "datalab/v1/secrets/kept").json()["values"] == {"KEPT": "value"}
        stack.stop()
