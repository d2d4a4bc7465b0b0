"""The one door: every run is made here, whoever asks for it.

One transaction deduplicates, checks that the definition is current, admits,
and inserts run, frozen targets, executions and events; where a slot is free on
a connected agent the assignment is made in it too. What memory decides (scope,
window, targets) comes before, what only the transaction can tell comes back on
the command.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kronforce.clock import Clock
from kronforce.core.access import Scope
from kronforce.core.ids import IdSource, to_text
from kronforce.core.targets import AllAgents, Local
from kronforce.engine.agents.directory import Directory
from kronforce.engine.capacity import Capacity
from kronforce.engine.dispatcher import Dispatcher
from kronforce.engine.keys import KeySource
from kronforce.engine.live import LiveExecution, LiveRun, LiveTable
from kronforce.engine.made_runs import live_execution, live_run, run_message
from kronforce.engine.snapshots import JobSnapshot, JobSnapshots, one_agent
from kronforce.engine.staged_batch import Batch
from kronforce.engine.trigger_requests import (
    SECOND,
    Rerun,
    check_request,
    check_unattended,
    check_window,
    hash_of,
    job_not_found,
    params_of,
)
from kronforce.engine.values.resolving import Resolving
from kronforce.engine.watching import Hub
from kronforce.errors import (
    Internal,
    KronforceError,
    RequestIdReused,
)
from kronforce.failpoints import failpoint
from kronforce.store.audit import KeyedActor
from kronforce.store.hot.commands import Created, CreateRun, NewTarget
from kronforce.store.open_work import execution_ids_of
from kronforce.store.store import Store
from kronforce.store.tables import Phase
from kronforce.v1.job_service_pb2 import TriggerJobRequest
from kronforce.v1.run_pb2 import Run

log = logging.getLogger(__name__)

SCHEDULER, API, RETRY, WEBHOOK, MCP = 1, 2, 5, 6, 10

MAX_ITEMS = 1_000
# How often a definition that changed while its trigger was under way is read again.
STALE_RETRIES = 3

_before_stage = failpoint("engine.trigger.before_stage")
_after_commit = failpoint("engine.trigger.after_commit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Triggered:
    """A run that an item got. `run` is None for a replay, whose state is the store's to tell."""

    run_id: str
    execution_ids: tuple[str, ...]
    replayed: bool
    warnings: tuple[str, ...]
    command: CreateRun | None

    def message(self) -> Run | None:
        """The run as it was committed; None for a replay."""
        return None if self.command is None else run_message(self.command)


Outcome = Triggered | KronforceError


def trigger_of(caller: KeyedActor) -> int:
    """What a call fires a run by: the API, or an AI client."""
    return MCP if caller.surface == "mcp" else API


