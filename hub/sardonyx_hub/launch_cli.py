"""``sardonyx launch`` and ``sardonyx sessions``: a datalab from a terminal, with an API token."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from traitlets import Bool, List, Unicode, default
from traitlets.config import Application, catch_config_error

from sardonyx_spawner.paths import PathError, flatten, join_path, split_path, unflatten

from .hub_client import HubClient, HubError, read_token, server_path
from .launch_file import MAX_TEXT, LaunchFile, LaunchFileError, read_launch_file


def merge_options(options: Mapping[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """Return nested options with what ``--set PATH=VALUE`` says in the place of what a file says.

    A path given several times is a list.

    Raises
    ------
    HubError
        Naming what cannot be read.

    Examples
    --------
    >>> merge_options({"git": {"branch": "a"}}, ["git.branch=b", "vault.secret=x", "vault.secret=y"])
    {'git': {'branch': 'b'}, 'vault': {'secret': ['x', 'y']}}
    """
    try:
        flat = flatten(unflatten(options))
        chosen: dict[str, list[str]] = {}
        for text in given:
            name, equals, value = text.partition("=")
            if not equals:
                raise HubError(f"--set {name}: write PATH=VALUE, such as resources.limits.memory=4Gi", 2)
            chosen.setdefault(join_path(*split_path(name.strip())), []).append(value)
        for path, values in chosen.items():
            flat = {
                key: old
                for key, old in flat.items()
                if key != path and not key.startswith((f"{path}.", f"{path}["))
            }
            flat[path] = values if len(values) > 1 else values[0]
        return unflatten(flat)
    except PathError as error:
        raise HubError(
            f"{error.path}: this is not the path of an option, or contradicts another one", 2
        ) from None


class HubCommand(Application):
    """What the commands share: where the hub is and who asks."""

    url = Unicode(
        config=True, help="Address of the datalab. Default: `SARDONYX_URL`, else http://127.0.0.1:8000."
    )
    token_file = Unicode(
        "",
        config=True,
        help="File with an API token (Account > API tokens). Default: the variable `SARDONYX_TOKEN`.",
    )
    aliases = {"url": "HubCommand.url", "token-file": "HubCommand.token_file"}  # noqa: RUF012
    flags = {}  # noqa: RUF012

    @default("url")
    def _default_url(self) -> str:
        return os.environ.get("SARDONYX_URL") or "http://127.0.0.1:8000"

    def start(self) -> None:
        """Run the command; what is wrong is told on standard error: 1 refused, 2 wrong use, 3 no answer."""
        super().start()
        try:
            client = HubClient(self.url, read_token(self.token_file))
            try:
                self.run(client)
            finally:
                client.close()
        except HubError as error:
            sys.stderr.write(f"{self.name}: {error}\n")
            self.exit(error.code)
        except KeyboardInterrupt:
            self.exit(130)

    def run(self, client: HubClient) -> None:
        """Do what the command is for."""
        raise NotImplementedError

    def say(self, line: str) -> None:
        """Tell how it goes; standard output has only what programs read."""
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class LaunchApp(HubCommand):
    """Launch a service, as the launch form does."""

    name = Unicode("sardonyx-launch")
    description = Unicode(
        """Launch a service of a datalab, as the launch form does; print the session's address.

        Values of variables that are marked secret and have none are asked for. Exit codes: 0 launched (with --wait: it is
        up), 1 refused or failed, 2 wrong use, 3 the datalab does not answer.
        """
    )
    examples = Unicode(
        "sardonyx launch jupyter-python --set resources.limits.memory=4Gi --wait\n"
        "sardonyx launch --file options.yaml --name 'Course' --url https://lab.example.org"
    )
    options = List(
        Unicode(), config=True, help="Launch options, PATH=VALUE each; wins over --file. May be repeated."
    )
    file = Unicode("", config=True, help="YAML file with launch options; `-` is standard input.")
    display_name = Unicode("", config=True, help="What the session is called under My services.")
    wait = Bool(False, config=True, help="Wait until the session is up, and tell how it goes.")
    aliases = {  # noqa: RUF012
        **HubCommand.aliases,
        "set": "LaunchApp.options",
        "file": "LaunchApp.file",
        "name": "LaunchApp.display_name",
    }
    flags = {"wait": ({"LaunchApp": {"wait": True}}, "Wait until the session is up, and tell how it goes.")}  # noqa: RUF012

    @catch_config_error
    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the command line."""
        self.parse_command_line(argv)

    def run(self, client: HubClient) -> None:
        """Launch, and with ``--wait`` follow it."""
        document = self._document()
        service = self._service(document)
        chosen = merge_options(document.options, self.options)
        ask_secrets(chosen)
        person = client.person()
        user, name = person["name"], self.display_name or document.name
        server = self._server(person, service, bool(name))
        body: dict[str, Any] = {"user_options": {"service": service, "options": chosen}}
        if name:
            body["display_name"] = name
        client.ask("POST", server_path(user, server), body)
        self.say(f"Launching {service}.")
        if self.wait:
            self._follow(client, user, server)
        found = client.person().get("servers", {}).get(server, {})
        sys.stdout.write(f"{client.page(found.get('url') or f'/user/{user}/{server}')}\n")

    def _document(self) -> LaunchFile:
        if not self.file:
            return LaunchFile()
        try:
            text = sys.stdin.read(MAX_TEXT + 1) if self.file == "-" else _read(self.file)
            return read_launch_file(text)
        except (OSError, UnicodeDecodeError) as error:
            raise HubError(f"--file {self.file} cannot be read ({type(error).__name__})", 2) from None
        except LaunchFileError as error:
            raise HubError(f"--file {self.file}: {error}", 2) from None

    def _service(self, document: LaunchFile) -> str:
        named = [*self.extra_args, *([document.service] if document.service else [])]
        if len(self.extra_args) > 1:
            raise HubError(f"one service at a time, not {', '.join(self.extra_args)}", 2)
        if not named:
            raise HubError("name a service: sardonyx launch SERVICE", 2)
        return named[0]

    def _server(self, person: Mapping[str, Any], service: str, named: bool) -> str:
        """Return the session to start: the default one where that is free and needs no name, else a new one."""
        # Late: it brings Tornado and JupyterHub with it.
        from .pages.launches import make_server_name

        servers = person.get("servers") or {}
        default_one = servers.get("") or {}
        free = not (default_one.get("ready") or default_one.get("pending"))
        return "" if free and not named else make_server_name(service, servers)

    def _follow(self, client: HubClient, user: str, server: str) -> None:
        last = ""
        for event in client.progress(user, server):
            message = str(event.get("message") or "")
            if message and message != last:
                self.say(f"  {message}")
                last = message
            if event.get("failed"):
                raise HubError(message or "the session did not start")
            if event.get("ready"):
                return
        raise HubError("the hub stopped telling how the launch goes; look under My services", 3)


