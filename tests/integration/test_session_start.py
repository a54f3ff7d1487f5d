"""``start``: first environment, clone of a private repository over real HTTP, init script, explanation; and Git afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from git_server import GitServer
from test_session_support import PACKAGE, AgentProcess, PlayedHub, clean_environ, wait_for


class Session:
    """A hub, an agent, a Git server and a home, and ``start`` in it."""

    def __init__(self, tmp_path: Path) -> None:
        self.git = GitServer(_folder(tmp_path / "repositories"))
        self.hub = PlayedHub()
        self.account(self.git.token)
        self.hub.start()
        self.run = _folder(tmp_path / "run")
        self.home = _folder(tmp_path / "home")
        self.work = self.home / "work"
        self.agent = AgentProcess(self.run, self.hub)

    def account(self, token: str) -> None:
        """Make a token of the person's account the one that the hub gives."""
        self.hub.git = [
            {
                "host": self.git.host,
                "username": "alice",
                "token": token,
                "name": "Alice A",
                "email": "a@example.org",
            }
        ]

    def start(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run ``start -- COMMAND``; the agent runs."""
        if self.agent.process is None:
            self.agent.start()
            wait_for(self.agent.generation)
        environ = clean_environ(self.home, self.run, SARDONYX_WAIT="2", **more)
        return subprocess.run(
            [sys.executable, "-m", "sardonyx_session", "start", "--", *(command or ("true",))],
            env=environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def progress(self) -> list[tuple[str, str]]:
        """Return (step, state) of all lines so far."""
        lines = [json.loads(line) for line in (self.run / "progress.jsonl").read_text().splitlines()]
        assert all(set(line) == {"step", "state", "message", "time"} for line in lines)
        return [(line["step"], line["state"]) for line in lines]

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a command that ``start`` became."""
        shown = self.start(
            sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))", **more
        )
        assert shown.returncode == 0, shown.stderr
        return dict(json.loads(shown.stdout))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    made = Session(tmp_path)
    yield made
    if made.agent.process:
        made.agent.end(signal.SIGKILL)
    made.hub.stop()
    made.git.stop()


@pytest.fixture
def filled(session: Session) -> Session:
    """A session whose repository has a commit on `main` and one on `dev/x`."""
    session.git.fill()
    return session


