"""`run explain`: why a run waits, runs or ended as it did, and what to do next."""

from __future__ import annotations

from kronforce.cli.run_names import find_run
from kronforce.cli.session import Session, current
from kronforce.cli.show import is_data, short, show_row
from kronforce.v1.run_pb2 import AgentVerdict, ExecutionExplanation, RunExplanation

# What an agent's verdict means, for people.
_VERDICTS = {
    "next": "takes it now",
    "busy": "all slots busy",
    "offline": "offline",
    "draining": "draining: takes nothing new",
    "tag": "does not have the tag",
    "task_type": "cannot run this kind of task",
    "untrusted": "takes no process task of this author",
    "not_allowed": "is not for this group",
}


# As many executions as an explanation has at most: beyond it the list is cut.
TOLD = 100


def explain(run: str, /) -> None:
    """Why a run waits, runs or ended as it did, and what to do next.

    Examples: kronforce run explain @last

    Parameters
    ----------
    run
        An id, the end of one, @last, or a job's name for its newest run.
    """
    session = current()
    with session.client() as client:
        told = client.runs.explain(find_run(client, run).id)
    if is_data(session):
        show_row(session, told, name=lambda row: str(row.run_id))
        return
    print(told.sentence)
    for each in told.executions:
        _show_execution(told, each)
    if told.further_targets and told.executions:
        print(further(told))
    tell_steps(session, told)


def tell_steps(session: Session, told: RunExplanation) -> None:
    """What to do next, most useful first, with ids short enough to type."""
    for number, step in enumerate(told.next_steps):
        text = step.replace(told.run_id, short(told.run_id))
        session.say(f"{'next:' if not number else '     '} {text}")


def _show_execution(told: RunExplanation, each: ExecutionExplanation) -> None:
    if len(told.executions) > 1 or told.further_targets:
        print(f"  target {each.target_index}: {each.sentence}")
    for agent in each.agents:
        print(f"  {agent.agent_name}: {_verdict(agent)}")
    for run_id in each.held_by_run_ids:
        print(f"  held by run {run_id}")


def further(told: RunExplanation) -> str:
    """Of those that are not listed: they have succeeded, unless the list was cut."""
    many = told.further_targets
    more = f"{many:,} more target{'s' if many > 1 else ''}"
    if len(told.executions) >= TOLD:
        return f"{more} {'are' if many > 1 else 'is'} not shown: kronforce run get {told.run_id}"
    return f"{more} succeeded"


def _verdict(agent: AgentVerdict) -> str:
    word = _VERDICTS.get(agent.verdict, agent.verdict)
    online = agent.verdict in ("busy", "next", "draining")
    return f"{word} ({agent.busy_slots} of {agent.slots} slots busy)" if online else word
