"""Failure 30, small: agents that all lose their controller are all adopted again, once each."""

from pathlib import Path

from tests.system.failures.fleets import come_back
from tests.system.rig.cluster import cluster


async def test_agents_that_come_back_at_once_are_adopted_with_what_they_run(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path, "") as made:
        await come_back(made, 100)