def git(environ: dict[str, str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *words], cwd=folder, env={**environ, "GIT_TERMINAL_PROMPT": "0"}, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_the_command_gets_the_whole_environment(session: Session) -> None:
    environ = session.environment()
    assert environ["AWS_ACCESS_KEY_ID"] == "KEY1"
    assert environ["SARDONYX_GENERATION"] == "1"
    assert environ["PYTHONPATH"].split(os.pathsep)[0] == str(PACKAGE / "hooks" / "python")
    assert environ["AWS_ALLOW_HTTP"] == "true"
    assert (
        Path(environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read_text()
        == environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    )
    assert session.start("pwd").stdout.strip() == str(session.work)
    assert session.progress()[:2] == [("credentials", "running"), ("credentials", "ok")]
    assert not (session.work / "SARDONYX-INIT.md").exists()
    assert os.readlink(session.home / ".mc" / "config.json") == str(session.run / "mc" / "config.json")


def test_start_goes_on_without_credentials(session: Session, tmp_path: Path) -> None:
    session.hub.stop()
    session.agent.start()
    environ = clean_environ(session.home, session.run, SARDONYX_WAIT="0.5")
    done = subprocess.run(
        [sys.executable, "-m", "sardonyx_session", "start", "--", "echo", "up"],
        check=False,
        env=environ,
        capture_output=True,
        timeout=20,
    )
    assert done.stdout == b"up\n"
    assert ("credentials", "warning") in session.progress()


def test_a_command_that_is_missing_is_told(session: Session) -> None:
    done = session.start("/no/such/command", SARDONYX_LANG="fr")
    assert done.returncode == 127
    assert "n'a pas pu être lancé" in done.stderr


def test_a_private_repository_is_cloned_and_pushed_and_the_token_is_nowhere(filled: Session) -> None:
    session = filled
    (session.home / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    environ = session.environment(GIT_REPOSITORY=session.git.url, GIT_BRANCH="dev/x", SARDONYX_EXTRA="1")
    clone = session.work / "projet"
    assert git(environ, clone, "branch", "--show-current").stdout == "dev/x\n"
    commit = git(environ, clone, "commit", "-q", "--allow-empty", "-m", "two")
    assert commit.returncode == 0, commit.stderr
    assert git(environ, clone, "log", "-1", "--format=%an <%ae>").stdout == "Alice A <a@example.org>\n"
    assert git(environ, clone, "push", "-q").returncode == 0
    assert (
        files_with(session.home, session.git.token) == []
    )  # nor in ~/.git-credentials, where `store` would keep it
    assert not (session.home / ".git-credentials").exists()


def test_a_rotated_token_is_used_by_the_same_clone(filled: Session) -> None:
    session = filled
    environ = session.environment(GIT_REPOSITORY=session.git.url)
    clone = session.work / "projet"
    session.git.token = "git-token-2"
    session.account("git-token-2")
    assert git(environ, clone, "fetch").returncode != 0  # the refusal has the agent ask anew
    wait_for(lambda: "git-token-2" in (session.run / "git.json").read_text())
    assert git(environ, clone, "fetch").returncode == 0
    assert git(environ, clone, "push", "-q", "origin", "HEAD:again").returncode == 0


def test_an_account_made_while_the_session_runs_works_in_it(filled: Session) -> None:
    session = filled
    session.hub.git = []
    environ = session.environment()
    assert git(environ, session.work, "clone", "-q", session.git.url).returncode != 0
    session.account(session.git.token)
    (session.run / "refresh.request").touch()
    wait_for(lambda: session.git.token in (session.run / "git.json").read_text())
    assert git(environ, session.work, "clone", "-q", session.git.url).returncode == 0


def test_a_person_s_own_git_configuration_wins(filled: Session) -> None:
    session = filled
    (session.home / ".gitconfig").write_text("[user]\n\tname = Me Myself\n")
    more = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "alias.hello", "GIT_CONFIG_VALUE_0": "version"}
    environ = session.environment(**more)
    assert git(environ, session.work, "config", "user.name").stdout == "Me Myself\n"
    assert git(environ, session.work, "config", "user.email").stdout == "a@example.org\n"
    assert git(environ, session.work, "hello").stdout.startswith("git version")
    assert (session.home / ".gitconfig").read_text() == "[user]\n\tname = Me Myself\n"


@pytest.mark.parametrize("program", ["sh", "python"])
def test_the_helper_answers_for_its_hosts_only(session: Session, program: str) -> None:
    environ = session.environment()
    commands = {
        "sh": ["sh", str(PACKAGE / "helpers" / "git-credential.sh"), str(session.run)],
        "python": [str(PACKAGE / "bin" / "sardonyx-session"), "git-credential"],
    }

    def ask(action: str, **fields: str) -> str:
        lines = "".join(f"{name}={value}\n" for name, value in fields.items()) + "\n"
        done = subprocess.run(
            [*commands[program], action],
            input=lines,
            env=environ,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout

    ours = session.git.host
    answer = f"username=alice\npassword={session.git.token}\n"
    assert ask("get", protocol="http", host=ours) == answer
    assert ask("get", protocol="https", host=ours, username="alice") == answer
    assert ask("get", protocol="https", host=ours, username="bob") == ""
    assert ask("get", protocol="https", host="evil.example") == ""
    assert ask("get", protocol="https", host=ours + ".evil.example") == ""
    assert ask("get", protocol="ftp", host=ours) == ""
    assert ask("store", protocol="http", host=ours, username="alice", password="x") == ""
    assert ask("get") == ""


BAD_REPOSITORIES = {
    "--upload-pack=touch x": "",
    "ext::sh -c touch% x": "",
    "/etc": "",
    "file:///etc": "",
    "ssh://-oProxyCommand=touch/x": "",
    "https://example.org/a.git": "--upload-pack=x",
}


@pytest.mark.parametrize("url", BAD_REPOSITORIES)
def test_a_repository_that_is_none_runs_nothing_and_is_explained(session: Session, url: str) -> None:
    done = session.start(
        "echo", "up", GIT_REPOSITORY=url, GIT_BRANCH=BAD_REPOSITORIES[url], SARDONYX_LANG="fr"
    )
    assert done.stdout == "up\n"
    assert ("git", "failed") in session.progress()
    assert sorted(path.name for path in session.work.iterdir()) == ["SARDONYX-INIT.md"]
    assert "Ce qui n'a pas fonctionné" in (session.work / "SARDONYX-INIT.md").read_text()


def test_a_failed_clone_is_explained_and_forgotten_once_it_works(filled: Session) -> None:
    session = filled
    session.account("wrong")
    environ = session.environment(GIT_REPOSITORY=session.git.url.replace("//", "//alice:pasted-token@"))
    text = (session.work / "SARDONYX-INIT.md").read_text()
    assert f"git clone -- {session.git.url}" in text
    assert "Authentication failed" in text
    assert "pasted-token" not in text
    assert "SARDONYX-INIT.md" in Path(environ["SARDONYX_NOTICE"]).read_text()
    assert [path.name for path in session.work.iterdir()] == ["SARDONYX-INIT.md"]
    session.account(session.git.token)
    (session.run / "refresh.request").touch()
    wait_for(lambda: session.git.token in (session.run / "git.json").read_text())
    environ = session.environment(GIT_REPOSITORY=session.git.url)
    assert "SARDONYX_NOTICE" not in environ
    assert [path.name for path in session.work.iterdir()] == ["projet"]


def test_a_folder_that_is_there_is_left_alone(filled: Session) -> None:
    session = filled
    mine = session.work / "projet"
    mine.mkdir(parents=True)
    (mine / "mine.txt").write_text("x")
    session.start(GIT_REPOSITORY=session.git.url)
    assert [path.name for path in mine.iterdir()] == ["mine.txt"]
    assert session.progress()[-1] == ("git", "ok")


def test_a_clone_that_hangs_is_stopped(session: Session) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.git"
        begun = time.monotonic()
        done = session.start("echo", "up", GIT_REPOSITORY=url, SARDONYX_CLONE_TIMEOUT="1")
    assert done.stdout == "up\n"
    assert time.monotonic() - begun < 15
    assert "stopped after 1 seconds" in (session.work / "SARDONYX-INIT.md").read_text()


def test_the_init_script_runs_with_its_arguments_and_credentials(session: Session) -> None:
    session.git.scripts["init.sh"] = b'printf "%s|" "$@" "$AWS_ACCESS_KEY_ID" > out.txt; echo $PATATE\n'
    session.git.redirects["/moved"] = "/scripts/init.sh"
    url = f"http://{session.git.host}/moved"
    done = session.start(
        "echo", "up", SARDONYX_INIT_SCRIPT=url, SARDONYX_INIT_ARGS="one 'two words' $(id)", PATATE="s3cr3t"
    )
    assert (session.work / "out.txt").read_text() == "one|two words|$(id)|KEY1|"
    assert done.stdout == "up\n"
    assert "s3cr3t" not in done.stderr  # its output is the person's, and stays in the home directory
    assert "s3cr3t" in (session.home / ".local/state/sardonyx/init.log").read_text()
    assert session.progress()[-1] == ("init", "ok")


@pytest.mark.parametrize(
    ("script", "arguments", "reason"),
    [
        (b"echo why >&2; exit 3\n", "", "ended with status 3"),
        (b"sleep 60\n", "", "stopped after 1 seconds"),
        (b"#" * (1024 * 1024 + 1), "", "larger than 1024 KiB"),
        (None, "", "HTTP 404"),
        (b"true\n", "it's", "a quote is not closed"),
    ],
)
def test_an_init_script_that_fails_stops_nothing(
    session: Session, script: bytes | None, arguments: str, reason: str
) -> None:
    url = f"http://{session.git.host}/scripts/init.sh?token=hidden"
    if script is not None:
        session.git.scripts["init.sh?token=hidden"] = script
    done = session.start(
        "echo", "up", SARDONYX_INIT_SCRIPT=url, SARDONYX_INIT_ARGS=arguments, SARDONYX_INIT_TIMEOUT="1"
    )
    assert done.stdout == "up\n"
    text = (session.work / "SARDONYX-INIT.md").read_text()
    assert reason in text
    assert "hidden" not in text
    assert session.progress()[-1] == ("init", "failed")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_an_init_script_comes_from_http_only(session: Session, target: str) -> None:
    session.git.redirects["/moved"] = target
    for url in (target, f"http://{session.git.host}/moved"):
        assert session.start("echo", "up", SARDONYX_INIT_SCRIPT=url).stdout == "up\n"
        assert session.progress()[-1] == ("init", "failed")


def test_authorities_are_those_of_the_start_and_ours(session: Session, tmp_path: Path) -> None:
    import ssl

    certificates = ssl.create_default_context().get_ca_certs(binary_form=True)[:3]
    pems = [ssl.DER_cert_to_PEM_cert(certificate) for certificate in certificates]
    theirs, ours = tmp_path / "theirs.pem", tmp_path / "ours.pem"
    theirs.write_text(pems[0] + pems[1])
    ours.write_text(pems[2])
    session.agent.environ.update(SARDONYX_CA_FILE=str(ours), SSL_CERT_FILE=str(theirs))
    environ = session.environment(SSL_CERT_FILE=str(theirs), NODE_EXTRA_CA_CERTS="/gone")
    bundle = str(session.run / "ca-bundle.pem")
    for name in (
        "AWS_CA_BUNDLE",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "NODE_EXTRA_CA_CERTS",
    ):
        assert environ[name] == bundle
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    assert sorted(context.get_ca_certs(binary_form=True)) == sorted(certificates)


def test_paths_in_files_are_those_of_the_session(session: Session) -> None:
    session.agent.environ.update(SARDONYX_RUN_VIEW="/run/sardonyx", SARDONYX_PACKAGE_VIEW="/opt/it's here")
    session.agent.start()
    wait_for(session.agent.generation)
    text = (session.run / "git-helper.config").read_text()
    assert "/run/sardonyx" in text
    done = subprocess.run(
        ["git", "config", "-f", session.run / "git-helper.config", "--get", f"credential.http://{session.git.host}.helper"],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert done.stdout.strip() == """!sh '/opt/it'"'"'s here/helpers/git-credential.sh' /run/sardonyx"""
    for path in session.run.rglob("*"):
        assert path.is_dir() or str(session.run).encode() not in path.read_bytes(), path
