"""Failure 32 at its size: a million executions wait, on both stores.

KRONFORCE_QUEUE says how many, for a machine that is busy with something else.
"""

import os
from pathlib import Path

import pytest

from tests.system.failures.queues import worked_off
from tests.system.rig.cluster import cluster

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3_600)]

MIB = 1 << 20
COUNT = int(os.environ.get("KRONFORCE_QUEUE", "1000000"))
# Twice what ten thousand may cost: memory does not follow what waits.
ROOM = 448 * MIB
# Of each way out of the queue.
LIMIT_SECS = 1_200.0


async def test_a_queue_of_a_million_is_worked_off_in_bounded_memory(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as made:
        await worked_off(made, COUNT, ROOM, LIMIT_SECS)


async def test_a_queue_of_a_million_is_worked_off_in_bounded_memory_on_postgresql(
    tmp_path: Path, postgres_database_url: str
) -> None:
    async with cluster(tmp_path, postgres_database_url) as made:
        await worked_off(made, COUNT, ROOM, LIMIT_SECS)
