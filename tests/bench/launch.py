"""A launch of JupyterLab step by step, beside JupyterHub's own local spawner on the same hub and environment."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench_hub import EVERYTHING, MARKS, BenchHub, PeerSpawner
from figures import Figure, Report, Samples

from sardonyx_spawner.local import LocalDatalabSpawner
from sardonyx_spawner.overlay import OVERLAY

_ROUNDS = 5
PEER = "SimpleLocalProcessSpawner"


def people() -> Iterator[str]:
    """Yield everybody who signs in here; the first two launches fill the machine's file cache."""
    for number in range(_ROUNDS + 1):
        yield from (f"lab-{number}", f"peer-{number}")


async def run(hub: BenchHub) -> Report:
    """Launch ours and the peer's by turns, a new person each time; then ours once more on the disk that is there."""
    ours, again, peer = [], [], []
    for name in people():
        await hub.sign_in(name)
    await hub.give(*(name for name in people() if name.startswith("lab-")))
    for number in range(_ROUNDS + 1):
        name = f"lab-{number}"
        ours.append(await _ours(hub, name))
        peer.append(await _peer(hub, f"peer-{number}"))
        again.append(await _ours(hub, name))
    ours, again, peer = ours[1:], again[1:], peer[1:]

    def of(launched: list[dict[str, float]], step: str) -> Samples:
        return Samples.of(one[step] for one in launched)

    steps = {
        "options": "1 request, hub token, launch options",
        "credentials": "2 credentials (S3, Vault, Git)",
        "files": "3 folders, bundle, limits",
        "overlay": "4 runner, sandbox, own Python (overlay)",
        "first write": "5 session waits for the agent's first write",
        "listens": "6 jupyterhub-singleuser listens",
    }
    report = Report("launch")
    report.figures = [
        Figure("whole launch, new disk", of(ours, "total"), of(peer, "total"), PEER),
        Figure("whole launch, disk of an earlier one", of(again, "total"), of(peer, "total"), PEER),
        *(Figure(f"step {label}", of(ours, step)) for step, label in steps.items()),
        Figure("step 7 the hub finds that it answers", of(ours, "answers"), of(peer, "answers"), PEER),
        Figure("steps 1-3, before the process starts", of(ours, "before"), of(peer, "before"), PEER),
        Figure("steps 4-6, until the process listens", of(ours, "process"), of(peer, "process"), PEER),
    ]
    return report


async def _ours(hub: BenchHub, name: str) -> dict[str, float]:
    hub.spawner(name, LocalDatalabSpawner)
    begun = time.time()
    total = await hub.launch(name, EVERYTHING)
    moments = [
        begun,
        MARKS.at("options", "ok", "warning"),
        MARKS.at("credentials", "ok"),
        MARKS.at("start", "running"),
        *_written(hub, name),
        MARKS.at("start", "ok"),
        begun + total,
    ]
    await hub.stop(name)
    names = ("options", "credentials", "files", "overlay", "first write", "listens", "answers")
    steps = {step: end - start for step, start, end in zip(names, moments, moments[1:], strict=False)}
    started = moments[3]
    return steps | {"total": total, "before": started - begun, "process": moments[6] - started}


def _written(hub: BenchHub, name: str) -> tuple[float, float]:
    """Return when the overlay was there and when the session had its first credentials, by files' times.

    The overlay of an earlier launch is older than this one: then it is the session's first sign of life.
    """
    place = (hub.datalab.handles.handle_for(name), "default")
    overlay = hub.settings.disks_dir.joinpath(*place) / OVERLAY
    made = max(path.stat().st_mtime for path in overlay.iterdir())
    run = hub.settings.run_dir.joinpath(*place)
    waited = (run / "progress.jsonl").stat().st_mtime
    return max(made, MARKS.at("start", "running")), waited


async def _peer(hub: BenchHub, name: str) -> dict[str, float]:
    hub.spawner(name, PeerSpawner)
    begun = time.time()
    total = await hub.launch(name, {})
    started, listens = MARKS.at("start", "running"), MARKS.at("start", "ok")
    await hub.stop(name)
    return {
        "total": total,
        "before": started - begun,
        "process": listens - started,
        "answers": begun + total - listens,
    }
