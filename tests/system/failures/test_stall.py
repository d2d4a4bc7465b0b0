"""Failure 31, small: a controller that stands still for five seconds loses nobody."""

from pathlib import Path

from tests.system.failures.stalls import stall
from tests.system.rig.cluster import cluster


async def test_a_controller_that_stood_still_declares_nothing_lost(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as made:
        await stall(made, 5)
