"""The folders of a session on this machine. Everything here blocks: call it outside the event loop.

A session can write to its disk and to its run directory, so whatever is in these is somebody else's: nothing
in them is opened through a symbolic link, and nothing of the datalab's is kept there.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .sandbox import group_file, passwd_file

#: A folder's name: no slash, no leading dot or hyphen, nothing that a shell or bubblewrap would take for
#: more.
_NAME = re.compile(r"[A-Za-z0-9_~%@+=][A-Za-z0-9_~%@+=.,-]{0,199}")
_MAX_PROGRESS = 256 * 1024
PROGRESS_NAME = "progress.jsonl"
BUNDLE_NAME = "bundle.json"


class UnsafeNameError(ValueError):
    """A name cannot be that of a folder."""


def server_folder(server_name: str) -> str:
    """Return the folder of a server: ``default`` for the unnamed one.

    JupyterHub's names never end with a hyphen, so that a server that is called ``default`` has a folder of
    its own.
    """
    if not server_name:
        return "default"
    return "default-" if server_name == "default" else server_name


@dataclass(frozen=True)
class SessionFolders:
    """Where a session's things are.

    Parameters
    ----------
    home
        SARDONYX_HOME.
    handle, server
        Names of folders.

    Raises
    ------
    UnsafeNameError
        If a name is not fit to be one.
    """

    home: Path
    handle: str
    server: str

    def __post_init__(self) -> None:
        for name in (self.handle, self.server):
            if not _NAME.fullmatch(name):
                raise UnsafeNameError(name)

    @property
    def disk(self) -> Path:
        """The session's home; stays when it stops."""
        return self.home / "disks" / self.handle / self.server

    @property
    def run(self) -> Path:
        """The run directory; emptied when the session stops."""
        return self.home / "run" / self.handle / self.server

    @property
    def state(self) -> Path:
        """What the runner needs and the session must not see."""
        return self.home / "runners" / self.handle / self.server

    @property
    def log(self) -> Path:
        """The log of server and agent."""
        return self.home / "logs" / self.handle / f"{self.server}.log"

    def prepare(self) -> None:
        """Make the folders (0700), empty the run directory, write what stands for the machine's users.

        Raises
        ------
        OSError
            If the disk is full, or a folder cannot be made.
        """
        remove_tree(self.run)
        for folder in (self.disk, self.run, self.state, self.log.parent):
            make_private(folder, self.home)
        (self.state / "passwd").write_text(passwd_file(), encoding="ascii")
        (self.state / "group").write_text(group_file(), encoding="ascii")
        (self.state / "exit.json").unlink(missing_ok=True)

    def write_bundle(self, document: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Write ``bundle.json`` (0600), from which the agent makes its first write."""
        content = {"version": 1, "document": dict(document), "environment": dict(environment)}
        write_private(self.run / BUNDLE_NAME, json.dumps(content))

    def clean(self) -> None:
        """Remove what only a running session needs, credentials first."""
        remove_tree(self.run)

    def forget(self) -> None:
        """Remove the disk and everything else of the session, for ever."""
        trash = self.home / "disks" / ".trash"
        gone = trash / secrets.token_hex(8)
        if self.disk.exists() and not self.disk.is_symlink():
            make_private(trash, self.home)
            # Out of the way at once: a session of the same name starts on an empty disk while this one goes.
            self.disk.rename(gone)
        for folder in (self.run, self.state):
            remove_tree(folder)
        for log in (self.log, self.log.with_name(self.log.name + ".1")):
            log.unlink(missing_ok=True)
        for folder in (self.disk.parent, self.run.parent, self.state.parent, self.log.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()
        remove_tree(gone)
        # What an earlier removal left (the hub was killed): another person's trouble is not this one's.
        for left in trash.iterdir() if trash.is_dir() else ():
            with contextlib.suppress(OSError):
                remove_tree(left)

    def rename_to(self, other: SessionFolders) -> None:
        """Give the disk to a session of another name.

        Raises
        ------
        FileExistsError
            If that one has a disk already.
        """
        if other.disk.exists():
            raise FileExistsError(f"there is a disk of the name {other.server} already")
        if self.disk.exists():
            make_private(other.disk.parent, self.home)
            self.disk.rename(other.disk)
        for folder in (self.run, self.state):
            remove_tree(folder)

    def progress_from(self, position: int) -> tuple[list[dict[str, str]], int]:
        """Return what the session has told about its start since `position`, and the new position."""
        data = read_regular(self.run / PROGRESS_NAME, _MAX_PROGRESS)
        end = data.rfind(b"\n") + 1
        lines = data[position:end].splitlines() if end > position else []
        return list(_progress_lines(lines)), max(position, end)


def _progress_lines(lines: list[bytes]) -> Iterator[dict[str, str]]:
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(line)
            keys = ("step", "state", "message")
            if isinstance(found, dict) and all(isinstance(found.get(key), str) for key in keys):
                yield {key: found[key] for key in keys}


def read_regular(path: Path, limit: int) -> bytes:
    """Return the beginning of a file that a session could have replaced by anything; empty if it is no plain
    file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as file:
        return file.read(limit) if stat.S_ISREG(os.fstat(fd).st_mode) else b""


def write_private(path: Path, text: str) -> None:
    """Write a new file with mode 0600; whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def make_private(folder: Path, home: Path) -> None:
    """Make `folder` and its parents below `home`, each with mode 0700."""
    for parent in [*reversed(folder.relative_to(home).parents[:-1]), folder.relative_to(home)]:
        (home / parent).mkdir(mode=0o700, parents=True, exist_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder and what is in it, never following a link; folders that their owner closed are opened.

    A session decides how deep its folders are: deeper than recursion, a path, or the descriptors of the hub reach.
    So folders below are first moved up into `folder`, and no more than two are open at any time.
    """
    if folder.is_symlink():
        folder.unlink()
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        top = _open_folder(str(folder), None)
        try:
            _empty(top, top)
        finally:
            os.close(top)
        folder.rmdir()


def _empty(folder: int, top: int) -> None:
    """Remove what is in `folder`; the folders in it are moved to `top` and removed there."""
    while names := _some_names(folder):
        for name, is_folder in names:
            with contextlib.suppress(FileNotFoundError):
                if not is_folder:
                    os.unlink(name, dir_fd=folder)
                elif folder == top:
                    inner = _open_folder(name, top)
                    try:
                        _empty(inner, top)
                    finally:
                        os.close(inner)
                    os.rmdir(name, dir_fd=top)
                else:
                    # Opened first: who moves a folder has to be allowed to write to it.
                    os.close(_open_folder(name, folder))
                    os.rename(name, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)


def _some_names(folder: int) -> list[tuple[str, bool]]:
    """Return the first of the names in a folder, and which of them are folders."""
    with os.scandir(folder) as entries:
        return [
            (entry.name, entry.is_dir(follow_symlinks=False)) for entry in itertools.islice(entries, 1000)
        ]


def _open_folder(name: str, parent: int | None) -> int:
    """Open a folder that is no link, with mode 0700 whatever it had."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        itself = f"/proc/self/fd/{fd}"
        os.chmod(itself, 0o700)  # noqa: PTH101  (a descriptor's name, not a path)
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(fd)
