"""``sardonyx keys list|rotate|revoke|export``: the issuer's signing keys, from the command line.

The commands work on the folder of keys; a running hub notices within a second.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from traitlets import Bool, Unicode, default
from traitlets.config import Application

from .api.audit import Audit
from .identity.issuer import Issuer
from .identity.keys import Key, KeyRing, KeyRingError, describe


class KeyCommand(Application):
    """What the subcommands share: where the keys are, and how an error is told."""

    home = Unicode(
        config=True,
        help="""
        Home of the datalab, as for `sardonyx run`. Default: `SARDONYX_HOME`, else `.sardonyx` in the current folder.

        Example::

            sardonyx keys list --home=/srv/sardonyx

        .. versionadded:: 0.1
        """,
    )
    directory = Unicode(
        config=True,
        help="""
        Folder of the signing keys. Default: `state/keys` in the home.

        Example::

            sardonyx keys list --directory=/srv/sardonyx/keys

        .. versionadded:: 0.1
        """,
    )
    audit_file = Unicode(
        config=True,
        help="""
        Audit log that rotations and revocations are appended to; the empty text writes none. Default:
        `state/audit.jsonl` in the home.

        Example::

            sardonyx keys rotate --audit-file=/srv/sardonyx/audit.jsonl

        .. versionadded:: 0.1
        """,
    )
    aliases = {  # noqa: RUF012
        "home": "KeyCommand.home",
        "directory": "KeyCommand.directory",
        "audit-file": "KeyCommand.audit_file",
    }
    flags = {}  # noqa: RUF012

    @default("home")
    def _home_default(self) -> str:
        return os.environ.get("SARDONYX_HOME") or ".sardonyx"

    @default("directory")
    def _directory_default(self) -> str:
        return str(Path(self.home) / "state" / "keys")

    @default("audit_file")
    def _audit_file_default(self) -> str:
        return str(Path(self.home) / "state" / "audit.jsonl")

    def start(self) -> None:
        """Run the command; what is wrong is one line on standard error and exit code 1."""
        try:
            self.run()
        except (KeyRingError, OSError, ValueError) as error:
            self.exit_with(str(error))

    def run(self) -> None:
        """Do what the command is for."""
        raise NotImplementedError

    def exit_with(self, message: str) -> None:
        """Tell `message` and end with exit code 1."""
        sys.stderr.write(f"{self.name}: {message}\n")
        sys.exit(1)

    def ring(self) -> KeyRing:
        """Return the key ring; a folder without keys is an error and not a reason to make some."""
        if not (Path(self.directory) / "keys.json").exists():
            raise KeyRingError(f"No signing keys in {self.directory}: name the folder with --directory.")
        return KeyRing(self.directory)

    def record(self, action: Any, kid: str, successor: str = "") -> None:
        """Append an event to the audit log."""
        if self.audit_file:
            audit = Audit(self.audit_file)
            audit.key(action, kid, successor=successor, operator=getpass.getuser())
            audit.close()


class ListKeys(KeyCommand):
    """Show the published keys and what each is for."""

    name = "sardonyx keys list"
    description = "Show the issuer's published keys: next, active and retired ones."
    as_json = Bool(False, config=True, help="Print JSON.")
    flags = {"json": ({"ListKeys": {"as_json": True}}, "Print JSON.")}  # noqa: RUF012

    def run(self) -> None:
        """Print one line a key."""
        keys = describe(self.ring())
        if self.as_json:
            sys.stdout.write(json.dumps(keys, indent=2) + "\n")
            return
        for key in keys:
            sys.stdout.write(f"{key['kid']}  {key['state']:<8} signs from {_time(key['signs_from'])}\n")


class RotateKeys(KeyCommand):
    """Publish a new key that signs later."""

    name = "sardonyx keys rotate"
    description = "Publish a new signing key now, and sign with it once every backend can know it."

    def run(self) -> None:
        """Make the key, or show the one that waits already."""
        ring = self.ring()
        known = {key.kid for key in ring.published()}
        key = ring.rotate()
        if key.kid in known:
            sys.stdout.write(f"{key.kid} waits already and signs from {_time(key.signs_from)}.\n")
            return
        self.record("rotate", key.kid)
        sys.stdout.write(f"{key.kid} is published and signs from {_time(key.signs_from)}.\n")
        sys.stdout.write("Backends that use exported files: export again before then.\n")


class RevokeKey(KeyCommand):
    """Remove a key at once."""

    name = "sardonyx keys revoke"
    description = "Remove a key (its id, or how it begins) at once and sign with a new one."

    def run(self) -> None:
        """Revoke the key that the argument names."""
        if len(self.extra_args) != 1:
            raise ValueError("Name one key: sardonyx keys revoke KID (see `sardonyx keys list`).")
        ring = self.ring()
        before = {key.kid for key in ring.published()}
        new: Key = ring.revoke(self.extra_args[0])
        for kid in sorted(before - {key.kid for key in ring.published()}):
            self.record("revoke", kid, new.kid)
            sys.stdout.write(f"{kid} is revoked.\n")
        sys.stdout.write(
            f"{new.kid} signs from now on. A backend forgets the revoked key when it meets the new one: "
            "at the hub's next request to it. Backends that use exported files: export now.\n"
        )


class ExportKeys(KeyCommand):
    """Write discovery document and JWKS as files."""

    name = "sardonyx keys export"
    description = "Write discovery document and JWKS as files, for backends that cannot reach the hub."
    issuer_url = Unicode(
        config=True,
        help="""
        URL of the issuer, as the backends are configured with it.

        Example::

            sardonyx keys export --issuer-url=https://hub.example.org/hub/datalab/oidc ./public

        .. versionadded:: 0.1
        """,
    )
    aliases = {**KeyCommand.aliases, "issuer-url": "ExportKeys.issuer_url"}  # noqa: RUF012

    def run(self) -> None:
        """Write the files below the folder that the argument names."""
        if len(self.extra_args) != 1 or not self.issuer_url:
            raise ValueError("Name the URL and a folder: sardonyx keys export --issuer-url=URL FOLDER.")
        for path in Issuer(self.ring(), self.issuer_url).export(self.extra_args[0]):
            sys.stdout.write(f"{path}\n")


class KeysApp(Application):
    """The issuer's signing keys."""

    name = "sardonyx keys"
    description = "The signing keys of the hub's issuer: list, rotate, revoke, export."
    subcommands = {  # noqa: RUF012
        "list": (ListKeys, ListKeys.description),
        "rotate": (RotateKeys, RotateKeys.description),
        "revoke": (RevokeKey, RevokeKey.description),
        "export": (ExportKeys, ExportKeys.description),
    }
    flags = {}  # noqa: RUF012
    aliases = {}  # noqa: RUF012

    def start(self) -> None:
        """Run the subcommand, or show the help."""
        if self.subapp is None:
            self.print_help()
            sys.exit(2)
        self.subapp.start()


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
