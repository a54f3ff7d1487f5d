"""``sardonyx launch`` and ``sardonyx sessions``: what they read, what they ask the hub, and what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sardonyx_hub import launch_cli
from sardonyx_hub.hub_client import HubClient, HubError, hub_address, read_token
from sardonyx_hub.launch_cli import LaunchApp, SessionsApp, merge_options
from sardonyx_hub.launch_file import LaunchFileError, read_launch_file

Answer = Callable[[httpx.Request], httpx.Response]
Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("text", "service", "options"),
    [
        ("", "", {}),
        ("service: lab", "lab", {}),
        ("service: lab\noptions:\n  git: {branch: dev}\n", "lab", {"git": {"branch": "dev"}}),
        ("git.branch: dev", "", {"git.branch": "dev"}),
        ("service: {image: {version: '3.12'}}", "", {"service": {"image": {"version": "3.12"}}}),
        ('{"service": "lab", "options": {"s3": {"access": "none"}}}', "lab", {"s3": {"access": "none"}}),
    ],
)
def test_documents_that_are_read(text: str, service: str, options: dict[str, Any]) -> None:
    found = read_launch_file(text)
    assert (found.service, found.options) == (service, options)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "line 1"),
        ("- a", "keys and values"),
        ("service: lab\nbranch: x", "line 2: branch is not one of name, options, service"),
        ("service: lab\noptions: [x]", "line 2: options"),
        ("name: 5", "name should be text"),
        ("service: lab\nservice: other", "line 2"),
        ("a: !!python/object:os.system x", "tag"),
        ("x" * 300_000, "longer"),
    ],
)
def test_documents_that_are_refused(text: str, told: str) -> None:
    with pytest.raises(LaunchFileError, match=told):
        read_launch_file(text)


def test_command_line_wins_over_the_file() -> None:
    options = {"git.branch": "a", "vault": {"secret": ["x"]}, "extraEnvVars": [{"name": "A", "value": "1"}]}
    given = ["git.branch=b=c", "vault.secret=y", "vault.secret=z", 'resources.limits."nvidia.com/gpu"=1']
    assert merge_options(options, given) == {
        "git": {"branch": "b=c"},
        "vault": {"secret": ["y", "z"]},
        "extraEnvVars": [{"name": "A", "value": "1"}],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }


@pytest.mark.parametrize("given", ["git.branch", "=x", "a..b=1", "git=1"])
def test_wrong_set_is_named(given: str) -> None:
    with pytest.raises(HubError) as caught:
        merge_options({"git": {"branch": "a"}, "git.branch.x": "1"} if given == "git=1" else {}, [given])
    assert caught.value.code == 2


@pytest.mark.parametrize("url", ["", "lab.example.org", "ftp://x", "file:///etc/passwd", "https://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(HubError):
        hub_address(url)


def test_token_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    assert read_token(str(tmp_path / "token"), {"SARDONYX_TOKEN": "other"}) == "from-file"
    assert read_token("", {"SARDONYX_TOKEN": " from-environment "}) == "from-environment"
    for file, environ in (("", {}), (str(tmp_path / "none"), {}), ("", {"SARDONYX_TOKEN": "two words"})):
        with pytest.raises(HubError) as caught:
            read_token(file, environ)
        assert caught.value.code == 2


class Hub:
    """A hub that answers from a table and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: dict[tuple[str, str], Any] = {}
        self.servers: dict[str, Any] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/hub/api/")
        body = json.loads(request.content) if request.content else None
        assert request.headers["authorization"] == "token secret-token"
        if request.method != "GET":
            self.asked.append((request.method, path, body))
        if (request.method, path) in self.answers:
            status, content = self.answers[request.method, path]
            return httpx.Response(status, text=content if isinstance(content, str) else json.dumps(content))
        if path == "user":
            return httpx.Response(200, json={"kind": "user", "name": "alice"})
        if path == "users/alice":
            return httpx.Response(200, json={"name": "alice", "servers": self.servers})
        return httpx.Response(201)


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def command(hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command against `hub`; return exit code, output and errors."""
    monkeypatch.setenv("SARDONYX_TOKEN", "secret-token")
    monkeypatch.setenv("SARDONYX_URL", "https://lab.example.org")

    def client(url: str, token: str) -> HubClient:
        return HubClient(url, token, httpx.MockTransport(hub))

    monkeypatch.setattr(launch_cli, "HubClient", client)

    def run(kind: type[Any], *words: str) -> tuple[int, str, str]:
        app, code = kind(), 0
        try:
            app.initialize(list(words))
            app.start()
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_launches_the_default_session(hub: Hub, command: Command) -> None:
    hub.servers[""] = {"url": "/user/alice/", "ready": False}
    code, out, err = command(LaunchApp, "lab", "--set", "git.branch=dev", "--set", "s3.access=none")
    assert (code, out) == (0, "https://lab.example.org/user/alice/\n"), err
    options = {"git": {"branch": "dev"}, "s3": {"access": "none"}}
    assert hub.asked == [
        ("POST", "users/alice/server", {"user_options": {"service": "lab", "options": options}})
    ]


@pytest.mark.parametrize("words", [("--name", "My course"), ()])
def test_makes_a_further_session(hub: Hub, command: Command, words: tuple[str, ...]) -> None:
    hub.servers[""] = {"url": "/user/alice/", "ready": not words}
    code, out, _ = command(LaunchApp, "lab", *words)
    ((_, path, body),) = hub.asked
    server = path.removeprefix("users/alice/servers/")
    assert server.startswith("lab-")
    assert (code, out) == (0, f"https://lab.example.org/user/alice/{server}\n")
    assert body.get("display_name") == (words[1] if words else None)


def test_problems_are_told_by_field(hub: Hub, command: Command) -> None:
    problems = [{"field": "git.branch", "message": "This cannot be a branch."}]
    hub.answers["POST", "users/alice/server"] = (400, {"message": "x", "problems": problems})
    code, out, err = command(LaunchApp, "lab", "--set", "git.branch=..")
    assert (code, out) == (1, "")
    assert "  git.branch: This cannot be a branch." in err
    assert "secret-token" not in err


def test_wait_tells_how_it_goes(hub: Hub, command: Command) -> None:
    lines = [{"message": "Options are fine"}, {"message": "It answers", "ready": True, "url": "/user/alice/"}]
    hub.answers["GET", "users/alice/server/progress"] = (
        200,
        "\n\n".join(f"data: {json.dumps(one)}" for one in lines),
    )
    code, _, err = command(LaunchApp, "lab", "--wait")
    assert code == 0
    assert err.index("Options are fine") < err.index("It answers")
    failed = {"failed": True, "message": "No room today"}
    hub.answers["GET", "users/alice/server/progress"] = (200, f"data: {json.dumps(failed)}\n")
    code, out, err = command(LaunchApp, "lab", "--wait")
    assert (code, out) == (1, "")
    assert "No room today" in err


@pytest.mark.parametrize(
    ("words", "told", "exit_code"),
    [
        ((), "name a service", 2),
        (("a", "b"), "one service at a time", 2),
        (("a", "--file", "/nowhere/x.yaml"), "cannot be read", 2),
        (("a", "--url", "nowhere"), "no address", 2),
        (("a", "--set", "extraEnvVars[0].name=A", "--set", "extraEnvVars[0].secret=true"), "A is secret", 2),
    ],
)
def test_wrong_use(command: Command, words: tuple[str, ...], told: str, exit_code: int) -> None:
    code, out, err = command(LaunchApp, *words)
    assert (code, out) == (exit_code, "")
    assert told in err


def test_secret_values_are_asked_for(
    hub: Hub, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: f"typed for {prompt}")
    file = tmp_path / "options.yaml"
    file.write_text(
        "service: lab\noptions:\n  extraEnvVars: [{name: A, secret: true}, {name: B, value: b, secret: true}]\n"
    )
    assert command(LaunchApp, "--file", str(file))[0] == 0
    rows = hub.asked[0][2]["user_options"]["options"]["extraEnvVars"]
    assert [row["value"] for row in rows] == ["typed for Value of A: ", "b"]


@pytest.mark.parametrize(
    ("status", "exit_code", "told"), [(403, 1, "may not do this"), (503, 3, "503"), (500, 1, "500")]
)
def test_hub_refuses(hub: Hub, command: Command, status: int, exit_code: int, told: str) -> None:
    hub.answers["GET", "user"] = (status, "<html>")
    code, _, err = command(LaunchApp, "lab")
    assert code == exit_code
    assert told in err


def test_hub_does_not_answer() -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("", request=request)

    with pytest.raises(HubError, match="did not answer in time") as caught:
        HubClient("https://lab.example.org", "x", httpx.MockTransport(silent)).person()
    assert caught.value.code == 3


def test_sessions_are_listed_stopped_and_deleted(hub: Hub, command: Command) -> None:
    hub.servers = {
        "": {"url": "/user/alice/", "ready": True, "user_options": {"service": "lab"}},
        "mine": {"url": "/user/alice/mine/", "pending": "spawn"},
    }
    _, out, _ = command(SessionsApp)
    assert out.splitlines() == [
        "default\trunning\tlab\thttps://lab.example.org/user/alice/",
        "mine\tspawn\t\thttps://lab.example.org/user/alice/mine/",
    ]
    assert command(SessionsApp, "stop", "default")[0] == 0
    assert command(SessionsApp, "delete", "mine", "--yes")[0] == 0
    assert hub.asked == [
        ("DELETE", "users/alice/server", None),
        ("DELETE", "users/alice/servers/mine", {"remove": True}),
    ]
    for words in (
        ("stop", "nothing"),
        ("delete", "default", "--yes"),
        ("delete", "mine"),
        ("stop",),
        ("explode", "mine"),
    ):
        assert command(SessionsApp, *words)[0] in (1, 2)
    assert len(hub.asked) == 2
