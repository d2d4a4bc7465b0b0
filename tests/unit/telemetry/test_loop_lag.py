"""The delay of the event loop is what a timer was missed by."""

from __future__ import annotations

import asyncio

from kronforce.clock import ManualClock
from kronforce.telemetry.loop_lag import TICK_SECS, LoopLag


async def test_a_timer_that_is_missed_by_three_seconds_is_noted_as_such() -> None:
    clock = ManualClock()
    lag = LoopLag(clock)
    task = asyncio.create_task(lag.run())
    for late in (0.0, 3.0):
        await clock.until_sleeping()
        clock.advance(TICK_SECS + late)
        await asyncio.sleep(0)
    await clock.until_sleeping()
    task.cancel()

    read = lag.seconds.read()

    assert (read.count, read.sum) == (2, 3.0)
