"""Failure 15 in small: connections to PostgreSQL that are cut while it stays.

KRONFORCE_CUTS_SEED plays other moments.
"""

import os
from pathlib import Path

from tests.system.failures.cuts import cut_again_and_again
from tests.system.rig.cluster import cluster

CUTS = 4
SEED = int(os.environ.get("KRONFORCE_CUTS_SEED", "1"))


async def test_connections_cut_at_any_moment_break_no_promise(
    tmp_path: Path, postgres_database_url: str
) -> None:
    async with cluster(tmp_path, postgres_database_url) as made:
        await cut_again_and_again(made, CUTS, SEED)
