"""Failure 15: every connection to PostgreSQL is cut each second for a while, under load.

KRONFORCE_CUTS_SEED begins elsewhere.
"""

import os
from pathlib import Path

import pytest

from tests.system.failures.cuts import cut_again_and_again
from tests.system.rig.cluster import cluster

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

CUTS = 40
FIRST_SEED = int(os.environ.get("KRONFORCE_CUTS_SEED", "1"))
SEEDS = 3


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
async def test_connections_cut_again_and_again_break_no_promise(
    tmp_path: Path, postgres_database_url: str, seed: int
) -> None:
    async with cluster(tmp_path, postgres_database_url) as made:
        await cut_again_and_again(made, CUTS, seed)
