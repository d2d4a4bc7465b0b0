"""Forgetting, in bounded batches: each call removes at most one and says how much.

A run goes with everything that hangs on it, and only when it has ended. Output
may stand in another file, so it goes first: a crash in between leaves a run
without output, which the next call finds again, never output without a run.
The caller: `finished_before` or `beyond_history`, `executions_of`,
`output.delete_output` until it gives 0, `delete_runs`; again until none is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.store import commit_order, counters
from kronforce.store.database import Tx
from kronforce.store.events import GONE_SEQ, GONE_XID
from kronforce.store.tables import (
    events,
    evidence,
    executions,
    fires,
    inline_output,
    job_versions,
    jobs,
    past_jobs,
    requests,
    run_targets,
    runs,
    slots,
)
from kronforce.store.visibility import in_scope

# What one transaction removes at most; the caller takes less while that takes too long.
RUNS_BATCH = 200
EVENTS_BATCH = 2_000
REQUESTS_BATCH = 2_000
FIRES_BATCH = 2_000
JOBS_BATCH = 50
OUTPUT_BATCH = 200

# A retried request must find its answer for longer than the run that it made.
REQUESTS_BEYOND_RUNS_US = 7 * 86_400 * 1_000_000


def finished_before(tx: Tx, cutoff: int, limit: int = RUNS_BATCH) -> list[int]:
    """Keys of runs that ended before the cutoff, oldest first."""
    query = (
        sa.select(runs.c.key)
        .where(runs.c.finished_at.is_not(None), runs.c.finished_at < cutoff)
        .order_by(runs.c.finished_at)
        .limit(limit)
    )
    return list(tx.conn.scalars(query))


def beyond_history(
    tx: Tx, job_key: int, keep: int, limit: int = RUNS_BATCH, *, scope: Scope
) -> list[int]:
    """Keys of ended runs of a job beyond its newest `keep`, at least one of which stays.

    Those in scope: runs from before the job was moved are their group's.
    """
    of_job = sa.select(runs.c.key).where(runs.c.job_key == job_key)
    newest_first = of_job.order_by(runs.c.key.desc())
    oldest_kept = tx.conn.scalar(newest_first.offset(max(keep, 1) - 1).limit(1))
    if oldest_kept is None:
        return []
    older = of_job.where(
        runs.c.key < oldest_kept,
        runs.c.finished_at.is_not(None),
        in_scope(runs.c.group_name, scope),
    )
    return list(tx.conn.scalars(older.order_by(runs.c.key).limit(limit)))


def executions_of(tx: Tx, run_keys: Sequence[int]) -> list[int]:
    """Keys of these runs' executions, whose output goes first."""
    return list(
        tx.conn.scalars(sa.select(executions.c.key).where(executions.c.run_key.in_(run_keys)))
    )


def delete_runs(tx: Tx, run_keys: Sequence[int]) -> int:
    """Remove ended runs with targets, executions, inline output, evidence and fires."""
    keys = _ended(tx, run_keys)
    of_runs = sa.select(executions.c.key, executions.c.id).where(executions.c.run_key.in_(keys))
    attempts = tx.conn.execute(of_runs).all()
    _delete(tx, inline_output, inline_output.c.execution_key.in_([row.key for row in attempts]))
    _delete(tx, evidence, evidence.c.execution_id.in_([row.id for row in attempts]))
    _delete(tx, executions, executions.c.run_key.in_(keys))
    _delete(tx, run_targets, run_targets.c.run_key.in_(keys))
    _delete_fires(tx, keys)
    return _delete(tx, runs, runs.c.key.in_(keys))


