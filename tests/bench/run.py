"""Measures a real datalab on this machine: ``python tests/bench/run.py [BENCH ...]``.

Prints one table and writes ``bench-results/BENCH.json``. Each figure stands beside its peer's from the same run, taken by
turns with it: on a machine that does something else as well, ratios mean more than milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # helpers that the tests share

import broker
import credentials
import delays
import launch
import live
from bench_hub import MARKS, BenchHub, running_backends, running_hub
from figures import Report, table

from sardonyx_hub.embedded.environments import LOCKS, default_cache_root, ensure_environment

NAMES = ("credentials", "delays", "broker", "launch", "live")
ROOT = Path(__file__).resolve().parent.parent.parent
#: Seconds for everything.
LIMIT = 400.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "benches", nargs="*", metavar="BENCH", help=f"one of {', '.join(NAMES)}; default: all"
    )
    parser.add_argument("--launches", type=int, default=30, help="new people of the bench credentials")
    parser.add_argument(
        "--environment", type=Path, help="session environment; default: built from its lock file"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "bench-results", help="folder of the JSON files"
    )
    chosen = parser.parse_args()
    unknown = [name for name in chosen.benches if name not in NAMES]
    if unknown:
        parser.error(f"there is no bench {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return chosen


async def _measure(hub: BenchHub, names: list[str], launches: int) -> list[Report]:
    benches: dict[str, Callable[[], Awaitable[Report]]] = {
        "credentials": lambda: credentials.run(hub, launches),
        "delays": lambda: delays.run(hub),
        "broker": lambda: broker.run(hub),
        "launch": lambda: launch.run(hub),
        "live": lambda: live.run(hub),
    }
    reports = []
    for name in names:
        _say(f"{name} ...")
        begun = time.monotonic()
        report = await benches[name]()
        report.seconds = time.monotonic() - begun
        reports.append(report)
    return reports


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def _run(environment: Path, names: list[str], launches: int) -> list[Report]:
    task = asyncio.current_task()
    if task is not None:  # end sessions and servers before the process
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    people = [*credentials.people(launches), *delays.people(), *launch.people(), *live.people()]
    with running_backends(environment) as (settings, bao), MARKS.recorded():
        async with asyncio.timeout(LIMIT), running_hub(settings, bao, people) as hub:
            return await _measure(hub, names, launches)


def main() -> int:
    """Run what was asked for."""
    arguments = _arguments()
    load = os.getloadavg()[0]
    environment = arguments.environment or ensure_environment(
        "jupyter-python", LOCKS / "jupyter-python.lock", default_cache_root(), _say
    )
    names = [name for name in NAMES if name in arguments.benches or not arguments.benches]
    begun = time.monotonic()
    try:
        reports = asyncio.run(_run(environment.absolute(), names, arguments.launches))
    except TimeoutError:
        _say(f"not done within {LIMIT:.0f} s")
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        _say("ended")
        return 1
    for report in reports:
        report.save(arguments.output, load)
    seconds = time.monotonic() - begun
    print(table(reports))
    print(f"milliseconds; {seconds:.0f} s on {os.cpu_count()} processors, load before: {load:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
