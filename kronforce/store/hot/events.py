"""Event rows of the hot path. Their messages are made when they are read."""

from __future__ import annotations

from typing import Any

from kronforce.store.dialect import Row
from kronforce.store.hot.commands import CreateRun, Finish, NewTarget

INFO, SUCCESS, WARNING, ERROR = 1, 2, 3, 4

_SUCCEEDED = 4
# cancelled, skipped, expired, rejected: somebody or some rule wanted it so.
_CHOSEN = frozenset({7, 8, 9, 10})


def severity_of(state: int) -> int:
    """How much an outcome matters."""
    if state == _SUCCEEDED:
        return SUCCESS
    return WARNING if state in _CHOSEN else ERROR


def triggered_event(run: CreateRun, target: NewTarget) -> Row:
    """`job.triggered`: one per execution that a trigger makes."""
    job = run.job
    return (
        "job.triggered", INFO, run.created_at, "", run.principal, job.id, job.name, job.group,
        run.id, target.execution_id, None,
    )  # fmt: skip


def skipped_event(run: CreateRun, target: NewTarget) -> Row:
    """`execution.completed` of an execution that ended as it was made."""
    job = run.job
    return (
        "execution.completed", WARNING, run.created_at, "", run.principal, job.id, job.name,
        job.group, run.id, target.execution_id, None,
    )  # fmt: skip


def unscheduled_event(run: CreateRun) -> Row:
    """`job.unscheduled`: the schedule has come to its end."""
    job = run.job
    return (
        "job.unscheduled", INFO, run.created_at, f"{job.name} fires no more by itself",
        run.principal, job.id, job.name, job.group, run.id, None, None,
    )  # fmt: skip


def started_event(live: Any, at: int) -> Row:
    """`execution.started`."""
    run = live.run
    return (
        "execution.started", INFO, at, "", run.principal, run.job.id, run.job.name, run.group,
        run.id, live.id, live.agent_id,
    )  # fmt: skip


def completed_event(finish: Finish) -> Row:
    """`execution.completed`."""
    live = finish.live
    run = live.run
    return (
        "execution.completed", severity_of(finish.state), finish.told_at, "", run.principal,
        run.job.id, run.job.name, run.group, run.id, live.id, live.agent_id,
    )  # fmt: skip
