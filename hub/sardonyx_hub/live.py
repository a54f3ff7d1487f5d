"""What open pages are told while they are open: events of one person or of everybody, never a secret.

No Tornado and no JupyterHub in here: a handler takes a :class:`Subscription` and writes what comes out of it. Used on
the event loop only.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

#: Seconds between two signs of life. Proxies close what says nothing for a minute.
BEAT: Final = 25.0
#: Events that wait for a reader who does not read; one more and it has to ask for everything again.
_QUEUE: Final = 64
#: Streams of one person; the oldest makes room. Pages of one browser share a stream (lib/live.ts).
_STREAMS: Final = 24
#: Seconds after which a stream ends and is opened anew, by when a sign-in that has ended is noticed at the latest.
_LIFE: Final = 900.0
#: A comment, which browsers ignore (WHATWG HTML, 9.2.6).
_ALIVE: Final = b": alive\n\n"

Allowed = Callable[[str], bool]


def encode(event: str, data: Mapping[str, Any]) -> bytes:
    """Return an event as the stream carries it (WHATWG HTML, 9.2).

    Examples
    --------
    >>> encode("session", {"name": "run1"})
    b'event: session\\ndata: {"name":"run1"}\\n\\n'
    """
    # JSON of json.dumps is one line whatever is in it: nothing can begin an event of its own.
    text = json.dumps(data, separators=(",", ":"), default=str)
    return f"event: {event}\ndata: {text}\n\n".encode()


class Subscription:
    """One open stream.

    Parameters
    ----------
    user
        Whose it is.
    browser
        Identifies the browser that was signed in; empty if it is not known.
    sees_all
        Whether events of other people come too (the admin panel).
    opened
        Seconds of the clock of :class:`Live`.
    """

    def __init__(self, user: str, browser: str, sees_all: bool, opened: float) -> None:
        self.user = user
        self.browser = browser
        self.sees_all = sees_all
        self.opened = opened
        self.closed = False
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()

    def put(self, chunk: bytes) -> None:
        """Add what is to be written. A reader who is too slow loses what waits, and is told to ask again."""
        if self.closed:
            return
        if len(self._waiting) >= _QUEUE:
            self._waiting.clear()
            chunk = encode("resync", {})
        self._waiting.append(chunk)
        self._wake.set()

    def beat(self) -> None:
        """Add a sign of life where nothing else waits."""
        if not self._waiting:
            self.put(_ALIVE)

    def close(self) -> None:
        """End the stream, after what waits."""
        self.closed = True
        self._wake.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what is to be written, several events at once where several wait, until the stream is closed."""
        while True:
            if self._waiting:
                chunk = b"".join(self._waiting)
                self._waiting.clear()
                yield chunk
            elif self.closed:
                return
            else:
                self._wake.clear()
                await self._wake.wait()


class Live:
    """All open streams of a hub.

    Parameters
    ----------
    clock
        Seconds that only grow.

    Examples
    --------
    >>> live = Live()
    >>> live.publish("alice", "session", {"name": "run1", "state": "running"})
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._streams: dict[str, list[Subscription]] = {}
        self._watchers: set[Subscription] = set()
        self._timer: asyncio.TimerHandle | None = None
        #: Whether a person may still be told anything; asked at every beat. None: everybody may.
        self.allowed: Allowed | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Live:
        return self

    @property
    def count(self) -> int:
        """Number of open streams."""
        return sum(map(len, self._streams.values()))

    def watched(self, user: str) -> bool:
        """Return whether anybody would read an event of `user`: else there is no need to make it."""
        return user in self._streams or bool(self._watchers)

    # Readers -----------------------------------------------------------------------------------------------------

    def subscribe(self, user: str, *, browser: str = "", sees_all: bool = False) -> Subscription:
        """Open a stream. Its first event is ``hello``: the page asks for all there is, and then follows.

        Parameters
        ----------
        user, browser, sees_all
            See :class:`Subscription`.
        """
        subscription = Subscription(user, browser, sees_all, self._clock())
        streams = self._streams.setdefault(user, [])
        streams.append(subscription)
        if sees_all:
            self._watchers.add(subscription)
        while len(streams) > _STREAMS:
            self._drop(streams[0])
        subscription.put(b"retry: 3000\n" + encode("hello", {"beat": BEAT}))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BEAT, self._beat)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a stream that its reader has left."""
        subscription.close()
        self._watchers.discard(subscription)
        streams = self._streams.get(subscription.user, [])
        if subscription in streams:
            streams.remove(subscription)
        if not streams:
            self._streams.pop(subscription.user, None)

    def sign_out(self, user: str, browser: str = "") -> None:
        """End the streams of a person, or those of one browser of theirs where it is known."""
        for subscription in list(self._streams.get(user, ())):
            if not browser or subscription.browser in ("", browser):
                subscription.put(encode("bye", {}))
                self._drop(subscription)

    def _drop(self, subscription: Subscription) -> None:
        subscription.close()
        self.unsubscribe(subscription)

    # Events ------------------------------------------------------------------------------------------------------

    def publish(self, user: str, event: str, data: Mapping[str, Any]) -> None:
        """Tell the open pages of one person, and those that see everybody.

        Parameters
        ----------
        event
            ``session``, ``warning``, ...
        data
            JSON object without anything secret.
        """
        readers = {*self._streams.get(user, ()), *self._watchers}
        if readers:
            chunk = encode(event, data)
            for subscription in readers:
                subscription.put(chunk)

    def publish_all(self, event: str, data: Mapping[str, Any]) -> None:
        """Tell every open page."""
        chunk = encode(event, data)
        for streams in self._streams.values():
            for subscription in streams:
                subscription.put(chunk)

    # Time --------------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        """One timer for all streams: signs of life, and the end of what is old or not allowed any more."""
        self._timer = None
        now = self._clock()
        for user, streams in list(self._streams.items()):
            if self.allowed is not None and not self.allowed(user):
                self.sign_out(user)
                continue
            for subscription in list(streams):
                if now - subscription.opened > _LIFE:
                    self._drop(subscription)
                else:
                    subscription.beat()
        if self._streams:
            self._timer = asyncio.get_running_loop().call_later(BEAT, self._beat)

    def close(self) -> None:
        """End all streams; the hub stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for streams in list(self._streams.values()):
            for subscription in list(streams):
                self._drop(subscription)
