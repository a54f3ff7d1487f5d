"""The hooks in real shells, with a run directory that the test renews as the agent does."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import renewed as helpers
from renewed import Renewed, python
from test_session_support import PACKAGE, wait_for

renewed = helpers.renewed


class Terminal:
    """A shell on a pseudo-terminal, as a JupyterLab terminal starts it."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(command[0], command, {**environ, "TERM": "dumb"})
            finally:
                os._exit(127)
        self.output = ""

    def read_until(self, pattern: str, seconds: float = 10) -> str:
        """Return what was printed up to a pattern, and forget it."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.output, re.DOTALL)):
            assert time.monotonic() < deadline, self.output
            if select.select([self.fd], [], [], 0.2)[0]:
                self.output += os.read(self.fd, 65536).decode(errors="replace")
        seen, self.output = self.output[: found.end()], self.output[found.end() :]
        return seen

    def send(self, line: str) -> None:
        """Type a line."""
        os.write(self.fd, line.encode() + b"\n")

    def run(self, line: str) -> str:
        """Type a line and return what it prints."""
        self.send(f"{line}; printf 'E%s\\n' ND")
        seen = re.sub(r"\r|\x1b\[[?0-9;]*[a-zA-Z]", "", self.read_until(r"END\r?\n"))[: -len("END\n")]
        return seen.rpartition("' ND")[2].strip()

    def close(self) -> None:
        """Hang up."""
        os.close(self.fd)
        os.waitpid(self.pid, 0)


SHELLS: dict[str, list[str]] = {"bash": ["bash", "-l"], "bash-not-login": ["bash"], "zsh": ["zsh", "-l"]}


@pytest.fixture(params=[name for name in SHELLS if shutil.which(SHELLS[name][0])])
def shell(
    request: pytest.FixtureRequest, renewed: Renewed, tmp_path: Path
) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_shell(**more: str) -> Terminal:
        terminal = Terminal(SHELLS[request.param], renewed.environ(tmp_path / "home", **more))
        opened.append(terminal)
        time.sleep(0.5)
        return terminal

    yield open_shell
    for terminal in opened:
        terminal.close()


def test_a_terminal_has_each_renewal_at_the_first_command(
    renewed: Renewed, shell: Callable[..., Terminal]
) -> None:
    terminal = shell()
    assert terminal.run("echo $AWS_ACCESS_KEY_ID") == "K1"
    for _ in range(3):
        fresh = renewed.renew()  # after the prompt was drawn: a night
        assert terminal.run("echo $AWS_ACCESS_KEY_ID:$AWS_SESSION_TOKEN") == f"{fresh}:T{renewed.number}"


def test_a_terminal_keeps_status_last_word_and_what_was_set_in_it(
    renewed: Renewed, shell: Callable[..., Terminal]
) -> None:
    terminal = shell()
    terminal.send("(exit 7)")
    assert terminal.run("echo st=$?") == "st=7"
    terminal.send("true one two")
    assert terminal.run("echo last=$_") == "last=two"
    terminal.send("export PATATE=mine")
    terminal.send("export AWS_ACCESS_KEY_ID=own AWS_SECRET_ACCESS_KEY=own")
    renewed.renew()
    assert terminal.run("echo $PATATE $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY") == "mine own own"
    terminal.send("set -u; set -o noclobber")
    assert terminal.run("echo ok") == "ok"


def test_a_login_shell_has_the_session_path_back(
    renewed: Renewed, shell: Callable[..., Terminal], tmp_path: Path
) -> None:
    tools = tmp_path / "tools with space"
    tools.mkdir()
    tool = tools / "only-here"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    terminal = shell(PATH=f"{tools}:/usr/local/bin:/usr/bin:/bin")
    assert terminal.run("only-here") == "found"
    assert terminal.run("sardonyx-session help | head -1") == "usage: sardonyx-session COMMAND"


def test_the_notice_is_shown_once_at_the_first_prompt(
    renewed: Renewed, shell: Callable[..., Terminal], tmp_path: Path
) -> None:
    notice = tmp_path / "notice"
    notice.write_text("Le clonage a échoué : voir ~/work/SARDONYX-INIT.md\n")
    terminal = shell(SARDONYX_NOTICE=str(notice))
    seen = terminal.read_until("SARDONYX-INIT.md.*[$#%] ")
    assert seen.count("Le clonage a échoué") == 1
    terminal.send("true")
    assert "clonage" not in terminal.run("echo ok")


def bash(script: str, environ: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", *options, "-c", script], env=environ, capture_output=True, text=True, timeout=20, check=False
    )


def test_a_bash_script_starts_fresh_and_traces_nothing_of_ours(renewed: Renewed, tmp_path: Path) -> None:
    environ = renewed.environ(tmp_path / "home")
    fresh = renewed.renew()
    done = bash("echo $AWS_ACCESS_KEY_ID", environ, "-eux", "-o", "pipefail")
    assert (done.stdout, done.stderr, done.returncode) == (f"{fresh}\n", f"+ echo {fresh}\n", 0)


def test_a_person_s_own_bash_env_runs_too(renewed: Renewed, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.sh"
    theirs.write_text("THEIRS=here\n")
    environ = renewed.environ(tmp_path / "home", BASH_ENV=str(theirs))
    assert bash("echo $THEIRS $AWS_ACCESS_KEY_ID", environ).stdout == "here K1\n"


def test_a_person_s_own_prompt_command_and_trap_win(renewed: Renewed, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".bashrc").write_text(
        "PROMPT_COMMAND='echo status=$?; '$PROMPT_COMMAND\ntrap 'seen=$((seen+1))' DEBUG\n"
    )
    terminal = Terminal(["bash"], renewed.environ(home))
    terminal.read_until("status=0")
    terminal.send("(exit 3)")
    terminal.read_until("status=3")
    assert "seen" in terminal.run("trap -p DEBUG")
    fresh = renewed.renew()
    terminal.send("true")  # theirs replaced our trap: the prompt after the next command has it
    assert terminal.run("echo $AWS_ACCESS_KEY_ID") == fresh
    terminal.close()


def test_the_bashrc_for_the_sandbox_survives_an_overwritten_prompt_command(
    renewed: Renewed, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".bashrc").write_text(f". {PACKAGE}/hooks/bash/bashrc\nPROMPT_COMMAND=true\n")
    terminal = Terminal(["bash"], renewed.environ(home))
    time.sleep(0.5)
    assert terminal.run("echo $AWS_ACCESS_KEY_ID") == "K1"
    fresh = renewed.renew()
    assert terminal.run("echo $AWS_ACCESS_KEY_ID") == fresh
    terminal.close()


def test_a_prompt_costs_next_to_nothing(renewed: Renewed, tmp_path: Path) -> None:
    script = f""". {PACKAGE}/hooks/bash/env.bash
    start=$EPOCHREALTIME; for i in {{1..2000}}; do __sardonyx_sync; done; end=$EPOCHREALTIME
    echo $(( (${{end/[.,]/}} - ${{start/[.,]/}}) / 2000 ))"""
    microseconds = int(bash(script, renewed.environ(tmp_path / "home")).stdout)
    assert microseconds < 400  # 30 on an idle machine


def test_values_survive_every_reader(renewed: Renewed, tmp_path: Path) -> None:
    nasty = 'it\'s "q" $HOME `x` {a} \\ \n\tline é🥔 end '
    environ = renewed.environ(tmp_path / "home")
    renewed.secrets["PATATE"] = nasty
    renewed.renew()
    assert bash('printf %s "$PATATE"', environ).stdout == nasty
    assert python("import os, sys; sys.stdout.write(os.environ['PATATE'] + '|')", environ) == nasty + "|"
    if shutil.which("Rscript"):
        done = subprocess.run(
            ["Rscript", "-e", "cat(Sys.getenv('PATATE'))"],
            check=True,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == nasty


def test_readers_never_see_half_a_set(renewed: Renewed, tmp_path: Path) -> None:
    code = """if 1:
        import json, os, sys
        run, torn = os.environ["SARDONYX_RUN"], 0
        for _ in range(4000):
            values = json.load(open(run + "/env.json"))
            parts = {values["AWS_ACCESS_KEY_ID"][1:], values["AWS_SECRET_ACCESS_KEY"][1:], values["AWS_SESSION_TOKEN"][1:]}
            torn += len(parts) != 1
        print(torn)
    """
    environ: dict[str, Any] = renewed.environ(tmp_path / "home")
    process = subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        renewed.renew()
        time.sleep(0.002)
    assert process.communicate()[0] == "0\n"
    wait_for(lambda: renewed.number > 5)
