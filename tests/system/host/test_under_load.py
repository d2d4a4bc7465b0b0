"""A backup under load, a kill, a restore elsewhere: what was acknowledged before it is kept."""

import asyncio
from pathlib import Path

from tests.system.checker.rules import judge
from tests.system.rig.cluster import Cluster, patient, until
from tests.system.rig.load import Load
from tests.system.rig.recording import Recorder
from tests.system.rig.restoring import (
    backup,
    integrity,
    move_elsewhere,
    restore,
    without_the_forgotten,
)
from tests.system.rig.tasks import Notes

# Runs under way at once, and how many are answered after the backup and then forgotten.
PUMPS = 4
FORGOTTEN = 20


async def pump(cluster: Cluster, recorder: Recorder, over: asyncio.Event) -> None:
    """One short run after the other."""
    while not over.is_set():
        run_id = await recorder.trigger("short")

        async def ended(run_id: str = run_id) -> bool:
            # One that is forgotten is not waited for.
            return over.is_set() or (await cluster.client.runs.get(run_id)).HasField("finished_at")

        await until(patient(ended), "a short run to end")


async def test_the_promises_hold_for_what_was_acknowledged_before_the_backup(
    made: Cluster, db: str
) -> None:
    notes = Notes(made.folder / "notes")
    recorder = Recorder(made, notes)
    await made.start_controller()
    await made.start_agent()
    load = Load(made, recorder, notes)
    await load.define()
    over = asyncio.Event()
    pumps = [asyncio.ensure_future(pump(made, recorder, over)) for _ in range(PUMPS)]
    await load.fire()

    kept = {ack.run_id for ack in recorder.acknowledged}
    source = await backup(made)
    answered = len(recorder.acknowledged) + FORGOTTEN

    async def enough() -> bool:
        await asyncio.sleep(0)
        return len(recorder.acknowledged) >= answered

    await recorder.trigger("long")
    await until(enough, "triggers that will be forgotten")
    before = await fences(made)
    assert made.controller is not None
    await made.controller.kill()
    # Another folder; on PostgreSQL the same database, whose tables are moved aside.
    move_elsewhere(made, db)
    said = await restore(made, source, *(["--force"] if db else []))
    await made.start_controller()

    over.set()
    await asyncio.gather(*pumps)
    await made.until_online()
    known = {run.id async for run in made.client.runs.list()}
    assert kept <= known
    forgotten = [ack for ack in recorder.acknowledged if ack.run_id not in known]
    assert len(forgotten) >= FORGOTTEN
    recorder.acknowledged = [ack for ack in recorder.acknowledged if ack.run_id in known]
    await load.again()
    await load.stop_ticking()
    await recorder.settled()

    history = without_the_forgotten(await recorder.history())
    assert judge(history) == []
    assert said.fence > max(before.values())
    for run in history.runs:
        for attempt in run.attempts:
            adopted = attempt.fence and before.get(attempt.id) == attempt.fence
            assert adopted or not attempt.fence or attempt.fence > said.fence, attempt
    if not db:
        assert integrity(Path(made.db)) == "ok"
    assert made.complaints() == []


async def fences(cluster: Cluster) -> dict[str, int]:
    """The fence of every execution that there is."""
    runs = [run async for run in cluster.client.runs.list()]
    found = [await cluster.client.runs.get(run.id) for run in runs]
    return {each.id: each.fence for run in found for each in run.executions}
