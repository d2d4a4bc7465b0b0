"""A database that goes away under work of every kind, and what must come of that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kronforce_client import Unreachable
from tests.system.checker.history import Policy
from tests.system.checker.rules import judge
from tests.system.failures.jobs import shell
from tests.system.rig.away import AwayServer
from tests.system.rig.cluster import Cluster, until
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes, printing

# The least that a job may say.
LOST_AFTER_SECS = 30
OUTPUT_BYTES = 300_000
CONNECTED = '"action": "connected"'


async def away(server: AwayServer, cluster: Cluster, *, secs: float, times: int) -> None:
    """Take the database away under work of every kind, so often; judge what came of it."""
    notes = Notes(cluster.folder / "notes")
    recorder = Recorder(cluster, notes)
    first, last = cluster.folder / "first", cluster.folder / "last"
    chatty = printing(OUTPUT_BYTES, parts=40, pause_secs=0.1)
    for name, work, size in (
        ("ends-meanwhile", _until(first), 0),
        ("ends-afterwards", _until(last), 0),
        ("chatty", chatty, OUTPUT_BYTES),
    ):
        job = shell(name, notes.command(work), lost_after_secs=LOST_AFTER_SECS)
        await cluster.client.jobs.create(job)
        recorder.policies[name] = Policy(output_bytes=size or None)
    assert cluster.controller is not None
    controller = cluster.controller.pid
    for _ in range(times):
        for mark in (first, last):
            mark.unlink(missing_ok=True)
        begun = len(notes.effects())
        for name in ("ends-meanwhile", "ends-afterwards", "chatty"):
            await recorder.trigger(name)
        await until(_noted(notes, begun + 3), "every task to start")
        await server.stop()
        with pytest.raises(Unreachable) as refused:
            await cluster.client.jobs.trigger("chatty")
        assert refused.value.reason == "UNAVAILABLE"
        first.touch()
        await until(_noted(notes, begun + 4), "a task to end while the database is away")
        await asyncio.sleep(secs)
        await server.come_back()
        await recorder.trigger("ends-afterwards")
        last.touch()
        await recorder.settled(90.0)
    history = await recorder.history()
    assert judge(history) == []
    assert {run.state for run in history.runs} == {"succeeded"}
    assert cluster.controller.pid == controller
    assert cluster.controller.running
    # The stream of the first hello is still the one.
    assert cluster.agents["one"].tail(1 << 20).count(CONNECTED) == 1


def _until(mark: Path) -> str:
    return f"until [ -e {mark} ]; do sleep 0.05; done"


def _noted(notes: Notes, count: int):
    async def enough() -> bool:
        return len(notes.effects()) >= count

    return enough
