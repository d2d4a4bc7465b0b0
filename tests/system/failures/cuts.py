"""PostgreSQL ends every connection of the product, again and again, under the mixed load."""

from __future__ import annotations

import asyncio
import random

import psycopg

from kronforce.v1.execution_pb2 import ExecutionState
from tests.system.checker.rules import judge
from tests.system.rig.cluster import Cluster, patient, until
from tests.system.rig.load import Load
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes

# From one cut to the next: as soon as connections are back, and when work is well under way.
PAUSE_SECS = (0.2, 1.5)
SETTLE_SECS = 90.0
MOST_WAITING = 20


async def cut_again_and_again(cluster: Cluster, cuts: int, seed: int) -> None:
    """Judge what came of so many cuts; nothing was killed, so nothing may be lost."""
    await cluster.start_controller()
    await cluster.start_agent()
    notes = Notes(cluster.folder / "notes")
    recorder = Recorder(cluster, notes)
    load = Load(cluster, recorder, notes)
    await load.define()
    await recorder.follow()
    cutting = asyncio.ensure_future(_cut(cluster.db, cuts, random.Random(seed)))
    try:
        await load.fire()
        while not cutting.done():
            await load.again()
            await until(patient(lambda: _keeps_up(cluster)), "what waits to become less")
        await cutting
    finally:
        cutting.cancel()
    await load.stop_ticking()
    await recorder.settled(SETTLE_SECS)
    history = await recorder.history()
    wrong = judge(history)
    assert not wrong, f"seed {seed}: {wrong}"
    assert [run for run in history.runs if run.state == "lost"] == [], f"seed {seed}"


async def _keeps_up(cluster: Cluster) -> bool:
    """Or a limited job would have a queue for minutes."""
    state = ExecutionState.EXECUTION_STATE_PENDING
    return (await cluster.client.runs.page(state=state, page_size=1)).total < MOST_WAITING


async def _cut(url: str, cuts: int, rng: random.Random) -> None:
    for _ in range(cuts):
        # The fault itself: how long there is peace.
        await asyncio.sleep(rng.uniform(*PAUSE_SECS))
        await asyncio.to_thread(_terminate_all, url)


def _terminate_all(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
