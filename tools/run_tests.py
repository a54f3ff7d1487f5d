"""Runs the tiers of tests one after the other: ``make test``; ``run_tests.py TIER...`` runs some of them.

A tier is a row of the table below. Each has its own pytest process, so that it also has its own real
servers; what it needs from Debian is installed first, and what takes long to build (session environment,
MinIO client) is started before the first tier, in the background with the lowest priority. With ``CI=true``
a tier or test that is skipped is a failure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "test-results"
CI = os.environ.get("CI", "").lower() == "true"
PYTHON = sys.executable
PYTEST = [PYTHON, "-m", "pytest"]
#: A tier that takes this many times its budget hangs, and is ended.
PATIENCE = 4


@dataclass(frozen=True)
class Tier:
    """A row of the table: `commands` by name (static checks), or folders for pytest; `budget` in minutes."""

    name: str
    budget: int
    folder: str = ""
    commands: Sequence[tuple[str, Sequence[str]]] = ()
    #: Debian package by the command it brings
    needs: Sequence[tuple[str, str]] = ()
    #: name of the tier before it that it runs beside: one waits for time limits while the other computes
    beside: str = ""


BROWSER = (("chromium", "chromium"),)
SANDBOX = (
    ("bwrap", "bubblewrap"),
    ("git", "git"),
    ("zsh", "zsh"),
    ("Rscript", "r-base-core"),
)
CLOCK = (("faketime", "faketime"),)
STATIC = (
    ("ruff check", [PYTHON, "-m", "ruff", "check", "."]),
    ("ruff format", [PYTHON, "-m", "ruff", "format", "--check", "."]),
    ("mypy --strict", [PYTHON, "-m", "mypy"]),
    ("mypy --strict tools", [PYTHON, "-m", "mypy", "tools", "hub/hatch_build.py"]),
    ("tsc and eslint", ["npm", "run", "--silent", "check", "-w", "hub/ui"]),
)
TIERS = (
    Tier("static", 1, commands=STATIC),
    Tier("unit", 3, folder="tests/unit", needs=SANDBOX),
    Tier("integration", 6, folder="tests/integration tests/api", needs=SANDBOX),
    Tier("faults", 8, folder="tests/faults", needs=(*SANDBOX, *CLOCK), beside="integration"),
    Tier("browser", 8, folder="tests/browser", needs=(*SANDBOX, *BROWSER)),
)


@dataclass
class Outcome:
    """What came of a tier."""

    tier: Tier
    seconds: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    note: str = ""


def say(message: str) -> None:
    """Write a line between the outputs of the tiers."""
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


def clean_environment() -> dict[str, str]:
    """Return the environment of the tests: this one without what would lead a client to other servers or
    accounts.

    Proxies and certificate authorities of the machine stay; names of hosts without a proxy get this machine
    added.
    """
    foreign = (
        "AWS_",
        "S3_",
        "MC_HOST_",
        "VAULT_",
        "BAO_",
        "JUPYTER",
        "SARDONYX_",
        "PYTEST_",
        "RCLONE_",
        "OAUTH",
    )
    # PYTHONDONTWRITEBYTECODE: what is started a hundred times is compiled once
    alone = {
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHONDONTWRITEBYTECODE",
        "VIRTUAL_ENV",
        "BASH_ENV",
        "ENV",
        "KUBECONFIG",
        "PORT",
    }
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in alone and (not name.startswith(foreign) or name == "SARDONYX_CACHE")
    }
    for name in ("no_proxy", "NO_PROXY"):
        kept[name] = ",".join(filter(None, [kept.get(name), "127.0.0.1,localhost"]))
    return kept | {"PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def process(command: Sequence[str], log: IO[bytes] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a group of its own, its output in `log`; end the whole group when the block ends."""
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log and subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        # SIGINT first: pytest then ends what its fixtures started
        for number, wait in ((signal.SIGINT, 60), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(wait)


def install(tier: Tier) -> str:
    """Install what a tier needs from Debian; return why that is not possible, or nothing."""
    missing = sorted({package for command, package in tier.needs if shutil.which(command) is None})
    if not missing:
        return ""
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    apt = shutil.which("apt-get")
    if apt is None or (root and shutil.which("sudo") is None):
        return f"not installed: {' '.join(missing)}"
    say(f"installing {' '.join(missing)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with (RESULTS / "apt.log").open("ab") as log:
        for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            full = [*root, apt, "-qq", *command]
            done = subprocess.run(
                full,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=900,
                check=False,
            )
            if done.returncode and command[0] == "install":
                return f"apt-get could not install {' '.join(missing)} (see test-results/apt.log)"
    return ""


def run_static(tier: Tier, outcome: Outcome) -> None:
    """Run the commands of a tier one after the other; each counts as one test."""
    for name, command in tier.commands:
        with process(command) as child:
            code = child.wait(tier.budget * 60 * PATIENCE)
        say(f"{'ok' if code == 0 else 'FAILED'}: {name}")
        outcome.passed += code == 0
        outcome.failed += code != 0


def report_of(tier: Tier) -> Path:
    """Return where pytest writes the JUnit file of a tier."""
    return RESULTS / f"{tier.name}.xml"


def pytest_command(tier: Tier) -> list[str]:
    """Return the command that runs the folders of a tier."""
    report = report_of(tier)
    report.unlink(missing_ok=True)
    return [*PYTEST, *tier.folder.split(), f"--junitxml={report}", "-o", f"junit_suite_name={tier.name}"]


def finish_pytest(tier: Tier, child: subprocess.Popen[bytes], outcome: Outcome, started: float) -> None:
    """Wait for pytest, a few times the budget at most, and count from its JUnit file."""
    report = report_of(tier)
    try:
        code = child.wait(max(1.0, started + tier.budget * 60 * PATIENCE - time.monotonic()))
    except subprocess.TimeoutExpired:
        outcome.note = f"ended after {tier.budget * PATIENCE} minutes"
        code = -1
    outcome.passed, outcome.failed, outcome.skipped = count(report)
    if code != 0 and outcome.failed == 0:  # a crash, a time limit, or no test found
        outcome.failed += 1
        outcome.note = outcome.note or f"pytest ended with code {code}"
    outcome.seconds = duration(report) or time.monotonic() - started


def duration(report: Path) -> float:
    """Return the seconds that pytest says it took, or 0."""
    if not report.is_file():
        return 0.0
    return sum(float(suite.get("time", 0)) for suite in ET.parse(report).iter("testsuite"))  # noqa: S314


def count(report: Path) -> tuple[int, int, int]:
    """Return how many tests passed, failed (or broke) and were skipped, from pytest's JUnit file."""
    if not report.is_file():
        return 0, 0, 0
    passed = failed = skipped = 0
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  (written by our own pytest)
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def run_tier(tier: Tier) -> Outcome:
    """Run one tier."""
    outcome = Outcome(tier)
    say(f"\n===== {tier.name} (budget {tier.budget} min) =====")
    if skip(tier, outcome):
        return outcome
    started = time.monotonic()
    if tier.folder:
        with process(pytest_command(tier)) as child:
            finish_pytest(tier, child, outcome, started)
    else:
        run_static(tier, outcome)
        outcome.seconds = time.monotonic() - started
    return outcome


def skip(tier: Tier, outcome: Outcome) -> bool:
    """Install what a tier needs; return whether that is not possible, so that the tier cannot run."""
    problem = install(tier)
    if problem:
        outcome.note = problem
        outcome.skipped += 1
        say(f"{tier.name} skipped: {problem}")
    return bool(problem)


def run_together(first: Tier, others: Sequence[Tier]) -> list[Outcome]:
    """Run a tier, and others beside it whose output is shown when it has ended."""
    outcomes = []
    with contextlib.ExitStack() as stack:
        running = []
        for tier in others:
            outcome = Outcome(tier)
            outcomes.append(outcome)
            if not skip(tier, outcome):
                log = stack.enter_context((RESULTS / f"{tier.name}.log").open("w+b"))
                child = stack.enter_context(process(pytest_command(tier), log))
                running.append((tier, outcome, log, child, time.monotonic()))
        outcomes.insert(0, run_tier(first))
        for tier, outcome, log, child, started in running:
            finish_pytest(tier, child, outcome, started)
            log.seek(0)
            say(f"\n===== {tier.name} (budget {tier.budget} min), ran beside {first.name} =====")
            say(log.read().decode(errors="replace"))
    return outcomes


def run_tiers(tiers: Sequence[Tier]) -> list[Outcome]:
    """Run tiers in the order of the table, those that may side by side."""
    names = {tier.name for tier in tiers}
    leading = [tier for tier in tiers if tier.beside not in names]
    return [
        outcome
        for tier in leading
        for outcome in run_together(tier, [other for other in tiers if other.beside == tier.name])
    ]


@contextlib.contextmanager
def slow_builds() -> Iterator[None]:
    """Build the session environment and the MinIO client in the background; those who need them wait for
    them.
    """
    code = (
        "import os; os.nice(10)\n"
        "from sardonyx_hub.embedded import environments as e\n"
        "lock = e.LOCKS / 'jupyter-python.lock'\n"
        "e.ensure_environment('jupyter-python', lock, e.default_cache_root(), print)\n"
    )
    with contextlib.ExitStack() as stack:
        for name, command in (
            ("session-environment", [PYTHON, "-c", code]),
            ("mc", [PYTHON, "-m", "sardonyx_hub.embedded.mc"]),
        ):
            log = stack.enter_context((RESULTS / f"build-{name}.log").open("wb"))
            stack.enter_context(process(command, log))
        yield


def summary(outcomes: Sequence[Outcome]) -> int:
    """Print the table and the closing line; return the exit code."""
    say(f"\n{'tier':<12} {'time':>8} {'budget':>8}  passed failed skipped")
    for one in outcomes:
        counts = f"{one.passed:>6} {one.failed:>6} {one.skipped:>7}"
        over = " over budget" if one.seconds > one.tier.budget * 60 else ""
        times = f"{one.tier.name:<12} {one.seconds:>6.0f} s {one.tier.budget * 60:>6} s"
        say(f"{times}  {counts}  {one.note}{over}".rstrip())
    passed = sum(one.passed for one in outcomes)
    failed = sum(one.failed for one in outcomes)
    skipped = sum(one.skipped for one in outcomes)
    if CI and skipped:
        say("with CI=true nothing may be skipped")
        failed, skipped = failed + skipped, 0
    say(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


def main(names: Sequence[str]) -> int:
    """Run the tiers that are named, or all."""
    unknown = set(names) - {tier.name for tier in TIERS}
    if unknown:
        say(f"no such tier: {', '.join(sorted(unknown))}")
        return 2
    chosen = [tier for tier in TIERS if not names or tier.name in names]
    RESULTS.mkdir(exist_ok=True)

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    slow = any(tier.folder and tier.name != "unit" for tier in chosen)
    try:
        with slow_builds() if slow else contextlib.nullcontext():
            return summary(run_tiers(chosen))
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
