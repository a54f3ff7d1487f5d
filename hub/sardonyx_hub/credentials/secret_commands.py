"""The commands of `bao` (or `vault`) that do what the page My secrets does. Pure functions."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from .vault_client import VaultConfig

PROGRAM = "bao"


@dataclass(frozen=True)
class Command:
    """A command line, and the key of the message that says what it does."""

    what: str
    line: str


def folder_commands(config: VaultConfig, handle: str, folder: str) -> list[Command]:
    """Return the commands for a folder."""
    return [Command("list", _line(config, "list", _full(config, handle, folder)))]


def secret_commands(
    config: VaultConfig, handle: str, path: str, *, keys: list[str], version: int, deleted: bool = False
) -> list[Command]:
    """Return the commands for a secret; no value is ever in one: it would be in the shell's history.

    Parameters
    ----------
    keys
        Its keys, if they are known.
    version
        Its newest version; 0 if it is not there yet.
    """
    full = _full(config, handle, path)
    key = keys[0] if keys else "KEY"
    if version == 0:
        return [Command("put", _line(config, "put", full, f"{key}=-"))]
    history = Command("history", _line(config, "metadata", full, sub="get"))
    if deleted:
        undelete = Command("undelete", _line(config, "undelete", full, options=[f"-versions={version}"]))
        return [undelete, history]
    commands = [
        Command("get", _line(config, "get", full)),
        Command("get_one", _line(config, "get", full, options=[f"-field={key}"])),
        # "-" reads the value from the standard input
        Command("patch", _line(config, "patch", full, f"{key}=-")),
        history,
    ]
    if version > 1:
        restore = _line(config, "rollback", full, options=[f"-version={version - 1}"])
        commands.append(Command("rollback", restore))
    commands.append(Command("delete", _line(config, "delete", full)))
    return commands


def _full(config: VaultConfig, handle: str, path: str) -> str:
    return f"{config.top_dir_of(handle)}/{path}".rstrip("/")


def _line(
    config: VaultConfig,
    verb: str,
    path: str,
    *arguments: str,
    sub: str = "",
    options: list[str] | None = None,
) -> str:
    words = [PROGRAM, "kv", verb, *([sub] if sub else []), f"-mount={config.mount}", *(options or [])]
    return shlex.join([*words, path, *arguments])
