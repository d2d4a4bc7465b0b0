"""The numbers of the status page: what is there, what waits, what runs, how big it is.

Counts stop at COUNT_LIMIT, so that asking costs the same however much waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.core.lifecycle import Reason
from kronforce.store.database import Tx
from kronforce.store.first_waiting import FIRST_LIMITED, FIRST_READY
from kronforce.store.paging import COUNT_LIMIT
from kronforce.store.state_filter import IS_HELD, IS_WAITING, in_phase
from kronforce.store.tables import Phase, agents, executions, jobs, runs
from kronforce.store.visibility import in_scope, usable_in


@dataclass(frozen=True, kw_only=True, slots=True)
class Oldest:
    """The execution that waits longest."""

    execution_id: bytes
    run_id: bytes
    job_name: str
    since: int
    state_reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Counts within a scope; agents are those that its groups may use."""

    jobs: int
    agents: int
    agents_online: int
    slots: int
    slots_busy: int
    pending: int
    running: int
    oldest_waiting: Oldest | None


# What has not started, a query for each index: what waits for an agent and what waits for a limit
# share one, in which looking for one of them would read the other.
_NOT_STARTED = (IS_WAITING, in_phase(Phase.RETRY_WAIT), in_phase(Phase.ASSIGNED))


# A wait for the job's limit is in the phase, and is not written down once more.
_REASON = sa.case(
    (executions.c.phase == Phase.CONCURRENCY, Reason.CONCURRENCY.value),
    else_=executions.c.state_reason,
)


def status(tx: Tx, scope: Scope) -> Status:
    """What this scope may see of the present."""
    enrolled = agents.c.deleted_at.is_(None) & usable_in(tx, agents.c.allowed_groups, scope)
    online = enrolled & agents.c.disconnected_at.is_(None)
    connected = sa.select(agents.c.key).where(online)
    held = sa.select(sa.literal(1)).where(
        IS_HELD,
        executions.c.agent_key.in_(connected),
    )
    return Status(
        jobs=_count(tx, _jobs(scope)),
        agents=_count(tx, sa.select(sa.literal(1)).where(enrolled).select_from(agents)),
        agents_online=_count(tx, sa.select(sa.literal(1)).where(online).select_from(agents)),
        slots=int(tx.conn.scalar(sa.select(sa.func.sum(agents.c.slots)).where(online)) or 0),
        slots_busy=_count(tx, held.select_from(executions)),
        pending=min(COUNT_LIMIT, sum(_count(tx, _open(scope, where)) for where in _NOT_STARTED)),
        running=_count(tx, _open(scope, in_phase(Phase.RUNNING))),
        oldest_waiting=_oldest(tx, scope),
    )


def store_bytes(tx: Tx) -> int:
    """How big the database is of which this is a transaction."""
    if tx.sqlite:
        pages = tx.conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        return int(pages) * int(tx.conn.exec_driver_sql("PRAGMA page_size").scalar_one())
    return int(tx.conn.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)


def output_bytes(tx: Tx) -> int:
    """How big stored output is; on PostgreSQL it is part of `store_bytes` as well."""
    if tx.sqlite:
        return store_bytes(tx)
    query = "SELECT pg_total_relation_size('output_chunks')"
    return int(tx.conn.scalar(sa.text(query)) or 0)


def answers(tx: Tx) -> bool:
    """True; what matters is that it comes back."""
    return tx.conn.scalar(sa.select(sa.literal(1))) == 1


def _jobs(scope: Scope) -> sa.Select[Any]:
    visible = jobs.c.deleted_at.is_(None) & in_scope(jobs.c.group_name, scope)
    return sa.select(sa.literal(1)).select_from(jobs).where(visible)


def _open(scope: Scope, where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    query = sa.select(sa.literal(1)).select_from(executions).where(where)
    if scope.groups is None and scope.agent_id is None:
        return query
    return query.join(runs, runs.c.key == executions.c.run_key).where(
        in_scope(runs.c.group_name, scope)
    )


def _oldest(tx: Tx, scope: Scope) -> Oldest | None:
    """Of everything, one of the first of each kind; of some groups, whatever they have waiting."""
    if scope.groups is not None or scope.agent_id is not None:
        return _oldest_where(tx, scope, IS_WAITING)
    found = [_oldest_where(tx, scope, first) for first in (FIRST_READY, FIRST_LIMITED)]
    return min((each for each in found if each), key=lambda each: each.since, default=None)


def _oldest_where(tx: Tx, scope: Scope, waits: Any) -> Oldest | None:
    query = (
        sa.select(
            executions.c.id.label("execution_id"),
            runs.c.id.label("run_id"),
            runs.c.job_name,
            executions.c.created_at.label("since"),
            _REASON.label("state_reason"),
        )
        .join(runs, runs.c.key == executions.c.run_key)
        .where(waits)
        .where(in_scope(runs.c.group_name, scope))
        .order_by(executions.c.created_at)
        .limit(1)
    )
    row = tx.conn.execute(query).one_or_none()
    return None if row is None else Oldest(**row._asdict())


def _count(tx: Tx, query: sa.Select[Any]) -> int:
    bounded = query.limit(COUNT_LIMIT).subquery()
    return int(tx.conn.scalar(sa.select(sa.func.count()).select_from(bounded)) or 0)
