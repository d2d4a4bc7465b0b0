"""How many jobs there are of each task type, without ever counting them twice.

A job's type stands in its definition alone, so all of them are read once, a
page at a time, when somebody begins to ask for metrics; from then on the tally
follows every change that the scheduler is told of. It holds one small entry a
job. One controller per database: nobody else changes jobs.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from kronforce.clock import Clock
from kronforce.core.job_settings import task_type
from kronforce.engine.scheduler import Scheduler
from kronforce.store import measures
from kronforce.store.jobs import JobRow
from kronforce.store.store import Store
from kronforce.v1.job_pb2 import Job

# Jobs read at a time: some milliseconds of a reader's thread, with a pause for others after it.
PAGE = 500
PAUSE_SECS = 0.02


class JobTally:
    """Empty until `load` has come through; `total` is None until then."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._type_of: dict[int, str] = {}
        self.loaded = asyncio.Event()
        # Changed since the reading began: what a page says of them may be older.
        self._touched: set[int] = set()
        self.by_type: Counter[str] = Counter()

    @property
    def total(self) -> int | None:
        return len(self._type_of) if self.loaded.is_set() else None

    async def load(self, scheduler: Scheduler) -> None:
        """Follow changes, then read what is there."""
        scheduler.told = self.changed
        after = 0
        while page := await self._store.read(measures.job_specs, after, PAGE):
            for key, spec in page:
                if key not in self._touched:
                    self._put(key, _type_in(spec))
            after = page[-1][0]
            await self._clock.sleep_until(self._clock.monotonic() + PAUSE_SECS)
        self.loaded.set()
        self._touched.clear()

    def changed(self, row: JobRow) -> None:
        """A job was made, changed or deleted."""
        if not self.loaded.is_set():
            self._touched.add(row.key)
        self._put(row.key, None if row.deleted_at is not None else _type_in(row.spec))

    def _put(self, key: int, type_: str | None) -> None:
        before = self._type_of.pop(key, None)
        if before is not None:
            self.by_type[before] -= 1
        if type_ is not None:
            self._type_of[key] = type_
            self.by_type[type_] += 1


def _type_in(spec: bytes) -> str:
    # One text for all jobs of a type.
    return sys.intern(task_type(Job.FromString(spec)))
