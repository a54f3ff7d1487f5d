"""Names of new sessions, and the guard against launching twice with one press too many."""

from __future__ import annotations

import re
import secrets
import time
import unicodedata
from collections.abc import Callable, Collection

#: Longest name of a named server in JupyterHub 6, which may have neither ``--`` nor a hyphen at an end.
MAX_NAME = 30
_SUFFIX = 4
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


def make_server_name(service_id: str, taken: Collection[str]) -> str:
    """Return a free and valid server name that begins with the service's.

    Examples
    --------
    >>> make_server_name("Jupyter_Python", ())  # doctest: +SKIP
    'jupyter-python-x7k2'
    """
    ascii_id = unicodedata.normalize("NFKD", service_id).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", ascii_id).strip("-")
    if not stem[:1].isalpha():
        stem = f"session-{stem}"
    stem = stem[: MAX_NAME - _SUFFIX - 1].strip("-")
    while True:
        name = f"{stem}-{''.join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX))}"
        if name not in taken:
            return name


#: Seconds after which a launch that is not under way any more has ended, and is not just about to begin.
_BEGINS_WITHIN = 10.0


class RecentLaunches:
    """Remembers which session a form launched, so that the same form posted again leads to it.

    Parameters
    ----------
    life
        Seconds that a launch is remembered.
    clock
        Seconds that only grow.
    """

    def __init__(self, life: float = 600.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._life = life
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, str]] = {}

    def find(self, user: str, form: str, runs: Callable[[str], bool] = lambda _: True) -> str | None:
        """Return the session that `form` (a random identifier in the page) launched; None if it launched none.

        Parameters
        ----------
        runs
            Whether a session runs or starts. One that has ended since is forgotten: who goes back to the form and
            posts it again wants another one.
        """
        launched, name = self._known.get((user, form), (float("-inf"), ""))
        age = self._clock() - launched
        if age < self._life and (age < _BEGINS_WITHIN or runs(name)):
            return name
        self.release(user, form)
        return None

    def note(self, user: str, form: str, server_name: str) -> None:
        """Remember that `form` launches `server_name`."""
        now = self._clock()
        self._known = {key: entry for key, entry in self._known.items() if now - entry[0] < self._life}
        if form:
            self._known[(user, form)] = (now, server_name)

    def release(self, user: str, form: str) -> None:
        """Forget a launch that failed: the form may be posted again."""
        self._known.pop((user, form), None)
