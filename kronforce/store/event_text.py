"""The text of events that were written without one, made when they are read.

The hot path stores kind and ids only. How an execution ended is looked up with
one query for a whole page, as long as retention has left it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from kronforce.core.lifecycle import State
from kronforce.store.database import Tx
from kronforce.store.tables import executions
from kronforce.v1.event_pb2 import SEVERITY_ERROR, SEVERITY_SUCCESS, SEVERITY_WARNING

if TYPE_CHECKING:
    from kronforce.store.events import EventRow

COMPLETED = "execution.completed"

_OUTCOMES: dict[int, str] = {
    SEVERITY_SUCCESS: "succeeded",
    SEVERITY_WARNING: "ended without success",
    SEVERITY_ERROR: "failed",
}


def outcomes(tx: Tx, rows: Sequence[EventRow]) -> dict[bytes, str]:
    """How the executions ended whose end these events tell of, in words, by execution id."""
    wanted = [
        row.execution_id
        for row in rows
        if not row.message and row.kind == COMPLETED and row.severity != SEVERITY_SUCCESS
    ]
    if not wanted:
        return {}
    columns = (executions.c.id, executions.c.state, executions.c.message)
    found = tx.conn.execute(sa.select(*columns).where(executions.c.id.in_(wanted)))
    return {row.id: _outcome(row.state, row.message) for row in found}


def message_of(event: EventRow, known: Mapping[bytes, str]) -> str:
    """One line for people."""
    if event.kind == "job.triggered":
        return f"{event.job_name} was triggered by {event.actor}"
    if event.kind == "execution.started":
        return f"{event.job_name} started"
    if event.kind == COMPLETED:
        outcome = known.get(event.execution_id or b"")
        return f"{event.job_name} {outcome or _OUTCOMES.get(event.severity, 'ended')}"
    return event.kind


def _outcome(state: int, message: str) -> str:
    word = State(state).word.replace("_", " ")
    verb = word if word in ("failed", "succeeded", "timed out") else f"was {word}"
    verb = "expired" if word == "expired" else verb
    return f"{verb}: {message}" if message else verb
