"""PostgreSQL away for a minute, twice, under load."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.failures.outage import away
from tests.system.rig.away import AwayServer, away_server
from tests.system.rig.cluster import Cluster, cluster

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

AWAY_SECS = 60.0


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
