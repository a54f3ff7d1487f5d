"""Limits of a session on this machine: memory, CPU and number of processes.

With control groups (version 2 where a group is delegated to the hub, version 1 where the hub may write to its
own) they hold for everything that a session starts. Without them, CPU is limited by affinity to whole cores,
and the rest is not enforced: :class:`Limits` says so, and the spawner passes it on.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Enforcement = Literal["cgroup", "affinity", "none"]
_PERIOD = 100_000
_PROCFS = Path("/proc")


@dataclass(frozen=True)
class Wanted:
    """What a session may use: bytes of memory, cores, processes; ``None`` is without limit."""

    memory: int | None = None
    cpu: float | None = None
    processes: int | None = None


@dataclass(frozen=True)
class Limits:
    """Limits as they were set.

    Parameters
    ----------
    cgroups
        Directories that the session's first process has to join; made by :func:`prepare`, removed by the
        runner.
    cpus
        Numbers of the cores it may use; empty is all.
    enforced
        ``memory``, ``cpu``, ``processes`` -> by what, for those that were wanted.
    reasons
        Why a limit is not enforced.
    """

    cgroups: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()
    enforced: Mapping[str, Enforcement] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def remove(self) -> None:
        """Remove empty control groups; what is left of a session that never started."""
        for directory in self.cgroups:
            with contextlib.suppress(OSError):
                Path(directory).rmdir()


def prepare(
    wanted: Wanted,
    name: str,
    *,
    root: Path = Path("/sys/fs/cgroup"),
    own: str | None = None,
    parent: str = "",
    available_cpus: Callable[[], set[int]] = lambda: os.sched_getaffinity(0),
) -> Limits:
    """Make the control groups of a session, as far as this machine lets us.

    Parameters
    ----------
    wanted
        The limits.
    name
        Name of the new groups, unique among all sessions.
    root
        Where control groups are mounted.
    own
        Text of ``/proc/self/cgroup``; default: read it. See cgroups(7).
    parent
        A group of version 2, relative to `root`, that is delegated to the hub; default: the hub's own.
    available_cpus
        The cores that the hub may use.
    """
    own = (_PROCFS / "self" / "cgroup").read_text(encoding="ascii") if own is None else own
    groups = _own_groups(own)
    kinds = [kind for kind in ("memory", "cpu", "processes") if getattr(wanted, kind) is not None]
    if not kinds:
        return Limits()
    if (root / "cgroup.controllers").is_file():
        made, problems = _version2(wanted, kinds, root / (parent or groups.get("", "/")).lstrip("/"), name)
    else:
        made, problems = _version1(wanted, kinds, root, groups, name)
    enforced: dict[str, Enforcement] = {kind: "cgroup" for kind in kinds if kind not in problems}
    cpus: tuple[int, ...] = ()
    if "cpu" in problems and wanted.cpu is not None:
        cpus = _cores(wanted.cpu, available_cpus(), name)
        enforced["cpu"] = "affinity"
    for kind in kinds:
        enforced.setdefault(kind, "none")
    reasons = {kind: reason for kind, reason in problems.items() if enforced[kind] == "none"}
    return Limits(tuple(map(str, made)), cpus, enforced, reasons)


def _own_groups(text: str) -> dict[str, str]:
    """Return controller -> path of the hub's own group; version 2 has the controller ``""``."""
    groups = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _values(wanted: Wanted, kind: str) -> Mapping[str, str]:
    """Return file -> content of version 2 for one limit. See the kernel's
    Documentation/admin-guide/cgroup-v2.rst."""
    if kind == "memory":
        return {"memory.max": str(wanted.memory), "memory.swap.max": "0", "memory.oom.group": "0"}
    if kind == "cpu":
        return {"cpu.max": f"{_quota(wanted.cpu)} {_PERIOD}"}
    return {"pids.max": str(wanted.processes)}


def _quota(cores: float | None) -> int:
    return max(1000, round((cores or 0) * _PERIOD))


_OPTIONAL = frozenset({"memory.swap.max", "memory.oom.group", "memory.memsw.limit_in_bytes"})
_CONTROLLERS = {"memory": "memory", "cpu": "cpu", "processes": "pids"}


def _write(directory: Path, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        path = directory / name
        if name in _OPTIONAL:
            with contextlib.suppress(OSError):
                _set(path, value)
        else:
            _set(path, value)


def _set(path: Path, value: str) -> None:
    # Never made: a file that the kernel does not offer is a limit that it does not keep.
    with path.open("r+", encoding="ascii") as file:
        file.write(value)


def _version2(wanted: Wanted, kinds: list[str], parent: Path, name: str) -> tuple[list[Path], dict[str, str]]:
    problems = {}
    for kind in kinds:
        controller = _CONTROLLERS[kind]
        try:
            if controller not in (parent / "cgroup.subtree_control").read_text(encoding="ascii").split():
                _set(parent / "cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            problems[kind] = f"the control group {parent} is not delegated to the hub ({error.strerror})"
    if len(problems) == len(kinds):
        return [], problems
    directory = parent / name
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        return [], dict.fromkeys(kinds, f"{directory} cannot be made ({error.strerror})")
    for kind in kinds:
        if kind not in problems:
            try:
                _write(directory, _values(wanted, kind))
            except OSError as error:
                problems[kind] = f"{directory}: {error.strerror}"
    return [directory], problems


def _version1(
    wanted: Wanted, kinds: list[str], root: Path, groups: Mapping[str, str], name: str
) -> tuple[list[Path], dict[str, str]]:
    made: list[Path] = []
    problems = {}
    for kind in kinds:
        controller = _CONTROLLERS[kind]
        if controller not in groups:
            problems[kind] = f"the machine has no control groups for {controller}"
            continue
        # In a container the path may be that of the machine and not exist here: then the mount is the hub's
        # own group.
        parent = root / controller / groups[controller].lstrip("/")
        directory = (parent if parent.is_dir() else root / controller) / name
        try:
            directory.mkdir(exist_ok=True)
            made.append(directory)
            _write(directory, _values1(wanted, kind))
        except OSError as error:
            problems[kind] = f"{directory}: {error.strerror}"
    return made, problems


def _values1(wanted: Wanted, kind: str) -> Mapping[str, str]:
    """Return file -> content of version 1 for one limit. See the kernel's
    Documentation/admin-guide/cgroup-v1."""
    if kind == "memory":
        text = str(wanted.memory)
        return {"memory.limit_in_bytes": text, "memory.memsw.limit_in_bytes": text}
    if kind == "cpu":
        return {"cpu.cfs_period_us": str(_PERIOD), "cpu.cfs_quota_us": str(_quota(wanted.cpu))}
    return {"pids.max": str(wanted.processes)}


def _cores(cores: float, available: set[int], name: str) -> tuple[int, ...]:
    """Return whole cores, others for other sessions so that not all sit on the first ones."""
    ordered = sorted(available)
    count = min(len(ordered), max(1, math.ceil(cores)))
    if count == len(ordered):
        return tuple(ordered)
    first = sum(map(ord, name)) % len(ordered)
    return tuple(sorted((ordered + ordered)[first : first + count]))


def group_name(text: str) -> str:
    """Return `text` as the name of a control group of ours."""
    return "sardonyx-" + re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-").lower()
