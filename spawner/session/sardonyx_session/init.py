"""What happens once at a session's start: the Git clone and the init script. A failure is told, and stops
nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import IO, Mapping, Optional, Sequence
from urllib.parse import urlsplit, urlunsplit

from .messages import Messages
from .progress import Progress

MAX_SCRIPT = 1024 * 1024
DOWNLOAD_TIMEOUT = 30.0
CLONE_TIMEOUT = 120.0
SCRIPT_TIMEOUT = 300.0
_TAIL = 4000
# A branch or tag that Git takes (git-check-ref-format) and that can be mistaken for nothing else.
_REF = re.compile(r"(?!.*(?:\.\.|@\{|//|/\.|\.lock(?:/|$)))[A-Za-z0-9_][A-Za-z0-9._/+@#=-]*(?<![./])")
_SCP_LIKE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:(?!:)[^\s:][^\s]*")


class InitError(Exception):
    """A step that did not work.

    Attributes
    ----------
    step
        ``git`` or ``init``.
    advice
        Commands with which the person can try again, or a sentence; may be empty.
    output
        The end of what the step printed.
    """

    def __init__(self, step: str, message: str, advice: Sequence[str] = (), output: str = "") -> None:
        super().__init__(message)
        self.step = step
        self.advice = tuple(advice)
        self.output = output


@dataclass(frozen=True)
class Place:
    """Where the steps work.

    Parameters
    ----------
    work
        The work directory (``~/work``).
    state
        Where logs are kept (``~/.local/state/sardonyx``).
    environ
        The session's environment.
    """

    work: str
    state: str
    environ: Mapping[str, str]


def seconds_of(environ: Mapping[str, str], name: str, default: float) -> float:
    """Return a variable as seconds; the default if it is missing or no positive number."""
    try:
        value = float(environ.get(name, ""))
    except ValueError:
        return default
    return value if 0 < value < 86400 else default


def clean_repository(url: str) -> Optional[str]:
    """Return a repository's address without user name and password, or ``None`` if it is none that may be
    cloned.

    Git's other transports run commands (``ext::``) or read files of the machine (``file://``, a plain path).
    """
    url = url.strip()
    if not url or re.search(r"[\s\x00-\x1f\x7f]", url) or url.startswith("-"):
        return None
    if _SCP_LIKE.fullmatch(url):
        return url
    try:
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https", "ssh")
            or not parts.hostname
            or parts.hostname.startswith("-")
        ):
            return None
        user = parts.username if parts.scheme == "ssh" else None
        if user is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", user):
            return None
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        netloc = (f"{user}@" if user else "") + host + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return None
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


def valid_branch(name: str) -> bool:
    """Return whether a name may be given to ``git clone --branch``."""
    return _REF.fullmatch(name) is not None and len(name) < 250


def folder_name(url: str) -> str:
    """Return the folder that a repository is cloned into: the last part of its path, safe as a file name."""
    last = re.split(r"[/:]", urlsplit(url).path.rstrip("/") if "://" in url else url.rstrip("/"))[-1]
    last = last[:-4] if last.endswith(".git") else last
    name = re.sub(r"[^A-Za-z0-9._-]", "-", last).lstrip(".-")
    return name or "repository"


def public_url(url: str) -> str:
    """Return a URL as it may be shown: without user, password, query and fragment, which can hold a token."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return urlunsplit((parts.scheme, host + (f":{parts.port}" if parts.port else ""), parts.path, "", ""))
    except ValueError:
        return "?"


