"""Which task and which schedule each job has, without ever reading them twice.

Both stand in a job's definition alone, so all of them are read once, a page at
a time, when somebody begins to ask for metrics or statistics; from then on the
tally follows every change that the scheduler is told of. It holds one small
entry a job. One controller per database: nobody else changes jobs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import cache

from kronforce.clock import Clock
from kronforce.core.job_settings import task_type
from kronforce.engine.scheduler import Scheduler
from kronforce.engine.tasks import Tasks
from kronforce.store import measures
from kronforce.store.jobs import JobRow
from kronforce.store.store import Store
from kronforce.v1.job_pb2 import Job

# Jobs read at a time: some milliseconds of a reader's thread, with a pause for others after it.
PAGE = 500
PAUSE_SECS = 0.02
# How long somebody waits for the first reading: some hundred thousand jobs.
WAIT_SECS = 10.0

# Of its task and of its schedule.
Kinds = tuple[str, str]


class JobTally:
    """Empty until `load` has come through; `total` is None until then."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kinds: dict[int, Kinds] = {}
        self._begun = False
        self.loaded = asyncio.Event()
        # Changed since the reading began: what a page says of them may be older.
        self._touched: set[int] = set()
        self.by_type: Counter[str] = Counter()

    @property
    def total(self) -> int | None:
        return len(self._kinds) if self.loaded.is_set() else None

    def begin(self, scheduler: Scheduler, tasks: Tasks) -> None:
        """Start to load, unless somebody has."""
        if not self._begun:
            self._begun = True
            tasks.spawn_until_done(lambda: self.load(scheduler), name="job-tally")

    async def until_loaded(self) -> None:
        """Return when it is, or after WAIT_SECS: it may then not know of every job."""
        await self._clock.wait(self.loaded, WAIT_SECS)

    def kinds_of(self, job_key: int) -> Kinds | None:
        """The job's (task type, schedule type); None: not known yet."""
        return self._kinds.get(job_key)

    async def load(self, scheduler: Scheduler) -> None:
        """Follow changes, then read what is there."""
        scheduler.told = self.changed
        after = 0
        while page := await self._store.read(measures.job_specs, after, PAGE):
            for key, spec in page:
                if key not in self._touched:
                    self._put(key, _kinds_in(spec))
            after = page[-1][0]
            await self._clock.sleep_until(self._clock.monotonic() + PAUSE_SECS)
        self.loaded.set()
        self._touched.clear()

    def changed(self, row: JobRow) -> None:
        """A job was made, changed or deleted."""
        if not self.loaded.is_set():
            self._touched.add(row.key)
        self._put(row.key, None if row.deleted_at is not None else _kinds_in(row.spec))

    def _put(self, key: int, kinds: Kinds | None) -> None:
        before = self._kinds.pop(key, None)
        if before is not None:
            self.by_type[before[0]] -= 1
        if kinds is not None:
            self._kinds[key] = kinds
            self.by_type[kinds[0]] += 1


@cache
def _known(kinds: Kinds) -> Kinds:
    """One object for all jobs of the same kinds; there are as many as types of either."""
    return kinds


def _kinds_in(spec: bytes) -> Kinds:
    job = Job.FromString(spec)
    return _known((task_type(job), job.schedule.WhichOneof("kind") or "on_demand"))
