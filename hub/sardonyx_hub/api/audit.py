"""Who got which credentials, and who touched which secret: events with a schema, one JSON line each, never a
value.

The schemas are the files in ``sardonyx_hub/events``; an event that does not fit its schema is not written as
it is.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from jupyter_events import EventLogger

from ..credentials.model import Credentials, Grant, SourceName, Subject

ISSUED: Final = "urn:sardonyx:events:credentials-issued"
REFUSED: Final = "urn:sardonyx:events:credentials-refused"
ACCESSED: Final = "urn:sardonyx:events:secret-accessed"
GIT: Final = "urn:sardonyx:events:git-account-accessed"
ADMINISTERED: Final = "urn:sardonyx:events:administered"
KEY: Final = "urn:sardonyx:events:signing-key-changed"

#: `list` tells names, `read` values; `delete` can be taken back by `undelete`, `destroy` cannot.
SecretAction = Literal["list", "read", "write", "delete", "undelete", "restore", "move", "destroy"]

_SCHEMAS = Path(__file__).resolve().parent.parent / "events"
#: Events that wait for the disk; when it hangs for longer than that, the following ones are counted and lost.
_QUEUE_LENGTH = 10_000
#: Sessions and sources whose last event is remembered; one that is forgotten is recorded once more.
_REMEMBERED = 20_000
_log = logging.getLogger(__name__)


def new_request_id() -> str:
    """Return an identifier that joins the events of one request or launch."""
    return secrets.token_hex(8)


class Audit:
    """Writes events, and never fails what it records.

    Parameters
    ----------
    log_path
        File of JSON lines, made with mode 0600 and appended to, so that the command line may write to it too.
        ``None``: none.
    handlers
        Further logging handlers (syslog, standard output of a pod); called in the audit's own thread.

    Notes
    -----
    An event is put into a queue; a thread checks it against its schema, which takes a millisecond, and writes. A
    disk that fails or hangs costs events, never a request: the hub's log says so at most once a minute, with the
    number of events that were lost.
    """

    def __init__(self, log_path: str | Path | None = None, handlers: Sequence[logging.Handler] = ()) -> None:
        self._given: OrderedDict[tuple[str, SourceName], datetime] = OrderedDict()
        self._lost = 0
        self._told_at = float("-inf")
        self._guard = threading.Lock()
        targets = [*handlers]
        if log_path is not None:
            targets.append(_PrivateFileHandler(Path(log_path), self._lose))
        self._queue: queue.Queue[tuple[str, dict[str, Any], datetime] | None] = queue.Queue(_QUEUE_LENGTH)
        self._events = EventLogger(handlers=targets)
        for path in sorted(_SCHEMAS.glob("*.yaml")):
            self._events.register_event_schema(path)
        self._closed = False
        # A daemon: a handler that hangs must not keep the hub from stopping.
        threading.Thread(target=self._write, name="sardonyx-audit", daemon=True).start()

    def close(self) -> None:
        """Write what waits, for at most a few seconds, and stop the thread."""
        if self._closed:
            return
        self._closed = True
        if self.flush():
            self._queue.put_nowait(None)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait at most `timeout` seconds until all that was recorded is written; return whether it is."""
        end = time.monotonic() + timeout
        while self._queue.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)
        return not self._queue.unfinished_tasks

    def credentials(
        self,
        subject: Subject,
        grant: Grant,
        credentials: Credentials,
        *,
        request_id: str = "",
    ) -> None:
        """Record what the broker answered: each credential once a session, and each source that refused.

        An agent that asks again and is given the same credentials makes no further event.
        """
        common = {
            "person": subject.name or subject.handle,
            "handle": subject.handle,
            "session": grant.session,
        }
        common["request_id"] = request_id
        backends = {
            "s3": credentials.s3.endpoint_url if credentials.s3 else "",
            "vault": credentials.vault.address if credentials.vault else "",
            "git": "",
        }
        sources: tuple[SourceName, ...] = ("s3", "vault", "git")
        for source in sources:
            part = getattr(credentials, source)
            if part is not None and self._is_new(grant.session, source, part.issued_at):
                event = {"source": source, "grant": _summary(source, grant), "outcome": "issued"}
                event["expires_at"] = _iso(part.expiration)
                if backends[source]:
                    event["backend"] = backends[source]
                self._emit(ISSUED, {**common, **event})
        for problem in credentials.problems:
            event = {"source": problem.source, "outcome": "refused", "reason": problem.code}
            self._emit(REFUSED, {**common, **event})

    def refused(
        self, person: str, reason: str, *, session: str = "", handle: str = "", request_id: str
    ) -> None:
        """Record that the hub itself refused credentials, before any source was asked."""
        event = {"person": person, "outcome": "refused", "reason": reason, "request_id": request_id}
        event |= {"session": session[:512]} if session else {}
        event |= {"handle": handle} if handle else {}
        self._emit(REFUSED, event)

    def secret(
        self,
        subject: Subject,
        action: SecretAction,
        path: str,
        *,
        target: str = "",
        version: int = 0,
        reason: str = "",
        request_id: str,
    ) -> None:
        """Record access to a secret or a folder of secrets; a `reason` says that it was refused."""
        event: dict[str, Any] = {"action": action, "path": path, **_person(subject, reason, request_id)}
        event |= {"target": target} if target else {}
        event |= {"version": version} if version else {}
        self._emit(ACCESSED, event)

    def git_account(
        self,
        subject: Subject,
        action: Literal["reveal", "write", "delete"],
        host: str,
        *,
        reason: str = "",
        request_id: str,
    ) -> None:
        """Record that a Git account was set, deleted or revealed; a `reason` says that it was refused."""
        self._emit(GIT, {"action": action, "host": host, **_person(subject, reason, request_id)})

    def administered(
        self,
        person: str,
        action: str,
        target: Literal["person", "group", "session", "datalab"],
        name: str = "",
        *,
        session: str | None = None,
        detail: str = "",
        reason: str = "",
        request_id: str,
    ) -> None:
        """Record what `person` did in the admin panel; a `reason` says that it was refused or failed."""
        event = {"person": person, "action": action, "target": target, "request_id": request_id}
        event |= {"name": name} if name else {}
        event |= {"session": session} if session is not None else {}
        event |= {"detail": detail[:4000]} if detail else {}
        event |= {"outcome": "refused", "reason": reason[:64]} if reason else {"outcome": "done"}
        self._emit(ADMINISTERED, event)

    def key(
        self, action: Literal["rotate", "revoke"], kid: str, *, successor: str = "", operator: str = ""
    ) -> None:
        """Record that a signing key was rotated in or revoked."""
        event = {"action": action, "kid": kid}
        event |= {"successor": successor} if successor else {}
        event |= {"operator": operator} if operator else {}
        self._emit(KEY, event)

    def _is_new(self, session: str, source: SourceName, issued_at: datetime) -> bool:
        """Remember that a session was given what was issued then; return whether it had not been given it
        before.
        """
        known = self._given.pop((session, source), None)
        self._given[session, source] = issued_at
        while len(self._given) > _REMEMBERED:
            self._given.popitem(last=False)
        return known != issued_at

    def _emit(self, schema_id: str, event: dict[str, Any]) -> None:
        # Naive UTC: jupyter_events appends the "Z" itself, also to times that have an offset already.
        moment = datetime.now(UTC).replace(tzinfo=None)
        try:
            self._queue.put_nowait((schema_id, event, moment))
        except queue.Full:
            self._lose(RuntimeError("the queue is full"))

    def _write(self) -> None:
        """Check and write what is recorded, in a thread of its own, until the end."""
        while (waiting := self._queue.get()) is not None:
            schema_id, event, moment = waiting
            try:
                self._events.emit(schema_id=schema_id, data=event, timestamp_override=moment)
            except Exception as error:
                # The validator's message quotes the event. Fields are ours, but the log is read by more people
                # than the audit.
                self._lose(error)
            finally:
                self._queue.task_done()

    def _lose(self, error: BaseException | None) -> None:
        """Count an event that was not written; tell the hub's log at most once a minute."""
        with self._guard:
            self._lost += 1
            if time.monotonic() - self._told_at < 60:
                return
            self._told_at = time.monotonic()
            lost, self._lost = self._lost, 0
        cause = error.strerror if isinstance(error, OSError) else type(error).__name__
        _log.error("%d audit events were not written: %s", lost, cause)


class _PrivateFileHandler(logging.Handler):
    """Appends whole lines to a file of mode 0600, opened anew for each: a rotated or deleted file is no
    event's end.
    """

    def __init__(self, path: Path, lose: Any) -> None:
        super().__init__()
        self._path = path
        self._lose = lose

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line with one system call, so that lines of two processes do not mix."""
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                with suppress(OSError):
                    os.fchmod(descriptor, 0o600)
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except Exception as error:
            self._lose(error)


def _person(subject: Subject, reason: str, request_id: str) -> dict[str, str]:
    event = {"person": subject.name or subject.handle, "handle": subject.handle, "request_id": request_id}
    event["outcome"] = "refused" if reason else "done"
    return {**event, "reason": reason[:64]} if reason else event


def _summary(source: SourceName, grant: Grant) -> dict[str, Any]:
    if source == "s3":
        return {"s3": grant.s3}
    if source == "vault":
        return {"secrets": list(grant.secrets), "vault_token": grant.vault_token}
    return {"git_hosts": list(grant.git_hosts)}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
