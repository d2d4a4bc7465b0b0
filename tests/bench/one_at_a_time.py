"""Trigger → finished, one run at a time: the next is triggered when the last has ended."""

from __future__ import annotations

import time
from typing import Any

from tests.bench.books import Books, Client, Tell, one, percentiles


async def measure(client: Client, job_id: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    request = one(job_id)
    async with Books(client) as books:
        await _run_for(client, books, request, spec["warm_secs"])
        tell("begin")
        samples = await _run_for(client, books, request, spec["seconds"])
        tell("end")
        await books.balance()
    return {"n": len(samples), **percentiles(samples)}


async def _run_for(client: Client, books: Books, request: bytes, seconds: float) -> list[float]:
    samples = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        at = time.perf_counter()
        run_id = await client.trigger(request)
        books.triggered.add(run_id)
        await books.until_finished([run_id])
        samples.append(books.finished[run_id] - at)
    return samples
