"""Reading executions. What changes them stands in the commands.

A row comes with what its run and its agent say of it, so that nobody asks
twice. An agent's credential sees what is bound to that agent, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.store.database import Tx
from kronforce.store.paging import Page, PageRequest
from kronforce.store.prepared import is_like, like, scope_parameter, scope_value
from kronforce.store.prepared_pages import PreparedPages
from kronforce.store.state_filter import in_state
from kronforce.store.tables import agents, executions, jobs, runs
from kronforce.store.visibility import in_scope

# More than GetRun shows of one run.
OF_RUN_LIMIT = 1_000


class ExecutionRow(NamedTuple):
    """One attempt; agent fields are None and empty while it is bound to none."""

    key: int
    id: bytes
    run_key: int
    run_id: bytes
    job_key: int
    job_id: bytes
    job_name: str
    group_name: str
    trigger: int
    target_index: int
    step_id: str
    item_index: int
    attempt_number: int
    retry_of: bytes | None
    state: int
    state_reason: str
    message: str
    phase: int
    priority: int
    route: int
    agent_key: int | None
    agent_id: bytes | None
    agent_name: str
    fence: int
    losses: int
    created_at: int
    due_at: int | None
    queue_deadline_at: int | None
    assigned_at: int | None
    started_at: int | None
    finished_at: int | None
    cancel_requested_at: int | None
    cancelled_by: str
    exit_code: int | None
    signal: int
    stdout_bytes: int
    stderr_bytes: int
    outputs: bytes | None
    dispatch: bytes | None
    cancel_reason: str | None
    cancel_message: str | None


_TABLES = executions.join(runs, runs.c.key == executions.c.run_key).outerjoin(
    agents, agents.c.key == executions.c.agent_key
)
_OF_OTHERS: dict[str, sa.ColumnElement[Any]] = {
    "run_id": runs.c.id.label("run_id"),
    "job_id": runs.c.job_id,
    "job_name": runs.c.job_name,
    "group_name": runs.c.group_name,
    "trigger": runs.c.trigger,
    "agent_id": agents.c.id.label("agent_id"),
    "agent_name": sa.func.coalesce(agents.c.name, "").label("agent_name"),
}
_COLUMNS_BY_NAME = {
    name: _OF_OTHERS[name] if name in _OF_OTHERS else executions.c[name]
    for name in ExecutionRow._fields
}
_COLUMNS = list(_COLUMNS_BY_NAME.values())


def find_execution(tx: Tx, scope: Scope, id: bytes) -> ExecutionRow | None:  # noqa: A002 - column
    """The execution of this id."""
    return executions_by_ids(tx, scope, [id]).get(id)


def executions_by_ids(tx: Tx, scope: Scope, ids: Iterable[bytes]) -> dict[bytes, ExecutionRow]:
    """The executions of these ids, by id."""
    query = _visible(scope).where(executions.c.id.in_(list(ids)))
    return {row.id: _execution(row) for row in tx.conn.execute(query)}


def executions_by_keys(tx: Tx, scope: Scope, keys: Iterable[int]) -> list[ExecutionRow]:
    """The executions of these keys, by target and attempt."""
    query = _visible(scope).where(executions.c.key.in_(list(keys)))
    order = (executions.c.target_index, executions.c.attempt_number)
    return [_execution(row) for row in tx.conn.execute(query.order_by(*order))]


def executions_of_run(
    tx: Tx, scope: Scope, run_key: int, limit: int = OF_RUN_LIMIT
) -> list[ExecutionRow]:
    """The run's executions, oldest first."""
    return executions_of_runs(tx, scope, [run_key], limit).get(run_key, [])


def executions_of_runs(
    tx: Tx, scope: Scope, run_keys: Iterable[int], limit: int = OF_RUN_LIMIT
) -> dict[int, list[ExecutionRow]]:
    """Executions by run key, oldest first; `limit` counts over all of them."""
    query = _visible(scope).where(executions.c.run_key.in_(list(run_keys)))
    found: dict[int, list[ExecutionRow]] = {}
    for row in tx.conn.execute(query.order_by(executions.c.key).limit(limit)):
        found.setdefault(row.run_key, []).append(_execution(row))
    return found


class Mark(NamedTuple):
    """An execution in a list, and what its row does not settle when it has ended."""

    key: int
    state: int
    group_name: str
    agent_name: str


def list_executions(
    tx: Tx,
    scope: Scope,
    *,
    job_key: int | None = None,
    run_key: int | None = None,
    state: int | None = None,
    agent_key: int | None = None,
    group: str | None = None,
    search: str | None = None,
    page: PageRequest,
) -> Page[Mark]:
    """Executions, newest first; `search` is any part of a job's name, in any case."""
    given = {
        "job_key": job_key,
        "run_key": run_key,
        "agent_key": agent_key,
        "group_name": group or None,
        "like": like(search) if search else None,
        "agent_id": scope.agent_id,
        # An agent's credential sees what is bound to it, of whatever group.
        "groups": None if scope.agent_id is not None else scope_value(scope),
    }
    filters = {name: value for name, value in given.items() if value is not None}
    return _LIST.fetch(
        tx, filters, page, make=Mark._make, key=lambda mark: (mark.key,), fixed=state or None
    )


def _listed(sqlite: bool, names: frozenset[str], state: Any) -> sa.Select[Any]:
    query = sa.select(*(_COLUMNS_BY_NAME[name] for name in Mark._fields)).select_from(_TABLES)
    for column in (executions.c.job_key, executions.c.run_key, executions.c.agent_key):
        if column.name in names:
            query = query.where(column == sa.bindparam(column.name, type_=column.type))
    if state is not None:
        query = query.where(in_state(executions.c.state, state))
    if "group_name" in names:
        query = query.where(runs.c.group_name == sa.bindparam("group_name", type_=sa.Text))
    if "like" in names:
        named = is_like(jobs.c.name_lower, "like")
        query = query.where(executions.c.job_key.in_(sa.select(jobs.c.key).where(named)))
    if "agent_id" in names:
        query = query.where(agents.c.id == sa.bindparam("agent_id", type_=sa.LargeBinary))
    if "groups" in names:
        query = query.where(scope_parameter(runs.c.group_name, sqlite=sqlite))
    return query


_LIST = PreparedPages(_listed, order=(executions.c.key,), newest_first=True, packed=True)


def _visible(scope: Scope) -> sa.Select[Any]:
    query = sa.select(*_COLUMNS).select_from(_TABLES)
    if scope.agent_id is not None:
        return query.where(agents.c.id == scope.agent_id)
    return query.where(in_scope(runs.c.group_name, scope))


def _execution(row: sa.Row[Any]) -> ExecutionRow:
    return ExecutionRow._make(row)
