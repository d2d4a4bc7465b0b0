"""What jobs, agents and join tokens look like in the audit log: before a change and after it.

As reads show them, without what changes by itself (last runs, sessions) and
without anything that is kept as a hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kronforce.clock import from_us
from kronforce.core.custom_tasks import masked
from kronforce.core.ids import to_text
from kronforce.core.schedules.window import JobStatus
from kronforce.engine.auditing import Resource
from kronforce.store.agents import AgentRow
from kronforce.store.executions import ExecutionRow
from kronforce.store.jobs import JobRow
from kronforce.store.runs import RunRow
from kronforce.v1.agent_pb2 import AgentType
from kronforce.v1.job_pb2 import JOB_STATUS_PAUSED, Job


def job_resource(row: JobRow) -> Resource:
    """The job that an entry is about."""
    return Resource(type="job", id=to_text(row.id), name=row.name, group=row.group_name)


def job_state(row: JobRow) -> Job:
    """The definition as its author wrote it, and whether it is held."""
    job = masked(Job.FromString(row.spec))
    job.group, job.version = row.group_name, row.version
    if row.status == JobStatus.PAUSED:
        job.status = JOB_STATUS_PAUSED
        if row.paused_until is not None:
            job.paused_until.FromMicroseconds(row.paused_until)
    return job


def run_resource(row: RunRow) -> Resource:
    """A run goes by its job's name."""
    return Resource(type="run", id=to_text(row.id), name=row.job_name, group=row.group_name)


def execution_resource(row: ExecutionRow) -> Resource:
    """So does an execution."""
    return Resource(type="execution", id=to_text(row.id), name=row.job_name, group=row.group_name)


def agent_resource(row: AgentRow) -> Resource:
    """The agent that an entry is about."""
    return Resource(type="agent", id=to_text(row.id), name=row.name)


def agent_state(row: AgentRow) -> Mapping[str, Any]:
    """Who it is, and whether it gets work."""
    return {
        "agent_type": AgentType.Name(row.agent_type).removeprefix("AGENT_TYPE_").lower(),  # type: ignore[arg-type]  # as stored
        "built_in": row.built_in,
        "tags": list(row.tags),
        "labels": dict(row.labels),
        "allowed_groups": list(row.allowed_groups),
        "slots": row.slots,
        "draining": row.draining,
        "registered_by": row.registered_by,
    }


def instant(us: int | None) -> str | None:
    """RFC 3339, as everywhere."""
    return None if us is None else from_us(us).isoformat().replace("+00:00", "Z")
