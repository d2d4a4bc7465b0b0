"""Custom tasks as jobs are saved: held against what their agents can be asked for.

A job that names its agent must fit that agent's definition of the type. One that goes to whichever
agent has a tag, or to any, must fit one of those that have the type; where none has it yet nobody
can say, and it waits. What no reply may show is written into the job.
"""

from __future__ import annotations

from collections.abc import Sequence

from kronforce.core.access import Scope, may_see
from kronforce.core.custom_tasks import MASK, data_problems, keep_masked, password_fields
from kronforce.engine.agents.directory import pulls
from kronforce.engine.agents.task_types import definitions_of
from kronforce.errors import InvalidArgument
from kronforce.store import agents
from kronforce.store.agents import AgentRow
from kronforce.store.database import Tx
from kronforce.v1.agent_pb2 import TaskTypeDefinition
from kronforce.v1.job_pb2 import CustomTask, Job


def restore(spec: Job, before: Job) -> None:
    """What a change sent back as it was shown, as it is stored; in place."""
    if "custom" == spec.task.WhichOneof("kind") == before.task.WhichOneof("kind"):
        keep_masked(spec.task.custom, before.task.custom)
        del spec.task.custom.secret_fields[:]
        spec.task.custom.secret_fields.extend(before.task.custom.secret_fields)


def settle(tx: Tx, scope: Scope, spec: Job) -> None:
    """Check a custom task and finish its definition, in place. Raises InvalidArgument."""
    if spec.task.WhichOneof("kind") != "custom":
        return
    task = spec.task.custom
    named = _named(tx, scope, spec)
    candidates = [named] if named is not None else _candidates(tx, scope, spec)
    found = [each for row in candidates if (each := _definition_on(row, task)) is not None]
    if named is not None and not found:
        _require_undefined(named, task)
    if found:
        _check(found, task)
    secret = sorted(password_fields(found) & set(task.data.fields))
    if masks := [name for name in secret if task.data.fields[name].string_value == MASK]:
        raise InvalidArgument.of(
            *((f"task.data.{name}", "is a mask and no value; give the password") for name in masks)
        )
    del task.secret_fields[:]
    task.secret_fields.extend(secret)


def _named(tx: Tx, scope: Scope, spec: Job) -> AgentRow | None:
    """The agent that the target names; that it is there was checked before."""
    if spec.target.WhichOneof("kind") != "agent":
        return None
    row = agents.visible_agent(tx, scope, spec.target.agent.agent_id)
    if row is not None and not pulls(row) and row.built_in:
        raise InvalidArgument.of(
            ("target.agent_id", f"{row.name!r} is this host's agent, which runs no custom tasks")
        )
    return row


def _candidates(tx: Tx, scope: Scope, spec: Job) -> list[AgentRow]:
    tag = spec.target.tagged.tag if spec.target.WhichOneof("kind") == "tagged" else ""
    return [
        row
        for row in agents.all_agents(tx)
        if may_see(scope, row.allowed_groups) and (not tag or tag in row.tags)
    ]


def _definition_on(row: AgentRow, task: CustomTask) -> TaskTypeDefinition | None:
    return next((d for d in definitions_of(row) if d.name == task.agent_task_type), None)


def _require_undefined(row: AgentRow, task: CustomTask) -> None:
    known = [each.name for each in definitions_of(row)]
    if known:
        raise InvalidArgument.of(
            (
                "task.agent_task_type",
                f"agent {row.name!r} has no task type {task.agent_task_type!r}, it has "
                f"{', '.join(known)}; define it: kronforce agent task-types {row.name} -f FILE",
            )
        )


def _check(found: Sequence[TaskTypeDefinition], task: CustomTask) -> None:
    problems = [data_problems(task, definition) for definition in found]
    if all(problems):
        raise InvalidArgument.of(*problems[0])
