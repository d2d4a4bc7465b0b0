"""What nobody else would notice: waits that are over, agents that stay away, counts that drift.

A level-triggered sweep: reread, act, sleep. Each look goes by an index and is
bounded, so that its cost follows what is overdue.
"""

from __future__ import annotations

import asyncio
import logging

from kronforce.clock import Clock, next_tick
from kronforce.core.custom_tasks import is_custom
from kronforce.core.lifecycle import Reason, State
from kronforce.core.waited import over_waiting
from kronforce.engine.agents.sessions import Sessions
from kronforce.engine.capacity import Capacity
from kronforce.engine.completion import Completion
from kronforce.engine.dispatcher import Dispatcher, Route, is_ready
from kronforce.engine.keys import KeySource
from kronforce.engine.live import LiveExecution
from kronforce.engine.loading import Loader
from kronforce.engine.output import OutputIntake
from kronforce.engine.run_timeouts import HORIZON_SECS, RunTimeouts
from kronforce.engine.tasks import Tasks
from kronforce.store import open_work
from kronforce.store.store import Store
from kronforce.store.tables import Phase

log = logging.getLogger(__name__)

TICK_SECS = 1.0
# How often slots are recounted; a difference is a fault of ours, repaired and logged.
RECOUNT_SECS = 300.0
# How often retries that come near are loaded: well within the loader's horizon.
RETRIES_SECS = 10.0
# Waits ended at a time: enough to share commits, few enough to leave room in them for others.
BATCH = 500
SECOND = 1_000_000


class Rescuer:
    """One loop."""

    def __init__(
        self, *, store: Store, clock: Clock, loader: Loader, completion: Completion,
        sessions: Sessions, dispatcher: Dispatcher, output: OutputIntake, capacity: Capacity,
        keys: KeySource, run_timeouts: RunTimeouts, tasks: Tasks,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._loader = loader
        self._completion = completion
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._output = output
        self._capacity = capacity
        self._keys = keys
        self._run_timeouts = run_timeouts
        self._tasks = tasks
        self._expiring = False
        self._recount_at = clock.monotonic() + RECOUNT_SECS
        self._retries_at = clock.monotonic()

    async def run(self) -> None:
        """The loop; ends when it is cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception:
                log.exception("the rescuer tries again", extra={"action": "rescuer_retry"})
            await self._clock.sleep_until(next_tick(self._clock, TICK_SECS))

    async def sweep(self) -> None:
        """Everything once."""
        self._capacity.measure()
        self._dispatcher.look_again()
        self._output.retry_held_back()
        self._sessions.expire_away()
        self._expire_unserved()
        if self._keys.wants_block:
            await self._keys.fill()
        await self._begin_expiring()
        now = self._clock.monotonic()
        if now >= self._retries_at:
            self._retries_at = now + RETRIES_SECS
            await self._loader.load_retries()
            await self._run_timeouts.load(HORIZON_SECS)
        if now >= self._recount_at:
            self._recount_at = now + RECOUNT_SECS
            await self._recount()

    async def _begin_expiring(self) -> None:
        """What waited longer than `queue_timeout_secs` ends `expired`; much of it, bit by bit."""
        if self._expiring:
            return
        found, ends = await self._expire_overdue()
        if found == BATCH and ends:
            self._expiring = True
            self._tasks.spawn(self._go_on_expiring(ends), name="expire")

    async def _go_on_expiring(self, ends: list[asyncio.Event]) -> None:
        """Each batch once the one before is stored: nobody else's writes wait for a million."""
        try:
            while ends:
                await asyncio.gather(*(end.wait() for end in ends))
                _, ends = await self._expire_overdue()
        finally:
            self._expiring = False

    async def _expire_overdue(self) -> tuple[int, list[asyncio.Event]]:
        """End a batch; how many were found, and what is set as each that waited is stored."""
        now = self._clock.now_us()
        # Hardly ever is there one, and to ask only that is cheap.
        if not await self._store.read_once(open_work.any_overdue, now):
            return 0, []
        found = await self._loader.read(open_work.overdue, now, BATCH)
        ends = []
        for _, live in found:
            if _waits(live):
                ends.append(asyncio.Event())
                live.dones.append(ends[-1].set)
                self._completion.never_started(
                    live, State.EXPIRED, Reason.QUEUE_TIMEOUT, self._over(live)
                )
        return len(found), ends

    def _over(self, live: LiveExecution) -> str:
        return over_waiting(self._why(live), custom=is_custom(live.run.job.task_type))

    def _why(self, live: LiveExecution) -> Reason:
        if live.phase == Phase.CONCURRENCY:
            return Reason.CONCURRENCY
        return self._dispatcher.waiting_reason(live, live.route)

    def _expire_unserved(self) -> None:
        """What waits for agents that are away ends `expired` after `offline_timeout_secs`."""
        now = self._clock.now_us()
        for route in self._dispatcher.routes.values():
            if route.unserved_since is not None and route.heap:
                self._expire_route(route, route.unserved_since, now)
                route.tidy()

    def _expire_route(self, route: Route, since: int, now: int) -> None:
        over = 0
        for _, _, live in route.heap:
            limit = live.run.job.settings.offline_timeout_secs
            begun = max(since, live.run.created_at)
            if limit and now - begun > limit * SECOND and _waits(live):
                over += 1
                if over > BATCH:
                    return
                self._completion.never_started(
                    live, State.EXPIRED, Reason.OFFLINE_TIMEOUT,
                    f"no agent that can run it was online for {limit} s",
                )  # fmt: skip

    async def _recount(self) -> None:
        # To look costs no writer anything, however much waits.
        if not await self._store.read(open_work.slots_are_wrong):
            await self._loader.admit_waiting()
            return
        for job_key, slot_key, active, waiting in await self._store.write(open_work.recount_slots):
            log.error(
                "slots of job %d %r were counted as %d active, %d waiting: put right",
                job_key, slot_key, active, waiting, extra={"action": "slots_repaired"},
            )  # fmt: skip
        await self._loader.admit_waiting()


def _waits(live: LiveExecution) -> bool:
    return is_ready(live) or (live.phase == Phase.CONCURRENCY and not live.finishing)