def delete_events(tx: Tx, cutoff: int, limit: int = EVENTS_BATCH) -> int:
    """Remove the oldest events before the cutoff; followers behind them are told so.

    The newest event stays: on SQLite its number is where the next one goes on.
    """
    newest = sa.select(sa.func.max(events.c.seq)).scalar_subquery()
    query = (
        sa.select(events.c.seq, events.c.at, commit_order.position_column(tx).label("xid"))
        .where(events.c.at < cutoff, events.c.seq < newest)
        .order_by(events.c.at, events.c.seq)
        .limit(limit)
    )
    found = tx.conn.execute(query).all()
    if not found:
        return 0
    note_events_gone(tx, max((row.xid, row.seq) for row in found))
    # `at` finds the partition on PostgreSQL.
    days = events.c.at.between(found[0].at, found[-1].at)
    return _delete(tx, events, events.c.seq.in_([row.seq for row in found]) & days)


def note_events_gone(tx: Tx, last: commit_order.Position) -> None:
    """Note that events up to this position are deleted: followers before it are told."""
    gone = counters.value_of(tx, GONE_XID), counters.value_of(tx, GONE_SEQ)
    xid, seq = max(gone, last)
    counters.set_to(tx, GONE_XID, xid)
    counters.set_to(tx, GONE_SEQ, seq)


def delete_requests(tx: Tx, run_cutoff: int, limit: int = REQUESTS_BATCH) -> int:
    """Remove request ids that are seven days older than the runs' cutoff."""
    key = sa.tuple_(requests.c.principal_key, requests.c.request_id)
    old = (
        sa.select(requests.c.principal_key, requests.c.request_id)
        .where(requests.c.created_at < run_cutoff - REQUESTS_BEYOND_RUNS_US)
        .order_by(requests.c.created_at)
        .limit(limit)
    )
    return _delete(tx, requests, key.in_(old))


def delete_skips(tx: Tx, cutoff: int, limit: int = FIRES_BATCH) -> int:
    """Remove ledger rows of instants that made no run and lie before the cutoff."""
    key = sa.tuple_(fires.c.job_key, fires.c.nominal_at)
    old = (
        sa.select(fires.c.job_key, fires.c.nominal_at)
        .where(fires.c.until < cutoff, fires.c.run_key.is_(None))
        .limit(limit)
    )
    return _delete(tx, fires, key.in_(old))


def delete_jobs(tx: Tx, cutoff: int, limit: int = JOBS_BATCH) -> int:
    """Remove jobs that were deleted before the cutoff and of which no run is left.

    Their names stay for as long as they may have statistics.
    """
    any_run = sa.select(runs.c.key).where(runs.c.job_key == jobs.c.key).exists()
    query = sa.select(jobs.c.key).where(jobs.c.deleted_at < cutoff, ~any_run).limit(limit)
    keys = list(tx.conn.scalars(query))
    if not keys:
        return 0
    names = sa.select(jobs.c.key, jobs.c.id, jobs.c.name, sa.literal(cutoff)).where(
        jobs.c.key.in_(keys)
    )
    tx.conn.execute(sa.insert(past_jobs).from_select(["key", "id", "name", "gone_at"], names))
    for table in (job_versions, slots, fires):
        _delete(tx, table, table.c.job_key.in_(keys))
    return _delete(tx, jobs, jobs.c.key.in_(keys))


def _ended(tx: Tx, run_keys: Sequence[int]) -> list[int]:
    query = sa.select(runs.c.key).where(runs.c.key.in_(run_keys), runs.c.finished_at.is_not(None))
    return list(tx.conn.scalars(query))


def _delete_fires(tx: Tx, run_keys: Sequence[int]) -> None:
    of_runs = sa.select(runs.c.job_key, runs.c.nominal_at).where(
        runs.c.key.in_(run_keys), runs.c.nominal_at.is_not(None)
    )
    place = sa.tuple_(fires.c.job_key, fires.c.nominal_at)
    _delete(tx, fires, place.in_(of_runs) & fires.c.run_key.in_(run_keys))


def _delete(tx: Tx, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    result: sa.CursorResult[Any] = tx.conn.execute(sa.delete(table).where(condition))
    return result.rowcount
