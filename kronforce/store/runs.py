"""Reading runs and their targets. What changes them stands in the commands.

Newest first is by key: keys are taken in blocks and grow with time, closely
enough for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.core.lifecycle import State
from kronforce.store.database import Tx
from kronforce.store.keyset import fetch_page
from kronforce.store.paging import Page, PageRequest
from kronforce.store.state_filter import IS_HELD, in_state
from kronforce.store.tables import agents, executions, runs
from kronforce.store.tables import run_targets as targets
from kronforce.store.visibility import in_scope

# How far back the end of an id is looked for, and how many may have it.
SUFFIX_SEARCHED = 10_000
SUFFIX_FOUND = 100

# How far an id's time and a key's place may be off: ids are made before the commit, and keys are
# taken in blocks by each controller.
CLOCK_SLACK_US = 60 * 1_000_000
KEY_SLACK = 10_000

# More than GetRun shows of them.
TARGETS_LIMIT = 1_000


class RunRow(NamedTuple):
    """One firing of a job."""

    key: int
    id: bytes
    job_key: int
    job_id: bytes
    job_name: str
    group_name: str
    job_version: int
    state: int
    state_reason: str
    trigger: int
    principal_key: int
    principal: str
    client_id: str
    params: bytes | None
    nominal_at: int | None
    priority: int
    created_at: int
    started_at: int | None
    finished_at: int | None
    revision: int
    target_count: int
    open_targets: int
    worst: int
    admission: int
    slot_key: str
    cancelled_by: str
    outputs: bytes | None
    pipeline_run_id: bytes | None
    parent_run_id: bytes | None
    step_id: str
    cause_event: str
    depth: int
    rerun_of: bytes | None
    deadline_at: int | None
    cancel_reason: str | None
    cancel_message: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTargetRow:
    """One target of a run; agent fields are None and empty while it is bound to none."""

    run_key: int
    target_index: int
    agent_key: int | None
    agent_id: bytes | None
    agent_name: str
    state: int
    skip_reason: str
    attempts: int


_COLUMNS = [runs.c[name] for name in RunRow._fields]


def find_run(tx: Tx, scope: Scope, id: bytes) -> RunRow | None:  # noqa: A002 - the column's name
    """The run of this id."""
    return runs_by_ids(tx, scope, [id]).get(id)


def runs_by_ids(tx: Tx, scope: Scope, ids: Iterable[bytes]) -> dict[bytes, RunRow]:
    """The runs of these ids, by id."""
    query = _visible(scope).where(runs.c.id.in_(list(ids)))
    return {row.id: RunRow._make(row) for row in tx.conn.execute(query)}


def list_runs(
    tx: Tx,
    scope: Scope,
    *,
    job_key: int | None = None,
    state: int | None = None,
    group: str | None = None,
    since: int | None = None,
    id_suffix: str | None = None,
    page: PageRequest,
) -> Page[RunRow]:
    """Runs, newest first."""
    query = _visible(scope)
    if job_key is not None:
        query = query.where(runs.c.job_key == job_key)
    if state:
        query = query.where(in_state(runs.c.state, state))
    if group:
        query = query.where(runs.c.group_name == group)
    if since is not None:
        query = query.where(runs.c.created_at >= since, runs.c.key >= _first_key_since(tx, since))
    if id_suffix:
        query = query.where(runs.c.key.in_(_ending_in(tx, scope, id_suffix)))
    return fetch_page(
        tx,
        query,
        order=(runs.c.key,),
        newest_first=True,
        page=page,
        make=RunRow._make,
        key=lambda row: (row.key,),
    )


def run_targets(tx: Tx, run_key: int, limit: int = TARGETS_LIMIT) -> list[RunTargetRow]:
    """The run's targets, by index.

    A target's own row is written when an attempt ends. Of one that an agent has, state, agent
    and attempts are its execution's, so that no start costs another write.
    """
    e = executions.c
    here = sa.and_(
        e.run_key == targets.c.run_key, e.target_index == targets.c.target_index, e.step_id == "",
        IS_HELD,
    )  # fmt: skip
    agent_key = sa.func.coalesce(e.agent_key, targets.c.agent_key)
    query = (
        sa.select(
            targets.c.run_key,
            targets.c.target_index,
            targets.c.skip_reason,
            agent_key.label("agent_key"),
            sa.func.coalesce(e.state, targets.c.state).label("state"),
            sa.func.coalesce(e.attempt_number, targets.c.attempts).label("attempts"),
            agents.c.id.label("agent_id"),
            sa.func.coalesce(agents.c.name, "").label("agent_name"),
        )
        .select_from(
            targets.outerjoin(executions, here).outerjoin(agents, agents.c.key == agent_key)
        )
        .where(targets.c.run_key == run_key)
        .order_by(targets.c.target_index)
        .limit(limit)
    )
    return [RunTargetRow(**row._asdict()) for row in tx.conn.execute(query)]


def target_counts(tx: Tx, rows: Iterable[RunRow]) -> Mapping[int, dict[int, int]]:
    """For each run, how many targets are in which state."""
    states = {row.key: row.state for row in rows}
    query = (
        sa.select(targets.c.run_key, targets.c.state, sa.func.count().label("targets"))
        .where(targets.c.run_key.in_(list(states)))
        .group_by(targets.c.run_key, targets.c.state)
    )
    counts: dict[int, dict[int, int]] = {}
    for row in tx.conn.execute(query):
        counts.setdefault(row.run_key, {})[row.state] = row.targets
    for key, running in _running(tx, [k for k, s in states.items() if s == State.RUNNING]):
        # Until an attempt ends its target's own row says that it waits.
        found = counts.setdefault(key, {})
        waiting = found.pop(State.PENDING, 0) - running
        found[State.RUNNING] = running
        if waiting > 0:
            found[State.PENDING] = waiting
    return counts


def _running(tx: Tx, run_keys: list[int]) -> list[tuple[int, int]]:
    """(run, targets that run now) of runs that have any."""
    e = executions.c
    query = (
        sa.select(e.run_key, sa.func.count())
        .where(e.run_key.in_(run_keys), e.step_id == "", e.state == State.RUNNING)
        .group_by(e.run_key)
    )
    return [(key, many) for key, many in tx.conn.execute(query)] if run_keys else []


def _visible(scope: Scope) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).where(in_scope(runs.c.group_name, scope))


def _first_key_since(tx: Tx, since: int) -> int:
    """A key below which no run is as new: there is no index of `created_at`, but ids hold time."""
    earliest = max(0, since - CLOCK_SLACK_US) // 1_000 << 80
    query = sa.select(runs.c.key).where(runs.c.id >= earliest.to_bytes(16, "big"))
    key = tx.conn.scalar(query.order_by(runs.c.id).limit(1))
    if key is None:
        # No id is as new: only the very newest run can be.
        key = tx.conn.scalar(sa.select(sa.func.max(runs.c.key))) or 0
    return int(key) - KEY_SLACK


def _ending_in(tx: Tx, scope: Scope, suffix: str) -> list[int]:
    wanted = suffix.replace("-", "").lower()
    newest = _visible(scope).with_only_columns(runs.c.key, runs.c.id)
    rows = tx.conn.execute(newest.order_by(runs.c.key.desc()).limit(SUFFIX_SEARCHED))
    return [row.key for row in rows if row.id.hex().endswith(wanted)][:SUFFIX_FOUND]