class Triggering:
    """Makes runs."""

    def __init__(
        self, *, store: Store, clock: Clock, ids: IdSource, keys: KeySource, table: LiveTable,
        snapshots: JobSnapshots, directory: Directory, dispatcher: Dispatcher, hub: Hub,
        capacity: Capacity, resolving: Resolving,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._ids = ids
        self._keys = keys
        self._table = table
        self._snapshots = snapshots
        self._directory = directory
        self._dispatcher = dispatcher
        self._hub = hub
        self._capacity = capacity
        self._resolving = resolving
        # Called with a new run that must replace the job's older ones.
        self.replace_older: Callable[[CreateRun], None] = _nothing
        # Called with every run that was made or skipped, after its commit.
        self.created: Callable[[CreateRun], None] = _nothing

    async def trigger(
        self,
        scope: Scope,
        caller: KeyedActor,
        requests: Sequence[TriggerJobRequest],
        *,
        trigger: int | None = None,
        rerun: Rerun | None = None,
    ) -> list[Outcome]:
        """Fire each item; an outcome for each, in order. An item's error stops no other.

        `trigger` is by what they are fired; None: by the call, over the surface it came.
        `rerun` says what each of them runs again.
        """
        if trigger is None:
            trigger = trigger_of(caller)
        outcomes: list[Outcome | None] = [None] * len(requests)
        todo = list(range(len(requests)))
        for _ in range(STALE_RETRIES):
            todo = await self._try(scope, caller, requests, trigger, rerun, outcomes, todo)
            if not todo:
                break
        for index in todo:
            outcomes[index] = job_not_found(requests[index].job_id)
        return [outcome for outcome in outcomes if outcome is not None]

    async def _try(
        self,
        scope: Scope,
        caller: KeyedActor,
        requests: Sequence[TriggerJobRequest],
        trigger: int,
        rerun: Rerun | None,
        outcomes: list[Outcome | None],
        todo: list[int],
    ) -> list[int]:
        """Fire the items of `todo`; those whose definition had changed are returned."""
        await self._snapshots.load(scope, [requests[index].job_id for index in todo])
        await self.refill_keys()
        made: list[tuple[int, CreateRun]] = []
        batch = Batch()
        for index in todo:
            try:
                run = self._prepare(scope, caller, requests[index], trigger, rerun)
            except KronforceError as error:
                outcomes[index] = error
            else:
                batch.add()
                made.append((index, run))
        if made:
            _before_stage()
            for _, run in made:
                self.stage(run, batch.one_done)
            await batch.wait()
        stale = []
        for index, run in made:
            failed = None if run.key not in batch.failed else _as_ours(batch.failed[run.key])
            if failed is None and run.outcome is Created.STALE:
                self._snapshots.forget(run.job.key)
                stale.append(index)
            else:
                outcomes[index] = failed or (
                    self._triggered(run) if run.outcome in _MADE else await self._replay(run)
                )
        return stale

    def check_capacity(self) -> None:
        """Raise ResourceExhausted if no run may be made now."""
        self._capacity.admit_trigger()

    async def refill_keys(self) -> None:
        """Fetch row keys where few are left; before many runs are made at once."""
        if self._keys.wants_block:
            await self._keys.fill()

    def _prepare(
        self, scope: Scope, caller: KeyedActor, request: TriggerJobRequest, trigger: int,
        rerun: Rerun | None,
    ) -> CreateRun:  # fmt: skip
        """Everything that can be refused without the store."""
        job = self._snapshots.cached(request.job_id)
        if job is None or not scope.allows_group(job.group):
            raise job_not_found(request.job_id)
        self._capacity.admit_trigger()
        check_request(request)
        now = self._clock.now_us()
        if trigger == WEBHOOK:
            check_unattended(job, now)
        elif not request.force:
            check_window(job, now)
        agents = None if rerun is None else rerun.agents
        run = self.new_run(job, trigger=trigger, now=now, agents=agents)
        run.principal_key, run.principal, run.actor = caller.key, caller.name, caller
        run.client_id = request.client_id
        if job.parameters is not None or request.HasField("params"):
            run.params = params_of(request, job)
            if run.limit is not None:
                run.limit = job.limit_for(run.params)
        if request.HasField("priority"):
            run.priority = request.priority
        if request.request_id:
            run.request_id = request.request_id
            run.request_hash = hash_of(request, job, rerun)
        if rerun is not None:
            run.rerun_of = rerun.of
        return run

    def new_run(
        self, job: JobSnapshot, *, trigger: int, now: int,
        agents: Sequence[int | None] | None = None,
    ) -> CreateRun:  # fmt: skip
        """A run of a job with its targets, not staged yet; `agents` in place of the job's own."""
        run = CreateRun()
        run.key, run.id = self._keys(), self._ids()
        run.job, run.trigger, run.created_at = job, trigger, now
        settings = job.settings
        run.priority = settings.priority
        if settings.max_concurrent:
            run.limit = job.limit_for(job.default_params)
        if settings.queue_timeout_secs:
            run.queue_deadline_at = now + settings.queue_timeout_secs * SECOND
        run.params = job.default_params
        if agents is None:
            run.targets = self._targets(job)
        else:
            run.targets = [self._bound(job, index, key) for index, key in enumerate(agents)]
        return run

    def _targets(self, job: JobSnapshot) -> list[NewTarget]:
        """Membership, resolved once and frozen."""
        target = job.target
        if target is None:
            row = self._directory.find(job.agent_ref)
            return [self._bound(job, 0, None if row is None else row.key)]
        if isinstance(target, AllAgents):
            keys = self._directory.keys_for(job.group, job.task_type)
            return [self._bound(job, index, key) for index, key in enumerate(keys)] or [
                self._bound(job, 0, None)
            ]
        route = self._dispatcher.route_for(job, target)
        return [NewTarget(0, self._keys(), self._ids(), route, None)]

    def _bound(self, job: JobSnapshot, index: int, agent_key: int | None) -> NewTarget:
        """A target that is one agent, or a skipped one where there is none."""
        agent_id = None if agent_key is None else self._directory.id_of(agent_key)
        if agent_id is None:
            target = NewTarget(index, self._keys(), self._ids(), 0, None)
            target.skip_reason = "no_agent"
            return target
        route = self._dispatcher.route_for(job, one_agent(agent_id))
        return NewTarget(index, self._keys(), self._ids(), route, agent_key)

    def stage(self, run: CreateRun, then: Callable[[CreateRun, Exception | None], None]) -> None:
        """Put a prepared run into the next batch; `then` is called after its commit."""

        def committed(command: CreateRun, error: Exception | None) -> None:
            self._committed(command, error)
            then(command, error)

        run.then = committed
        self._dispatcher.reserve_for(run)
        self._store.stage(run)

    def _committed(self, run: CreateRun, error: Exception | None) -> None:
        _after_commit()
        stored = error is None and run.outcome in _MADE
        if stored and run.outcome is not Created.SKIPPED:
            self._adopt(run)
        else:
            for target in run.targets:
                if target.session is not None:
                    target.session.release()
        if stored:
            self.created(run)
            if run.outcome is Created.WAITING and run.job.settings.concurrency_policy == 3:
                self.replace_older(run)

    def _adopt(self, run: CreateRun) -> None:
        """From now on the run is live: assigned targets are sent, the others wait."""
        made = self._table.runs.get(run.key) or live_run(run)
        waiting = run.outcome is Created.WAITING
        for target in run.targets:
            if target.skip_reason:
                continue
            if waiting or not target.fence:
                if target.session is not None:
                    target.session.release()
                if waiting:
                    continue
            self._put(self._live(made, run, target), target)
        self._hub.run_created(made, waiting=waiting)

    def _live(self, of: LiveRun, run: CreateRun, target: NewTarget) -> LiveExecution:
        """The live object; somebody may have read the row between its commit and this."""
        known = self._table.by_key.get(target.execution_key)
        if known is not None:
            return known
        live = live_execution(of, run, target)
        self._table.add(live)
        return live

    def _put(self, live: LiveExecution, target: NewTarget) -> None:
        if not target.fence:
            self._dispatcher.offer(live)
            return
        live.phase, live.fence, live.session = Phase.ASSIGNED, target.fence, target.session
        self._dispatcher.assigned(live, target.session)

    async def _replay(self, run: CreateRun) -> Outcome:
        """What an item gets whose request id was used before."""
        if run.outcome is Created.REUSED:
            return RequestIdReused(
                f"request_id {run.request_id!r} was used before with other content; "
                "use a new one, or repeat the same request",
            )
        found = await self._store.read(execution_ids_of, run.resource_id)
        return Triggered(
            run_id=to_text(run.resource_id),
            execution_ids=tuple(to_text(raw) for raw in found),
            replayed=True,
            warnings=(),
            command=None,
        )

    def _triggered(self, run: CreateRun) -> Triggered:
        return Triggered(
            run_id=to_text(run.id),
            execution_ids=tuple(to_text(t.execution_id) for t in run.targets),
            replayed=False,
            warnings=self._warnings(run),
            command=run,
        )

    def unresolved(self, job: JobSnapshot) -> list[str]:
        """What of the variables that a job names has no value for it now."""
        return [] if job.template is None else self._resolving.unresolved(job)

    def _warnings(self, run: CreateRun) -> tuple[str, ...]:
        if run.outcome is Created.SKIPPED:
            return (f"the run was skipped: {run.skip_reason}",)
        found = []
        for target in run.targets:
            if target.skip_reason:
                found.append("no such agent is enrolled: the target was skipped")
            elif not self._dispatcher.routes[target.route].sessions:
                found.append(_nobody(run.job, grouped=self._directory.has_limited))
        found += self.unresolved(run.job)
        return tuple(sorted(set(found))) if found else ()


_MADE = frozenset({Created.CREATED, Created.WAITING, Created.SKIPPED})


def _as_ours(error: Exception) -> KronforceError:
    """What a caller is told: ours as it is, a fault of ours by a number in the log."""
    if isinstance(error, KronforceError):
        return error
    number = secrets.token_hex(8)
    log.error("a trigger failed", exc_info=error,
              extra={"action": "trigger_failed", "correlation_id": number})  # fmt: skip
    return Internal(f"internal error {number}: see the server's log", correlation_id=number)


def _nobody(job: JobSnapshot, *, grouped: bool) -> str:
    where = "the built-in agent" if isinstance(job.target, Local) else "an agent of its target"
    group = f" for jobs of {job.group!r}" if grouped else ""
    return (
        f"nobody can run it now: {where} with task type {job.task_type!r}{group} is not connected"
    )


def _nothing(_run: CreateRun) -> None:
    return None
