"""Running a run again: what it ran, as that is defined now, through the one door.

Same or other params; all targets as they are chosen now, or those that did not
succeed, on the agents that the run had for them. The run itself is not touched
and may still be open.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.struct_pb2 import Struct

from kronforce.core.access import Scope
from kronforce.core.ids import from_text, to_text
from kronforce.core.lifecycle import TERMINAL, State
from kronforce.core.targets import AllAgents
from kronforce.engine.snapshots import JobSnapshots
from kronforce.engine.trigger_requests import Rerun
from kronforce.engine.triggering import RETRY, Outcome, Triggering
from kronforce.errors import NothingToRerun, RunNotFound
from kronforce.store.audit import KeyedActor
from kronforce.store.database import Tx
from kronforce.store.runs import RunRow, RunTargetRow, find_run, run_targets
from kronforce.store.store import Store
from kronforce.v1.job_service_pb2 import RerunRunRequest, TriggerJobRequest

# More targets than any run has: one per enrolled agent.
MAX_TARGETS = 20_000

_OVER = frozenset(int(state) for state in TERMINAL - {State.SUCCEEDED})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    row: RunRow
    targets: list[RunTargetRow]


class Rerunning:
    """Makes runs of runs."""

    def __init__(self, *, store: Store, snapshots: JobSnapshots, triggering: Triggering) -> None:
        self._store = store
        self._snapshots = snapshots
        self._triggering = triggering

    async def rerun(self, scope: Scope, caller: KeyedActor, request: RerunRunRequest) -> Outcome:
        """A new run. Raises RunNotFound or NothingToRerun."""
        found = await self._store.read(_source, scope, request.run_id)
        agents = None
        if request.failed_targets_only:
            agents = await self._failed_agents(found)
        rerun = Rerun(
            of=found.row.id,
            agents=agents,
            failed_only=request.failed_targets_only,
            other_params=request.HasField("params"),
        )
        [outcome] = await self._triggering.trigger(
            scope, caller, [_as_trigger(found.row, request)], trigger=RETRY, rerun=rerun
        )
        return outcome

    async def _failed_agents(self, found: _Source) -> tuple[int | None, ...] | None:
        """The agents of what did not succeed; None where the target was free to choose."""
        failed = [target for target in found.targets if target.state in _OVER]
        if not failed:
            run = to_text(found.row.id)
            raise NothingToRerun(
                f"no target of run {run} has ended other than succeeded; all of it runs again "
                f"without failed_targets_only: kronforce run rerun {run}",
                run=run,
            )
        pair = (found.row.job_key, found.row.job_version)
        job = (await self._snapshots.of_versions([pair])).get(pair)
        if job is None or not (job.target is None or isinstance(job.target, AllAgents)):
            return None
        return tuple(target.agent_key for target in failed)


def _as_trigger(row: RunRow, request: RerunRunRequest) -> TriggerJobRequest:
    trigger = TriggerJobRequest(
        job_id=to_text(row.job_id),
        request_id=request.request_id,
        force=request.force,
        client_id=request.client_id,
    )
    if request.HasField("params"):
        trigger.params.CopyFrom(request.params)
    elif row.params is not None:
        trigger.params.CopyFrom(Struct.FromString(row.params))
    return trigger


def _source(tx: Tx, scope: Scope, run_id: str) -> _Source:
    raw = from_text(run_id)
    row = None if raw is None else find_run(tx, scope, raw)
    if row is None:
        raise RunNotFound(f"no run {run_id!r}; see `kronforce run list`", run=run_id)
    return _Source(row=row, targets=run_targets(tx, row.key, MAX_TARGETS))
