"""Numbers about the store itself, for whoever watches over it.

Asked every few seconds, so each of them costs the same however much is stored:
counts stop at COUNT_LIMIT, the oldest is one of the first of each kind
(`first_waiting.py`).
Nothing here belongs to anybody: these functions take no Scope.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from kronforce.store.database import Tx
from kronforce.store.first_waiting import FIRST_READY
from kronforce.store.paging import COUNT_LIMIT
from kronforce.store.status import store_bytes
from kronforce.store.tables import executions, groups, jobs

_SNAPSHOT = sa.text(
    "SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint"
    " FROM pg_current_snapshot() AS s"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """Sizes are bytes, instants microseconds; None: not of this store, or there is none."""

    groups: int
    size: int
    wal_size: int | None
    # Since when the execution waits that waits longest for an agent.
    oldest_ready: int | None
    # The lowest transaction that is open, and one more than the highest that has ended.
    open_transactions: tuple[int, int] | None


def measures(tx: Tx) -> Measures:
    """All of it in one transaction."""
    counted = sa.select(groups.c.key).limit(COUNT_LIMIT).subquery()
    return Measures(
        groups=int(tx.conn.scalar(sa.select(sa.func.count()).select_from(counted)) or 0),
        size=store_bytes(tx),
        wal_size=_wal_bytes(tx) if tx.sqlite else None,
        oldest_ready=oldest_ready(tx),
        open_transactions=None if tx.sqlite else _open_transactions(tx),
    )


def oldest_ready(tx: Tx) -> int | None:
    """Since when the first execution of the queue waits for an agent, a retry since it is due."""
    since = sa.case(
        (executions.c.due_at > executions.c.created_at, executions.c.due_at),
        else_=executions.c.created_at,
    )
    found = tx.conn.scalar(sa.select(sa.func.min(since)).where(FIRST_READY))
    return None if found is None else int(found)


def job_specs(tx: Tx, after_key: int, limit: int) -> list[tuple[int, bytes]]:
    """(key, definition) of the next jobs by key."""
    query = (
        sa.select(jobs.c.key, jobs.c.spec)
        .where(jobs.c.key > after_key, jobs.c.deleted_at.is_(None))
        .order_by(jobs.c.key)
        .limit(limit)
    )
    return [(row.key, bytes(row.spec)) for row in tx.conn.execute(query)]


def _wal_bytes(tx: Tx) -> int:
    # (number, name, path): the main file first, then maybe what SQLite keeps for itself.
    path = tx.conn.exec_driver_sql("PRAGMA database_list").all()[0][2]
    try:
        return Path(f"{path}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _open_transactions(tx: Tx) -> tuple[int, int]:
    row = tx.conn.execute(_SNAPSHOT).one()
    return int(row[0]), int(row[1])
