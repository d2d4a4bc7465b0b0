"""Fires jobs when their schedules say so.

Holds a heap of the next minute only; the rest is an indexed column, so cost
follows what is due and not what exists. A fire and the job's next instant are
written in one transaction, and the ledger's key (job, nominal instant) makes a
fire happen once, whoever tries and however often. What was missed, skipped or
held back becomes rows of the ledger.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from kronforce.clock import Clock, from_us, to_us
from kronforce.core.job_timing import LastEnd, plan_timing
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.misfire import DueFire, FirePlan, SkippedRange, plan_fires
from kronforce.core.schedules.window import JobStatus
from kronforce.engine.capacity import Capacity
from kronforce.engine.live import LiveExecution
from kronforce.engine.snapshots import KEPT, JobSnapshot, JobSnapshots
from kronforce.engine.triggering import SCHEDULER, Triggering
from kronforce.errors import Aborted, KronforceError, NotFound
from kronforce.failpoints import failpoint
from kronforce.store import jobs as job_store
from kronforce.store import open_work
from kronforce.store.events import NewEvent, insert_events
from kronforce.store.fires import Skip, record_skips
from kronforce.store.hot.commands import Advance, Created, CreateRun
from kronforce.store.jobs import JobRow
from kronforce.store.store import Store

log = logging.getLogger(__name__)

# What is due within this is held in memory; the column is read again before it has passed.
HORIZON = timedelta(seconds=60)
RELOAD_SECS = 30.0
# Jobs read, and fired, at a time.
BATCH = 1_000
# Jobs held of that minute, a KiB each; what lies behind them is read when they have fired. As many
# as snapshots are kept, or those that were made ahead would be gone again.
HELD = KEPT
# Definitions parsed ahead between two looks at the clock: some milliseconds.
AHEAD = 20
# After a fire that the store did not take: how long until it is tried again.
RETRY_SECS = 1.0

NAME = "scheduler"

_before_fire = failpoint("engine.scheduler.before_fire")


class Scheduler:
    """One loop. `changed` is called after a job's timing was written."""

    def __init__(self, *, store: Store, clock: Clock, snapshots: JobSnapshots,
                 triggering: Triggering, capacity: Capacity):  # fmt: skip
        self._store = store
        self._clock = clock
        self._snapshots = snapshots
        self._triggering = triggering
        self._capacity = capacity
        self._heap: list[tuple[int, int]] = []
        self._due: dict[int, JobRow] = {}
        # Held, and perhaps not parsed yet.
        self._unread: deque[int] = deque(maxlen=HELD)
        self._wake = asyncio.Event()
        self._reload_at = clock.monotonic()
        # Where the last read ended, if it was full.
        self._read_to: int | None = None
        self._not_started: dict[int, set[int]] = {}
        self.key = 0
        self.name = NAME
        # Called with every job that was made, changed or deleted.
        self.told: Callable[[JobRow], None] = _ignore

    def changed(self, row: JobRow) -> None:
        """A job was made, changed or deleted."""
        self.told(row)
        self._snapshots.forget(row.key)
        self._due.pop(row.key, None)
        if row.deleted_at is None:
            self._hold(row)
            self._wake.set()

    def _hold(self, row: JobRow) -> None:
        at = row.next_fire_at
        if at is None or at > to_us(self._clock.now() + HORIZON):
            return
        known = self._due.get(row.key)
        if known is None or known.next_fire_at != at:
            heapq.heappush(self._heap, (at, row.key))
            if self._snapshots.cached_key(row) is None:
                self._unread.append(row.key)
        self._due[row.key] = row

    async def load(self) -> None:
        """At start: which scheduled runs have not started, and intervals that nobody counts."""
        for job_key, run_key in await self._store.read(open_work.scheduled_not_started):
            self._not_started.setdefault(job_key, set()).add(run_key)
        for row in await self._store.read(open_work.idle_scheduled):
            await self._count_interval(row)

    async def run(self) -> None:
        """The loop; ends when it is cancelled."""
        while True:
            if self._wants_reload():
                await self._guarded(self._reload())
            await self._guarded(self._fire_due())
            self._read_ahead()
            at_once = self._unread or self._wants_reload()
            timeout = 0.0 if at_once else self._reload_at - self._clock.monotonic()
            if self._heap:
                wait = (self._heap[0][0] - self._clock.now_us()) / 1_000_000
                timeout = min(timeout, wait)
            await self._clock.wait(self._wake, max(0.0, timeout))
            self._wake.clear()

    def _wants_reload(self) -> bool:
        """In good time, or at once when the last read was full and what it brought has fired."""
        if self._clock.monotonic() >= self._reload_at:
            return True
        return self._read_to is not None and (not self._heap or self._heap[0][0] > self._read_to)

    async def _guarded(self, work: Any) -> None:
        """A store that is away must not end the loop."""
        try:
            await work
        except Exception:
            log.exception("the scheduler tries again", extra={"action": "scheduler_retry"})
            await self._pause()

    async def _reload(self) -> None:
        self._reload_at = self._clock.monotonic() + RELOAD_SECS
        until = to_us(self._clock.now() + HORIZON)
        after, count = (0, 0), 0
        while True:
            rows = await self._store.read(job_store.due_jobs, until, BATCH, after)
            for row in rows:
                self._hold(row)
            count += len(rows)
            if len(rows) < BATCH:
                self._read_to = None
                return
            # A full read: there is more, at this instant or behind it.
            after = rows[-1].next_fire_at or 0, rows[-1].key
            self._read_to = after[0]
            if count >= HELD or self._is_due():
                return

    def _is_due(self) -> bool:
        return bool(self._heap) and self._heap[0][0] <= self._clock.now_us()

    def _read_ahead(self) -> None:
        """Parse some of what is due soon, while nothing is: thousands may be due at one instant."""
        for _ in range(min(AHEAD, len(self._unread))):
            if self._is_due():
                return
            row = self._due.get(self._unread.popleft())
            if row is not None and self._snapshots.cached_key(row) is None:
                self._keep(row)

    async def _fire_due(self) -> None:
        now = self._clock.now()
        if not self._heap or self._heap[0][0] > to_us(now) or not await self._has_room():
            return
        due: list[JobRow] = []
        while self._heap and self._heap[0][0] <= to_us(now) and len(due) < BATCH:
            at, key = heapq.heappop(self._heap)
            row = self._due.get(key)
            if row is not None and row.next_fire_at == at:
                due.append(self._due.pop(key))
        try:
            failed = await self._fire(due, now)
        except Exception:
            for row in due:
                self._hold(row)
            raise
        if failed:
            await self._pause()

    async def _has_room(self) -> bool:
        """Whether runs may be made; else what is due stays due, for a second at least."""
        try:
            self._capacity.admit_trigger()
        except KronforceError as error:
            log.warning("what is due waits: %s", error, extra={"action": "fires_held_back"})
            await self._pause()
            return False
        return True

    async def _pause(self) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + RETRY_SECS)

    async def _fire(self, due: list[JobRow], now: datetime) -> bool:
        """Fire these jobs; whether any has to be tried again."""
        await self._triggering.refill_keys()
        rows = await self._store.read(job_store.jobs_by_keys, [row.key for row in due])
        current = [
            row for row in rows if row.deleted_at is None and (row.next_fire_at or 0) <= to_us(now)
        ]
        done = await asyncio.gather(
            *(self._fire_job(row, now) for row in current if row.next_fire_at is not None),
            return_exceptions=True,
        )
        again = await self._store.read(job_store.jobs_by_keys, [row.key for row in due])
        for row in again:
            if row.deleted_at is None:
                self._hold(row)
        for error in done:
            if isinstance(error, BaseException):
                log.error("a job could not be fired", exc_info=error,
                          extra={"action": "fire_failed"})  # fmt: skip
        return any(result is not True for result in done)

    async def _fire_job(self, row: JobRow, now: datetime) -> bool:
        """Stage a job's fires, the last of which moves its timing on; whether all are stored."""
        snapshot = self._snapshots.cached_key(row) or self._keep(row)
        settings = snapshot.settings
        pause = None if row.paused_until is None else from_us(row.paused_until)
        gate = settings.gate(status=row.status, paused_until=pause)
        nominal = row.next_nominal_at if row.next_nominal_at is not None else row.next_fire_at
        assert nominal is not None
        plan = plan_fires(
            settings.schedule, planned=from_us(nominal), now=now - settings.jitter,
            rule=settings.misfire, gate=gate, zone=settings.zone,
        )  # fmt: skip
        advance = self._advance(row, snapshot, plan, now)
        plan = self._without_overlap(row, plan)
        _before_fire()
        if plan.skipped or not plan.fire:
            # Skips with the timing and never before: what is planned again after a crash may
            # judge an instant otherwise, and must not fire one that is noted as skipped.
            if plan.fire and not await self._stage(row, snapshot, list(plan.fire), None, now):
                return False
            await self._store.write(_record, row, plan, advance, now)
            return True
        *earlier, last = plan.fire
        # The timing moves on with the last, once all before it are stored.
        if earlier and not await self._stage(row, snapshot, earlier, None, now):
            return False
        return await self._stage(row, snapshot, [last], advance, now)

    def _keep(self, row: JobRow) -> JobSnapshot:
        snapshot = JobSnapshot(row)
        self._snapshots.keep(snapshot)
        return snapshot

    def _without_overlap(self, row: JobRow, plan: FirePlan) -> FirePlan:
        """A scheduled fire whose predecessor has not started is skipped, whatever the limit."""
        if not plan.fire or not self._not_started.get(row.key):
            return plan
        late = [fire for fire in plan.fire if fire.caught_up]
        on_time = [fire for fire in plan.fire if not fire.caught_up]
        if not on_time:
            return plan
        overlap = SkippedRange(
            first=on_time[0].at, last=on_time[-1].at, count=len(on_time), reason="overlap"
        )
        return replace(plan, fire=tuple(late), skipped=(*plan.skipped, overlap))

    def _advance(
        self, row: JobRow, snapshot: JobSnapshot, plan: FirePlan, now: datetime
    ) -> Advance:
        """What the job's row says next."""
        nominal = plan.next_due
        settings = snapshot.settings
        status = row.status
        if status == JobStatus.PAUSED and row.paused_until and row.paused_until <= to_us(now):
            status = JobStatus.SCHEDULED
        waits = isinstance(settings.schedule, Interval) and bool(plan.fire)
        if nominal is None and not waits and status == JobStatus.SCHEDULED:
            status = JobStatus.UNSCHEDULED
        assert row.next_fire_at is not None
        return Advance(
            row.key, row.next_fire_at,
            None if nominal is None else to_us(nominal + settings.jitter),
            None if nominal is None else to_us(nominal), status,
            ends=JobStatus.UNSCHEDULED == status != row.status,
        )  # fmt: skip

    async def _stage(self, row: JobRow, snapshot: JobSnapshot, fires: list[DueFire],
                     advance: Advance | None, now: datetime) -> bool:  # fmt: skip
        """Make these runs; whether the store took them."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left, failed = len(fires), False

        def one(run: CreateRun, error: Exception | None) -> None:
            nonlocal left, failed
            left -= 1
            if error is not None:
                failed = True
                log.warning("a fire of %s was not stored: %s", row.name, error,
                            extra={"action": "fire_retry", "job": row.name})  # fmt: skip
            elif _waits_for_start(run):
                self._not_started.setdefault(row.key, set()).add(run.key)
            if left == 0 and not done.done():
                done.set_result(None)

        for fire in fires:
            run = self._triggering.new_run(snapshot, trigger=SCHEDULER, now=to_us(now))
            run.principal = NAME
            run.fire_at, run.caught_up = to_us(fire.at), fire.caught_up
            run.advance = advance
            self._triggering.stage(run, one)
        await done
        return not failed

    # What runs tell.

    def run_started(self, live: LiveExecution) -> None:
        """A scheduled run has started: the next fire of its job does not overlap it."""
        if live.run.trigger == SCHEDULER:
            self._not_started.get(live.run.job.key, set()).discard(live.run.key)

    async def interval_ended(self, job_key: int) -> None:
        """A run of an interval job has ended: the delay counts from now."""
        for row in await self._store.read(job_store.jobs_by_keys, [job_key]):
            await self._count_interval(row)

    async def _count_interval(self, row: JobRow) -> None:
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
        self._hold(changed)
        self._wake.set()


def _ignore(_row: JobRow) -> None:
    return None


def _waits_for_start(run: CreateRun) -> bool:
    """Whether the next fire of its job would overlap it; one without targets has ended."""
    made = run.outcome in (Created.CREATED, Created.WAITING)
    return made and any(not target.skip_reason for target in run.targets)


def _record(tx: Any, row: JobRow, plan: FirePlan, advance: Advance, now: datetime) -> None:
    """Write skipped ranges and the job's next instant."""
    try:
        job_store.set_timing(
            tx, key=row.key, status=advance.status, paused_until=row.paused_until,
            next_fire_at=advance.next_fire_at, next_nominal_at=advance.next_nominal_at,
            now=to_us(now), bump=False, expected_revision=row.revision,
        )  # fmt: skip
    except (Aborted, NotFound):
        # Changed or deleted meanwhile: it is read again.
        return
    fired = plan.fire[0].at if plan.fire else None
    record_skips(
        tx,
        [Skip(row.key, to_us(s.first), to_us(s.last), s.count, s.reason, to_us(now),
              apart=fired is not None and s.first > fired)
         for s in plan.skipped],
    )  # fmt: skip
    if advance.ends:
        event = NewEvent(kind="job.unscheduled", severity=1, at=to_us(now),
                         message=f"{row.name} fires no more by itself", actor=NAME, job_id=row.id,
                         job_name=row.name, group_name=row.group_name)  # fmt: skip
        insert_events(tx, [event])
