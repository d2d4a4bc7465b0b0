"""PostgreSQL away for a minute, and its connections cut again and again, under load."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from tests.system.checker.rules import judge
from tests.system.failures.outage import away
from tests.system.rig.away import AwayServer, away_server
from tests.system.rig.cluster import Cluster, cluster
from tests.system.rig.load import Load
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

AWAY_SECS = 60.0
CUTS = 30
PAUSE_SECS = (0.2, 1.5)


@pytest.fixture
async def server(postgres_url: str) -> AsyncIterator[AwayServer]:
    """Give a PostgreSQL that this test alone has."""
    del postgres_url
    async with away_server() as one:
        yield one


@pytest.fixture
async def remote(server: AwayServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Give a controller on it, and an agent."""
    async with cluster(tmp_path, server.url) as one:
        await one.start_controller()
        await one.start_agent()
        yield one


async def test_a_minute_without_the_database_loses_nothing(
    server: AwayServer, remote: Cluster
) -> None:
    await away(server, remote, secs=AWAY_SECS, times=2)


async def test_connections_that_are_cut_at_any_moment_break_no_promise(
    server: AwayServer, remote: Cluster
) -> None:
    seed = int(os.environ.get("DATABASE_SEED", "1"))
    print(f"DATABASE_SEED={seed}")
    chance = random.Random(seed)
    notes = Notes(remote.folder / "notes")
    recorder = Recorder(remote, notes)
    load = Load(remote, recorder, notes)
    await load.define()
    await recorder.follow()

    async def cut() -> None:
        for _ in range(CUTS):
            await asyncio.sleep(chance.uniform(*PAUSE_SECS))
            await asyncio.to_thread(_terminate_all, server.url)

    cutting = asyncio.ensure_future(cut())
    while not cutting.done():
        await load.fire()
    await cutting
    await load.stop_ticking()
    await recorder.settled(180.0)
    assert judge(await recorder.history()) == []


def _terminate_all(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
        )
