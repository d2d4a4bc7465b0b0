"""The engine put together: what the servicers use, and the loops behind it.

Start order matters: agents and jobs are known, held work is loaded and given a
full lease, then the queue's heads, then the loops run and calls are served.
Each loop is level-triggered and survives being killed at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from kronforce.clock import Clock
from kronforce.core.ids import IdSource
from kronforce.core.job_settings import ConcurrencyPolicy
from kronforce.core.lifecycle import Reason, ends_as
from kronforce.engine.agents.directory import Directory, pulls
from kronforce.engine.agents.output_streams import OutputStreams
from kronforce.engine.agents.reports import Reports
from kronforce.engine.agents.sessions import Sessions
from kronforce.engine.cancelling import Cancelling
from kronforce.engine.capacity import Capacity
from kronforce.engine.completion import Completion
from kronforce.engine.deleted_jobs import DeletedJobs
from kronforce.engine.dispatcher import Dispatcher
from kronforce.engine.explaining import Explaining
from kronforce.engine.folding import Folding
from kronforce.engine.groups import Groups
from kronforce.engine.keys import KeySource
from kronforce.engine.live import LiveExecution, LiveTable
from kronforce.engine.loading import Loader
from kronforce.engine.metrics.counts import Counts
from kronforce.engine.metrics.job_tally import JobTally
from kronforce.engine.output import OutputIntake
from kronforce.engine.pull.calls import Calls
from kronforce.engine.pull.polls import Polls
from kronforce.engine.pull.silence import Silence
from kronforce.engine.reasons import Reasons
from kronforce.engine.rerunning import Rerunning
from kronforce.engine.rescuer import Rescuer
from kronforce.engine.retention import Retention
from kronforce.engine.run_timeouts import RunTimeouts
from kronforce.engine.scheduler import Scheduler
from kronforce.engine.snapshots import JobSnapshots
from kronforce.engine.tasks import Tasks
from kronforce.engine.timers import Timers
from kronforce.engine.triggering import Triggering
from kronforce.engine.values import key_rotation
from kronforce.engine.values.cache import VariableCache
from kronforce.engine.values.masking import Masking
from kronforce.engine.values.resolving import Resolving
from kronforce.engine.values.watch import VariableWatch
from kronforce.engine.views import Views
from kronforce.engine.watching import Hub
from kronforce.engine.zone_changes import follow_zone_data
from kronforce.security.attempt_tokens import AttemptTokens
from kronforce.security.envelope import Keyring
from kronforce.store import agents as agent_store
from kronforce.store import open_work
from kronforce.store.hot.commands import CreateRun, Finish
from kronforce.store.store import Store
from kronforce.store.tables import Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the operator may set."""

    # Where room is needed.
    folders: Sequence[Path]
    disk_reserve: int
    max_pending: int
    retention: timedelta
    audit_retention: timedelta = timedelta(days=90)


