"""Heartbeats to many agents: each in its time, never all at once, and leases hold."""

import asyncio
from collections import Counter

import pytest

from kronforce.engine.agents.leases import HEARTBEAT_SECS, LEASE_SECS
from kronforce.v1 import agent_service_pb2 as pb
from tests.store.rig import FakeAgent, ManualRig
from tests.store.test_pull_silence import TURNS

AGENTS = 30


@pytest.fixture
def rig_class():
    return ManualRig


@pytest.fixture
async def agents(rig):
    found = [FakeAgent(rig, await rig.enrol(f"a{n}"), auto=False) for n in range(AGENTS)]
    for agent in found:
        await agent.connect()
    yield found
    for agent in found:
        await agent.leave()


async def a_second(rig):
    """It passes, and every loop of the engine looks."""
    rig.clock.advance(1)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    await rig.clock.until_sleeping(len(rig.engine._loops))


def beats(agent):
    return sum(1 for message in agent.got if message.HasField("heartbeat"))


async def test_each_second_a_part_of_the_agents_is_asked_and_each_of_them_in_its_time(rig, agents):
    shares = []
    for _ in range(2 * HEARTBEAT_SECS):
        before = [beats(agent) for agent in agents]
        await a_second(rig)
        shares.append(sum(beats(agent) for agent in agents) - sum(before))
        for agent in agents:
            agent.send(pb.AgentMessage(heartbeat=pb.AgentHeartbeat()))
    assert Counter(beats(agent) for agent in agents) == {2: AGENTS}
    assert max(shares) <= 2 * AGENTS // HEARTBEAT_SECS


async def test_of_many_the_one_that_falls_silent_is_given_up_and_no_other(rig, agents):
    silent, *others = agents
    for _ in range(LEASE_SECS + 2):
        await a_second(rig)
        for agent in others:
            agent.send(pb.AgentMessage(heartbeat=pb.AgentHeartbeat()))
    online = {session.agent_name for session in rig.engine.dispatcher.sessions.values()}
    assert len(online) == AGENTS - 1
    assert silent.row.name not in online
