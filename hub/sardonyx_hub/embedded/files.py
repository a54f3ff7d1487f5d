"""Private files: every secret the embedded parts keep is written through here, whole and 0600."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def private_directory(path: Path) -> Path:
    """Make `path` (and its parents) and close it to everybody else (0700); return it."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private(path: Path, content: str | bytes, *, mode: int = 0o600) -> None:
    """Write `content` under a temporary name with `mode` from its first byte on, then rename it to `path`.

    Raises
    ------
    OSError
        If the disk is full or the folder not writable; `path` is then as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)  # the umask may have taken bits that `mode` gives
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
