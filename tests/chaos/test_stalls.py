"""Failure 31 at length: a controller that stands still for a while and beyond every lease."""

from pathlib import Path

import pytest

from tests.system.failures.stalls import stall
from tests.system.rig.cluster import cluster

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.mark.parametrize("secs", [20, 60])
async def test_a_controller_that_stood_still_declares_nothing_lost(
    tmp_path: Path, secs: float
) -> None:
    async with cluster(tmp_path, "") as made:
        await stall(made, secs)
