"""Failures 17 and 30 at length: 5,000 agents come back at once, each with a running task."""

from pathlib import Path

import pytest

from tests.bench.scale import descriptors
from tests.system.failures.fleets import come_back
from tests.system.rig.cluster import cluster

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

AGENTS = 5_000


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_agents_that_come_back_at_once_are_adopted_with_what_they_run(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    descriptors.raise_limit(AGENTS)
    db = request.getfixturevalue("postgres_database_url") if store == "postgresql" else ""
    async with cluster(tmp_path, db) as made:
        await come_back(made, AGENTS)
