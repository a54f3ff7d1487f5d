"""How much of a disk stays free: below that, nothing new is begun on it."""

from __future__ import annotations

import shutil
from pathlib import Path

#: Bytes that have to be free for a launch, and for an upload to the embedded S3 storage; a start wants more.
RESERVE_BYTES = 256 << 20


def is_full(folder: Path | None) -> bool:
    """Return whether less than :data:`RESERVE_BYTES` is free where `folder` is; ``None`` never is full."""
    return folder is not None and shutil.disk_usage(folder).free < RESERVE_BYTES
