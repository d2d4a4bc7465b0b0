"""What explanations ask of the store; every question is bounded and goes by an index."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.store.database import Tx
from kronforce.store.executions import ExecutionRow, executions_by_keys
from kronforce.store.runs import RunRow, find_run
from kronforce.store.state_filter import in_phase
from kronforce.store.tables import Admission, Phase, executions, runs
from kronforce.store.visibility import in_scope

# Targets that one explanation tells of.
TOLD = 100
# How far the place in the queue is counted.
COUNTED = 10_000
# Runs that are named as holders of a limit, and how far back they are looked for.
HOLDERS = 10
SEARCHED = 1_000

SUCCEEDED = 4


def run_and_attempts(
    tx: Tx, scope: Scope, run_id: bytes
) -> tuple[RunRow, list[ExecutionRow], dict[int, ExecutionRow]] | None:
    """The run, the last attempts to tell of, and by their keys the attempts before them.

    Those that are open or did not succeed; where there is a single target also one that did.
    """
    run = find_run(tx, scope, run_id)
    if run is None:
        return None
    e, later = executions, executions.alias()
    follows = sa.select(later.c.key).where(
        later.c.run_key == e.c.run_key,
        later.c.target_index == e.c.target_index,
        later.c.step_id == e.c.step_id,
        later.c.item_index == e.c.item_index,
        later.c.attempt_number > e.c.attempt_number,
    )
    query = sa.select(e.c.key).where(e.c.run_key == run.key, ~follows.exists())
    if run.target_count > 1:
        query = query.where(e.c.state != SUCCEEDED)
    keys = tx.conn.scalars(query.order_by(e.c.target_index).limit(TOLD)).all()
    told = executions_by_keys(tx, scope, keys)
    return run, told, _before(tx, scope, [row for row in told if row.phase == Phase.RETRY_WAIT])


def _before(tx: Tx, scope: Scope, rows: Sequence[ExecutionRow]) -> dict[int, ExecutionRow]:
    if not rows:
        return {}
    place = sa.tuple_(executions.c.target_index, executions.c.attempt_number)
    keys = tx.conn.scalars(
        sa.select(executions.c.key).where(
            executions.c.run_key == rows[0].run_key,
            place.in_([(row.target_index, row.attempt_number - 1) for row in rows]),
        )
    ).all()
    found = {row.target_index: row for row in executions_by_keys(tx, scope, keys)}
    return {row.key: found[row.target_index] for row in rows if row.target_index in found}


def count_ahead(tx: Tx, routes: Collection[int], priority: int, key: int) -> int:
    """Ready executions on these routes that go before a place, counted to `COUNTED`."""
    e = executions.c
    first = (e.priority > priority) | ((e.priority == priority) & (e.key < key))
    ahead = sa.select(sa.literal(1)).where(in_phase(Phase.READY), e.route.in_(routes), first)
    counted = sa.select(sa.func.count()).select_from(ahead.limit(COUNTED).subquery())
    return int(tx.conn.scalar(counted) or 0)


def runs_holding(
    tx: Tx, scope: Scope, job_key: int, slot_key: str, known: Iterable[int]
) -> list[bytes]:
    """Ids of open runs that hold a place of a limit: those known by key, and among the newest."""
    r = runs.c
    held = (r.admission == Admission.ACTIVE) & r.finished_at.is_(None) & (r.slot_key == slot_key)
    visible = in_scope(r.group_name, scope)
    newest = sa.select(r.key).where(r.job_key == job_key).order_by(r.key.desc()).limit(SEARCHED)
    candidates = {*known, *tx.conn.scalars(newest)}
    query = sa.select(r.id).where(r.key.in_(sorted(candidates)), held, visible)
    return [bytes(raw) for raw in tx.conn.scalars(query.order_by(r.key).limit(HOLDERS))]


def next_run(tx: Tx, scope: Scope, run: Any) -> bytes | None:
    """The id of the job's run after this one."""
    r = runs.c
    query = (
        sa.select(r.id)
        .where(r.job_key == run.job_key, r.key > run.key, in_scope(r.group_name, scope))
        .order_by(r.key)
        .limit(1)
    )
    found = tx.conn.scalar(query)
    return None if found is None else bytes(found)
