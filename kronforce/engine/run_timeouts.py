"""`run_timeout_secs`: ends what is open of a run when it has taken too long in all.

The deadline is written with the run's first start and counted here on the
monotonic clock; a restart loads what is stored. Whatever is open then ends
`timed_out`/`run_timeout`: what waits at once, what runs through its agent, and
no attempt follows. Nothing else is stored: a deadline that is past says it all.
A run whose job has no such limit never comes here.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import partial

from kronforce.clock import Clock
from kronforce.core.lifecycle import Reason
from kronforce.engine.cancelling import Cancelling
from kronforce.engine.live import LiveRun, LiveTable
from kronforce.engine.loading import Loader
from kronforce.engine.tasks import Tasks
from kronforce.engine.timers import Timers
from kronforce.failpoints import failpoint
from kronforce.store import open_work
from kronforce.store.store import Store

# Deadlines read at a time when a controller starts.
PAGE = 1_000
# Runs ended at a time; the others follow.
BATCH = 200
# What memory does not know of is looked for this far ahead: more than the rescuer's pause.
HORIZON_SECS = 30
SECOND = 1_000_000
NEVER = float("inf")

_due = failpoint("engine.run_timeout.due")


class RunTimeouts:
    """Every open run that has a deadline, by its place on the monotonic clock."""

    def __init__(
        self, *, store: Store, clock: Clock, table: LiveTable, loader: Loader,
        cancelling: Cancelling, timers: Timers, tasks: Tasks,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._table = table
        self._loader = loader
        self._cancelling = cancelling
        self._timers = timers
        self._tasks = tasks
        self._due: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []
        # When the next look is due.
        self._armed = NEVER

    def __len__(self) -> int:
        return len(self._due)

    def started(self, run: LiveRun) -> None:
        """A start of this run is stored; the first one counts."""
        if run.key not in self._due and not run.overdue and run.started_at is not None:
            self._put(run.key, run.started_at + run.job.run_timeout_us)

    def ended(self, run_key: int) -> None:
        """The run has ended in time."""
        self._due.pop(run_key, None)
        if len(self._heap) > 2 * len(self._due) + PAGE:
            # Most runs end long before their deadline: the heap must not remember them all.
            self._heap = [(at, key) for key, at in self._due.items()]
            heapq.heapify(self._heap)

    async def load(self, horizon_secs: int | None = None) -> None:
        """Deadlines that are stored and not known here: all of them, or those that come near."""
        until = None if horizon_secs is None else self._clock.now_us() + horizon_secs * SECOND
        after = (0, 0)
        while True:
            found = await self._store.read(open_work.run_deadlines, until, PAGE, after)
            for run_key, deadline_at in found:
                self._adopt(run_key, deadline_at)
            if len(found) < PAGE:
                return
            after = (found[-1][1], found[-1][0])

    def _adopt(self, run_key: int, deadline_at: int) -> None:
        run = self._table.runs.get(run_key)
        # One that is being ended stays open until its agent has answered.
        if run_key not in self._due and (run is None or run.ends_at is None):
            self._put(run_key, deadline_at)

    def _put(self, run_key: int, deadline_at: int) -> None:
        at = self._clock.monotonic() + (deadline_at - self._clock.now_us()) / SECOND
        self._due[run_key] = at
        run = self._table.runs.get(run_key)
        if run is not None:
            run.ends_at = at
        heapq.heappush(self._heap, (at, run_key))
        self._arm()

    def _arm(self) -> None:
        if self._heap and self._heap[0][0] < self._armed:
            self._armed = self._heap[0][0]
            self._timers.after(max(0.0, self._armed - self._clock.monotonic()), self._look)

    def _look(self) -> None:
        """End what is due, and come back for the next."""
        self._armed = NEVER
        now = self._clock.monotonic()
        over = []
        while self._heap and (self._heap[0][0] <= now or self._is_gone(*self._heap[0])):
            at, run_key = heapq.heappop(self._heap)
            if not self._is_gone(at, run_key):
                del self._due[run_key]
                over.append(run_key)
        for start in range(0, len(over), BATCH):
            part = over[start : start + BATCH]
            self._tasks.spawn_until_done(partial(self._end, part), name="run-timeout")
        self._arm()

    def _is_gone(self, at: float, run_key: int) -> bool:
        return self._due.get(run_key) != at

    async def _end(self, run_keys: Sequence[int]) -> None:
        for key in run_keys:
            # At once: whatever ends from now on decides on no further attempt.
            if (run := self._table.runs.get(key)) is not None:
                run.overdue = True
        _due()
        lives = []
        for _, live in await self._loader.read(open_work.of_runs, run_keys):
            live.run.overdue = True
            if live.cancel_reason in ("", Reason.RUN_TIMEOUT):
                live.cancel_reason = Reason.RUN_TIMEOUT
                lives.append(live)
        await self._cancelling.end_all(lives)
