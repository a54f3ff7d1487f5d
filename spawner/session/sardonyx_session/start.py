"""``start -- COMMAND``: prepares the session around a command, then becomes that command."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Mapping, Optional, Sequence

from .authorities import BUNDLE_FILE, make_bundle
from .environment import session_environment, static_environment
from .init import InitError, Place, clone, run_script, seconds_of
from .messages import Messages
from .progress import Progress
from .rundir import RunDirectory, run_path

EXPLANATION = "SARDONYX-INIT.md"
WAIT_SECONDS = 30.0
_MARK = "<!-- sardonyx-session -->"


def main(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Prepare the session and replace this process by `command`; returns only if that cannot be started."""
    tell = Messages.from_environ(environ)
    if not command:
        sys.stderr.write("usage: sardonyx-session start -- COMMAND [ARGUMENT...]\n")
        return 2
    environment = prepare(dict(environ), tell)
    with contextlib.suppress(OSError):
        os.chdir(work_directory(environment))
    try:
        os.execvpe(command[0], list(command), environment)
    except OSError as error:
        sys.stderr.write(tell("command.failed", command=command[0], reason=error.strerror) + "\n")
    return 127


def prepare(environ: dict[str, str], tell: Messages) -> dict[str, str]:
    """Wait for credentials, do the init steps, and return the environment for the session's command. Never
    raises."""
    run_dir = run_path(environ)
    progress = Progress(run_dir)
    wait_for_first_write(run_dir, seconds_of(environ, "SARDONYX_WAIT", WAIT_SECONDS), progress, tell)
    _ensure_bundle(run_dir, environ)
    environment = {**environ, **_renewed(run_dir)}
    environment.update(static_environment(run_dir, environment))
    environment.pop("SARDONYX_TOKEN_FILE", None)
    home = environment.get("HOME") or os.path.expanduser("~")
    place = Place(work_directory(environment), os.path.join(home, ".local", "state", "sardonyx"), environment)
    errors: list[InitError] = []
    for folder in (place.work, place.state):
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            errors.append(InitError("init", tell("disk.failed", path=folder, reason=error.strerror)))
    _link_mc(home, run_dir)
    errors += _init(place, progress, tell)
    notice = explain(errors, place, tell)
    environment.pop("SARDONYX_NOTICE", None)
    if notice:
        environment["SARDONYX_NOTICE"] = notice
    environment.update(_renewed(run_dir))  # the steps may have taken minutes
    return environment


def work_directory(environ: Mapping[str, str]) -> str:
    """Return ``~/work``, which a session sees as ``/home/onyxia/work``."""
    return os.path.join(environ.get("HOME") or os.path.expanduser("~"), "work")


def wait_for_first_write(run_dir: str, seconds: float, progress: Progress, tell: Messages) -> bool:
    """Wait until the agent has written once; return whether it has."""
    progress.report("credentials", "running", tell("credentials.wait"))
    deadline = time.monotonic() + seconds
    while True:
        try:
            with open(os.path.join(run_dir, "generation"), "rb") as file:
                if file.read().strip():
                    progress.report("credentials", "ok", tell("credentials.ok"))
                    return True
        except OSError:
            pass
        if time.monotonic() >= deadline:
            progress.report("credentials", "warning", tell("credentials.missing"))
            return False
        time.sleep(0.02)


def explain(errors: Sequence[InitError], place: Place, tell: Messages) -> Optional[str]:
    """Write what went wrong into the work directory, or remove what an earlier start wrote there.

    Returns
    -------
    str or None
        The file with the sentence that the first terminal prompt shows.
    """
    path = os.path.join(place.work, EXPLANATION)
    notice = os.path.join(place.state, "notice")
    if not errors:
        _remove_ours(path)
        with contextlib.suppress(OSError):
            os.unlink(notice)
        return None
    lines = [_MARK, "# " + tell("explain.title"), "", tell("explain.intro"), ""]
    for error in errors:
        lines += [f"## {error}", ""]
        for advice in error.advice:
            lines += [f"    {advice}" if advice.startswith("git ") else advice, ""]
        if error.output:
            lines += [tell("explain.output"), "", *("    " + line for line in error.output.splitlines()), ""]
    summary = "; ".join(str(error) for error in errors)
    try:
        _write(path, "\n".join(lines))
        _write(notice, tell("notice", summary=summary, path=path) + "\n")
    except OSError as error:
        sys.stderr.write(tell("disk.failed", path=path, reason=error.strerror) + "\n")
        return None
    return notice


def _init(place: Place, progress: Progress, tell: Messages) -> list[InitError]:
    environ = place.environ
    errors: list[InitError] = []
    repository, script = environ.get("GIT_REPOSITORY", ""), environ.get("SARDONYX_INIT_SCRIPT", "")
    try:
        if repository.strip():
            clone(repository, environ.get("GIT_BRANCH", "").strip(), place, progress, tell)
    except InitError as error:
        errors.append(error)
    try:
        if script.strip():
            run_script(script.strip(), environ.get("SARDONYX_INIT_ARGS", ""), place, progress, tell)
    except InitError as error:
        errors.append(error)
    for failure in errors:
        progress.report(failure.step, "failed", str(failure))
    return errors


def _renewed(run_dir: str) -> dict[str, str]:
    try:
        return session_environment(run_dir)
    except OSError:
        return {}


def _ensure_bundle(run_dir: str, environ: Mapping[str, str]) -> None:
    """Make the bundle of authorities if the agent has not: where it runs in a container with another
    system's."""
    if os.path.exists(os.path.join(run_dir, BUNDLE_FILE)):
        return
    bundle = make_bundle(environ)
    if bundle is None:
        return
    with contextlib.suppress(OSError):
        directory = RunDirectory(run_dir)
        try:
            directory.replace({BUNDLE_FILE: bundle})
        finally:
            directory.close()


def _link_mc(home: str, run_dir: str) -> None:
    """Have ``~/.mc/config.json`` lead to the renewed one, unless the person has a file there.

    ``MC_CONFIG_DIR`` would hide the person's own aliases and lose those they add with the session.
    """
    path = os.path.join(home, ".mc", "config.json")
    with contextlib.suppress(OSError):
        if os.path.islink(path):
            os.unlink(path)
        elif os.path.exists(path):
            return
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.symlink(os.path.join(run_dir, "mc", "config.json"), path)


def _write(path: str, text: str) -> None:
    temporary = path + ".new"
    with open(temporary, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
    os.replace(temporary, path)


def _remove_ours(path: str) -> None:
    with contextlib.suppress(OSError):
        with open(path, encoding="utf-8", errors="replace") as file:
            ours = file.readline().strip() == _MARK
        if ours:
            os.unlink(path)
