"""The delay of an interval job, which counts from the end of its last run."""

from __future__ import annotations

from collections.abc import Callable

from kronforce.clock import Clock, from_us, to_us
from kronforce.core.job_timing import LastEnd, plan_timing
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.window import JobStatus
from kronforce.engine.snapshots import JobSnapshot
from kronforce.errors import Aborted, NotFound
from kronforce.store import jobs as job_store
from kronforce.store import open_work
from kronforce.store.jobs import JobRow
from kronforce.store.store import Store


class IntervalCounting:
    """`planned` is called with a job whose next instant was written."""

    def __init__(self, *, store: Store, clock: Clock, planned: Callable[[JobRow], None]) -> None:
        self._store = store
        self._clock = clock
        self._planned = planned

    async def load(self) -> None:
        """At start: intervals that nobody counts."""
        for row in await self._store.read(open_work.idle_scheduled):
            await self._count(row)

    async def run_ended(self, job_key: int) -> None:
        """A run of an interval job has ended: the delay counts from now."""
        for row in await self._store.read(job_store.jobs_by_keys, [job_key]):
            await self._count(row)

    async def _count(self, row: JobRow) -> None:
        """Plan the next run of an interval job whose last run has ended."""
        if row.deleted_at is not None or row.next_fire_at is not None:
            return
        snapshot = JobSnapshot(row)
        if not isinstance(snapshot.settings.schedule, Interval):
            return
        last = await self._store.read(open_work.newest_run, row.key)
        if last is not None and last[1] is None:
            # Its end counts on.
            return
        at = None if last is None else last[1]
        paused = row.status == JobStatus.PAUSED
        timing = plan_timing(
            snapshot.settings, now=self._clock.now(),
            last=LastEnd(at=None if at is None else from_us(at)), paused=paused,
            paused_until=None if row.paused_until is None else from_us(row.paused_until),
        )  # fmt: skip
        if timing.next_fire_at is None or timing.next_nominal_at is None:
            return
        try:
            changed = await self._store.write(
                job_store.set_timing, key=row.key, status=int(timing.status),
                paused_until=row.paused_until, next_fire_at=to_us(timing.next_fire_at),
                next_nominal_at=to_us(timing.next_nominal_at), now=self._clock.now_us(),
                bump=False, expected_revision=row.revision,
            )  # fmt: skip
        except (Aborted, NotFound):
            # Somebody changed the job meanwhile, and planned it with that.
            return
        self._planned(changed)
