"""What a bench finds: figures beside their peers', one table of all of them, one JSON file a bench."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_HEADERS = ("bench", "figure", "median", "p95", "peer", "median", "p95", "n", "goal")


@dataclass(frozen=True)
class Samples:
    """Measurements of one thing, in the unit of their figure."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float], scale: float = 1000.0) -> Samples:
        """Return `values` times `scale`; by default seconds become milliseconds."""
        return cls(tuple(value * scale for value in values))

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    def percentile(self, share: float) -> float:
        """Return the smallest value that `share` (0 to 1) of all values do not exceed."""
        return sorted(self.values)[max(0, math.ceil(share * len(self.values)) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in the JSON file."""
        return {
            "n": len(self.values),
            "median": round(self.median, 3),
            "p95": round(self.percentile(0.95), 3),
            "p99": round(self.percentile(0.99), 3),
            "max": round(max(self.values), 3),
            "values": [round(value, 3) for value in self.values] if len(self.values) <= 200 else None,
        }


@dataclass(frozen=True)
class Goal:
    """At most `limit` in the statistic called `of` (``median``, ``p99``)."""

    limit: float
    of: str = "median"

    def reached(self, samples: Samples) -> float:
        """Return the value that is held against the limit."""
        return samples.median if self.of == "median" else samples.percentile(float(self.of[1:]) / 100)


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Parameters
    ----------
    name
        What was measured.
    ours, peer
        Ours, and the same of something else in the same run; a peer of None: there is nothing like it.
    peer_name
        What the peer is.
    """

    name: str
    ours: Samples
    peer: Samples | None = None
    peer_name: str = ""
    goal: Goal | None = None
    unit: str = "ms"

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in the JSON file."""
        found: dict[str, Any] = {"figure": self.name, "unit": self.unit, "ours": self.ours.to_dict()}
        if self.peer is not None:
            found["peer"] = {"name": self.peer_name, **self.peer.to_dict()}
        if self.goal is not None:
            reached = self.goal.reached(self.ours)
            found["goal"] = {
                "statistic": self.goal.of,
                "limit": self.goal.limit,
                "reached": round(reached, 3),
                "met": reached < self.goal.limit,
            }
        return found

    def cells(self) -> tuple[str, ...]:
        """Return what stands in the table."""
        peer = self.peer
        return (
            self.name,
            _number(self.ours.median),
            _number(self.ours.percentile(0.95)),
            self.peer_name if peer else "",
            _number(peer.median) if peer else "",
            _number(peer.percentile(0.95)) if peer else "",
            str(len(self.ours.values)),
            self._goal_cell(),
        )

    def _goal_cell(self) -> str:
        if self.goal is None:
            return ""
        reached = self.goal.reached(self.ours)
        word = "met" if reached < self.goal.limit else "MISSED"
        return f"{self.goal.of} {_number(reached)} < {_number(self.goal.limit)}: {word}"


@dataclass
class Report:
    """The figures of one bench."""

    name: str
    figures: list[Figure] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, folder: Path, load: float) -> Path:
        """Write ``NAME.json`` into `folder`.

        Parameters
        ----------
        load
            The machine's load when the run began: what else it had to do.
        """
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "bench": self.name,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 1),
            "machine": {
                "system": platform.system(),
                "architecture": platform.machine(),
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                "load_before": round(load, 2),
            },
            "figures": [figure.to_dict() for figure in self.figures],
        }
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return path


def table(reports: Sequence[Report]) -> str:
    """Return all figures as one table; times are milliseconds."""
    rows: list[tuple[str, ...]] = [_HEADERS]
    for report in reports:
        for number, figure in enumerate(report.figures):
            rows.append(("" if number else report.name, *figure.cells()))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADERS))]
    left = {0, 1, 4, 8}
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"
