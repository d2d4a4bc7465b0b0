"""What values cost: the same `sh -c` with and without three variables, one of them secret.

Both jobs run in turns on one product, a batch each, and which goes first alternates: what the
machine does meanwhile hits both alike. A pair gives one ratio of CPU per run, of controller, agent,
launcher and the tasks themselves; the figure is the median of the pairs.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from tests.bench.books import Books, Client, Tell, many
from tests.bench.usage import tasks_secs

BATCHES = 6
"""Of 64 runs each, to a half of a pair: long enough that ticks of 10 ms do not matter."""
MIN_PAIRS = 7

_SCHEDULER_CLOCK = 2

VARIABLES = (
    ("BENCH_HOST", "db-1.example.org", False),
    ("BENCH_PATH", "/srv/data/it's here", False),
    ("BENCH_TOKEN", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", True),
)


async def measure(client: Client, job_id: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    for name, value, secret in VARIABLES:
        await client.create_variable(name, value, secret=secret)
    with_values = await client.create_job(spec["with_values"])
    requests = (many(job_id, 64), many(with_values, 64))
    async with Books(client) as books:
        halves = Halves(client, books, spec["pids"])
        for request in requests:
            await halves.run(request)
        tell("begin")
        pairs = await _pairs(halves, requests, spec["seconds"])
        tell("end", n=len(pairs))
        await books.balance()
    plain, filled = (median(pair[which] for pair in pairs) for which in (0, 1))
    return {
        "n": len(pairs) * 2 * BATCHES * 64,
        "pairs": len(pairs),
        "percent": (median(pair[1] / pair[0] for pair in pairs) - 1) * 100,
        "plain_us": plain * 1e6,
        "with_values_us": filled * 1e6,
        "all_runs": len(books.triggered),
    }


async def _pairs(
    halves: Halves, requests: tuple[bytes, bytes], seconds: float
) -> list[tuple[float, float]]:
    pairs: list[tuple[float, float]] = []
    end = time.monotonic() + seconds
    while len(pairs) < MIN_PAIRS or time.monotonic() < end:
        order = (0, 1) if len(pairs) % 2 else (1, 0)
        took = {which: await halves.run(requests[which]) for which in order}
        pairs.append((took[0], took[1]))
    return pairs


class Halves:
    """Runs batches of one job, and counts the CPU that they took."""

    def __init__(self, client: Client, books: Books, pids: dict[str, list[int]]) -> None:
        self._client = client
        self._books = books
        self._pids = pids

    async def run(self, request: bytes) -> float:
        """Seconds of CPU a run, of the product and its tasks."""
        before, count = self._cpu(), 0
        for _ in range(BATCHES):
            ids = await self._client.trigger_many(request)
            self._books.triggered.update(ids)
            await self._books.until_finished(ids)
            count += len(ids)
        return (self._cpu() - before) / count

    def _cpu(self) -> float:
        own = sum(_own_secs(pid) for pids in self._pids.values() for pid in pids)
        return own + sum(tasks_secs(pid) for pid in self._pids["launcher"])


def _own_secs(pid: int) -> float:
    """On a CPU so far, all threads, to the nanosecond: clock_getcpuclockid(3), for another one."""
    return time.clock_gettime(~pid << 3 | _SCHEDULER_CLOCK)
