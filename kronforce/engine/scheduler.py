"""Fires jobs when their schedules say so.

Holds a heap of the next minute only; the rest is an indexed column, so cost
follows what is due and not what exists. What is held is planned ahead, so that
little is left to do when thousands are due at one instant. A fire and the
job's next instant are written in one transaction, and the ledger's key (job,
nominal instant) makes a fire happen once, whoever tries and however often.
What was missed, skipped or held back becomes rows of the ledger.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from kronforce.clock import Clock, to_us
from kronforce.engine.capacity import Capacity
from kronforce.engine.fire_planning import PlannedFire, plan_ahead
from kronforce.engine.firing import Firing
from kronforce.engine.interval_counting import IntervalCounting
from kronforce.engine.snapshots import KEPT, JobSnapshots
from kronforce.engine.triggering import Triggering
from kronforce.errors import KronforceError
from kronforce.store import jobs as job_store
from kronforce.store.jobs import JobRow
from kronforce.store.store import Store

log = logging.getLogger(__name__)

# What is due within this is held in memory; the column is read again before it has passed.
HORIZON = timedelta(seconds=60)
RELOAD_SECS = 30.0
# Jobs read, and fired, at a time.
BATCH = 1_000
# Jobs held of that minute, a KiB or two each; what lies behind them is read when they have fired.
# As many as snapshots are kept, or those that were made ahead would be gone again.
HELD = KEPT
# Jobs planned ahead between two looks at the clock: some milliseconds.
AHEAD = 20
# After a fire that the store did not take: how long until it is tried again.
RETRY_SECS = 1.0


class _Held:
    """A job that is due within the horizon, and its plan once that is made."""

    __slots__ = ("ahead", "row")

    def __init__(self, row: JobRow) -> None:
        self.row = row
        self.ahead: PlannedFire | None = None


class Scheduler:
    """One loop. `changed` is called after a job's timing was written."""

    def __init__(self, *, store: Store, clock: Clock, snapshots: JobSnapshots,
                 triggering: Triggering, capacity: Capacity):  # fmt: skip
        self._store = store
        self._clock = clock
        self._snapshots = snapshots
        self._capacity = capacity
        self._firing = Firing(store=store, clock=clock, snapshots=snapshots, triggering=triggering)
        self._intervals = IntervalCounting(store=store, clock=clock, planned=self._planned)
        self._heap: list[tuple[int, int]] = []
        self._due: dict[int, _Held] = {}
        # Held, and perhaps not planned yet.
        self._unplanned: deque[int] = deque(maxlen=HELD)
        self._wake = asyncio.Event()
        self._reload_at = clock.monotonic()
        # Where the last read ended, if it was full.
        self._read_to: int | None = None
        # Called with every job that was made, changed or deleted.
        self.told: Callable[[JobRow], None] = _ignore
        # What runs tell: an execution that has started, a run of an interval job that has ended.
        self.run_started = self._firing.run_started
        self.interval_ended = self._intervals.run_ended

    def changed(self, row: JobRow) -> None:
        """A job was made, changed or deleted."""
        self.told(row)
        self._snapshots.forget(row.key)
        self._due.pop(row.key, None)
        if row.deleted_at is None:
            self._planned(row)

    def _planned(self, row: JobRow) -> None:
        self._hold(row)
        self._wake.set()

    def _hold(self, row: JobRow) -> None:
        at = row.next_fire_at
        if at is None or at > to_us(self._clock.now() + HORIZON):
            return
        known = self._due.get(row.key)
        if known is not None and known.row == row:
            return
        if known is None or known.row.next_fire_at != at:
            heapq.heappush(self._heap, (at, row.key))
        self._due[row.key] = _Held(row)
        self._unplanned.append(row.key)

    async def load(self) -> None:
        """At start: which scheduled runs have not started, and intervals that nobody counts."""
        await self._firing.load()
        await self._intervals.load()

    async def run(self) -> None:
        """The loop; ends when it is cancelled."""
        while True:
            if self._wants_reload():
                await self._guarded(self._reload())
            await self._guarded(self._fire_due())
            self._plan_ahead()
            at_once = self._unplanned or self._wants_reload()
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

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
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

    def _plan_ahead(self) -> None:
        """Plan some of what is due soon, while nothing is: thousands may be due at one instant."""
        for _ in range(min(AHEAD, len(self._unplanned))):
            if self._is_due():
                return
            held = self._due.get(self._unplanned.popleft())
            if held is None or held.ahead is not None:
                continue
            try:
                held.ahead = plan_ahead(held.row, self._snapshots.of_row(held.row))
            except Exception as error:  # noqa: BLE001 - it is told when the job cannot be fired
                log.debug("a job cannot be planned ahead: %r", error)

    async def _fire_due(self) -> None:
        """Fire all that is due now. It is on time if it is now, however long the others take."""
        now = self._clock.now()
        due = self._take_due(to_us(now))
        try:
            while due and await self._has_room():
                part = [due.popleft() for _ in range(min(BATCH, len(due)))]
                await self._fire(part, now)
        finally:
            for entry in due:
                heapq.heappush(self._heap, entry)

    def _take_due(self, now: int) -> deque[tuple[int, int]]:
        due: deque[tuple[int, int]] = deque()
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap))
        return due

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

    async def _fire(self, part: list[tuple[int, int]], now: datetime) -> None:
        """Fire these (instant, job), unless they were changed since, and hold them again."""
        held = [
            self._due.pop(key)
            for at, key in part
            if key in self._due and self._due[key].row.next_fire_at == at
        ]
        rows = [each.row for each in held]
        try:
            fired = await self._firing.fire([(each.row, each.ahead) for each in held], now)
            rows = fired.rows
            if fired.unsure:
                rows += await self._store.read(job_store.jobs_by_keys, fired.unsure)
        finally:
            for row in rows:
                # Whoever was told of a change meanwhile knows better.
                if row.key not in self._due and row.deleted_at is None:
                    self._hold(row)
        if fired.failed:
            await self._pause()


def _ignore(_row: JobRow) -> None:
    return None
