"""What can be seen of a session from outside: its log, what it uses, whether a command runs in one of its terminals.

Everything here but the data classes blocks, and reads ``/proc`` and files: call it outside the event loop.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .runner import descendants, stat_fields

#: What is read of a log at once.
MAX_LOG: Final = 128 * 1024
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
#: Between the two looks that a first rate of use needs (seconds).
_FIRST_LOOK: Final = 0.25
#: Seconds after which an earlier look says nothing about now.
_OLD: Final = 60.0

#: Parts of addresses that let somebody in; what follows the name is left out of a log.
_SECRET_ARGUMENT = re.compile(
    r"(?i)([?&;](?:token|access_token|id_token|code|state|secret|password|key|signature|x-amz-[a-z-]+|_xsrf)=)[^&;\s\"'<>]+"
)
_SECRET_HEADER = re.compile(r"(?i)\b(authorization:?\s*(?:token|bearer|basic)\s+|(?:set-)?cookie:\s*)\S+")
#: What terminals are told (ECMA-48), and other control characters.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class LogPart:
    """A part of a log.

    Parameters
    ----------
    text
        Whole lines.
    start, end
        Where they are in the file, in bytes; the next part begins at `end`.
    more
        Whether there is more after them already.
    """

    text: str
    start: int
    end: int
    more: bool


def read_log(path: Path, after: int | None, hidden: Collection[str] = ()) -> LogPart:
    """Return what was logged after the byte `after`; ``None``: the end of the log.

    Parameters
    ----------
    hidden
        Words that are left out wherever they stand: tokens.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # A log that was put aside begins anew and is shorter.
            tail = after is None or after > size
            start = max(0, size - MAX_LOG) if after is None or after > size else max(0, after)
            file.seek(start)
            data = file.read(MAX_LOG)
    except OSError:
        return LogPart("", 0, 0, False)
    full = len(data) == MAX_LOG
    if tail and start > 0:
        cut = data.find(b"\n") + 1
        data, start = data[cut:], start + cut
    end = data.rfind(b"\n") + 1 if len(data) < MAX_LOG or b"\n" in data else len(data)
    text = scrub(data[:end].decode("utf-8", "replace"), hidden)
    # The beginning of a line that is being written is no more yet.
    return LogPart(text, start, start + end, full and not tail and start + end < size)


def scrub(text: str, hidden: Collection[str] = ()) -> str:
    """Return a log without what lets somebody in, and without control characters.

    Examples
    --------
    >>> scrub("GET /lab?token=abc&x=1")
    'GET /lab?token=[hidden]&x=1'
    """
    for word in hidden:
        if word:
            text = text.replace(word, "[hidden]")
    text = _SECRET_ARGUMENT.sub(r"\1[hidden]", text)
    text = _SECRET_HEADER.sub(r"\1[hidden]", text)
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


@dataclass(frozen=True)
class Look:
    """What the processes of a session have used: seconds of CPU until now, bytes of memory now."""

    at: float
    cpu_seconds: float
    memory: int
    processes: int


@dataclass(frozen=True)
class Usage:
    """What a session uses now: cores, bytes, processes."""

    cpu: float
    memory: int
    processes: int


def look_at(pid: int) -> Look:
    """Add up what the processes below `pid` use. Memory that they share counts for each of them."""
    seconds, memory, count = 0.0, 0, 0
    for child in descendants(pid):
        fields = stat_fields(child)
        if fields is not None:
            count += 1
            seconds += (int(fields[11]) + int(fields[12])) / _TICKS
            memory += int(fields[21]) * _PAGE
    return Look(time.monotonic(), seconds, memory, count)


def usage_between(pid: int, before: Look | None) -> tuple[Usage, Look]:
    """Return what a session uses, from an earlier look and one now; and the latter."""
    if before is None or not 0 < time.monotonic() - before.at < _OLD:
        before = look_at(pid)
        time.sleep(_FIRST_LOOK)
    now = look_at(pid)
    # Processes that have ended took their seconds with them.
    cpu = max(0.0, now.cpu_seconds - before.cpu_seconds) / max(now.at - before.at, 0.01)
    return Usage(round(cpu, 3), now.memory, now.processes), now


def runs_command(pid: int) -> bool:
    """Return whether a command runs in the foreground of a terminal below `pid`: something else than its shell."""
    return any(fields is not None and _in_foreground(fields) for fields in map(stat_fields, descendants(pid)))


def _in_foreground(fields: list[str]) -> bool:
    """Read the fields of proc_pid_stat(5) from ``state`` on: the group that the terminal listens to is not the shell's."""
    group, session, terminal, foreground = (int(field) for field in fields[2:6])
    return terminal != 0 and group == foreground and group != session


@dataclass(frozen=True)
class DiskSize:
    """What is on a session's disk; `more`: it was not counted to the end."""

    bytes: int
    files: int
    more: bool


#: A disk is not counted any further than this.
_MAX_FILES: Final = 200_000
_COUNT_SECONDS: Final = 2.0


def disk_size(folder: Path) -> DiskSize:
    """Add up the files below `folder`, which belongs to somebody else: links are not followed."""
    size, files, deadline = 0, 0, time.monotonic() + _COUNT_SECONDS
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_size
                    if files >= _MAX_FILES or time.monotonic() > deadline:
                        return DiskSize(size, files, True)
        except OSError:
            # Removed meanwhile, or closed by its owner.
            continue
    return DiskSize(size, files, False)