class Engine:
    """Everything that decides and drives."""

    def __init__(
        self, *, store: Store, clock: Clock, new_id: IdSource, limits: Limits, keyring: Keyring,
        controller: str, version: str,
    ) -> None:  # fmt: skip
        self._store = store
        self._keyring = keyring
        self._new_id = new_id
        self.counts = Counts()
        self.tasks = Tasks(clock)
        self.timers = Timers(clock)
        self.table = LiveTable()
        self.directory = Directory()
        self.hub = Hub()
        self.snapshots = JobSnapshots(store)
        self.keys = KeySource(store)
        self.variables = VariableCache(store, keyring)
        self.resolving = Resolving(cache=self.variables, clock=clock)
        self.capacity = Capacity(
            folders=limits.folders, disk_reserve=limits.disk_reserve,
            max_pending=limits.max_pending, pending=lambda: self.counts.waiting,
        )  # fmt: skip
        self.dispatcher = Dispatcher(store, clock)
        store.main.before_cut = self.dispatcher.before_cut
        self.triggering = Triggering(
            store=store, clock=clock, ids=new_id, keys=self.keys, table=self.table,
            snapshots=self.snapshots, directory=self.directory, dispatcher=self.dispatcher,
            hub=self.hub, capacity=self.capacity, resolving=self.resolving,
        )  # fmt: skip
        self.output = OutputIntake(
            store=store, clock=clock, table=self.table, hub=self.hub, capacity=self.capacity,
            timers=self.timers,
        )  # fmt: skip
        self.completion = Completion(
            store=store, clock=clock, ids=new_id, keys=self.keys, table=self.table, hub=self.hub,
            output=self.output, timers=self.timers,
        )  # fmt: skip
        self.loader = Loader(
            store=store, clock=clock, table=self.table, snapshots=self.snapshots,
            directory=self.directory, dispatcher=self.dispatcher, timers=self.timers,
            tasks=self.tasks,
        )  # fmt: skip
        self._reports = reports = Reports(
            store=store, clock=clock, table=self.table, dispatcher=self.dispatcher,
            completion=self.completion, hub=self.hub, timers=self.timers, tasks=self.tasks,
        )  # fmt: skip
        streams = OutputStreams(clock=clock, dispatcher=self.dispatcher, output=self.output)
        self.sessions = Sessions(
            store=store, clock=clock, table=self.table, directory=self.directory,
            dispatcher=self.dispatcher, completion=self.completion, hub=self.hub,
            loader=self.loader, reports=reports, output_streams=streams,
            resolving=self.resolving, masking=Masking(), tasks=self.tasks,
            controller=controller, version=version,
        )  # fmt: skip
        self.polls = Polls(
            store=store, clock=clock, directory=self.directory, dispatcher=self.dispatcher,
            completion=self.completion, loader=self.loader, sessions=self.sessions,
            reports=reports, controller=controller,
        )  # fmt: skip
        self.pull_calls = Calls(
            store=store, clock=clock, table=self.table, directory=self.directory,
            completion=self.completion, output=self.output, polls=self.polls,
            tokens=AttemptTokens(keyring.signing_key(b"attempts")),
        )  # fmt: skip
        self._silence = Silence(
            clock=clock, directory=self.directory, dispatcher=self.dispatcher,
            completion=self.completion, reports=reports, polls=self.polls, calls=self.pull_calls,
        )  # fmt: skip
        self.sessions.patience = self._silence.patience
        self.cancelling = Cancelling(
            store=store, clock=clock, table=self.table, loader=self.loader,
            completion=self.completion, sessions=self.sessions, hub=self.hub,
        )  # fmt: skip
        self.deleted_jobs = DeletedJobs(store=store, cancelling=self.cancelling, tasks=self.tasks)
        self.run_timeouts = RunTimeouts(
            store=store, clock=clock, table=self.table, loader=self.loader,
            cancelling=self.cancelling, timers=self.timers, tasks=self.tasks,
        )  # fmt: skip
        self.scheduler = Scheduler(
            store=store, clock=clock, snapshots=self.snapshots, triggering=self.triggering,
            capacity=self.capacity,
        )  # fmt: skip
        self.job_tally = JobTally(store, clock)
        self.groups = Groups(
            store=store, clock=clock, snapshots=self.snapshots, table=self.table,
            directory=self.directory, dispatcher=self.dispatcher, sessions=self.sessions,
            variables=self.variables, tasks=self.tasks,
        )  # fmt: skip
        self.reasons = Reasons(
            dispatcher=self.dispatcher, directory=self.directory, table=self.table,
            sessions=self.sessions,
        )  # fmt: skip
        self.explaining = Explaining(
            store=store, clock=clock, table=self.table, directory=self.directory,
            dispatcher=self.dispatcher, snapshots=self.snapshots, sessions=self.sessions,
            reasons=self.reasons,
        )  # fmt: skip
        self.views = Views(store=store, clock=clock, table=self.table, hub=self.hub)
        self._rescuer = Rescuer(
            store=store, clock=clock, loader=self.loader, completion=self.completion,
            sessions=self.sessions, dispatcher=self.dispatcher, output=self.output,
            capacity=self.capacity, keys=self.keys, run_timeouts=self.run_timeouts,
            tasks=self.tasks,
        )  # fmt: skip
        self._variable_watch = VariableWatch(
            store=store, clock=clock, cache=self.variables, keyring=keyring
        )
        self.retention = Retention(
            store=store, clock=clock, keep=limits.retention, keep_audit=limits.audit_retention
        )
        self.folding = Folding(store=store, clock=clock)
        self.rerunning = Rerunning(
            store=store, snapshots=self.snapshots, triggering=self.triggering
        )
        self._controller = controller
        self._clock = clock
        self._loops: list[asyncio.Task[None]] = []
        self._connect_parts()

    def _connect_parts(self) -> None:
        """Who tells whom."""
        self._store.main.unsure = self._unsure
        self.dispatcher.cancelled = self._cancelled
        self.dispatcher.unwanted = self.deleted_jobs.resume_of
        self.triggering.created = self._created
        self.triggering.replace_older = self._replace_older
        self.completion.started = self._started
        self.completion.ended = self._ended
        self.completion.run_started = self.run_timeouts.started
        self.completion.attempt_made = self._attempt_made
        self.completion.admitted = self._admitted

    async def start(self) -> None:
        """Load what is open, then run the loops."""
        # First, as it looks for the last sign of life.
        await follow_zone_data(self._store, self._clock)
        await self.keys.fill()
        await key_rotation.ensure_key(
            self._store, self._keyring, key_id=self._new_id(), now=self._clock.now_us()
        )
        await self.variables.refresh()
        now = self._clock.now_us()
        await self._store.write(agent_store.close_sessions, self._controller, now)
        for row in await self._store.read(agent_store.all_agents):
            self.directory.put(row)
        await self.groups.resume()
        self.counts.waiting = await self._store.read(open_work.count_waiting)
        await self._load_held()
        await self.run_timeouts.load()
        await self.loader.load_ready()
        await self.scheduler.load()
        await self._resume_ending()
        for name, loop in self._all_loops():
            self._loops.append(asyncio.create_task(loop, name=name))

    def _all_loops(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        return [
            ("timers", self.timers.run()),
            ("sessions", self.sessions.run()),
            ("custom-agents", self._silence.run()),
            ("scheduler", self.scheduler.run()),
            ("rescuer", self._rescuer.run()),
            ("variables", self._variable_watch.run()),
            ("retention", self.retention.run()),
            ("statistics", self.folding.run()),
        ]

    async def _load_held(self) -> None:
        """What agents have, or may have: it waits for them, from now on for a full term."""
        rows = await self._store.read(open_work.held)
        self.counts.running = sum(row.started_at is not None for row in rows)
        lives = await self.loader.adopt(rows)
        await self.loader.resume_output(lives)
        for live in lives:
            if live.agent_key is not None:
                self._wait_for(live.agent_key, live)

    def _wait_for(self, agent_key: int, live: LiveExecution) -> None:
        row = self.directory.rows.get(agent_key)
        if row is not None and pulls(row) and live.phase == Phase.ASSIGNED:
            # Custom agents are answered with what has started: nobody has it.
            self._reports.requeue(live)
        else:
            self.sessions.keep_away(agent_key, live)

    async def stop(self) -> None:
        """End the loops and what they started; the store stays open."""
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        for session in list(self.dispatcher.sessions.values()):
            session.close()
        await self.tasks.stop()

    def _created(self, run: CreateRun) -> None:
        if run.job.is_interval and all(target.skip_reason for target in run.targets):
            # It ended as it was made: the next one counts from now.
            self._interval_ended(run.job.key)
        self.counts.created(run)

    def _unsure(self) -> None:
        """A batch may have been written that memory does not know: all of it is read again."""
        for session in list(self.dispatcher.sessions.values()):
            # With its inventory each agent settles what was or was not assigned to it.
            session.close()
        self.tasks.spawn_until_done(self.loader.load_ready, name="load-ready")

    def _cancelled(self, live: LiveExecution) -> None:
        reason = live.cancel_reason
        self.completion.never_started(live, ends_as(reason), reason, live.cancel_text)

    def _started(self, live: LiveExecution) -> None:
        self.counts.started(live)
        self.scheduler.run_started(live)

    def _ended(self, live: LiveExecution, finish: Finish) -> None:
        self.counts.ended(live, finish)
        self.scheduler.run_started(live)
        job = live.run.job
        if finish.run_finished and job.is_interval:
            self._interval_ended(job.key)
        if finish.run_finished and job.run_timeout_us:
            self.run_timeouts.ended(live.run.key)

    def _interval_ended(self, job_key: int) -> None:
        self.tasks.spawn_until_done(
            lambda: self.scheduler.interval_ended(job_key), name="interval-ended"
        )

    def _attempt_made(self, live: LiveExecution, due_at: int | None) -> None:
        self.counts.waiting += 1
        self.loader.wait_for_retry(live, due_at)

    def _admitted(self, run_keys: list[int]) -> None:
        self.tasks.spawn_until_done(lambda: self.loader.admitted(run_keys), name="admitted")

    async def _resume_ending(self) -> None:
        """What waits for a limit of a deleted job, or is replaced, and a crash left uncancelled."""
        for job_key, version, run_key, slot_key in await self._store.read(open_work.newest_waiting):
            pair = (job_key, version)
            job = (await self.snapshots.of_versions([pair]))[pair]
            if job.deleted:
                self.deleted_jobs.resume(job_key)
            elif job.settings.concurrency_policy is ConcurrencyPolicy.REPLACE:
                self._replace_before(job_key, slot_key, run_key)

    def _replace_older(self, run: CreateRun) -> None:
        slot_key = run.limit.key if run.limit is not None else ""
        self._replace_before(run.job.key, slot_key, run.key)

    def _replace_before(self, job_key: int, slot_key: str, run_key: int) -> None:
        self.tasks.spawn_until_done(
            lambda: self._replace(job_key, slot_key, run_key), name="replace"
        )

    async def _replace(self, job_key: int, slot_key: str, run_key: int) -> None:
        older = await self._store.read(open_work.replaced_by, job_key, run_key)
        if slot_key:
            # One that has run for long may have many newer ones of other keys before it.
            older += self.table.older_runs(job_key, slot_key, run_key, but=older)
        await self.cancelling.cancel_keys(
            older, by="replace", reason=Reason.REPLACED, message="a newer run replaced it"
        )
