"""What is recorded: an agent's journal at work, and a controller with an agent under load."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.system.failures.jobs import ended, shell
from tests.system.power.cutting import Cut, cuts
from tests.system.power.promises import Controller, held_by
from tests.system.power.recording import Recording
from tests.system.rig import processes
from tests.system.rig.cluster import Cluster

LIMIT_SECS = 60.0
# In each wave a new job, a secret, and some runs of every job until then.
WAVES = 6
RUNS = 4


class Recorded(Cluster):
    """A cluster whose processes are recorded; of another build, where `code` says so."""

    def __init__(self, recording: Recording, code: tuple[Path, ...] = ()) -> None:
        super().__init__(recording.root, "", code)
        self.recording = recording

    def environment(self, failpoint: str = "") -> dict[str, str]:
        return super().environment(failpoint) | self.recording.environment


async def record_journal(recording: Recording) -> None:
    """Run the driver to its end."""
    out = recording.log.with_name("told.json")
    arguments = [str(recording.root / "journal"), str(recording.log), str(out)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.system.power.journal_driver", *arguments),
        env={**os.environ, **recording.environment},
    )
    async with asyncio.timeout(LIMIT_SECS):
        assert await process.wait() == 0
    told = json.loads(await asyncio.to_thread(out.read_text))
    recording.told = [(at, what, str(number)) for at, what, number in told]


def broken_journals(recording: Recording, count: int, seed: int) -> list[str]:
    """What is not in the journal after so many cuts although somebody was told of it."""
    found = []
    for cut in cuts(recording, count, seed):
        accepted, over = held_by(cut.disk / "journal")
        missing = {
            f"{what} of {number}"
            for what, known in (("accept", accepted | over), ("result", over))
            for number in cut.values(what)
            if (f"execution-{number}", int(number)) not in known
        }
        found += [f"{cut}: {each} is gone" for each in sorted(missing)]
    return found


async def record_load(recording: Recording, code: tuple[Path, ...] = ()) -> None:
    """Jobs, secrets and runs; then everything is killed at once, as by the power."""
    cluster = Recorded(recording, code)
    try:
        await cluster.start_controller()
        recording.tell("serving", "")
        await cluster.start_agent()
        recording.tell("online", "")
        for wave in range(WAVES):
            await _wave(cluster, recording, wave)
    finally:
        await cluster.close()


async def _wave(cluster: Recorded, recording: Recording, wave: int) -> None:
    client = cluster.client
    name = f"job-{wave}"
    await client.jobs.create(shell(name, f"echo {wave}; [ {wave} != 3 ]"))
    recording.tell("job", name)
    await client.variables.create(f"SECRET_{wave}", f"secret number {wave}", secret=True)
    recording.tell("secret", f"SECRET_{wave}")
    runs = [f"job-{each}" for each in range(wave + 1)] * RUNS
    # The last wave is cut off half way.
    await asyncio.gather(*(_run(cluster, recording, job, wave < WAVES - 1) for job in runs))


async def _run(cluster: Recorded, recording: Recording, job: str, to_its_end: bool) -> None:
    run = (await cluster.client.jobs.trigger(job)).run
    recording.tell("run", run.id)
    if to_its_end:
        over = await ended(cluster, run.id)
        recording.tell("ended", f"{run.id} {over.state}")


def broken_folders(recording: Recording, count: int, seed: int) -> list[str]:
    """What does not hold after so many cuts."""
    return [each for cut in cuts(recording, count, seed) for each in Controller(cut).broken()]


async def go_on(cut: Cut, folder: Path) -> list[str]:
    """Start controller and agent on the disk after a cut; what was promised and does not come."""
    cut.disk.rename(folder)
    cut.disk.mkdir()
    cluster = Cluster(folder, "")
    try:
        await cluster.start_controller()
        await cluster.start_agent()
        for run_id in cut.values("run"):
            await ended(cluster, run_id)
        found = await cluster.client.audit.verify()
        broken = [] if found.ok else [f"{cut}: the audit log does not hold"]
        # Whatever comes next works.
        await cluster.client.jobs.create(shell("afterwards", "true"))
        await ended(cluster, (await cluster.client.jobs.trigger("afterwards")).run.id)
        return broken + [f"{cut}: {line}" for line in cluster.complaints() if "Trace" in line]
    finally:
        await cluster.close()
        await processes.sweep(folder)
