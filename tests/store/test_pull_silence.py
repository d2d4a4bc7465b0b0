"""Custom agents that say nothing: what they were given ends when it must, and not before.

Time stands still unless a test moves it.
"""

import asyncio

import pytest

from kronforce.core.pull_rules import (
    IDLE_SECS,
    LEASE_SECS,
    UNCLAIMED_SECS,
    UNREPORTED_SECS,
    lost_after,
    silent_secs,
    unreported_secs,
)
from kronforce.store import agents
from tests.store.pull_agent import EXPIRED, LOST, SUCCEEDED, PullAgent, job_for
from tests.store.rig import ADMIN, ManualRig


@pytest.fixture
def rig_class():
    return ManualRig


# A step that no loop takes for a stall of its own.
STEP_SECS = 3
# Turns of the event loop in which whoever is woken begins.
TURNS = 5


async def pass_time(rig, secs):
    """In steps, each looked at by every loop of the engine."""
    loops = len(rig.engine._loops)
    for _ in range(0, int(secs), STEP_SECS):
        rig.clock.advance(STEP_SECS)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        await rig.clock.until_sleeping(loops)


async def given(rig, puller, **fields):
    await job_for(puller, **fields)
    run = await rig.run()
    return run.run_id, await puller.pull()


async def state(rig, run_id):
    return (await rig.row(run_id)).state


def test_the_longer_of_ten_minutes_and_the_timeout_counts():
    assert unreported_secs(0) == UNREPORTED_SECS == 600
    assert unreported_secs(300) == 600
    assert unreported_secs(3_600) == 3_660
    assert lost_after(timeout_secs=0, heartbeats=True, restarted=False) is None
    assert lost_after(timeout_secs=0, heartbeats=True, restarted=True) == 600
    assert lost_after(timeout_secs=10, heartbeats=True, restarted=False) == 70
    assert silent_secs(heartbeats=True, longest_timeout_secs=3_600) == LEASE_SECS
    assert silent_secs(heartbeats=False, longest_timeout_secs=None) == IDLE_SECS
    assert silent_secs(heartbeats=False, longest_timeout_secs=3_600) == 3_660


async def test_what_is_not_claimed_within_five_minutes_expires(rig, puller):
    await job_for(puller)
    run = await rig.run()
    await pass_time(rig, UNCLAIMED_SECS - 3)
    assert await state(rig, run.run_id) == 1
    await pass_time(rig, 6)
    assert (await rig.ended(run.run_id)).state == EXPIRED
    assert await puller.pull() is None


