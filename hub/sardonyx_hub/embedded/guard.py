"""The guard: ends every process of a run when its supervisor is gone, whatever ended the supervisor.

Run as ``python -I -S guard.py ID FD``: a process of its own, in its own session, that only waits at a pipe whose other
end the supervisor holds. Standard library only, so that it starts in milliseconds and cannot break with the rest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

VARIABLE = "SARDONYX_SUPERVISOR"
#: Seconds that processes have between SIGTERM and SIGKILL.
GRACE = 3.0
#: Seconds after which it gives up on processes that cannot be ended (uninterruptible sleep).
LIMIT = 30.0


def marked(identifier: str) -> Iterator[int]:
    """Yield the ids of all processes that carry the mark of the run `identifier`, but our own."""
    wanted = f"{VARIABLE}={identifier}".encode()
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would triple the start
        if not name.isdigit() or int(name) == os.getpid():
            continue
        # Another user's, or ended meanwhile.
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123
            if wanted in file.read().split(b"\0"):
                yield int(name)


def end_marked(identifier: str, *, grace: float = GRACE, limit: float = LIMIT) -> int:
    """End every process of the run: SIGTERM, then SIGKILL after `grace` seconds; return how many there were.

    Looks again until none is left: what is ended may have been starting another.
    """
    seen: set[int] = set()
    begun = time.monotonic()
    while time.monotonic() - begun < limit:
        found = set(marked(identifier))
        if not found:
            break
        late = time.monotonic() - begun >= grace
        for pid in found if late else found - seen:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        seen |= found
        time.sleep(0.05)
    return len(seen)


def main() -> None:
    """Wait until the other end of the pipe is closed, then end the run."""
    identifier, pipe = sys.argv[1], int(sys.argv[2])
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    while True:
        try:
            if not os.read(pipe, 64):
                break
        except InterruptedError:
            continue
    end_marked(identifier)


if __name__ == "__main__":
    main()