def ask_secrets(options: Mapping[str, Any]) -> None:
    """Ask for the value of each secret variable that has none, and put it into `options`.

    Raises
    ------
    HubError
        If nobody can be asked.
    """
    rows = options.get("extraEnvVars")
    for row in rows if isinstance(rows, list) else []:
        marked = isinstance(row, dict) and str(row.get("secret", "")).lower() in ("true", "on")
        if not marked or row.get("value"):
            continue
        name = str(row.get("name", ""))
        if not sys.stdin.isatty():
            message = (
                f"the variable {name} is secret and has no value: run in a terminal, or write it into --file"
            )
            raise HubError(message, 2)
        row["value"] = getpass.getpass(f"Value of {name}: ")


class SessionsApp(HubCommand):
    """List, stop and delete one's sessions."""

    name = Unicode("sardonyx-sessions")
    description = Unicode(
        "List, stop and delete one's sessions: sardonyx sessions [list | stop NAME | delete NAME]."
    )
    examples = Unicode(
        "sardonyx sessions\nsardonyx sessions stop jupyter-python-x7k2\nsardonyx sessions delete default --yes"
    )
    yes = Bool(False, config=True, help="Delete without asking.")
    aliases = {**HubCommand.aliases}  # noqa: RUF012
    flags = {"yes": ({"SessionsApp": {"yes": True}}, "Delete without asking.")}  # noqa: RUF012

    @catch_config_error
    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the command line."""
        self.parse_command_line(argv)

    def run(self, client: HubClient) -> None:
        """Do what the first word says."""
        action, *names = self.extra_args or ["list"]
        if action == "list" and not names:
            self._list(client)
        elif action in ("stop", "delete") and len(names) == 1:
            self._end(client, names[0], delete=action == "delete")
        else:
            raise HubError("use: sardonyx sessions [list | stop NAME | delete NAME]", 2)

    def _list(self, client: HubClient) -> None:
        for name, server in sorted((client.person().get("servers") or {}).items()):
            state = server.get("pending") or ("running" if server.get("ready") else "stopped")
            service = (server.get("user_options") or {}).get("service", "")
            columns = (name or "default", state, service, client.page(server.get("url") or ""))
            sys.stdout.write("\t".join(columns) + "\n")

    def _end(self, client: HubClient, name: str, *, delete: bool) -> None:
        person = client.person()
        server = "" if name == "default" and "default" not in person.get("servers", {}) else name
        if server not in person.get("servers", {}):
            raise HubError(f"there is no session {name}; `sardonyx sessions` lists yours")
        if delete and not server:
            raise HubError("the default session can be stopped, not deleted")
        if delete and not self.yes:
            if not sys.stdin.isatty():
                raise HubError("deleting a session deletes its disk: say --yes", 2)
            self.say(f"Deleting {name} deletes its disk. What is in Git and on S3 stays.")
            if input("Delete? [y/N] ").strip().lower() not in ("y", "yes"):
                raise HubError("nothing was deleted")
        client.ask("DELETE", server_path(person["name"], server), {"remove": True} if delete else None)
        self.say(f"{name} is {'deleted' if delete else 'stopping'}.")


def _read(path: str) -> str:
    with Path(path).expanduser().open(encoding="utf-8") as file:
        return file.read(MAX_TEXT + 1)
