"""Failure 12 at its size: a hundred readers of each kind stand still while a gigabyte goes by."""

from pathlib import Path

import pytest

from tests.system.failures.test_output import GB, MIB, cost_of_stalled
from tests.system.rig.cluster import cluster

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

READERS = 100
# For each of the two hundred: a buffer of 1 MiB and what is on its way, twice over in gRPC.
ROOM = 2 * READERS * 4 * MIB


async def test_a_hundred_stalled_readers_of_each_kind_cost_a_bounded_buffer_each(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path, "") as made:
        await made.start_controller(KRONFORCE_BIND="127.0.0.1:0")
        await made.start_agent()

        assert await cost_of_stalled(made, READERS, GB) < ROOM
        assert made.complaints() == []
