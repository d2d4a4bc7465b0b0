"""What an agent's session writes: taking over, ending, and evidence of stale reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from kronforce.core.ids import from_text
from kronforce.errors import ExecutionNotFound
from kronforce.store import agents as agent_store
from kronforce.store import counters
from kronforce.store.agents import AgentRow
from kronforce.store.database import Tx
from kronforce.store.events import NewEvent, insert_events
from kronforce.store.hot.apply import FENCE
from kronforce.store.open_work import OpenRow, held_by
from kronforce.store.tables import evidence, executions

# Reports kept per execution: enough to see what went on, bounded whoever repeats them.
MAX_EVIDENCE = 8

# By how much fences jump when an agent's journal is ahead of the store: a restored backup.
FENCE_JUMP = 1 << 32

INFO, WARNING = 1, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOpened:
    """A session that was taken over, and what its agent holds."""

    row: AgentRow
    epoch: int
    held: Sequence[OpenRow]


def open_session(
    tx: Tx, *, agent_key: int, boot_id: str, controller: str, facts: bytes, slots: int,
    task_types: Sequence[str], skew_ms: int, highest_fence: int, now: int,
) -> SessionOpened:  # fmt: skip
    """Raise the epoch and read what the agent holds, in one transaction."""
    epoch = agent_store.open_session(
        tx, key=agent_key, boot_id=boot_id, controller=controller, facts=facts, slots=slots,
        task_types=task_types, skew=skew_ms, now=now,
    )  # fmt: skip
    if highest_fence > counters.value_of(tx, FENCE):
        counters.set_to(tx, FENCE, highest_fence + FENCE_JUMP)
    row = agent_store.get_agent(tx, agent_key)
    _tell(tx, row, "agent.online", INFO, now)
    return SessionOpened(row=row, epoch=epoch, held=held_by(tx, agent_key))


def close_session(tx: Tx, agent_key: int, epoch: int, now: int) -> None:
    """Note that the session ended, unless a newer one has begun."""
    if agent_store.close_session(tx, agent_key, epoch, now):
        _tell(tx, agent_store.get_agent(tx, agent_key), "agent.offline", WARNING, now)


def _tell(tx: Tx, row: AgentRow, kind: str, severity: int, now: int) -> None:
    word = kind.rpartition(".")[2]
    event = NewEvent(kind=kind, severity=severity, at=now, message=f"agent {row.name} is {word}",
                     actor=row.name, agent_id=row.id)  # fmt: skip
    insert_events(tx, [event])


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """What is stored of an execution that somebody reports; `state` is the contract's number."""

    agent_key: int | None
    fence: int
    state: int
    started: bool


def reported(tx: Tx, execution_id: bytes) -> Reported | None:
    """What is stored of it; None: there is no such execution."""
    e = executions.c
    query = sa.select(e.agent_key, e.fence, e.state, e.started_at).where(e.id == execution_id)
    row = tx.conn.execute(query).one_or_none()
    if row is None:
        return None
    return Reported(
        agent_key=row.agent_key, fence=row.fence, state=row.state,
        started=row.started_at is not None,
    )  # fmt: skip


def keep_late(tx: Tx, execution_id: str, fence: int, report: bytes, now: int) -> None:
    """Keep a report of what has ended otherwise, also under the fence that it ended with."""
    raw = from_text(execution_id)
    if raw is None:
        raise ExecutionNotFound("no such execution")
    _keep(tx, raw, fence, report, now)


def keep_evidence(tx: Tx, execution_id: str, fence: int, report: bytes, now: int) -> None:
    """Keep a report that came under a fence that is not the current one, or came again."""
    raw = from_text(execution_id)
    if raw is None:
        raise ExecutionNotFound("no such execution")
    current = tx.conn.execute(sa.select(executions.c.fence).where(executions.c.id == raw)).scalar()
    if current is None or current == fence:
        # Unknown, or an identical repeat of what is stored already.
        return
    _keep(tx, raw, fence, report, now)


def _keep(tx: Tx, raw: bytes, fence: int, report: bytes, now: int) -> None:
    mine = evidence.c.execution_id == raw
    known = tx.conn.execute(sa.select(evidence.c.report).where(mine)).scalars().all()
    if len(known) < MAX_EVIDENCE and report not in [bytes(row) for row in known]:
        tx.conn.execute(
            sa.insert(evidence).values(execution_id=raw, fence=fence, at=now, report=report)
        )
