"""Failure 32, of any length: a queue that nobody serves, and how one gets out of it.

What waits is of four jobs: one whose work has waited too long, one that lets in a single run at a
time, one that nobody wants any more, and one that is to run after all.
"""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kronforce_client import Overloaded, TimedOut
from tests.fakes.http_reader import ask
from tests.system.rig import processes, queue_fill
from tests.system.rig.cluster import Cluster, patient, until
from tests.system.rig.footprint import WITH_METRICS

# What the store says of itself may be so old.
METRICS_AGE_SECS = 15.0
# Of a hundred executions that wait.
SHARES = {"overdue": 40, "limited": 40, "unwanted": 18, "wanted": 2}
# Longer than the server lets any call take.
DELETE_SECS = 100.0


class Queue:
    """So many executions that wait, on a cluster of which nothing runs yet."""

    def __init__(self, cluster: Cluster, count: int, limit_secs: float) -> None:
        self._cluster = cluster
        self._limit_secs = limit_secs
        self.count = count
        self.of = {job: count * share // 100 for job, share in SHARES.items()}
        self._began = time.time()

    async def fill(self) -> None:
        """A run of each is made by the product, all others by SQL."""
        await self._cluster.start_controller()
        jobs = self._cluster.client.jobs
        for name in SHARES:
            settings = {"max_concurrent": 1, "queue_limit": 1_000_000} if name == "limited" else {}
            await jobs.create(
                {"name": name, "target": {"type": "any"}, "task": {"type": "noop"}, **settings}
            )
        self._began = time.time()
        for name in (*SHARES, "limited"):
            await jobs.trigger(name)
        assert self._cluster.controller is not None
        await self._cluster.controller.stop()
        made = {name: 2 if name == "limited" else 1 for name in SHARES}
        db = self._cluster.db
        queue_fill.multiply(db, {name: count - made[name] for name, count in self.of.items()})
        queue_fill.overdue(db, "overdue")

    async def start(self) -> None:
        """The controller, which may take as many again as are wanted, once the rest is gone."""
        most = str(2 * self.of["wanted"])
        await self._cluster.start_controller(KRONFORCE_MAX_PENDING=most, **WITH_METRICS)

    async def ended_as(self, outcome: str, count: int) -> None:
        """Wait until so many executions have ended like that."""

        async def look() -> bool:
            tally = (await self._cluster.client.stats.system()).all_kept.executions
            return bool(getattr(tally, outcome) >= count)

        await until(patient(look), f"{count} executions to be {outcome}", self._limit_secs)

    async def gauges(self) -> dict[str, float]:
        """What the controller says of itself."""
        endpoint = json.loads((self._cluster.data_dir / "endpoint.json").read_text())
        async with ask(int(endpoint["metrics"].rpartition(":")[2]), "/metrics") as answer:
            text = (await answer.body()).decode()
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.labels
        }

    async def shows_its_age(self) -> None:
        """The metric says how long the oldest has waited, while the queue is as it was."""
        least = time.time() - self._began - METRICS_AGE_SECS
        gauges = await self.gauges()
        assert least <= gauges["kronforce_oldest_waiting_seconds"] <= time.time() - self._began

    def peak(self) -> int:
        assert self._cluster.controller is not None
        return processes.peak_rss_bytes(self._cluster.controller.pid)


async def worked_off(cluster: Cluster, count: int, room: int, limit_secs: float) -> None:
    """Fill it, start on it, and come back to an empty one, within so much memory."""
    queue = Queue(cluster, count, limit_secs)
    await queue.fill()
    await queue.start()
    assert count // 2 < (await queue.gauges())["kronforce_executions_pending"] <= count
    with pytest.raises(Overloaded) as refused:
        await cluster.client.jobs.trigger("wanted")
    assert refused.value.reason == "QUEUE_FULL"
    await queue.shows_its_age()
    await queue.ended_as("expired", queue.of["overdue"])
    for name in ("limited", "unwanted"):
        # What waits of it ends in any case, also after the longest that a call may take.
        with contextlib.suppress(TimedOut):
            await cluster.client.jobs.delete(name, timeout_secs=DELETE_SECS)
    await queue.ended_as("cancelled", queue.of["limited"] + queue.of["unwanted"])
    await cluster.client.jobs.trigger("wanted")
    await cluster.start_agent(slots=64)
    await queue.ended_as("succeeded", queue.of["wanted"] + 1)
    tally = (await cluster.client.stats.system()).all_kept.executions
    assert tally.total == count + 1
    assert (await queue.gauges())["kronforce_executions_pending"] == 0
    assert queue.peak() < room, queue.peak()
    assert cluster.complaints() == []
