"""A run directory that a test renews as the agent does, and the Pythons of this machine."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_session_support import PACKAGE, clean_environ

from sardonyx_session.environment import session_environment, static_environment
from sardonyx_session.rundir import RunDirectory
from sardonyx_session.state import State


class Renewed:
    """A run directory whose keys are numbered by their set."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.state = State(RunDirectory(str(run)), str(run), str(PACKAGE))
        self.number = 0
        self.secrets: dict[str, str] = {"PATATE": "p0"}
        self.renew()

    def renew(self) -> str:
        """Write new keys; return the access key's id."""
        self.number += 1
        n = self.number
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        keys = {
            "AWS_ACCESS_KEY_ID": f"K{n}", "AWS_SECRET_ACCESS_KEY": f"S{n}",
            "AWS_SESSION_TOKEN": f"T{n}", "AWS_CREDENTIAL_EXPIRATION": end,
        }  # fmt: skip
        document = {
            "version": 1, "expires_at": end, "environment": {**keys, **self.secrets},
            "s3": {"access_key_id": f"K{n}", "secret_access_key": f"S{n}", "session_token": f"T{n}", "expiration": end},
        }  # fmt: skip
        self.state.accept(document, time.time())
        return f"K{n}"

    def environ(self, home: Path, **more: str) -> dict[str, str]:
        """Return the environment that `start` would give to the session's command."""
        environ = clean_environ(home, self.run)
        del environ["PYTHONPATH"]
        environ = {**environ, **more, **session_environment(str(self.run))}
        return {**environ, **static_environment(str(self.run), environ)}


@pytest.fixture
def renewed(tmp_path: Path) -> Renewed:
    return Renewed(tmp_path / "run")


def pythons() -> list[str]:
    """Return the Pythons of this machine: a session's hook is met by all that a person has."""
    found = {sys.executable}
    for pattern in ("/usr/bin/python3", str(Path(sys.base_prefix).parent / "*" / "bin" / "python")):
        found |= {str(path) for path in Path("/").glob(pattern.lstrip("/")) if path.exists()}
    return sorted(found)


@functools.cache
def modern_pythons() -> list[str]:
    """Return those that the hook renews."""
    code = "import sys; sys.exit(sys.version_info < (3, 7))"
    return [
        path
        for path in pythons()
        if subprocess.run([path, "-c", code], timeout=60, check=False).returncode == 0
    ]


def python(code: str, environ: dict[str, str], program: str = sys.executable, *options: str) -> str:
    done = subprocess.run(
        [program, *options, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == "", done.stderr
    assert done.returncode == 0
    return done.stdout.strip()
