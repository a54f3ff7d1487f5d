"""The ``sardonyx`` command, an application in the manner of Jupyter's own."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from traitlets import Bool, Dict, Integer, List, Unicode, default
from traitlets.config import Application, Config, catch_config_error

from sardonyx_hub.credentials.s3_policy import SharedBucket

CONFIG_FILE = "sardonyx_config.py"


class SardonyxCommand(Application):
    """What ``run`` and ``doctor`` share: the configuration file and the home."""

    version = Unicode(version("sardonyx-hub"))

    config_file = Unicode(
        CONFIG_FILE,
        config=True,
        help="""
        The configuration file; read if it exists. It may hold settings of JupyterHub too.

        Example::

            sardonyx run --config /etc/sardonyx/sardonyx_config.py
        """,
    )
    generate_config = Bool(
        False, config=True, help="Write a configuration file with every setting and its default, then exit."
    )
    home = Unicode(
        config=True,
        help="""
        Folder of everything that is kept: buckets, secrets, keys, the hub's database. Default: `SARDONYX_HOME`, else
        `.sardonyx` in the present folder.

        Example::

            c.SardonyxCommand.home = "/srv/sardonyx"
        """,
    )

    aliases = {  # noqa: RUF012 - traitlets has plain dictionaries
        **Application.aliases,
        "f": "SardonyxCommand.config_file",
        "config": "SardonyxCommand.config_file",
        "home": "SardonyxCommand.home",
    }
    flags = {  # noqa: RUF012 - traitlets has plain dictionaries
        **Application.flags,
        "generate-config": (
            {"SardonyxCommand": {"generate_config": True}},
            "Write a configuration file with every setting and its default, then exit.",
        ),
    }

    @default("home")
    def _default_home(self) -> str:
        return os.environ.get("SARDONYX_HOME") or ".sardonyx"

    @property
    def home_path(self) -> Path:
        """The home, absolute."""
        return Path(self.home).expanduser().absolute()

    @property
    def config_path(self) -> Path | None:
        """The configuration file, absolute, if it exists."""
        path = Path(self.config_file).expanduser().absolute()
        return path if path.is_file() else None

    @catch_config_error
    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the command line and the configuration file; the command line wins."""
        self.parse_command_line(argv)
        if self.subapp is not None or self.generate_config:
            return
        path = self.config_path
        if path is not None:
            spoken = Config(self.cli_config)
            self.load_config_file(path.name, path=str(path.parent))
            self.update_config(spoken)
        elif self.config_file != CONFIG_FILE:
            self.fail(
                f"{self.config_file} does not exist; correct --config, or make one with --generate-config"
            )

    def start(self) -> None:
        """Write the configuration file if asked to; otherwise what traitlets does (``--show-config``, subcommands)."""
        if self.generate_config:
            self._write_config_file()
            self.exit(0)
        super().start()

    def say(self, line: str) -> None:
        """Show one line to the operator, at once even through a pipe."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def fail(self, reason: str) -> None:
        """Say in one line why it cannot go on, and exit with 1."""
        sys.stderr.write(f"{self.name}: {reason}\n")
        self.exit(1)

    def _write_config_file(self) -> None:
        path = Path(self.config_file).expanduser()
        if path.exists():
            self.fail(f"{path} exists already; move it away first, or name another with --config")
        try:
            path.write_text(self.generate_config_file(), encoding="utf-8")
        except OSError as error:
            self.fail(f"{path} cannot be written ({error.strerror}); name another with --config")
        self.say(f"Wrote {path}")


class RunApp(SardonyxCommand):
    """Run a whole datalab on this machine, on loopback only, until Ctrl-C."""

    name = Unicode("sardonyx-run")
    description = Unicode(
        """Run a whole datalab on this machine, on loopback only, until Ctrl-C.

        Environment: PORT, SARDONYX_HOME, SARDONYX_DEMO_PASSWORD, SARDONYX_CREDENTIAL_TTL (seconds).
        """
    )
    examples = Unicode("sardonyx run\nPORT=8080 sardonyx run --home /srv/sardonyx")

    port = Integer(config=True, help="Port of the datalab on loopback. Default: `PORT`, else 8000.")
    credential_ttl = Integer(
        config=True,
        help="""
        Life of S3 keys and Vault tokens in seconds. Default: `SARDONYX_CREDENTIAL_TTL`, else 3600.

        Example::

            c.RunApp.credential_ttl = 120  # to watch renewal
        """,
    )
    shared_buckets = List(
        Dict(),
        [{"name": "shared", "read": ["*"], "write": ["*"]}],
        config=True,
        help="""
        Buckets that several people use. `read` and `write` list handles, `@` and a group's handle
        (`project-NAME`), or `*` for everyone.

        Example::

            c.RunApp.shared_buckets = [{"name": "teaching", "read": ["*"], "write": ["@project-teachers"]}]
        """,
    )
    catalogue_file = Unicode(
        config=True, help="YAML file of the catalogue; the one that comes with Sardonyx if empty."
    )
    environments = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        config=True,
        help="""
        Session environments that exist already, by name; the others that the catalogue needs are built.

        Example::

            c.RunApp.environments = {"jupyter-python": "/srv/environments/python"}
        """,
    )
    build_mc = Bool(True, config=True, help="Whether the `mc` command is built in the background, once.")

    aliases = {  # noqa: RUF012 - traitlets has plain dictionaries
        **SardonyxCommand.aliases,
        "port": "RunApp.port",
        "catalogue": "RunApp.catalogue_file",
    }

    @default("port")
    def _default_port(self) -> int:
        return self._number("PORT", 8000)

    @default("credential_ttl")
    def _default_ttl(self) -> int:
        return self._number("SARDONYX_CREDENTIAL_TTL", 3600)

    def start(self) -> None:
        """Run it; exits with 0 after Ctrl-C, 1 if it could not start."""
        super().start()
        from sardonyx_hub.embedded.options import RunOptions
        from sardonyx_hub.embedded.supervisor import Supervisor

        options = RunOptions(
            home=self.home_path,
            port=self.port,
            ttl=self.credential_ttl,
            password=os.environ.get("SARDONYX_DEMO_PASSWORD", ""),
            shared_buckets=tuple(self._shared_buckets()),
            environments={name: Path(path).absolute() for name, path in self.environments.items()},
            build_mc=self.build_mc,
            catalogue_file=Path(self.catalogue_file).absolute() if self.catalogue_file else None,
            config_file=self.config_path,
            debug=self.log.getEffectiveLevel() <= logging.DEBUG,
        )
        self.exit(Supervisor(options, self.say).run())

    def _shared_buckets(self) -> list[SharedBucket]:
        buckets = []
        for entry in self.shared_buckets:
            try:
                unknown = set(entry) - {"name", "read", "write"}
                if unknown:
                    raise ValueError(f"unknown key {sorted(unknown)[0]!r}")
                buckets.append(
                    SharedBucket(
                        entry["name"], tuple(entry.get("read", ("*",))), tuple(entry.get("write", ()))
                    )
                )
            except (KeyError, TypeError, ValueError) as error:
                self.fail(
                    f"shared_buckets: {entry!r} is not understood ({error}); it needs name, read, write"
                )
        return buckets

    def _number(self, variable: str, otherwise: int) -> int:
        text = os.environ.get(variable) or str(otherwise)
        try:
            return int(text)
        except ValueError:
            self.fail(f"{variable} is {text!r}, which is no number; unset it or set it to one")
            raise


class DoctorApp(SardonyxCommand):
    """Check a datalab that runs: issuer, clocks, CA, S3, secrets, scopes, files. Shows no secret."""

    name = Unicode("sardonyx-doctor")
    description = Unicode(
        "Check a datalab that runs: issuer, clocks, CA, S3, secrets, scopes, files. Shows no secret."
    )
    examples = Unicode("sardonyx doctor\nsardonyx doctor --home /srv/sardonyx")

    def start(self) -> None:
        """Check; exits with 0 if all is well, 1 otherwise."""
        super().start()
        from sardonyx_hub.doctor import examine

        self.exit(examine(self.home_path, self.say))


class SardonyxApp(SardonyxCommand):
    """Sardonyx: a self-service datalab as a JupyterHub distribution."""

    name = Unicode("sardonyx")
    description = Unicode("Sardonyx: a self-service datalab as a JupyterHub distribution.")
    examples = Unicode(
        "sardonyx run\nsardonyx doctor\nsardonyx keys list\nsardonyx launch jupyter-python --wait\nsardonyx --generate-config"
    )
    classes = [RunApp, DoctorApp]  # noqa: RUF012
    subcommands = {  # noqa: RUF012 - traitlets has plain dictionaries
        "run": (RunApp, "Run a whole datalab on this machine."),
        "doctor": (DoctorApp, "Check a datalab that runs."),
        # By name: it brings the issuer with it, two seconds that `run` and `doctor` need not wait.
        "keys": ("sardonyx_hub.keys_cli.KeysApp", "List, rotate, revoke and export the hub's signing keys."),
        "launch": ("sardonyx_hub.launch_cli.LaunchApp", "Launch a service, with an API token."),
        "sessions": ("sardonyx_hub.launch_cli.SessionsApp", "List, stop and delete one's sessions."),
    }

    def start(self) -> None:
        """Start the subcommand; without one, show the help and exit with 2."""
        super().start()
        if self.subapp is None:
            self.print_help()
            self.exit(2)


def main(argv: list[str] | None = None) -> Any:
    """Run the ``sardonyx`` command."""
    return SardonyxApp.launch_instance(argv)
