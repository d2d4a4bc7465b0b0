"""An agent that the controller drains ends what it runs, takes nothing new, and works again."""

from kronforce.v1.agent_pb2 import AgentState
from kronforce.v1.execution_pb2 import ExecutionState
from tests.system.failures.jobs import ended, fire, outcome, wrote
from tests.system.rig import processes
from tests.system.rig.cluster import ADMIN_KEY, Cluster, patient, until

DRAINING = AgentState.AGENT_STATE_DRAINING
PENDING = ExecutionState.EXECUTION_STATE_PENDING


async def drain(cluster: Cluster, *flags: str) -> None:
    """`kronforce agent drain one`, as a person types it."""
    environ = processes.clean_environment() | {
        "KRONFORCE_ADDRESS": cluster.address,
        "KRONFORCE_KEY": ADMIN_KEY,
    }
    log = cluster.folder / "drain.log"
    command = await processes.start("drain", ["agent", "drain", "one", *flags], environ, log)
    assert await command.ended == 0, command.tail()


async def test_a_drained_agent_ends_what_it_runs_and_takes_nothing_new(embedded: Cluster) -> None:
    go = embedded.folder / "go"
    command = f"echo up; until [ -e {go} ]; do sleep 0.05; done"
    running = await fire(embedded, "running", command)
    await wrote(embedded, running, 3)

    await drain(embedded)
    waiting = await fire(embedded, "waiting", "true")
    go.touch()

    assert outcome(await ended(embedded, running)) == ("succeeded", "")
    held_back = await embedded.client.runs.get(waiting)
    assert held_back.executions[0].state == PENDING
    await drain(embedded, "--off")
    assert outcome(await ended(embedded, waiting)) == ("succeeded", "")


async def test_a_drained_agent_stays_drained_when_it_or_the_controller_is_restarted(
    embedded: Cluster,
) -> None:
    await drain(embedded)
    await embedded.agents["one"].kill()
    assert embedded.controller is not None
    await embedded.controller.kill()
    await embedded.start_controller()
    await embedded.start_agent(wait=False)

    async def back() -> bool:
        agent = await embedded.client.agents.get("one")
        return agent.state == DRAINING

    await until(patient(back), "the agent to be back, drained")
    waiting = await fire(embedded, "waiting", "true")
    await drain(embedded, "--off")
    assert outcome(await ended(embedded, waiting)) == ("succeeded", "")
