"""Failure 29 at a small size: jobs due at one instant all run, each once; also around a kill.

KRONFORCE_HERD_SEED says where the controller is killed.
"""

import os
import random
from datetime import timedelta
from pathlib import Path

from tests.system.failures.herds import killed_stampede, stampede
from tests.system.rig.cluster import cluster

COUNT = 300
# For the definitions; and for another start of the controller, on a machine that is busy.
LEAD = timedelta(seconds=8)
KILLED_LEAD = timedelta(seconds=20)
LIMIT_SECS = 45.0
SEED = int(os.environ.get("KRONFORCE_HERD_SEED", "1"))


async def test_jobs_due_at_one_instant_run_once_each(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as made:
        await stampede(made, COUNT, LEAD, LIMIT_SECS)


async def test_jobs_due_at_one_instant_run_once_each_around_a_kill(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as made:
        await killed_stampede(made, COUNT, KILLED_LEAD, LIMIT_SECS, random.Random(SEED))
