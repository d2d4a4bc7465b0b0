"""What callers name by id or exact name, found or refused; for use inside a transaction."""

from __future__ import annotations

from kronforce.core import ids
from kronforce.core.access import Scope
from kronforce.errors import (
    AgentNotFound,
    ExecutionNotFound,
    InvalidArgument,
    JobNotFound,
    RunNotFound,
)
from kronforce.store import agents, executions, jobs, runs
from kronforce.store.agents import AgentRow
from kronforce.store.database import Tx
from kronforce.store.executions import ExecutionRow
from kronforce.store.jobs import JobRow, LastRunRow
from kronforce.store.runs import RunRow


def job(tx: Tx, scope: Scope, ref: str) -> JobRow:
    """The job, or JobNotFound."""
    _require("job_id", ref)
    row = jobs.find_job(tx, scope, ref)
    if row is None:
        raise _no_job(ref)
    return row


def job_with_last_run(tx: Tx, scope: Scope, ref: str) -> tuple[JobRow, LastRunRow | None]:
    """The job and its newest run, in one question, or JobNotFound."""
    _require("job_id", ref)
    found = jobs.find_job_with_last_run(tx, scope, ref)
    if found is None:
        raise _no_job(ref)
    return found


def _no_job(ref: str) -> JobNotFound:
    return JobNotFound(f"no job {ref!r}; see `kronforce job list`", job=ref)


def run(tx: Tx, scope: Scope, ref: str) -> RunRow:
    """The run, or RunNotFound."""
    _require("run_id", ref)
    raw = ids.from_text(ref)
    row = None if raw is None else runs.find_run(tx, scope, raw)
    if row is None:
        raise RunNotFound(f"no run {ref!r}; see `kronforce run list`", run=ref)
    return row


def execution(tx: Tx, scope: Scope, ref: str) -> ExecutionRow:
    """The execution, or ExecutionNotFound."""
    _require("execution_id", ref)
    raw = ids.from_text(ref)
    row = None if raw is None else executions.find_execution(tx, scope, raw)
    if row is None:
        raise ExecutionNotFound(f"no execution {ref!r}; see `kronforce run get`", execution=ref)
    return row


def agent(tx: Tx, scope: Scope, ref: str) -> AgentRow:
    """The agent, or AgentNotFound."""
    _require("agent_id", ref)
    row = agents.visible_agent(tx, scope, ref)
    if row is None:
        raise AgentNotFound(f"no agent {ref!r}; see `kronforce agent list`", agent=ref)
    return row


def _require(field: str, ref: str) -> None:
    if not ref:
        raise InvalidArgument.of((field, "is required"))
