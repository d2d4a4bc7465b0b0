"""From rows to live work: at start, when a head runs low, when a limit lets a run in."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kronforce.clock import Clock
from kronforce.engine.directory import Directory
from kronforce.engine.dispatcher import HEAD, Dispatcher, Route
from kronforce.engine.live import LiveExecution, LiveRun, LiveTable
from kronforce.engine.output import OutputState
from kronforce.engine.snapshots import JobSnapshot, JobSnapshots, one_agent
from kronforce.engine.tasks import Tasks
from kronforce.engine.timers import Timers
from kronforce.store import open_work
from kronforce.store import output as output_store
from kronforce.store.open_work import OpenRow
from kronforce.store.store import Store
from kronforce.store.tables import Phase

log = logging.getLogger(__name__)

# Retries that come due within this are held in memory; the rest is looked for again before then.
RETRY_HORIZON_SECS = 30
RETRY_BATCH = 1_000
SECOND = 1_000_000


class Loader:
    """Makes live objects of rows, each execution once."""

    def __init__(
        self, *, store: Store, clock: Clock, table: LiveTable, snapshots: JobSnapshots,
        directory: Directory, dispatcher: Dispatcher, timers: Timers, tasks: Tasks,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._table = table
        self._snapshots = snapshots
        self._directory = directory
        self._dispatcher = dispatcher
        self._timers = timers
        self._tasks = tasks
        dispatcher.refill = self.refill

    async def adopt(self, rows: Sequence[OpenRow]) -> list[LiveExecution]:
        """The live objects of these rows, made where memory has none yet."""
        jobs = await self._snapshots.of_versions([(r.job_key, r.job_version) for r in rows])
        return [self._adopt(row, jobs[row.job_key, row.job_version]) for row in rows]

    def _adopt(self, row: OpenRow, job: JobSnapshot) -> LiveExecution:
        known = self._table.by_key.get(row.key)
        if known is not None:
            return known
        run = self._table.runs.get(row.run_key) or _run_of(row, job)
        self._ensure_route(row, job)
        live = LiveExecution(
            run, key=row.key, id_=row.id, target_index=row.target_index,
            attempt_number=row.attempt_number, retry_of=row.retry_of, losses=row.losses,
            phase=row.phase, route=row.route, fence=row.fence,
            queue_deadline_at=row.queue_deadline_at, bound_agent_key=row.bound_agent_key,
        )  # fmt: skip
        live.started_at = row.started_at
        if row.agent_key is not None:
            agent = self._directory.rows.get(row.agent_key)
            live.agent_key = row.agent_key
            live.agent_id = None if agent is None else agent.id
            live.agent_name = "" if agent is None else agent.name
        if row.cancel_requested_at is not None:
            live.cancel_reason = "cancelled"
        self._table.add(live)
        return live

    def _ensure_route(self, row: OpenRow, job: JobSnapshot) -> None:
        if row.route in self._dispatcher.routes:
            return
        target = job.target
        if row.bound_agent_key is not None:
            agent_id = self._directory.id_of(row.bound_agent_key)
            target = one_agent(agent_id or b"")
        if target is not None:
            self._dispatcher.route_for(job, target, row.route)

    async def resume_output(self, lives: Sequence[LiveExecution]) -> None:
        """Where streamed output of what runs stands in the store."""
        keys = [live.key for live in lives]
        for start in range(0, len(keys), open_work.CHUNK):
            part = keys[start : start + open_work.CHUNK]
            found = await self._store.read_output(output_store.progress_of, part)
            for key, row in found.items():
                live = self._table.by_key.get(key)
                if live is not None and live.output is None:
                    # What is stored is the head; the cap counts it as such from here on.
                    head = min(row.stored_bytes, live.run.job.settings.output_cap_bytes // 2)
                    live.output = OutputState.resumed(row, (), head)

    def refill(self, route: Route) -> None:
        """Read the next of a route whose head runs low."""
        route.refilling = True
        self._tasks.spawn(self._refill(route), name="refill")

    async def _refill(self, route: Route) -> None:
        try:
            rows = await self._store.read(open_work.ready_head, route.number, HEAD)
            route.more = len(rows) == HEAD
            for live in await self.adopt(rows):
                if live.session is None and live.phase == Phase.READY and not live.finishing:
                    self._dispatcher.requeue(live)
        finally:
            route.refilling = False
        self._store.main.wake()

    async def load_ready(self) -> None:
        """At start: the head of every route that has anything ready."""
        for number in await self._store.read(open_work.ready_routes):
            rows = await self._store.read(open_work.ready_head, number, HEAD)
            lives = await self.adopt(rows)
            route = self._dispatcher.routes.get(number)
            if route is None:
                continue
            route.more = len(rows) == HEAD
            for live in lives:
                self._dispatcher.requeue(live)

    async def load_retries(self) -> None:
        """Attempts whose delay ends soon."""
        until = self._clock.now_us() + RETRY_HORIZON_SECS * SECOND
        rows = await self._store.read(open_work.due_retries, until, RETRY_BATCH)
        fresh = [row for row in rows if row.key not in self._table.by_key]
        for row, live in zip(fresh, await self.adopt(fresh), strict=True):
            self.wait_for_retry(live, row.due_at)

    def wait_for_retry(self, live: LiveExecution, due_at: int | None) -> None:
        """Offer it when its delay is over; what lies far ahead is left to the store."""
        if due_at is None:
            self._dispatcher.offer(live)
            return
        secs = (due_at - self._clock.now_us()) / SECOND
        if secs > RETRY_HORIZON_SECS:
            self._table.remove(live)
            live.ended = False
            return
        self._timers.after(max(0.0, secs), lambda: self._due(live))

    def _due(self, live: LiveExecution) -> None:
        if not live.ended and not live.finishing and live.session is None:
            self._dispatcher.offer(live)

    async def admitted(self, run_keys: Sequence[int]) -> None:
        """A limit let these runs in: their executions are ready."""
        rows = await self._store.read(open_work.of_runs, run_keys)
        for row, live in zip(rows, await self.adopt(rows), strict=True):
            live.run.admission = row.admission
            if live.phase == Phase.CONCURRENCY:
                live.phase = Phase.READY
            if live.phase == Phase.READY and live.session is None and not live.finishing:
                self._dispatcher.offer(live)


def _run_of(row: OpenRow, job: JobSnapshot) -> LiveRun:
    return LiveRun(
        key=row.run_key, id_=row.run_id, job=job, trigger=row.trigger,
        principal_key=row.principal_key, principal=row.principal, client_id=row.client_id,
        priority=row.priority, created_at=row.run_created_at, nominal_at=row.nominal_at,
        params=row.params, target_count=row.target_count, open_targets=row.open_targets,
        admission=row.admission, slot_key=row.slot_key, state=row.run_state, revision=row.revision,
        started_at=row.run_started_at, cancelled_by=row.cancelled_by,
    )  # fmt: skip
