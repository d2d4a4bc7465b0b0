"""Failure 32 at a hundredth of its size: more waits than memory holds of any one kind."""

from pathlib import Path

from tests.system.failures.queues import worked_off
from tests.system.rig.cluster import cluster

MIB = 1 << 20
COUNT = 10_000
# An idle controller has some 110; beside that two heads of the queue.
ROOM = 224 * MIB
LIMIT_SECS = 60.0


async def test_a_long_queue_is_refused_aged_expired_cancelled_and_run(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as made:
        await worked_off(made, COUNT, ROOM, LIMIT_SECS)
