"""The mixed load again and again while controller, agent and launcher are killed at random."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.checker.rules import judge
from tests.system.rig.cluster import Cluster, cluster
from tests.system.rig.failpoint_round import LAUNCHER_GONE
from tests.system.rig.keeping import kept
from tests.system.rig.load import Load
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

ROUNDS = 8
KILLS = 12
# Between two kills: long enough that whoever came back has begun to work.
PAUSE_SECS = (0.5, 3.0)
# What an agent logs as an error when its launcher is killed, also while it starts.
EXPECTED = (LAUNCHER_GONE, '"action": "launcher_failed"')
ROLES = ("controller", "agent", "launcher")


@pytest.fixture(params=["sqlite", "postgresql"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Give a cluster of which nothing runs yet, on either store."""
    db = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database_url")
    async with cluster(tmp_path, db) as one:
        yield one


def kill(cluster: Cluster, role: str) -> None:
    if role == "launcher":
        for pid in cluster.launchers():
            os.kill(pid, signal.SIGKILL)
        return
    process = cluster.controller if role == "controller" else cluster.agents["one"]
    assert process is not None
    process.signal(signal.SIGKILL)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_kills_at_any_moment_break_no_promise(made: Cluster, seed: int) -> None:
    rng = random.Random(seed)
    notes = Notes(made.folder / "notes")
    recorder = Recorder(made, notes)
    await made.start_controller()
    await made.start_agent()
    load = Load(made, recorder, notes)
    await load.define()
    await recorder.follow()

    async def kills() -> None:
        for _ in range(KILLS):
            await asyncio.sleep(rng.uniform(*PAUSE_SECS))
            kill(made, rng.choice(ROLES))

    async with kept(made):
        killing = asyncio.ensure_future(kills())
        for _ in range(ROUNDS):
            await load.fire()
        await killing
        await load.stop_ticking()
        await recorder.settled(180.0)
        history = await recorder.history()
    assert judge(replace(history, launcher_killed=True)) == []
    assert [line for line in made.complaints() if not any(each in line for each in EXPECTED)] == []
