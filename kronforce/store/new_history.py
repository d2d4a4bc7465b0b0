"""What makes a restored database's numbers differ from all that were given out since its backup.

Agents, followers and the output file may know of a history that the database
has forgotten. Every number that such a history could have used is raised out
of its reach, in one transaction, before a controller sees the database.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from kronforce.store import commit_order, counters
from kronforce.store.database import Tx
from kronforce.store.events import GONE_SEQ, GONE_XID
from kronforce.store.hot.apply import FENCE
from kronforce.store.tables import (
    agents,
    events,
    evidence,
    executions,
    jobs,
    output_chunks,
    output_progress,
    runs,
    variables,
)

# Fences, events, transactions and row keys of the time between a backup and its restore: never
# this many.
JUMP = 1 << 32
# One backup may be restored twice, and what the first restore gave out must not come again: each
# second is this much further on, far more than a second can use. In a hundred years that is 2^50,
# below the 2^53 to which a number is exact everywhere.
PER_SECOND = 1 << 18
SECOND_US = 1_000_000
SINCE_US = 1_767_225_600 * 1_000_000  # the beginning of 2026

# Where `engine.keys` takes its blocks from.
ROW_KEY = "row_key"
# Sessions that an agent opens in that time.
EPOCH_JUMP = 1 << 20

_WARNING = 3


def begin(tx: Tx, *, now: int, message: str) -> int:
    """Raise every number; the last fence that may be of the forgotten history.

    `message` becomes the event `store.restored`.
    """
    counters.raise_by(tx, ROW_KEY, JUMP)
    jump = _jump(now)
    fence = _highest_fence(tx) + jump
    counters.set_to(tx, FENCE, fence)
    counters.raise_by(tx, counters.KEY_REVISION)
    tx.conn.execute(sa.update(agents).values(session_epoch=agents.c.session_epoch + EPOCH_JUMP))
    _raise_revisions(tx, jump)
    _tell(tx, now, message, jump)
    return fence


def _raise_revisions(tx: Tx, jump: int) -> None:
    """No etag of then fits what is there now; whoever watches a run takes it for news."""
    for table in (jobs, agents):
        tx.conn.execute(sa.update(table).values(revision=table.c.revision + jump))
    tx.conn.execute(sa.update(variables).values(version=variables.c.version + jump))
    still_open = runs.c.finished_at.is_(None)
    tx.conn.execute(sa.update(runs).where(still_open).values(revision=runs.c.revision + jump))


def _jump(now: int) -> int:
    return JUMP + max(0, now - SINCE_US) // SECOND_US * PER_SECOND


def _highest_fence(tx: Tx) -> int:
    """Counted, used, or seen in a report that was refused."""
    used = tx.conn.scalar(sa.select(sa.func.max(executions.c.fence))) or 0
    seen = tx.conn.scalar(sa.select(sa.func.max(evidence.c.fence))) or 0
    return max(counters.value_of(tx, FENCE), int(used), int(seen))


def _tell(tx: Tx, now: int, message: str, jump: int) -> None:
    """The event stands at the first position of the new history, beyond every cursor given out."""
    row: dict[str, Any] = {
        "kind": "store.restored",
        "severity": _WARNING,
        "at": now,
        "message": message,
        "actor": "host",
        "job_name": "",
        "group_name": "",
    }
    if tx.sqlite:
        last = int(tx.conn.scalar(sa.select(sa.func.max(events.c.seq))) or 0)
        row["seq"] = max(last, counters.value_of(tx, GONE_SEQ)) + jump
    else:
        newest = commit_order.newest_transaction(tx)
        last = max(newest, counters.value_of(tx, GONE_XID))
        commit_order.begin_after(tx, last + jump)
    tx.conn.execute(sa.insert(events).values(row))


def forget_output(tx: Tx, known: str) -> int:
    """Delete streamed output of executions that the main file at `known` does not have.

    Its copy was taken after the main file's; such rows would never be found again.
    """
    tx.conn.exec_driver_sql("ATTACH DATABASE ? AS known", (known,))
    gone = 0
    for table in (output_chunks, output_progress):
        gone += tx.conn.exec_driver_sql(
            f"DELETE FROM {table.name} WHERE execution_key NOT IN "
            "(SELECT key FROM known.executions)"
        ).rowcount
    return gone
