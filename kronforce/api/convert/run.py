"""Runs and their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kronforce.api.convert.execution import struct_or_none
from kronforce.api.convert.instants import stamp, stamp_or_none
from kronforce.api.convert.sentences import sentence
from kronforce.core.cancel_words import cancel_line
from kronforce.core.ids import to_text
from kronforce.core.lifecycle import State
from kronforce.store.run_ends import RunEnd
from kronforce.store.runs import RunRow, RunTargetRow
from kronforce.store.tables import Admission
from kronforce.v1.execution_pb2 import Execution
from kronforce.v1.run_pb2 import Run, RunTarget


def run_message(row: RunRow, counts: Mapping[int, int], end: RunEnd | None = None) -> Run:
    """The run without its targets and executions.

    `counts` are its targets by state, `end` what was said of the execution that decided it.
    """
    reason = _reason(row)
    return Run(
        id=to_text(row.id),
        job_id=to_text(row.job_id),
        job_name=row.job_name,
        group=row.group_name,
        job_version=row.job_version,
        state=row.state,  # type: ignore[arg-type]  # the enum's number, as stored
        state_reason=reason,
        message=_line(row, reason, end),
        trigger=row.trigger,  # type: ignore[arg-type]  # the same
        triggered_by=row.principal,
        client_id=row.client_id,
        params=struct_or_none(row.params),
        nominal_at=stamp_or_none(row.nominal_at),
        priority=row.priority,
        created_at=stamp(row.created_at),
        started_at=stamp_or_none(row.started_at),
        finished_at=stamp_or_none(row.finished_at),
        revision=row.revision,
        target_count=row.target_count,
        targets_by_state={State(state).word: count for state, count in counts.items()},
        outputs=struct_or_none(row.outputs),
        parent_run_id="" if row.parent_run_id is None else to_text(row.parent_run_id),
        cause_event=row.cause_event,
        depth=row.depth,
        cancelled_by=row.cancelled_by,
        rerun_of="" if row.rerun_of is None else to_text(row.rerun_of),
        deadline_at=stamp_or_none(row.deadline_at),
    )


def add_parts(
    message: Run, targets: Sequence[RunTargetRow], executions: Sequence[Execution]
) -> None:
    """Targets and executions; what the run waits for, or how it ended, is told by the newest."""
    message.targets.extend(_target(row) for row in targets)
    message.executions.extend(executions)
    if not executions:
        return
    newest = executions[-1]
    if newest.state == message.state and message.target_count == 1:
        message.state_reason = message.state_reason or newest.state_reason
        message.message = newest.message or message.message


def _target(row: RunTargetRow) -> RunTarget:
    return RunTarget(
        index=row.target_index,
        agent_id="" if row.agent_id is None else to_text(row.agent_id),
        agent_name=row.agent_name,
        state=row.state,  # type: ignore[arg-type]  # the enum's number, as stored
        skip_reason=row.skip_reason,
        attempts=row.attempts,
    )


def _reason(row: RunRow) -> str:
    if not row.state_reason and row.state == State.PENDING and row.admission == Admission.WAITING:
        return "concurrency"
    return row.state_reason


def _line(row: RunRow, reason: str, end: RunEnd | None) -> str:
    if row.state == State.CANCELLED and row.cancelled_by:
        return cancel_line(row.cancelled_by, row.cancel_message)
    if end is None:
        return sentence(row.state, reason)
    return end.message or sentence(
        row.state, reason, exit_code=end.exit_code, signal_number=end.signal
    )
