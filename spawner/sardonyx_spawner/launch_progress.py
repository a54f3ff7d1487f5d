"""What a person reads while a session starts: steps that any number of pending pages can follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

State = Literal["running", "ok", "warning", "failed"]

#: Step -> how far the start is (of 100) once the step is reached.
_PERCENT = {"options": 5, "credentials": 10, "s3": 12, "vault": 14, "git": 16, "limits": 30, "isolation": 32}
_PERCENT |= {"start": 40, "clone": 60, "init": 70}
_OTHER = 50
#: A loop in somebody's init script must not fill the hub's memory.
_MAX_EVENTS = 200
_MAX_MESSAGE = 500


@dataclass(frozen=True)
class Step:
    """One event of a launch.

    Parameters
    ----------
    at
        When.
    step
        ``options``, ``credentials``, ``s3``, ``start``, ``clone``, ...
    state
        How it went.
    text
        The sentence for the person.
    percent
        How far the launch was, of 100.
    """

    at: datetime
    step: str
    state: State
    text: str
    percent: int


class LaunchProgress:
    """The events of one launch, in order. Used on the event loop only.

    Parameters
    ----------
    changed
        Called after each event.

    Attributes
    ----------
    events
        As JupyterHub's pending page wants them, and with ``step`` and ``state``.
    steps
        The same, with when and what.

    Examples
    --------
    >>> progress = LaunchProgress()
    >>> progress.add("options", "ok", "Launch options are in order")
    >>> progress.events
    [{'progress': 5, 'message': 'Launch options are in order', 'step': 'options', 'state': 'ok'}]
    """

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.steps: list[Step] = []
        self._listener = changed
        self._closed = False
        self._changed = asyncio.Event()

    def add(self, step: str, state: State, message: str) -> None:
        """Add an event; the same sentence is told once, and the bar never goes back."""
        text = " ".join(message.split())[:_MAX_MESSAGE]
        if state == "warning":
            text = "⚠ " + text
        if (
            not text
            or len(self.events) >= _MAX_EVENTS
            or any(event["message"] == text for event in self.events)
        ):
            return
        reached = max((event["progress"] for event in self.events), default=0)
        percent = _PERCENT.get(step, _OTHER) + (2 if state != "running" and step == "start" else 0)
        # the pending page shows each state as an icon; JupyterHub hands the two further keys on as they are
        self.events.append({"progress": max(reached, percent), "message": text, "step": step, "state": state})
        self.steps.append(Step(datetime.now(UTC), step, state, text, max(reached, percent)))
        self._wake()
        if self._listener is not None:
            self._listener()

    def close(self) -> None:
        """Say that nothing more will come."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self) -> AsyncIterator[dict[str, Any]]:
        """Yield all events, those of the past first, until :meth:`close`."""
        position = 0
        while True:
            while position < len(self.events):
                yield dict(self.events[position])
                position += 1
            if self._closed:
                return
            await self._changed.wait()
