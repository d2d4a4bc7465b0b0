"""Failures 10 and 11 by the engine's own clock: when an agent that says nothing is shown as away.

A network that swallows everything ends no stream: only silence tells. Time stands still unless a
test moves it.
"""

import asyncio

import pytest

from kronforce.core.lifecycle import Reason, State
from kronforce.engine.agents.leases import LEASE_SECS
from kronforce.engine.agents.sessions import HEARTBEAT_SECS
from kronforce.engine.watching import Watcher
from kronforce.store import agents
from kronforce.v1 import agent_service_pb2 as pb
from tests.store.rig import FakeAgent, ManualRig

# A partition is shown so long after the lease at the latest.
SHOWN_SECS = 5
# A step that no loop takes for a stall of its own.
STEP_SECS = 1
# Turns of the event loop in which whoever is woken begins.
TURNS = 5


@pytest.fixture
async def rig(store_url, tmp_path):
    rig = ManualRig(store_url, tmp_path)
    await rig.start()
    yield rig
    await rig.stop()


async def pass_second(rig):
    loops = len(rig.engine._loops)
    rig.clock.advance(STEP_SECS)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    await rig.clock.until_sleeping(loops)


async def holding(rig, **job):
    """An agent that has accepted a run, and what it was given."""
    agent = FakeAgent(rig, await rig.enrol(), auto=False)
    await agent.connect()
    await rig.job(**job)
    run = await rig.run()
    given = await agent.assignment()
    agent.accept(given)

    async def started():
        return (await rig.row(run.run_id)).state == State.RUNNING

    await rig.until(started)
    return agent, run.run_id, given


async def stored(rig, agent):
    return await rig.store.read(agents.get_agent, agent.row.key)


async def silent(rig, secs):
    for _ in range(secs):
        await pass_second(rig)


async def test_a_silent_agent_is_shown_as_away_within_its_lease_and_a_little(rig):
    agent, run_id, _given = await holding(rig)
    heard = rig.clock.now_us()
    watcher = Watcher(include_output=False, from_start=False)
    rig.engine.hub.subscribe(watcher, [("run", run_id)])

    await silent(rig, LEASE_SECS + SHOWN_SECS)

    async def closed():
        row = await stored(rig, agent)
        return row if row.disconnected_at is not None else None

    row = await rig.until(closed)
    # As the controller itself noted it.
    assert row.disconnected_at - heard >= LEASE_SECS * 1_000_000
    assert row.disconnected_at - heard <= (LEASE_SECS + SHOWN_SECS) * 1_000_000
    (told,) = watcher.take()
    assert (told.run_id, told.state.state_reason) == (run_id, Reason.AGENT_UNREACHABLE)
    # It may well run: nothing is decided of it.
    assert (await rig.row(run_id)).state == State.RUNNING


async def test_an_agent_that_is_silent_for_less_than_its_lease_is_not_shown_as_away(rig):
    agent, run_id, given = await holding(rig)

    await silent(rig, LEASE_SECS)
    agent.send(pb.AgentMessage(heartbeat=pb.AgentHeartbeat()))
    await silent(rig, LEASE_SECS)

    assert (await stored(rig, agent)).disconnected_at is None
    agent.finish(given)
    assert (await rig.ended(run_id)).state == State.SUCCEEDED


async def test_what_an_agent_held_meanwhile_ends_as_it_says_when_it_is_back(rig):
    agent, run_id, given = await holding(rig)
    await silent(rig, LEASE_SECS + SHOWN_SECS)
    await silent(rig, 5 * HEARTBEAT_SECS)

    held = pb.InventoryItem(execution_id=given.execution_id, fence=given.fence)
    held.state = pb.INVENTORY_STATE_RUNNING
    await agent.connect(held)
    agent.finish(given)

    assert (await rig.ended(run_id)).state == State.SUCCEEDED
    assert len(await rig.attempts(run_id)) == 1
