"""Failures 20 and 21: the same trigger many times; results twice, late, and under old fences."""

from typing import Any

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.execution_pb2 import ExecutionState
from kronforce_client import Conflict
from tests.system.checker.history import Policy
from tests.system.checker.rules import judge
from tests.system.rig.bare_agent import BareAgent, about, bare_agent
from tests.system.rig.cluster import Cluster, until
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes

COPIES = 100
REPLAYS = 1_000
SUCCEEDED = ExecutionState.EXECUTION_STATE_SUCCEEDED
FAILED = ExecutionState.EXECUTION_STATE_FAILED


async def test_a_hundred_copies_of_a_trigger_at_once_make_one_run(running: Cluster) -> None:
    notes = Notes(running.folder / "notes")
    recorder = Recorder(running, notes)
    await define(running, recorder, "copied", notes.command("true"))
    await recorder.trigger("copied", times=COPIES)
    await recorder.settled()
    history = await recorder.history()
    assert len(history.acknowledged) == COPIES
    assert len(history.runs) == 1
    assert judge(history) == []


async def test_a_request_id_is_remembered_over_a_kill_of_the_controller(running: Cluster) -> None:
    client = running.client
    await client.jobs.create(job("remembered", "true"))
    first = await client.jobs.trigger("remembered", request_id="one")
    assert running.controller is not None
    await running.controller.kill()
    await running.start_controller()
    again = await client.jobs.trigger("remembered", request_id="one")
    assert (again.run.id, again.replayed) == (first.run.id, True)
    with pytest.raises(Conflict) as refused:
        await client.jobs.trigger("remembered", request_id="one", priority=3)
    assert refused.value.reason == "REQUEST_ID_REUSED"


async def test_results_that_come_again_or_under_old_fences_change_nothing(
    made: Cluster,
) -> None:
    await made.start_controller()
    client = made.client
    recorder = Recorder(made, Notes(made.folder / "notes"))
    async with bare_agent(made, "bare") as agent:
        await client.jobs.create(job("late", "true", target={"type": "agent", "agent_id": "bare"}))
        run = (await client.jobs.trigger("late", request_id="late")).run
        (assignment,) = await agent.expect("assignment")
        await agent.send(about(assignment, accepted=pb.Accepted()))
        result = pb.Result(state=SUCCEEDED, exit_code=0)
        await agent.send(about(assignment, result=result))
        await agent.expect("acknowledge")
        before = await client.runs.get(run.id)
        await replay(agent, assignment)
        after = await client.runs.get(run.id)
        assert before == after
        assert after.executions[0].state == SUCCEEDED
    history = await recorder.history()
    assert history.evidence.get(after.executions[0].id, 0) <= 8
    ends = [event for event in history.events if event.kind == "execution.completed"]
    assert len(ends) == 1


async def replay(agent: BareAgent, assignment: pb.ControllerMessage) -> None:
    """The same result, a contradicting one, and both under other fences; each is acknowledged."""
    acknowledged = len(await agent.expect("acknowledge"))
    for number in range(REPLAYS):
        state = SUCCEEDED if number % 2 else FAILED
        fence = assignment.fence + (number % 4) - 1
        message = about(assignment, result=pb.Result(state=state, exit_code=number % 7))
        message.fence = fence
        await agent.send(message)
    await agent.expect("acknowledge", acknowledged + REPLAYS)


async def test_a_result_for_an_attempt_of_another_agent_changes_nothing(
    made: Cluster,
) -> None:
    await made.start_controller()
    client = made.client
    async with bare_agent(made, "mine") as mine, bare_agent(made, "other") as other:
        await client.jobs.create(job("mine", "true", target={"type": "agent", "agent_id": "mine"}))
        run = (await client.jobs.trigger("mine")).run
        (assignment,) = await mine.expect("assignment")
        await mine.send(about(assignment, accepted=pb.Accepted()))
        await other.send(about(assignment, result=pb.Result(state=SUCCEEDED, exit_code=0)))
        await other.expect("acknowledge")
        await mine.send(about(assignment, result=pb.Result(state=FAILED, exit_code=3)))
        await mine.expect("acknowledge")

        async def failed() -> bool:
            return (await client.runs.get(run.id)).state == FAILED

        await until(failed, "the run to fail, as its own agent said")


async def define(cluster: Cluster, recorder: Recorder, name: str, command: str) -> None:
    await cluster.client.jobs.create(job(name, command))
    recorder.policies[name] = Policy()


def job(name: str, command: str, **settings: Any) -> dict[str, Any]:
    return {
        "name": name,
        "target": {"type": "any"},
        "task": {"type": "shell", "command": command},
        **settings,
    }
