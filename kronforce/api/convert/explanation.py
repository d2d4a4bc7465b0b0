"""Explanations: why a run stands where it stands."""

from __future__ import annotations

from kronforce.api.convert.instants import stamp, stamp_or_none
from kronforce.core.ids import to_text
from kronforce.engine.explaining import Explained, ExplainedExecution
from kronforce.v1.run_pb2 import AgentVerdict, ExecutionExplanation, RunExplanation


def explanation_message(explained: Explained) -> RunExplanation:
    """The whole of it."""
    row, told = explained.row, explained.executions
    return RunExplanation(
        run_id=to_text(row.id),
        job_name=row.job_name,
        state=row.state,  # type: ignore[arg-type]  # the enum's number, as stored
        state_reason=explained.reason,
        sentence=explained.sentence,
        next_steps=explained.next_steps,
        executions=[_execution(each) for each in told],
        further_targets=row.target_count - len(told),
    )


def _execution(each: ExplainedExecution) -> ExecutionExplanation:
    row, facts = each.row, each.facts
    return ExecutionExplanation(
        execution_id=to_text(row.id),
        target_index=row.target_index,
        attempt_number=row.attempt_number,
        state=row.state,  # type: ignore[arg-type]  # the same
        state_reason=facts.reason,
        sentence=each.sentence,
        since=stamp(facts.since),
        until=stamp_or_none(facts.until if row.finished_at is None else None),
        ahead=facts.ahead,
        held_by_run_ids=facts.held_by,
        agents=[
            AgentVerdict(
                agent_name=agent.name,
                verdict=agent.verdict,
                busy_slots=agent.busy,
                slots=agent.slots,
            )
            for agent in facts.agents
        ],
    )
