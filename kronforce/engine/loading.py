"""From rows to live work: at start, when a head runs low, when a limit lets a run in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Concatenate, ParamSpec

from kronforce.clock import Clock
from kronforce.core.cancel_words import cancel_line
from kronforce.core.lifecycle import Reason
from kronforce.core.targets import AllAgents
from kronforce.engine.agents.directory import Directory
from kronforce.engine.dispatcher import HEAD, Dispatcher, Route, is_ready
from kronforce.engine.live import LiveExecution, LiveRun, LiveTable
from kronforce.engine.output import OutputState
from kronforce.engine.snapshots import JobSnapshot, JobSnapshots, one_agent
from kronforce.engine.tasks import Tasks
from kronforce.engine.timers import Timers
from kronforce.store import open_work
from kronforce.store import output as output_store
from kronforce.store.database import Tx
from kronforce.store.open_work import OpenRow
from kronforce.store.output import ProgressRow
from kronforce.store.store import Store
from kronforce.store.tables import Phase

log = logging.getLogger(__name__)

P = ParamSpec("P")

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
        dispatcher.forget = table.remove

    async def read(
        self, query: Callable[Concatenate[Tx, P], Sequence[OpenRow]], *args: P.args, **kw: P.kwargs
    ) -> list[tuple[OpenRow, LiveExecution]]:
        """Open rows with their live objects, without what has ended since they were read."""
        with self._table.reading() as gone:
            rows = await self._store.read(query, *args, **kw)
            return await self._adopt_but(gone, rows)

    async def _adopt_but(
        self, gone: Collection[int], rows: Sequence[OpenRow]
    ) -> list[tuple[OpenRow, LiveExecution]]:
        await self._snapshots.of_versions([(r.job_key, r.job_version) for r in rows])
        rows = [row for row in rows if row.key not in gone]
        return list(zip(rows, await self.adopt(rows), strict=True))

    async def adopt(self, rows: Sequence[OpenRow]) -> list[LiveExecution]:
        """The live objects of these rows, made where memory has none yet."""
        jobs = await self._snapshots.of_versions([(r.job_key, r.job_version) for r in rows])
        return [self._adopt(row, jobs[row.job_key, row.job_version]) for row in rows]

    def _adopt(self, row: OpenRow, job: JobSnapshot) -> LiveExecution:
        known = self._table.by_key.get(row.key)
        if known is not None:
            return known
        run = self._table.runs.get(row.run_key) or self._run_of(row, job)
        self._ensure_route(row, job, run.group)
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
            live.cancel_reason = row.cancel_reason or Reason.CANCELLED
            live.cancel_text = cancel_line(row.asked_by, row.cancel_message)
        elif run.cancelled_by:
            # An attempt that was made while its run was being cancelled.
            live.cancel_reason, live.cancel_text = run.cancel_reason, run.cancel_text
        elif run.overdue:
            live.cancel_reason = Reason.RUN_TIMEOUT
        self._table.add(live)
        return live

    def _ensure_route(self, row: OpenRow, job: JobSnapshot, group: str) -> None:
        route = self._dispatcher.routes.get(row.route)
        if route is not None and route.need.serves(group):
            return
        target = job.target
        # A target that is free to choose names the agent of its last attempt; it is not bound.
        if row.bound_agent_key is not None and (target is None or isinstance(target, AllAgents)):
            agent_id = self._directory.id_of(row.bound_agent_key)
            target = one_agent(agent_id or b"")
        if target is not None:
            self._dispatcher.route_for(job, target, row.route, group)

    async def resume_output(self, lives: Sequence[LiveExecution]) -> None:
        """Where streamed output of what runs stands in the store."""
        keys = [live.key for live in lives]
        for start in range(0, len(keys), open_work.CHUNK):
            part = keys[start : start + open_work.CHUNK]
            found = await self._store.read_output(output_store.progress_of, part)
            for key, row in found.items():
                live = self._table.by_key.get(key)
                if live is not None and live.output is None:
                    live.output = await self._resumed(live, row)

    async def _resumed(self, live: LiveExecution, row: ProgressRow) -> OutputState:
        """Its state; where the cap has begun to count, with the rows that it may give up."""
        half = live.run.job.settings.output_cap_bytes // 2
        if row.stored_bytes <= half:
            return OutputState.resumed(row, (), row.stored_bytes)
        head, tail = await self._store.read_output(output_store.head_and_tail, live.key, half)
        return OutputState.resumed(row, tail, head)

    def refill(self, route: Route) -> None:
        """Read the next of a route whose head runs low."""
        route.refilling = True
        self._tasks.spawn(self._refill(route), name="refill")

    async def _refill(self, route: Route) -> None:
        try:
            # First, so that what is left to the store during the read is looked for again.
            route.more, route.left = False, None
            with self._table.reading() as gone:
                rows = await self._store.read(open_work.ready_head, route.number, HEAD)
                found = await self._adopt_but(gone, rows)
            route.more |= len(rows) == HEAD
            for _, live in found:
                if is_ready(live):
                    self._dispatcher.requeue(live)
            self._dispatcher.trim(route)
        except BaseException:
            route.more = True
            raise
        finally:
            route.refilling = False
        self._store.main.wake()

    async def load_ready(self) -> None:
        """The head of every route that has anything ready: at start, or when in doubt."""
        for number in await self._store.read(open_work.ready_routes):
            with self._table.reading() as gone:
                rows = await self._store.read(open_work.ready_head, number, HEAD)
                found = await self._adopt_but(gone, rows)
            route = self._dispatcher.routes.get(number)
            if route is None:
                continue
            route.more |= len(rows) == HEAD
            for _, live in found:
                if is_ready(live):
                    self._dispatcher.requeue(live)
        self._store.main.wake()

    async def load_retries(self) -> None:
        """Attempts whose delay ends soon; those whose delay is over are ready from now on."""
        now = self._clock.now_us()
        until, after = now + RETRY_HORIZON_SECS * SECOND, (0, 0)
        while True:
            with self._table.reading() as gone:
                rows = await self._store.read(open_work.due_retries, until, RETRY_BATCH, after)
                fresh = [row for row in rows if row.key not in self._table.by_key]
                for row, live in await self._adopt_but(gone, fresh):
                    self.wait_for_retry(live, row.due_at)
            due = [row.key for row in rows if row.due_at is not None and row.due_at <= now]
            if due:
                await self._store.write(open_work.make_ready, due)
            if len(rows) < RETRY_BATCH:
                return
            after = (rows[-1].due_at or 0, rows[-1].key)

    def wait_for_retry(self, live: LiveExecution, due_at: int | None) -> None:
        """Offer it when its delay is over; what lies far ahead is left to the store."""
        if due_at is None or live.cancel_reason:
            self._dispatcher.offer(live)
            return
        secs = (due_at - self._clock.now_us()) / SECOND
        if secs > RETRY_HORIZON_SECS:
            self._table.remove(live)
            return
        self._timers.after(max(0.0, secs), lambda: self._due(live))

    def _due(self, live: LiveExecution) -> None:
        if is_ready(live):
            self._dispatcher.offer(live)

    async def admit_waiting(self) -> None:
        """Where runs wait although their limit has room, let them in."""
        for job_key, version, _, slot_key in await self._store.read(open_work.newest_waiting):
            pair = (job_key, version)
            limit = (await self._snapshots.of_versions([pair]))[pair].limit_of(slot_key)
            if run_keys := await self._store.write(open_work.admit_waiting, job_key, limit):
                await self.admitted(run_keys)

    async def admitted(self, run_keys: Sequence[int]) -> None:
        """A limit let these runs in: their executions are ready."""
        for row, live in await self.read(open_work.of_runs, run_keys):
            live.run.admission = row.admission
            if live.phase == Phase.CONCURRENCY and row.phase == Phase.READY:
                live.phase = Phase.READY
            if is_ready(live) and live.phase == Phase.READY:
                self._dispatcher.offer(live)

    def _run_of(self, row: OpenRow, job: JobSnapshot) -> LiveRun:
        run = LiveRun(
            key=row.run_key, id_=row.run_id, job=job, group=self._group_of(row),
            trigger=row.trigger, principal_key=row.principal_key, principal=row.principal,
            client_id=row.client_id, priority=row.priority, created_at=row.run_created_at,
            nominal_at=row.nominal_at, params=row.params, target_count=row.target_count,
            open_targets=row.open_targets, admission=row.admission, slot_key=row.slot_key,
            state=row.run_state, revision=row.revision, started_at=row.run_started_at,
            cancelled_by=row.cancelled_by,
        )  # fmt: skip
        if row.cancelled_by:
            run.cancel_reason = row.run_cancel_reason or Reason.CANCELLED
            run.cancel_text = cancel_line(row.cancelled_by, row.run_cancel_message)
        run.overdue = row.deadline_at is not None and row.deadline_at <= self._clock.now_us()
        return run

    def _group_of(self, row: OpenRow) -> str:
        return self._table.renamed.get(row.group_name, row.group_name)
