"""What an agent's session writes: taking over, ending, and evidence of stale reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from kronforce.core.ids import from_text
from kronforce.errors import AgentNotFound, ExecutionNotFound
from kronforce.store import agents as agent_store
from kronforce.store import counters
from kronforce.store.agents import AgentRow, Opening
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

# Sessions that are opened in one transaction: a parameter each in its questions, and the batch's
# other work waits some ten milliseconds for them at most.
TOGETHER = 200
DELETED = "the agent was deleted; enrol it again"


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOpened:
    """A session that was taken over, and what its agent holds."""

    row: AgentRow
    epoch: int
    held: Sequence[OpenRow]


def open_sessions(
    tx: Tx, openings: Sequence[Opening], *, controller: str, now: int
) -> list[SessionOpened | None]:
    """Raise the epochs and read what the agents hold, in one transaction; None: it is deleted.

    Each agent once, and no more than TOGETHER.
    """
    rows = agent_store.open_sessions(tx, openings, controller=controller, now=now)
    highest_fence = max((opening.highest_fence for opening in openings), default=0)
    if highest_fence > counters.value_of(tx, FENCE):
        counters.set_to(tx, FENCE, highest_fence + FENCE_JUMP)
    _tell(tx, rows.values(), "agent.online", INFO, now)
    held: dict[int, list[OpenRow]] = {key: [] for key in rows}
    for each in held_by(tx, list(rows)):
        assert each.agent_key is not None
        held[each.agent_key].append(each)
    return [
        None if (row := rows.get(opening.agent_key)) is None
        else SessionOpened(row=row, epoch=row.session_epoch, held=held[row.key])
        for opening in openings
    ]  # fmt: skip


def open_session(tx: Tx, opening: Opening, *, controller: str, now: int) -> SessionOpened:
    """The same for one. Raises AgentNotFound if it is deleted."""
    (opened,) = open_sessions(tx, [opening], controller=controller, now=now)
    if opened is None:
        raise AgentNotFound(DELETED)
    return opened


def close_session(tx: Tx, agent_key: int, epoch: int, now: int) -> None:
    """Note that the session ended, unless a newer one has begun."""
    if agent_store.close_session(tx, agent_key, epoch, now):
        _tell(tx, [agent_store.get_agent(tx, agent_key)], "agent.offline", WARNING, now)


def _tell(tx: Tx, rows: Iterable[AgentRow], kind: str, severity: int, now: int) -> None:
    word = kind.rpartition(".")[2]
    events = [
        NewEvent(kind=kind, severity=severity, at=now, message=f"agent {row.name} is {word}",
                 actor=row.name, agent_id=row.id)
        for row in rows
    ]  # fmt: skip
    insert_events(tx, events)


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
