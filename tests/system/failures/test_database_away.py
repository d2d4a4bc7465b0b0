"""Failure 15: the database is away: streams stay, tasks run, nobody is declared lost."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.failures.outage import away
from tests.system.rig.away import AwayServer, away_server
from tests.system.rig.cluster import Cluster, cluster

# Longer than a commit that was not answered is asked for; a minute is in `make test-chaos`.
AWAY_SECS = 6.0


@pytest.fixture
async def server(postgres_url: str) -> AsyncIterator[AwayServer]:
    """Give a PostgreSQL that this test alone has."""
    del postgres_url  # only so that this is skipped where PostgreSQL cannot be had
    async with away_server() as one:
        yield one


@pytest.fixture
async def remote(server: AwayServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Give a controller on it, and an agent."""
    async with cluster(tmp_path, server.url) as one:
        await one.start_controller()
        await one.start_agent()
        yield one


async def test_while_the_database_is_away_tasks_run_on_and_nobody_is_declared_lost(
    server: AwayServer, remote: Cluster
) -> None:
    await away(server, remote, secs=AWAY_SECS, times=1)
