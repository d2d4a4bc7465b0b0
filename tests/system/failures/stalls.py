"""Failure 31, at any length: the controller stands still under running work."""

from __future__ import annotations

import asyncio
import hashlib

from tests.system.checker.history import stream_of
from tests.system.failures.jobs import ended, fire, outcome, read, wrote
from tests.system.rig.cluster import Cluster
from tests.system.rig.tasks import printing

SIZE = 600_000
PARTS = 40
# The least patience that a job can have with an agent; it counts from the moment when
# the controller sees it gone.
LOST_AFTER_SECS = 30


async def stall(made: Cluster, secs: float) -> None:
    """Stop the controller for so long: nothing is lost, run twice or cut out of the output."""
    controller = await made.start_controller()
    await made.start_agent()
    pause = (secs + 2) / PARTS
    long = await fire(
        made, "long", printing(SIZE, parts=PARTS, pause_secs=pause),
        lost_after_secs=LOST_AFTER_SECS,
    )  # fmt: skip
    short = await fire(made, "short", "sleep 1", lost_after_secs=LOST_AFTER_SECS)
    await wrote(made, long, SIZE // PARTS)
    with controller.frozen():
        # The fault itself: so long it lasts, while the tasks go on.
        await asyncio.sleep(secs)
    runs = [await ended(made, run_id) for run_id in (long, short)]
    output = await read(made, runs[0].executions[0].id)
    expected = hashlib.sha256(stream_of(runs[0].executions[0].id, SIZE)).hexdigest()
    assert [outcome(run) for run in runs] == [("succeeded", ""), ("succeeded", "")]
    assert [len(run.executions) for run in runs] == [1, 1]
    assert (output.sha256, output.gaps) == (expected, 0)
