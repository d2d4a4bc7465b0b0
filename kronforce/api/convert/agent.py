"""Agents."""

from __future__ import annotations

from kronforce.api.convert.instants import stamp, stamp_or_none
from kronforce.core.ids import to_text
from kronforce.store.agents import AgentRow
from kronforce.v1.agent_pb2 import Agent, AgentFacts


def agent_message(row: AgentRow, running: int) -> Agent:
    """The row as a message; `running` is what its session holds now."""
    return Agent(
        id=to_text(row.id),
        name=row.name,
        tags=row.tags,
        labels=row.labels,
        facts=AgentFacts.FromString(row.facts),
        agent_type=row.agent_type,  # type: ignore[arg-type]  # the enum's number, as stored
        state=int(row.state),  # type: ignore[arg-type]  # the same numbers
        slots=row.slots,
        running=running,
        task_types=row.task_types,
        created_at=stamp(row.created_at),
        last_seen_at=stamp_or_none(row.last_seen_at),
        disconnected_at=stamp_or_none(row.disconnected_at),
        built_in=row.built_in,
        clock_skew_ms=row.clock_skew_ms,
        session_epoch=row.session_epoch,
        etag=str(row.revision),
        allowed_groups=row.allowed_groups,
    )
