"""Failure 29 at its size: 10,000 jobs due at one instant, on both stores; also around kills.

Each seed kills the controller somewhere else in the herd; KRONFORCE_HERD_SEED begins elsewhere.
For a machine that is busy: KRONFORCE_HERD says how many, KRONFORCE_HERD_LEAD_SECS how long they
may take to be defined.
"""

import os
import random
from datetime import timedelta
from pathlib import Path

import pytest

from tests.system.failures.herds import killed_stampede, stampede
from tests.system.rig.cluster import cluster

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1_800)]

COUNT = int(os.environ.get("KRONFORCE_HERD", "10000"))
LEAD = timedelta(seconds=int(os.environ.get("KRONFORCE_HERD_LEAD_SECS", "60")))
LIMIT_SECS = 240.0
FIRST_SEED = int(os.environ.get("KRONFORCE_HERD_SEED", "1"))
KILLS = 6


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest) -> str:
    """Give where the store is: empty for a file in the controller's folder."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres_database_url")
    return url


async def test_ten_thousand_jobs_due_at_one_instant_run_once_each(tmp_path: Path, db: str) -> None:
    async with cluster(tmp_path, db) as made:
        await stampede(made, COUNT, LEAD, LIMIT_SECS)


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + KILLS))
async def test_ten_thousand_jobs_due_at_one_instant_run_once_each_around_a_kill(
    tmp_path: Path, db: str, seed: int
) -> None:
    async with cluster(tmp_path, db) as made:
        await killed_stampede(made, COUNT, LEAD, LIMIT_SECS, random.Random(seed))
