"""Makes the runs of jobs that are due, and moves their timing on.

Most have one instant, planned ahead: a run is staged with the timing, and memory follows without
reading anything. The rest is read again and planned now. The transaction checks both against what
the store holds: whoever planned with an old definition makes no run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

from kronforce.clock import Clock, to_us
from kronforce.core.schedules.misfire import DueFire
from kronforce.engine.fire_planning import PlannedFire, moved_on, plan_fire
from kronforce.engine.live import LiveExecution
from kronforce.engine.snapshots import JobSnapshots
from kronforce.engine.staged_batch import Batch
from kronforce.engine.triggering import SCHEDULER, Triggering
from kronforce.errors import Aborted, NotFound
from kronforce.failpoints import failpoint
from kronforce.store import jobs as job_store
from kronforce.store import open_work
from kronforce.store.events import NewEvent, insert_events
from kronforce.store.fires import Skip, record_skips
from kronforce.store.hot.commands import Advance, Created, CreateRun
from kronforce.store.jobs import JobRow
from kronforce.store.store import Store

log = logging.getLogger(__name__)

NAME = "scheduler"

_before_fire = failpoint("engine.scheduler.before_fire")

Stored = Callable[[CreateRun, Exception | None], None]


class Fired:
    """What became of some jobs: rows as they are now, keys of those to be read again."""

    def __init__(self) -> None:
        self.rows: list[JobRow] = []
        self.unsure: list[int] = []
        # Whether any of them has to be tried again.
        self.failed = False
        self.batch = Batch()

    def failure(self, row: JobRow, error: BaseException) -> None:
        """This job has to be tried again, for a fault of ours."""
        self.failed = True
        self.unsure.append(row.key)
        log.error("a job could not be fired", exc_info=error, extra={"action": "fire_failed"})


class Firing:
    """Stateless but for the scheduled runs that have not started."""

    def __init__(
        self, *, store: Store, clock: Clock, snapshots: JobSnapshots, triggering: Triggering
    ) -> None:
        self._store = store
        self._clock = clock
        self._snapshots = snapshots
        self._triggering = triggering
        self._not_started: dict[int, set[int]] = {}

    async def load(self) -> None:
        """At start: which scheduled runs have not started."""
        for job_key, run_key in await self._store.read(open_work.scheduled_not_started):
            self._not_started.setdefault(job_key, set()).add(run_key)

    def run_started(self, live: LiveExecution) -> None:
        """A scheduled run has started: the next fire of its job does not overlap it."""
        if live.run.trigger == SCHEDULER and live.run.job.key in self._not_started:
            waiting = self._not_started[live.run.job.key]
            waiting.discard(live.run.key)
            if not waiting:
                del self._not_started[live.run.job.key]

    async def fire(self, due: Sequence[tuple[JobRow, PlannedFire | None]], now: datetime) -> Fired:
        """Fire jobs that were due at `now`, by the plans that were made ahead and still hold."""
        await self._triggering.refill_keys()
        ready = [ahead for _, ahead in due if ahead is not None and self._holds(ahead, now)]
        known = {planned.row.key for planned in ready}
        others = [row.key for row, _ in due if row.key not in known]
        rows = await self._store.read(job_store.jobs_by_keys, others) if others else []
        fired = Fired()
        parts: list[Coroutine[Any, Any, None]] = []
        for planned in ready:
            self._begin(planned.row, planned, now, fired, parts)
        for row in rows:
            if row.deleted_at is None and row.next_fire_at is not None:
                self._begin(row, None, now, fired, parts)
        await asyncio.gather(fired.batch.wait(), *parts)
        return fired

    def _holds(self, ahead: PlannedFire, now: datetime) -> bool:
        """Whether it is on time and what it was planned with has not been changed here."""
        known = self._snapshots.cached_key(ahead.row)
        return known is ahead.snapshot and to_us(now) < ahead.until

    def _begin(
        self, row: JobRow, ahead: PlannedFire | None, now: datetime, fired: Fired,
        parts: list[Coroutine[Any, Any, None]],
    ) -> None:  # fmt: skip
        """Stage what one job is due; what takes several steps becomes one of `parts`."""
        try:
            planned = ahead or plan_fire(row, self._snapshots.of_row(row), now)
            if self._not_started.get(row.key):
                planned = planned.without_overlap()
            _before_fire()
            if not planned.is_plain:
                parts.append(self._try_parts(planned, now, fired))
                return
            told = self._told(planned, fired)
            self._stage(planned, planned.plan.fire[0], planned.advance, fired.batch, told)
        except Exception as error:  # noqa: BLE001 - it is told, and holds back no other job
            fired.failure(row, error)

    def _told(self, planned: PlannedFire, fired: Fired) -> Stored:
        row = planned.row

        def stored(run: CreateRun, error: Exception | None) -> None:
            if error is not None:
                fired.failed = True
            elif run.outcome is Created.STALE:
                self._snapshots.forget(row.key)
            if error is None and run.outcome is not Created.STALE and planned.advance.applied:
                fired.rows.append(moved_on(row, planned.advance))
            else:
                fired.unsure.append(row.key)

        return stored

    def _stage(
        self, planned: PlannedFire, fire: DueFire, advance: Advance | None, batch: Batch,
        told: Stored | None = None,
    ) -> None:  # fmt: skip
        """Make a run for an instant; `told` hears of its fate before the batch does."""
        row = planned.row

        def stored(run: CreateRun, error: Exception | None) -> None:
            if error is not None:
                log.warning("a fire of %s was not stored: %s", row.name, error,
                            extra={"action": "fire_retry", "job": row.name})  # fmt: skip
            elif _waits_for_start(run):
                self._not_started.setdefault(row.key, set()).add(run.key)
            if told is not None:
                told(run, error)
            batch.one_done(run, error)

        run = self._triggering.new_run(
            planned.snapshot, trigger=SCHEDULER, now=self._clock.now_us()
        )
        run.principal = NAME
        run.fire_at, run.caught_up = to_us(fire.at), fire.caught_up
        run.advance = advance
        batch.add()
        self._triggering.stage(run, stored)

    # Several instants, or some that make no run.

    async def _try_parts(self, planned: PlannedFire, now: datetime, fired: Fired) -> None:
        try:
            stored = await self._write_parts(planned, now)
        except Exception as error:  # noqa: BLE001 - it is told, and holds back no other job
            fired.failure(planned.row, error)
        else:
            fired.failed |= not stored
            fired.unsure.append(planned.row.key)

    async def _write_parts(self, planned: PlannedFire, now: datetime) -> bool:
        """Whether all is stored."""
        fires = planned.plan.fire
        if planned.plan.skipped or not fires:
            # Skips with the timing and never before: what is planned again after a crash may
            # judge an instant otherwise, and must not fire one that is noted as skipped.
            if fires and not await self._stage_all(planned, fires, None):
                return False
            await self._store.write(_record, planned, now)
            return True
        *earlier, last = fires
        # The timing moves on with the last, once all before it are stored.
        if earlier and not await self._stage_all(planned, earlier, None):
            return False
        return await self._stage_all(planned, [last], planned.advance)

    async def _stage_all(
        self, planned: PlannedFire, fires: Sequence[DueFire], advance: Advance | None
    ) -> bool:
        """Make these runs; whether the store took them."""
        batch = Batch()
        for fire in fires:
            self._stage(planned, fire, advance, batch)
        await batch.wait()
        return not batch.failed


def _waits_for_start(run: CreateRun) -> bool:
    """Whether the next fire of its job would overlap it; one without targets has ended."""
    made = run.outcome in (Created.CREATED, Created.WAITING)
    return made and any(not target.skip_reason for target in run.targets)


def _record(tx: Any, planned: PlannedFire, now: datetime) -> None:
    """Write skipped ranges and the job's next instant."""
    row, plan, advance = planned.row, planned.plan, planned.advance
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
