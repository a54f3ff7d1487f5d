"""Time that credentials add to a launch of somebody whom the hub has never given any."""

from __future__ import annotations

from collections.abc import Iterator

from bench_hub import EVERYTHING, MARKS, NOTHING, BenchHub
from figures import Figure, Goal, Report, Samples

SOURCES = {"s3": "S3 keys", "vault": "Vault token and secret", "git": "Git account"}
_RESTARTS = 6


def people(launches: int) -> Iterator[str]:
    """Yield everybody who signs in here."""
    yield "warm-up"
    for number in range(launches):
        yield from (f"with-{number:03}", f"without-{number:03}")


async def run(hub: BenchHub, launches: int) -> Report:
    """Launch with all three sources and without any, by turns, a new person each time; then once more each."""
    names = list(people(launches))
    signed_in = {name: [await hub.sign_in(name)] for name in names}
    for name in names:
        signed_in[name].append(await hub.sign_in(name))
    await hub.give(*names)
    first = (await _launch(hub, "warm-up"))["hook"]
    cold, warm, without = [], [], []
    for number in range(launches):
        name, other = f"with-{number:03}", f"without-{number:03}"
        cold.append(await _launch(hub, name))
        without.append(await _launch(hub, other, nothing=True))
        warm.append(await _launch(hub, name))
    restarted = [await _after_restart(hub, f"with-{number:03}") for number in range(min(_RESTARTS, launches))]

    def of(launched: list[dict[str, float]], what: str) -> Samples:
        return Samples.of(one[what] for one in launched)

    peer = "same launch, no source"
    added = [mine["total"] - theirs["total"] for mine, theirs in zip(cold, without, strict=True)]
    hooks = [of(kind, "hook") for kind in (cold, without, warm)]
    report = Report("credentials")
    report.figures = [
        Figure("cold: credentials step of a new person", hooks[0], hooks[1], peer, Goal(100)),
        Figure(
            "cold: whole launch, session that is there at once", of(cold, "total"), of(without, "total"), peer
        ),
        Figure("cold: added to the launch, pair by pair", Samples.of(added), goal=Goal(100)),
        *(Figure(f"cold: of these, {label}", of(cold, name)) for name, label in SOURCES.items()),
        Figure("warm: the same people again", hooks[2], hooks[1], peer),
        Figure("first launch of the hub's life", Samples.of([first]), hooks[0], "later new people"),
        Figure("hub restarted: bucket looked at again", Samples.of(restarted), hooks[0], "new people"),
        Figure(
            "first sign-in: handle and bucket",
            Samples.of(seconds[0] for name, seconds in signed_in.items() if name != "warm-up"),
            Samples.of(seconds[1] for name, seconds in signed_in.items() if name != "warm-up"),
            "their second sign-in",
        ),
    ]
    return report


async def _launch(hub: BenchHub, name: str, *, nothing: bool = False) -> dict[str, float]:
    """Launch and stop; return the seconds of the whole, of the credentials step and of each source."""
    spawner = hub.spawner(name)
    total = await hub.launch(name, NOTHING if nothing else EVERYTHING)
    found = {"total": total, "hook": spawner.hook_seconds}
    if not nothing:
        _require_all(spawner)
        # A source that answers from the cache has nothing running.
        found |= {source: MARKS.between(source) for source in SOURCES if (source, "running") in MARKS.seen}
    await hub.stop(name)
    return found


def _require_all(spawner: object) -> None:
    """A launch without some of its credentials would be quick and mean nothing."""
    if ("credentials", "warning") in MARKS.seen:
        raise RuntimeError(f"credentials are missing: {spawner.launch_progress.events}")  # type: ignore[attr-defined]


async def _after_restart(hub: BenchHub, name: str) -> float:
    """Return the seconds of the credentials step in a hub that has just started."""
    spawner = hub.spawner(name)
    before = spawner.bundle_hook, spawner.end_hook
    async with hub.other_datalab() as datalab:
        spawner.bundle_hook, spawner.end_hook = datalab.make_bundle, datalab.end_session
        try:
            return (await _launch(hub, name))["hook"]
        finally:
            spawner.bundle_hook, spawner.end_hook = before
