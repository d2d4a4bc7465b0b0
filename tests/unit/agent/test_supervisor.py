import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import job_pb2
from kronforce.v1.execution_pb2 import EXECUTION_STATE_CANCELLED
from kronforce_agent.clock import SystemClock
from kronforce_agent.held import ACCEPTED, FINISHED
from kronforce_agent.journal import Entry, Journal
from kronforce_agent.launcher.protocol import Inventory, SpoolState
from kronforce_agent.outbox import Outbox
from kronforce_agent.output import OutputRouter
from kronforce_agent.records import Accept
from kronforce_agent.supervisor import Parts, Supervisor
from kronforce_agent.table import Limits
from kronforce_agent.tasks import REGISTRY
from kronforce_agent.tasks.kinds import Host

KEY = ("execution", 7)
NOOP = job_pb2.Task(noop=job_pb2.NoopTask())
SLEEPY = job_pb2.Task(noop=job_pb2.NoopTask(sleep_ms=3_600_000))
SHELL = job_pb2.Task(shell=job_pb2.ShellTask(command="true"))


class Agent:
    """A supervisor with a journal, in a session, without a launcher."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        clock = SystemClock()
        self.journal = Journal(folder, clock)
        self.journal.open()
        self.outbox = Outbox()
        self.outbox.open()
        parts = Parts(
            journal=self.journal,
            outbox=self.outbox,
            router=OutputRouter(asyncio.get_running_loop().call_later),
            clock=clock,
            launcher=lambda: None,
            host=Host(agent_name="a", work_folder=folder),
            limits=limits,
        )
        self.supervisor = Supervisor(parts, REGISTRY)
        self.supervisor.boot_id = "boot"

    def assign(self, task: job_pb2.Task, key: tuple[str, int] = KEY) -> None:
        self.supervisor.on_messages(
            [
                pb.ControllerMessage(
                    execution_id=key[0], fence=key[1], assignment=pb.Assignment(task=task)
                )
            ]
        )

    async def durable(self) -> None:
        done = asyncio.Event()
        self.journal.commit(done.set)
        async with asyncio.timeout(10):
            await done.wait()

    def said(self) -> list[pb.AgentMessage]:
        return list(pb.ConnectRequest.FromString(self.outbox.take_frame()).messages)

    def kinds(self) -> list[str | None]:
        return [message.WhichOneof("message") for message in self.said()]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    agent = Agent(tmp_path, Limits(slots=4, max_unacknowledged=2))
    yield agent
    await agent.supervisor.close()
    agent.journal.close()


async def test_nothing_is_said_before_it_is_durable(agent: Agent) -> None:
    agent.assign(NOOP)
    assert agent.kinds() == []
    await agent.durable()
    assert agent.kinds() == ["accepted", "result"]


@pytest.mark.parametrize("task", [NOOP, SLEEPY], ids=["instant", "sleeping"])
async def test_what_was_not_recorded_when_the_stream_ended_never_starts(
    agent: Agent, task: job_pb2.Task
) -> None:
    agent.assign(task)
    agent.supervisor.session_ended()
    assert not agent.supervisor.table.inventory().items
    await agent.durable()
    assert agent.kinds() == []
    assert len(agent.supervisor.table) == 0


async def test_an_execution_that_was_accepted_before_a_restart_starts_when_it_comes_again(
    agent: Agent,
) -> None:
    accept = Accept(execution_id=KEY[0], fence=KEY[1], at_micros=1, arm="shell", boot_id="boot")
    agent.supervisor.recover({KEY: Entry(accept=accept)}, None)
    (item,) = agent.supervisor.table.inventory().items
    agent.supervisor.drains.set("stopping", "not even then is its place taken away")
    agent.assign(NOOP)
    await agent.durable()
    assert item.state == pb.INVENTORY_STATE_ACCEPTED
    assert agent.kinds() == ["drain", "accepted", "result"]


async def test_a_cancel_of_what_was_accepted_before_a_restart_ends_it(agent: Agent) -> None:
    accept = Accept(execution_id=KEY[0], fence=KEY[1], at_micros=1, arm="shell", boot_id="boot")
    agent.supervisor.recover({KEY: Entry(accept=accept)}, None)
    held = agent.supervisor.table.get(KEY)
    assert held is not None
    assert held.state == ACCEPTED
    agent.supervisor.on_messages(
        [pb.ControllerMessage(execution_id=KEY[0], fence=KEY[1], cancel=pb.Cancel())]
    )
    await agent.durable()
    assert held.state == FINISHED
    assert agent.kinds() == ["result"]


async def test_what_ends_with_its_agent_is_told_from_what_somebody_cancelled(agent: Agent) -> None:
    other = ("other", 8)
    agent.assign(SLEEPY)
    agent.assign(SLEEPY, other)
    await agent.durable()
    await asyncio.sleep(0)
    agent.supervisor.on_messages(
        [pb.ControllerMessage(execution_id=other[0], fence=other[1], cancel=pb.Cancel())]
    )
    agent.supervisor.stop_all()
    async with asyncio.timeout(10):
        while not all(held.ended for held in agent.supervisor.table):
            agent.supervisor.table.changed.clear()
            await agent.supervisor.table.changed.wait()
    said = {m.execution_id: m.result for m in agent.said() if m.HasField("result")}
    assert {result.state for result in said.values()} == {EXECUTION_STATE_CANCELLED}
    assert (said[KEY[0]].state_reason, said[KEY[0]].message) == (
        "agent_stopped", "its agent was stopped",
    )  # fmt: skip
    assert (said[other[0]].state_reason, said[other[0]].message) == ("", "cancelled")


async def test_a_full_spool_stops_new_work_and_says_so(agent: Agent) -> None:
    full = SpoolState(full=True, used_bytes=9, limit_bytes=10)
    agent.supervisor.launcher_events([full])
    agent.assign(NOOP)
    drain, rejected = agent.said()
    assert drain.drain.draining
    assert rejected.rejected.reason == pb.REJECT_REASON_BUSY
    agent.supervisor.launcher_events([SpoolState(full=False, used_bytes=1, limit_bytes=10)])
    agent.assign(NOOP)
    await agent.durable()
    assert agent.kinds() == ["drain", "accepted", "result"]


async def test_a_full_spool_that_died_with_its_launcher_keeps_no_work_away(agent: Agent) -> None:
    agent.supervisor.spool_is(full=True)
    agent.supervisor.launcher_back("another", Inventory(tasks=()), spool_full=False)
    agent.assign(NOOP)
    await agent.durable()
    assert agent.kinds() == ["drain", "drain", "accepted", "result"]


async def test_without_a_launcher_process_tasks_are_refused_as_busy(agent: Agent) -> None:
    agent.assign(SHELL)
    (rejected,) = agent.said()
    assert rejected.rejected.reason == pb.REJECT_REASON_BUSY
    assert "launcher" in rejected.rejected.message


async def test_results_that_nobody_acknowledges_stop_new_work(agent: Agent) -> None:
    for number in range(2):
        agent.assign(NOOP, (f"e{number}", number + 1))
    await agent.durable()
    agent.said()
    agent.assign(NOOP, ("third", 3))
    (rejected,) = agent.said()
    assert rejected.rejected.reason == pb.REJECT_REASON_BUSY


async def test_an_older_fence_of_what_is_held_is_refused(agent: Agent) -> None:
    agent.assign(SLEEPY, ("e", 9))
    agent.assign(NOOP, ("e", 8))
    (rejected,) = agent.said()
    assert (rejected.fence, rejected.rejected.reason) == (8, pb.REJECT_REASON_REVOKED)


async def test_a_drain_of_the_agents_own_is_told_again_in_the_next_session(agent: Agent) -> None:
    agent.supervisor.drains.set("journal", "no room")
    agent.said()
    agent.supervisor.session_started(draining=False)
    (drain,) = agent.said()
    assert drain.drain.reason == "no room"
