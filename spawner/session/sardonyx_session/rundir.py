"""The run directory: where the agent leaves what kernels, shells and tools read.

The agent may run outside the sandbox of the session that can write here, so every path is opened relative to
a descriptor of the directory and no symbolic link is followed: a session that plants one gains nothing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from typing import Any, Iterator, Mapping, Optional

DEFAULT_RUN = "/run/sardonyx"
#: Written last, so that whoever sees a new generation sees the whole set that belongs to it.
GENERATION = "generation"
_MAX_READ = 16 * 1024 * 1024


def run_path(environ: Mapping[str, str]) -> str:
    """Return the run directory as this process sees it (``SARDONYX_RUN``)."""
    return environ.get("SARDONYX_RUN") or DEFAULT_RUN


class RunDirectory:
    """Reads and replaces files of a run directory without following symbolic links.

    Parameters
    ----------
    path
        The directory; made with mode 0700 if it is missing.

    Raises
    ------
    OSError
        If the directory cannot be made or opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(path, mode=0o700, exist_ok=True)
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the descriptor; the files stay."""
        os.close(self._fd)

    @contextlib.contextmanager
    def _parent(self, name: str) -> Iterator[tuple[int, str]]:
        """Yield the descriptor of the folder that holds `name` (at most one level down), and the last part of
        it."""
        folder, _, base = name.rpartition("/")
        if not folder:
            yield self._fd, base
            return
        try:
            os.mkdir(folder, 0o700, dir_fd=self._fd)
        except FileExistsError:
            pass
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(folder, flags, dir_fd=self._fd)
        try:
            yield fd, base
        finally:
            os.close(fd)

    def make_folder(self, name: str) -> None:
        """Make a folder (one level, or two with the first made before) with mode 0700 if it is missing."""
        with self._parent(name) as (fd, base), contextlib.suppress(FileExistsError):
            os.mkdir(base, 0o700, dir_fd=fd)

    def read_bytes(self, name: str, limit: int = _MAX_READ) -> Optional[bytes]:
        """Return a file's content, or ``None`` if it is missing, no regular file, or larger than `limit` bytes."""
        try:
            with self._parent(name) as (parent, base):
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(base, flags, dir_fd=parent)
        except OSError:
            return None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        with os.fdopen(fd, "rb") as file:
            data = file.read(limit + 1)
        return data if len(data) <= limit else None

    def read_json(self, name: str, limit: int = _MAX_READ) -> Optional[dict[str, Any]]:
        """Return a file's JSON object, or ``None`` if it is missing, larger than `limit` bytes, or anything else."""
        data = self.read_bytes(name, limit)
        if data is None:
            return None
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):  # a session may write here, also "[[[[..."
            return None
        return value if isinstance(value, dict) else None

    def modified(self, name: str) -> Optional[float]:
        """Return a file's modification time (seconds since 1970), or ``None`` if it is missing."""
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mtime
        except OSError:
            return None

    def generation(self) -> int:
        """Return the number of the set that is there now; 0 before the first write."""
        try:
            return int(self.read_bytes(GENERATION) or b"0")
        except ValueError:
            return 0

    def remove(self, name: str) -> bool:
        """Remove a file; return whether it was there."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except OSError:
            return False
        return True

    def replace(self, files: Mapping[str, bytes]) -> None:
        """Replace files as a set: either all of them change, in the order given, or none.

        Every new content is on the disk under a temporary name before the first rename, so that a full disk
        leaves the old set whole. Mode 0600.

        Raises
        ------
        OSError
            If a content cannot be written; the old files are then untouched.
        """
        written: list[str] = []
        try:
            for name, data in files.items():
                written.append(name)
                self._write_temporary(name, data)
            for name in files:
                with self._parent(name) as (fd, base):
                    os.rename(_temporary(base), base, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError:
            for name in written:
                with contextlib.suppress(OSError), self._parent(name) as (fd, base):
                    os.unlink(_temporary(base), dir_fd=fd)
            raise

    def _write_temporary(self, name: str, data: bytes) -> None:
        with self._parent(name) as (parent, base):
            temporary = _temporary(base)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(temporary, flags, 0o600, dir_fd=parent)
        try:
            view = memoryview(data)
            while view:
                count = os.write(fd, view)
                if count == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
                view = view[count:]
        finally:
            os.close(fd)


def _temporary(base: str) -> str:
    # A fixed name: what an agent that was killed left behind is overwritten by the next one.
    return "." + base + ".new"
