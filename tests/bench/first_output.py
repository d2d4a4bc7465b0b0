"""Trigger → first output byte at a watching client, at an offered rate.

An open loop: each trigger goes out at its own time, whatever became of the ones before. The clock
of each starts when its unary TriggerJob is called and stops when the watch stream (one, open all
the time) hands over the run's first output.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.bench.books import Books, Client, Tell, one, percentiles


async def measure(client: Client, job_id: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    request = one(job_id)
    async with Books(client, include_output=True) as books:
        await _offer(client, books, request, spec["rate"], spec["warm_secs"])
        tell("begin")
        begun = await _offer(client, books, request, spec["rate"], spec["seconds"])
        await books.until_finished(begun)
        tell("end")
        await books.balance()
    samples = [books.first_output[run_id] - at for run_id, at in begun.items()]
    return {"n": len(samples), **percentiles(samples)}


async def _offer(
    client: Client, books: Books, request: bytes, rate: float, seconds: float
) -> dict[str, float]:
    """Trigger at this rate for so long; when each run was asked for."""
    begun: dict[str, float] = {}

    async def trigger() -> None:
        at = time.perf_counter()
        run_id = await client.trigger(request)
        books.triggered.add(run_id)
        begun[run_id] = at

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            tasks.create_task(trigger())
    return begun
