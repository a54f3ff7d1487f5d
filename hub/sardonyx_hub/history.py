"""What the hub remembers of the last launch of each session: its steps, for those who come to read them later.

In memory only, and bounded: a hub that was restarted has forgotten them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sardonyx_spawner.launch_progress import LaunchProgress, Step

#: Sessions whose last launch is remembered; each has at most 200 steps of 500 characters.
_SESSIONS: Final = 2000
_EVENTS: Final = 50

Key = tuple[str, str]


class Launches:
    """The last launches, and what happened to the sessions since.

    Examples
    --------
    >>> launches = Launches()
    >>> launches.note(("alice", "run1"), "stopped", "Stopped")
    >>> [event["text"] for event in launches.events(("alice", "run1"))]
    ['Stopped']
    """

    def __init__(self, sessions: int = _SESSIONS) -> None:
        self._sessions = sessions
        self._launches: OrderedDict[Key, LaunchProgress] = OrderedDict()
        self._notes: OrderedDict[Key, list[Step]] = OrderedDict()

    def follow(self, key: Key, progress: LaunchProgress) -> None:
        """Remember the steps of a launch, those to come too, instead of the one before."""
        if not progress.steps or self._launches.get(key) is progress:
            return
        self._launches[key] = progress
        self._launches.move_to_end(key)
        while len(self._launches) > self._sessions:
            self._launches.popitem(last=False)

    def note(self, key: Key, step: str, text: str, *, warning: bool = False) -> None:
        """Add what happened to a session besides its launch: stopped, ended by itself, kept alive."""
        notes = self._notes.setdefault(key, [])
        notes.append(Step(datetime.now(UTC), step, "warning" if warning else "ok", text, 100))
        del notes[:-_EVENTS]
        self._notes.move_to_end(key)
        while len(self._notes) > self._sessions:
            self._notes.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Forget a session that was deleted."""
        self._launches.pop(key, None)
        self._notes.pop(key, None)

    def forget_person(self, name: str) -> None:
        """Forget the sessions of a person who is no more: another one of that name inherits none of it."""
        for key in [key for key in (*self._launches, *self._notes) if key[0] == name]:
            self.forget(key)

    def events(self, key: Key) -> list[dict[str, Any]]:
        """Return what is known, oldest first, as JSON data: ``at``, ``step``, ``state``, ``text``."""
        steps = sorted([*self._steps(key), *self._notes.get(key, ())], key=lambda step: step.at)
        return [
            {"at": step.at.isoformat(), "step": step.step, "state": step.state, "text": step.text}
            for step in steps
        ]

    def _steps(self, key: Key) -> Sequence[Step]:
        progress = self._launches.get(key)
        return progress.steps if progress is not None else ()
