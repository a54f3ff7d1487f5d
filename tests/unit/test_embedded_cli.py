"""The `sardonyx` command, in the manner of Jupyter applications."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def sardonyx(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SARDONYX_") and k != "PORT"}
    return subprocess.run(
        [sys.executable, "-m", "sardonyx_hub", *arguments],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["run", "doctor", "keys", "--generate-config", "--show-config"]),
        (["run", "--help"], ["SARDONYX_HOME", "--port"]),
        (["doctor", "--help"], ["issuer"]),
    ],
)
def test_help(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    done = sardonyx(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words)


def test_without_a_subcommand_help_is_shown(tmp_path: Path) -> None:
    done = sardonyx(cwd=tmp_path)
    assert done.returncode == 2
    assert "run" in done.stdout


def test_generated_configuration_is_read_back(tmp_path: Path) -> None:
    assert sardonyx("--generate-config", cwd=tmp_path).returncode == 0
    written = tmp_path / "sardonyx_config.py"
    text = written.read_text()
    assert "# c.RunApp.credential_ttl" in text
    written.write_text(text.replace("# c.RunApp.credential_ttl = 0", "c.RunApp.credential_ttl = 77"))
    shown = sardonyx("run", "--show-config", cwd=tmp_path)
    assert ".credential_ttl = 77" in shown.stdout
    again = sardonyx("--generate-config", cwd=tmp_path)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "sardonyx_config.py").write_text("c.RunApp.port = 1234\n")
    assert ".port = 1234" in sardonyx("run", "--show-config", cwd=tmp_path).stdout
    assert ".port = 99" in sardonyx("run", "--show-config", "--port=99", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (["run"], {"PORT": "eighty"}, "PORT is 'eighty', which is no number"),
        (["run"], {"SARDONYX_CREDENTIAL_TTL": "1"}, "set SARDONYX_CREDENTIAL_TTL"),
        (["run", "--config=missing.py"], {}, "missing.py does not exist"),
        (["run", '--RunApp.shared_buckets=[{"nam": "x"}]'], {}, "it needs name, read, write"),
        (["doctor"], {}, "holds no datalab"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], line: str
) -> None:
    done = sardonyx(*arguments, cwd=tmp_path, **environment)
    said = (done.stdout + done.stderr).strip()
    assert done.returncode == 1
    assert line in said
    assert "\n" not in said, said
    assert not (tmp_path / ".sardonyx").exists(), "nothing may be left behind"
