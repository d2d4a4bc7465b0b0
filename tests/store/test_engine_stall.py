"""Failure 31: a controller that stood still reads what has arrived before it gives anybody up."""

import pytest

from kronforce.core.lifecycle import State
from kronforce.engine.agents.sessions import RETURN_SECS
from kronforce.v1 import agent_service_pb2 as pb
from tests.store.rig import FakeAgent, ManualRig, item
from tests.store.test_pull_silence import pass_time

LOST_AFTER_SECS = 20
# Longer than anybody's patience.
STOOD_STILL_SECS = 60


@pytest.fixture
def rig_class():
    return ManualRig


@pytest.fixture
async def agent(rig):
    found = FakeAgent(rig, await rig.enrol("a1"), auto=False)
    await found.connect()
    yield found
    await found.leave()


async def stand_still(rig, secs=STOOD_STILL_SECS):
    """Time passes in one piece, then every loop has its turn."""
    rig.clock.advance(secs)
    await pass_time(rig, 3)


async def running(rig, agent):
    await rig.job(lost_after_secs=LOST_AFTER_SECS)
    run = await rig.run()
    given = await agent.assignment()
    agent.accept(given)

    async def started():
        (attempt,) = await rig.attempts(run.run_id)
        return attempt.started_at is not None

    await rig.until(started)
    return run.run_id, given


async def test_an_agent_that_came_back_meanwhile_keeps_its_work(rig, agent):
    run_id, given = await running(rig, agent)
    await agent.leave()
    await pass_time(rig, 6)
    await stand_still(rig)
    await agent.connect(item(given, pb.INVENTORY_STATE_RUNNING))
    agent.finish(given)
    row = await rig.ended(run_id)
    assert row.state == State.SUCCEEDED


async def test_an_agent_that_stays_away_is_given_up_all_the_same(rig, agent):
    run_id, _ = await running(rig, agent)
    await agent.leave()
    await pass_time(rig, 6)
    await stand_still(rig)
    await pass_time(rig, RETURN_SECS + LOST_AFTER_SECS)
    row = await rig.ended(run_id)
    assert row.state == State.LOST


async def test_an_answer_that_was_not_read_yet_is_waited_for(rig, agent):
    await rig.job()
    run = await rig.run()
    given = await agent.assignment()
    await stand_still(rig)
    assert [m for m in agent.got if m.HasField("revoke")] == []
    agent.accept(given)
    agent.finish(given)
    row = await rig.ended(run.run_id)
    assert row.state == State.SUCCEEDED
