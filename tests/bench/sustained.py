"""Finished runs per second, sustained: a closed loop with a bounded number of runs under way.

`callers` calls of `batch` triggers each are in flight at most; `outstanding` bounds the runs that
are triggered and not finished, so nothing piles up and what finishes in the window is what the
product can keep up. After the window every run must still end as `succeeded`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.bench.books import Books, Client, Tell, many, one


async def measure(client: Client, job_id: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    async with Books(client) as books:
        callers = Callers(client, books, job_id, spec)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(spec["callers"]):
                tasks.create_task(callers.call())
            await asyncio.sleep(spec["warm_secs"])
            tell("begin")
            before, began = len(books.finished), time.perf_counter()
            await asyncio.sleep(spec["seconds"])
            count, took = len(books.finished) - before, time.perf_counter() - began
            tell("end", n=count)
            callers.stop()
        await books.balance()
    return {"n": count, "rate": count / took, "all_runs": len(books.triggered)}


class Callers:
    """Trigger as long as there is room for another batch."""

    def __init__(self, client: Client, books: Books, job_id: str, spec: dict[str, Any]) -> None:
        self._client = client
        self._books = books
        self._batch: int = spec["batch"]
        self._request = one(job_id) if self._batch == 1 else many(job_id, self._batch)
        self._room = asyncio.Semaphore(spec["outstanding"] // self._batch)
        self._ended = 0
        self._stopped = False
        books.on_finished = self._on_finished

    async def call(self) -> None:
        while not self._stopped:
            await self._room.acquire()
            if self._batch == 1:
                self._books.triggered.add(await self._client.trigger(self._request))
            else:
                self._books.triggered.update(await self._client.trigger_many(self._request))

    def stop(self) -> None:
        self._stopped = True

    def _on_finished(self) -> None:
        self._ended += 1
        if self._ended % self._batch == 0:
            self._room.release()
