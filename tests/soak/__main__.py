"""`make soak`: the load for `KRONFORCE_SOAK_SECS` (two hours), then a table; 1 if anything grew."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from kronforce_client import ClientError
from tests.soak.judging import Verdict, judge
from tests.soak.load import Load
from tests.soak.sampling import Sample, sample
from tests.system.rig.cluster import Cluster, cluster

DEFAULT_SECS = 7_200.0
# Figures in all; more say no more.
SAMPLES = 480
SETTLE_SECS = 30.0
# Between two lines of how far it is.
TELL_SECS = 300.0
AGENTS = ("one", "two")


async def soak(folder: Path, secs: float) -> int:
    """The whole of it; the exit code."""
    async with cluster(folder, "") as made:
        await made.start_controller(KRONFORCE_BIND="127.0.0.1:0", KRONFORCE_LOG_LEVEL="warning")
        for name in AGENTS:
            await made.start_agent(name)
        load = Load(made, json.loads((made.data_dir / "endpoint.json").read_text())["http"])
        await load.define()
        loading = asyncio.create_task(load.run())
        try:
            samples = await _watched(made, load, loading, secs)
        finally:
            loading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loading
        await asyncio.sleep(SETTLE_SECS)
        wrong = [*await _books(load), *made.complaints()]
    return _report(judge(samples), wrong, load.triggered)


async def _books(load: Load) -> list[str]:
    """What is wrong in them; that they cannot be had is, and the figures are told all the same."""
    try:
        return await load.books()
    except ClientError as error:
        return [f"the books cannot be had: {type(error).__name__}: {error}"]


async def _watched(
    made: Cluster, load: Load, loading: asyncio.Task[None], secs: float
) -> list[Sample]:
    samples: list[Sample] = []
    start, told = time.monotonic(), 0.0
    pause = max(1.0, secs / SAMPLES)
    while (now := time.monotonic() - start) < secs:
        if loading.done():
            await loading
        samples.append(sample(now, _pids(made), made.data_dir, load.triggered))
        if now >= told + TELL_SECS:
            told = now
            _tell(samples[-1], load)
        await asyncio.sleep(pause)
    return samples


def _tell(last: Sample, load: Load) -> None:
    memory = last.figures["controller memory"] / 2**20
    faults = sum(load.faults.values())
    print(
        f"after {last.at:,.0f} s: {last.runs:,} runs, {faults} faults, "
        f"{last.cpu_secs * 1e3 / max(1, last.runs):.1f} ms of CPU a run, "
        f"controller {memory:.0f} MiB",
        flush=True,
    )


def _pids(made: Cluster) -> dict[str, int]:
    assert made.controller is not None
    found = {"controller": made.controller.pid}
    found |= {f"agent {name}": agent.pid for name, agent in made.agents.items()}
    return found | {f"launcher {n}": pid for n, pid in enumerate(sorted(made.launchers()))}


def _report(verdicts: list[Verdict], wrong: list[str], runs: int) -> int:
    print(f"{runs:,} runs")
    print(f"{'':<32}{'begin':>12}{'end':>12}{'grown':>12}{'scatter':>12}")
    for each in verdicts:
        numbers = (each.begin, each.end, each.grown, each.scatter)
        shown = "".join(f"{_shown(each.name, number):>12}" for number in numbers)
        print(f"{each.name:<32}{shown}  {'flat' if each.flat else 'GROWS'}")
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong or not all(each.flat for each in verdicts) else 0


def _shown(name: str, number: float) -> str:
    if name.endswith(("memory", "wal")):
        return f"{number / 2**20:.2f} MiB"
    return f"{number:.2f}"


if __name__ == "__main__":
    asked = float(os.environ.get("KRONFORCE_SOAK_SECS", DEFAULT_SECS))
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        sys.exit(asyncio.run(soak(Path(place), asked)))
