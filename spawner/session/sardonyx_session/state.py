"""What the agent holds: the credentials that are valid, when each part ends, and the files that follow from
them."""

from __future__ import annotations

import time
from typing import Any, Callable, Mapping, Optional

from . import render
from .document import SOURCES, clean_environment, ends, format_time, merge, parse_time, source_problems
from .rundir import GENERATION, RunDirectory

#: A clock that is off by less is right: no correction of the times that programs in the session compare with
#: it.
CLOCK_TOLERANCE = 5.0
#: Bytes of the ``mc`` configuration in which a person's own aliases are looked for. The session writes it, and what it
#: costs to read counts against nobody's limits: the agent runs outside the session's control group.
_MAX_MC = 1024 * 1024


def boot_clock() -> float:
    """Return seconds that no clock change moves and that go on while the machine sleeps (where the system
    offers it)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class State:
    """Credentials of the session and their files.

    Parameters
    ----------
    directory
        The run directory.
    run_view, package_view
        Where the session sees the run directory and this package; written into files that name paths.
    clock, wall
        A monotonic clock and the wall clock, in seconds; replaced in tests.
    """

    def __init__(
        self,
        directory: RunDirectory,
        run_view: str,
        package_view: str,
        clock: Callable[[], float] = boot_clock,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self.run_view = run_view
        self.package_view = package_view
        self.clock = clock
        self.wall = wall
        self.endpoint_url = ""
        self.endpoint_token = ""
        self.document: dict[str, Any] = {}
        self.environment: dict[str, str] = {}
        self.changed: dict[str, int] = {}
        self.refused: list[str] = []
        self.skew = 0.0
        self.valid: dict[str, Optional[float]] = {}
        self.refreshed: dict[str, float] = {}
        self.errors: dict[str, dict[str, str]] = {}
        self.generation = 0

    def restore(self, same_launch: bool) -> None:
        """Take up what an agent before this one left, as valid as the wall clock says.

        Of another launch in the same directory only the number goes on: its grant was another.
        """
        self.generation = self.directory.generation()
        if not self.generation or not same_launch:
            return
        self.document = self.directory.read_json("document.json") or {}
        self.environment, _ = clean_environment(self.directory.read_json("env.json"))
        records = (self.directory.read_bytes("env.nul") or b"").decode("utf-8", "surrogateescape").split("\0")
        for record in records[1:-1]:
            number, _, rest = record.partition(" ")
            self.changed[rest.partition("=")[0]] = (
                int(number) if number.isdecimal() and len(number) < 20 else 0
            )
        for source, end in ends(self.document).items():
            self.valid[source] = None if end is None else self.clock() + (end - self.wall())

    def accept(
        self, document: Mapping[str, Any], now: float, extra: Optional[Mapping[str, str]] = None
    ) -> bool:
        """Take a document that the hub sent when its clock showed `now`; return whether new files were
        written.

        Parts that could not be asked keep their last value, and so does a variable that is no longer there:
        running processes hold it anyhow, and one rule for all of them is easier to explain.

        Raises
        ------
        OSError
            If the files cannot be written; they and what this object holds are then as before.
        """
        merged = merge(self.document, document)
        fresh, refused = clean_environment(document.get("environment"))
        fresh.update(clean_environment(dict(extra or {}))[0])
        skew = self.wall() - now
        skew = skew if abs(skew) > CLOCK_TOLERANCE else 0.0
        end = parse_time(fresh.get("AWS_CREDENTIAL_EXPIRATION"))
        if skew and end is not None:
            # botocore compares with the session's clock: tell it the moment in that clock's terms.
            fresh["AWS_CREDENTIAL_EXPIRATION"] = format_time(end + skew)
        environment = {**self.environment, **fresh}
        environment.update(
            render.storage_environment(merged.get("s3"), self.endpoint_url, self.endpoint_token)
        )
        written = self._write(merged, environment)
        self.document, self.environment, self.refused, self.skew = merged, environment, refused, skew
        self._take_lives(document, now)
        return written

    def _take_lives(self, document: Mapping[str, Any], now: float) -> None:
        problems = source_problems(document)
        for source, end in ends(document).items():
            self.valid[source] = None if end is None else self.clock() + (end - now)
            self.refreshed[source] = self.wall()
            self.errors.pop(source, None)
        for source in SOURCES:
            if source in problems:
                self.errors[source] = {**problems[source], "time": format_time(self.wall())}
            elif source not in ends(document):
                self.valid.pop(source, None)
                self.errors.pop(source, None)

    def _write(self, document: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
        """Write all files if anything in them changed; the environment's part of the document counts by its
        values."""
        same = all(document.get(key) == self.document.get(key) for key in SOURCES)
        if same and environment == self.environment and self.directory.generation() == self.generation != 0:
            return False
        generation = self.generation + 1
        changed = {
            name: self.changed.get(name, generation) if self.environment.get(name) == value else generation
            for name, value in environment.items()
        }
        s3 = document.get("s3")
        accounts = render.git_accounts(document)
        files = {
            "document.json": render.to_json(document),
            "env.json": render.to_json(environment),
            "env.list": render.env_list(environment),
            "env.sh": render.env_sh(environment),
            "env.nul": render.env_nul(environment, changed, generation),
            "hook.sh": render.hook_sh(environment, changed, generation),
            "git.json": render.to_json({"version": 1, "accounts": accounts}),
            "git.list": render.git_list(accounts),
            "git-helper.config": render.git_helper_config(accounts, self.package_view, self.run_view),
            "git-identity.config": render.git_identity_config(accounts, environment),
            "mc/config.json": render.mc_config(s3, self.directory.read_json("mc/config.json", _MAX_MC)),
            "rclone.conf": render.rclone_conf(s3),
            GENERATION: b"%d\n" % generation,
        }
        self.directory.replace(files)
        self.generation, self.changed = generation, changed
        return True

    def remaining(self, source: str) -> Optional[float]:
        """Return the seconds that a part is still valid (negative: since when it is not); ``None``: it has no
        end."""
        end = self.valid.get(source)
        return None if end is None else end - self.clock()

    def container_answer(self) -> Optional[bytes]:
        """Return what the endpoint hands to SDKs, or ``None`` if there are no keys or they have ended."""
        s3 = self.document.get("s3")
        left = self.remaining("s3")
        if not s3 or (left is not None and left <= 0):
            return None
        return render.container_credentials(s3, format_time(self.wall() + (900.0 if left is None else left)))

    def sources_status(self) -> dict[str, dict[str, Any]]:
        """Return each source's state for ``status.json``: no value of a credential in it."""
        found: dict[str, dict[str, Any]] = {}
        for source in SOURCES:
            if source not in self.valid and source not in self.errors:
                continue
            left = self.remaining(source)
            state = "failing" if source in self.errors else "ok"
            if source not in self.valid:
                state = "missing"
            elif left is not None and left <= 0:
                state = "expired"
            found[source] = {
                "state": state,
                "valid_until": None if left is None else format_time(self.wall() + left),
                "last_refresh": format_time(self.refreshed[source]) if source in self.refreshed else None,
                "last_error": self.errors.get(source),
            }
        return found