async def test_what_an_agent_that_is_there_does_not_ask_for_says_so(rig, puller):
    await job_for(puller)
    run = await rig.run()
    for _ in range(UNCLAIMED_SECS // 20 + 1):
        await puller.heartbeat()
        await pass_time(rig, 20)
    assert (await rig.ended(run.run_id)).state == EXPIRED
    (attempt,) = await rig.attempts(run.run_id)
    assert attempt.message.endswith("for a custom agent to ask for it")


async def test_a_job_may_say_that_it_waits_longer(rig, puller):
    await job_for(puller, queue_timeout_secs=0)
    run = await rig.run()
    rig.clock.advance(2_000)
    claim = await puller.pull()
    await puller.finish(claim)
    assert (await rig.ended(run.run_id)).state == SUCCEEDED


async def test_what_is_not_reported_for_ten_minutes_is_lost(rig, puller):
    run_id, claim = await given(rig, puller)
    await pass_time(rig, UNREPORTED_SECS - 2)
    assert await state(rig, run_id) == 3
    await pass_time(rig, 5)
    row = await rig.ended(run_id)
    assert (row.state, row.state_reason) == (LOST, "agent_lost")
    with pytest.raises(Exception, match="evidence"):
        await puller.finish(claim)


async def test_a_longer_timeout_makes_it_longer(rig, puller):
    run_id, claim = await given(rig, puller, timeout_secs=1_000)
    await pass_time(rig, 1_050)
    assert await state(rig, run_id) == 3
    await puller.finish(claim)
    assert (await rig.ended(run_id)).state == SUCCEEDED


async def test_polls_of_its_agent_do_not_keep_it_open(rig, puller):
    run_id, _ = await given(rig, puller)
    for _ in range(7):
        await puller.pull()
        await pass_time(rig, 100)
    assert (await rig.ended(run_id)).state == LOST


async def test_output_does(rig, puller):
    run_id, claim = await given(rig, puller)
    for place in range(4):
        await pass_time(rig, 400)
        await puller.append(claim, "line\n", offset=5 * place)
    assert await state(rig, run_id) == 3


async def test_with_heartbeats_it_may_take_as_long_as_it_takes(rig, puller):
    run_id, claim = await given(rig, puller)
    for _ in range(40):
        await puller.heartbeat()
        await pass_time(rig, 20)
    assert await state(rig, run_id) == 3
    await puller.finish(claim)
    assert (await rig.ended(run_id)).state == SUCCEEDED


async def test_heartbeats_that_stop_end_the_lease_and_then_the_attempt(rig, puller):
    run_id, _ = await given(rig, puller, lost_after_secs=100)
    await puller.heartbeat()
    await pass_time(rig, LEASE_SECS + 3)

    async def is_offline():
        row = await rig.store.read(agents.find_agent, "puller")
        return row.disconnected_at is not None

    await rig.until(is_offline)
    told = await rig.engine.explaining.explain(ADMIN, run_id)
    assert told.reason == "agent_unreachable"
    assert "out of reach" in told.sentence
    await pass_time(rig, 105)
    assert (await rig.ended(run_id)).state == LOST


async def test_an_agent_that_comes_back_goes_on_with_what_it_has(rig, puller):
    run_id, claim = await given(rig, puller)
    await puller.heartbeat()
    await pass_time(rig, LEASE_SECS + 3)
    assert await puller.heartbeat() == []
    await puller.finish(claim)
    assert (await rig.ended(run_id)).state == SUCCEEDED


async def test_what_a_heartbeat_does_not_name_is_gone(rig, puller):
    run_id, claim = await given(rig, puller)
    await puller.heartbeat(say=True)
    assert await state(rig, run_id) == 3, "it may not have heard of it yet"
    await pass_time(rig, 20)
    await puller.heartbeat(claim.work.live.id_text)
    await pass_time(rig, 20)
    await puller.heartbeat(say=True)
    row = await rig.ended(run_id)
    assert (row.state, row.state_reason) == (LOST, "agent_restarted")


async def test_a_restart_ends_the_time_of_heartbeats(rig, puller):
    run_id, _ = await given(rig, puller)
    await puller.heartbeat()
    rig.engine.pull_calls.registered(puller.row)
    await pass_time(rig, 300)
    assert await state(rig, run_id) == 3
    await pass_time(rig, 305)
    assert (await rig.ended(run_id)).state == LOST


async def test_a_restarted_agent_with_one_slot_gets_new_work(rig):
    puller = await PullAgent.enrolled(rig, slots=1)
    run_id, _ = await given(rig, puller)
    other = await rig.run()
    assert await puller.pull() is None
    rig.engine.pull_calls.registered(puller.row)
    claim = await puller.pull()
    assert claim.work.live.run.id_text == other.run_id
    assert await state(rig, run_id) == 3


async def test_an_agent_that_asks_for_nothing_is_offline_after_a_while(rig, puller):
    await puller.pull()
    await pass_time(rig, IDLE_SECS - 3)
    assert rig.engine.sessions.live(puller.row.key)[0]
    await pass_time(rig, 6)
    assert not rig.engine.sessions.live(puller.row.key)[0]


async def test_a_poll_that_waits_keeps_it_online(rig, puller):
    poll = puller.pulling(60)
    await puller.asking()
    await pass_time(rig, 61)
    assert await poll is None
    assert rig.engine.sessions.live(puller.row.key)[0]


async def test_lost_work_is_run_again_where_its_job_says_so(rig, puller):
    run_id, _ = await given(rig, puller, delivery=2)
    await pass_time(rig, UNREPORTED_SECS + 3)

    async def again():
        return await puller.pull()

    claim = await rig.until(again)
    await puller.finish(claim)
    assert (await rig.ended(run_id)).state == SUCCEEDED
    assert [a.state for a in await rig.attempts(run_id)] == [LOST, SUCCEEDED]


async def test_what_waits_for_an_agent_that_does_not_ask_is_explained(rig, puller):
    await job_for(puller)
    await puller.pull()
    run = await rig.run()
    await pass_time(rig, 30)
    told = await rig.engine.explaining.explain(ADMIN, run.run_id)
    assert told.sentence == (
        "Queued 30 s: agent puller has not asked for work for 30 s; gives up in 4 m."
    )
    assert [a.verdict for a in told.executions[0].facts.agents] == ["not_asking"]