def clone(url: str, branch: str, place: Place, progress: Progress, tell: Messages) -> str:
    """Clone a repository into the work directory, unless its folder is there; return the folder.

    Raises
    ------
    InitError
        If it did not work; nothing half-made is left.
    """
    address = clean_repository(url)
    if address is None:
        raise InitError("git", tell("git.bad-url"))
    if branch and not valid_branch(branch):
        raise InitError("git", tell("git.bad-branch", branch=repr(branch[:100])))
    folder = os.path.join(place.work, folder_name(address))
    shown = public_url(address) if "://" in address else address
    if os.path.lexists(folder) and not _is_empty(folder):
        progress.report("git", "ok", tell("git.there", folder=folder))
        return folder
    progress.report("git", "running", tell("git.running", url=shown))
    try:
        temporary = tempfile.mkdtemp(prefix=".sardonyx-clone-", dir=place.work)
    except OSError as error:
        raise InitError("git", tell("disk.failed", path=place.work, reason=error.strerror)) from error
    try:
        _clone_into(temporary, address, branch, place, tell)
        os.rename(os.path.join(temporary, "repository"), folder)
    except OSError as error:
        raise InitError("git", tell("disk.failed", path=folder, reason=error.strerror)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    progress.report("git", "ok", tell("git.ok", url=shown, folder=folder))
    return folder


def _clone_into(parent: str, address: str, branch: str, place: Place, tell: Messages) -> None:
    options = ["--branch", branch] if branch else []
    shown = public_url(address) if "://" in address else address
    command = ["git", "clone", "--quiet", *options, "--", address, os.path.join(parent, "repository")]
    environ = {
        **place.environ,
        "GIT_TERMINAL_PROMPT": "0",  # fail at once instead of asking nobody
        "GIT_ASKPASS": "true",
        "GIT_ALLOW_PROTOCOL": "http:https:ssh",
        "GIT_SSH_COMMAND": place.environ.get("GIT_SSH_COMMAND")
        or "ssh -o BatchMode=yes -o ConnectTimeout=20",
    }
    limit = seconds_of(place.environ, "SARDONYX_CLONE_TIMEOUT", CLONE_TIMEOUT)
    again = shlex.join(
        ["git", "clone", *options, "--", address, os.path.join(place.work, folder_name(address))]
    )
    with tempfile.TemporaryFile() as output:
        try:
            status = run_limited(command, environ, place.work, limit, output)
        except FileNotFoundError as error:
            raise InitError("git", tell("git.missing")) from error
        text = _tail(output)
    if status is None:
        raise InitError(
            "git", tell("git.timeout", url=shown, seconds=f"{limit:.0f}"), [tell("git.advice"), again], text
        )
    if status != 0:
        raise InitError("git", tell("git.failed", url=shown), [tell("git.advice"), again], text)


def run_script(url: str, arguments: str, place: Place, progress: Progress, tell: Messages) -> None:
    """Download a script and run it with bash in the work directory.

    Raises
    ------
    InitError
        If it could not be downloaded or run, ran too long, or ended with another status than 0.
    """
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise InitError("init", tell("init.bad-args")) from error
    progress.report("init", "running", tell("init.running"))
    script = download(url, place.environ, tell)
    log = os.path.join(place.state, "init.log")
    limit = seconds_of(place.environ, "SARDONYX_INIT_TIMEOUT", SCRIPT_TIMEOUT)
    path = ""
    try:
        fd, path = tempfile.mkstemp(prefix="sardonyx-init-", suffix=".sh")
        with os.fdopen(fd, "wb") as file:
            file.write(script)
        with open(os.open(log, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as output:
            status = run_limited(["bash", path, *words], place.environ, place.work, limit, output)
            text = _tail(output)
    except OSError as error:
        raise InitError(
            "init", tell("disk.failed", path=error.filename or log, reason=error.strerror)
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
    advice = [tell("init.log", path=log)]
    if status is None:
        raise InitError("init", tell("init.timeout", seconds=f"{limit:.0f}"), advice, text)
    if status != 0:
        raise InitError("init", tell("init.failed", status=status), advice, text)
    progress.report("init", "ok", tell("init.ok"))


def download(url: str, environ: Mapping[str, str], tell: Messages) -> bytes:
    """Return a script of at most 1 MiB, from http(s) only, redirects included.

    Raises
    ------
    InitError
        If it cannot be had.
    """
    import http.client
    import ssl
    import urllib.request

    shown = public_url(url)
    if urlsplit(url).scheme not in ("http", "https") or re.search(r"[\s\x00-\x1f]", url):
        raise InitError("init", tell("init.bad-url"))
    opener = urllib.request.OpenerDirector()  # the usual one would also open file: and ftp:, a redirect's too
    context = ssl.create_default_context(cafile=environ.get("SSL_CERT_FILE") or None)
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT
    data = bytearray()
    try:
        response = opener.open(url, timeout=10)
        if response is None:
            raise InitError("init", tell("init.bad-url"))
        with response:
            while True:
                chunk = response.read1(65536)
                if not chunk:
                    return bytes(data)
                data += chunk
                if len(data) > MAX_SCRIPT:
                    raise InitError("init", tell("init.too-large", url=shown, size=MAX_SCRIPT // 1024))
                if time.monotonic() > deadline:
                    raise OSError("timed out")
    except (OSError, ValueError, http.client.HTTPException) as error:
        status = getattr(error, "code", None)
        reason = (
            f"HTTP {status}"
            if status
            else getattr(error, "reason", None) or str(error) or type(error).__name__
        )
        raise InitError("init", tell("init.download", url=shown, reason=reason)) from error


def run_limited(
    command: Sequence[str], environ: Mapping[str, str], folder: str, seconds: float, output: IO[bytes]
) -> Optional[int]:
    """Run a command in a process group of its own; return its status, or ``None`` if it had to be stopped.

    What it leaves running when it ends by itself goes on (an init script may start a server).

    Raises
    ------
    OSError
        If it cannot be started.
    """
    process = subprocess.Popen(
        command, env=dict(environ), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
        return None


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _TAIL))
    return output.read(_TAIL).decode("utf-8", "replace").strip()


def _is_empty(folder: str) -> bool:
    try:
        return not os.path.islink(folder) and not os.listdir(folder)
    except OSError:
        return False
