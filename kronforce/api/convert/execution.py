"""Executions: one attempt of a run on one target."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from kronforce.api.convert.instants import stamp, stamp_or_none
from kronforce.api.convert.sentences import sentence
from kronforce.api.output_head import Heads
from kronforce.core.cancel_words import cancel_line
from kronforce.core.ids import to_text
from kronforce.core.lifecycle import Reason
from kronforce.store.executions import ExecutionRow
from kronforce.v1.execution_pb2 import DISPATCH_STATE_NONE, Dispatch, Execution
from kronforce.v1.run_pb2 import Trigger

_TRIGGER_PREFIX = "TRIGGER_"


def execution_message(row: ExecutionRow, reason: str) -> Execution:
    """The row as a message; `reason` is the stored one, or what is derived when it is read."""
    message = Execution(
        id=to_text(row.id),
        run_id=to_text(row.run_id),
        job_id=to_text(row.job_id),
        job_name=row.job_name,
        group=row.group_name,
        state=row.state,  # type: ignore[arg-type]  # the enum's number, as stored
        state_reason=reason,
        message=row.message or _line(row, reason),
        attempt_number=row.attempt_number,
        retry_of="" if row.retry_of is None else to_text(row.retry_of),
        target_index=row.target_index,
        agent_id="" if row.agent_id is None else to_text(row.agent_id),
        agent_name=row.agent_name,
        fence=row.fence,
        exit_code=row.exit_code,
        signal=row.signal,
        created_at=stamp(row.created_at),
        due_at=stamp_or_none(row.due_at),
        assigned_at=stamp_or_none(row.assigned_at),
        started_at=stamp_or_none(row.started_at),
        finished_at=stamp_or_none(row.finished_at),
        stdout_bytes=row.stdout_bytes,
        stderr_bytes=row.stderr_bytes,
        outputs=struct_or_none(row.outputs),
        trigger=trigger_word(row.trigger),
    )
    if row.dispatch is None:
        message.dispatch.state = DISPATCH_STATE_NONE
    else:
        message.dispatch.CopyFrom(Dispatch.FromString(row.dispatch))
    return message


def add_heads(message: Execution, heads: Heads) -> None:
    """The first bytes of both streams, as text."""
    message.stdout = heads.stdout.data.decode(errors="replace")
    message.stderr = heads.stderr.data.decode(errors="replace")
    message.stdout_truncated = heads.stdout.truncated
    message.stderr_truncated = heads.stderr.truncated
    message.stdout_bytes = heads.stdout_bytes
    message.stderr_bytes = heads.stderr_bytes


def struct_or_none(data: bytes | None) -> Struct | None:
    """Structured results as they are stored."""
    return None if data is None else Struct.FromString(data)


def trigger_word(number: int) -> str:
    """`api`, `scheduler` …; empty for one that this version does not know."""
    names = Trigger.DESCRIPTOR.values_by_number
    return names[number].name.removeprefix(_TRIGGER_PREFIX).lower() if number in names else ""


def _line(row: ExecutionRow, reason: str) -> str:
    if row.cancelled_by and row.finished_at is not None and reason == Reason.CANCELLED:
        return cancel_line(row.cancelled_by, row.cancel_message)
    if row.cancelled_by and reason == Reason.CANCELLING:
        return f"is being {cancel_line(row.cancelled_by, row.cancel_message)}"
    return sentence(row.state, reason, exit_code=row.exit_code, signal_number=row.signal)
