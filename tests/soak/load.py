"""A constant mixed load, at its own pace whatever the product does, and the books of its runs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from kronforce_client import ClientError, Conflict
from tests.system.rig.cluster import ADMIN_KEY, Cluster
from tests.system.rig.recording import word

# Of each kind a second. Together some 12 runs and 6 reads, a quarter of what two busy cores do.
JOBS = {"noop": 6.0, "short": 2.0, "chatty": 0.5, "failing": 0.5, "cancelled": 0.5, "limited": 1.0}
OVER_HTTP = 2.0
READS = 6.0
# Watchers of runs, of events, and those that leave after a while and come back.
WATCHERS = 3
STAY_SECS = 7.0
KEPT_RUNS = 200
CHATTY = "i=0; while [ $i -lt 200 ]; do echo 'some thirty or forty characters'; i=$((i+1)); done"
_TASKS: dict[str, dict[str, Any]] = {
    "noop": {"task": {"type": "noop"}},
    "short": {"task": {"type": "shell", "command": "true"}},
    "chatty": {"task": {"type": "shell", "command": CHATTY}},
    "failing": {
        "task": {"type": "shell", "command": "false"}, "retry_max": 1, "retry_delay_secs": 0.1,
    },
    "cancelled": {"task": {"type": "shell", "command": "sleep 60"}, "kill_grace_secs": 1},
    "limited": {"task": {"type": "shell", "command": "sleep 0.1"}, "max_concurrent": 1},
}  # fmt: skip
ENDS = {"failing": "failed", "cancelled": "cancelled"}


class Load:
    """Runs until it is stopped; then `books` says what became of the last runs of each job."""

    def __init__(self, cluster: Cluster, http: str) -> None:
        self._client = cluster.client
        self._http = http
        self._numbers = itertools.count()
        self.triggered = 0
        self.faults: Counter[str] = Counter()

    async def define(self) -> None:
        for name, settings in _TASKS.items():
            target = {"type": "any"}
            job = {"name": name, "target": target, "max_run_history": KEPT_RUNS, **settings}
            await self._client.jobs.create(job)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for job, rate in JOBS.items():
                tasks.create_task(self._paced(rate, lambda job=job: self._trigger(job)))
            tasks.create_task(self._paced(OVER_HTTP, self._trigger_over_http))
            tasks.create_task(self._paced(READS, self._read))
            for number in range(WATCHERS):
                tasks.create_task(self._watch(stays=number == 0))
                tasks.create_task(self._follow_events(stays=number == 0))

    async def _paced(self, rate: float, act: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
                tasks.create_task(self._counted(act))

    async def _counted(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except (ClientError, OSError) as error:
            self.faults[f"{type(error).__name__}: {error}"[:200]] += 1

    async def _trigger(self, job: str) -> None:
        run = (await self._client.jobs.trigger(job)).run
        self.triggered += 1
        if job == "cancelled":
            with contextlib.suppress(Conflict):
                await self._client.runs.cancel(run.id)

    async def _trigger_over_http(self) -> None:
        await asyncio.to_thread(self._ask, "POST", "/api/jobs/noop/trigger", b"{}")
        self.triggered += 1

    async def _read(self) -> None:
        match next(self._numbers) % 4:
            case 0:
                await asyncio.to_thread(self._ask, "GET", "/api/jobs", None)
            case 1:
                await asyncio.to_thread(self._ask, "GET", "/api/executions?per_page=50", None)
            case 2:
                await anext(aiter(self._client.runs.list(job="noop")), None)
            case _:
                await self._read_output()

    async def _read_output(self) -> None:
        run = await anext(aiter(self._client.runs.list(job="chatty")), None)
        if run is not None and run.HasField("finished_at"):
            found = await self._client.runs.get(run.id)
            async with self._client.executions.output(found.executions[0].id) as chunks:
                async for _ in chunks:
                    pass

    async def _watch(self, *, stays: bool) -> None:
        while True:
            with contextlib.suppress(TimeoutError, ClientError):
                async with (
                    asyncio.timeout(None if stays else STAY_SECS),
                    self._client.runs.watch(group="Default") as updates,
                ):
                    async for _ in updates:
                        pass

    async def _follow_events(self, *, stays: bool) -> None:
        while True:
            with contextlib.suppress(TimeoutError, ClientError):
                async with (
                    asyncio.timeout(None if stays else STAY_SECS),
                    self._client.events.watch() as events,
                ):
                    async for _ in events:
                        pass

    def _ask(self, verb: str, path: str, body: bytes | None) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self._http}{path}", data=body, method=verb, headers=headers
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    async def books(self) -> list[str]:
        """What did not end as it should, once everything had time to."""
        wrong = [f"{count} × {what}" for what, count in self.faults.items()]
        for job in JOBS:
            ends: Counter[str] = Counter()
            async for run in self._client.runs.list(job=job):
                ends[word(run.state)] += 1
            wanted = ENDS.get(job, "succeeded")
            wrong += [f"{n} runs of {job} {end}" for end, n in ends.items() if end != wanted]
        return wrong
