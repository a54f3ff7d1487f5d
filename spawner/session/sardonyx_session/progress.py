"""Progress of a session's start: one JSON object a line in ``progress.jsonl``, which the spawner shows on the
pending page."""

from __future__ import annotations

import json
import os
import time

PROGRESS_FILE = "progress.jsonl"
STATES = ("running", "ok", "warning", "failed")


class Progress:
    """Appends steps to the run directory's progress file; a directory that cannot be written to is no error.

    Parameters
    ----------
    run_dir
        The run directory.
    """

    def __init__(self, run_dir: str) -> None:
        self._path = os.path.join(run_dir, PROGRESS_FILE)

    def report(self, step: str, state: str, message: str) -> None:
        """Add a line.

        Parameters
        ----------
        step
            ``credentials``, ``git`` or ``init``.
        state
            One of :data:`STATES`.
        message
            A sentence for the person, without secrets.
        """
        line = {
            "step": step,
            "state": state,
            "message": message,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        data = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        try:
            fd = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError:
            return
        try:
            os.write(
                fd, data
            )  # one write: a reader that follows the file never sees half a line from two writers
        except OSError:
            pass
        finally:
            os.close(fd)
