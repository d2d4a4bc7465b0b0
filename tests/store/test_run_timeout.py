"""`run_timeout_secs`: however a run spends its time, it ends when that is over."""

import pytest

from kronforce.core.lifecycle import Reason, State
from kronforce.engine.agents.session import CUT_OFF_SECS
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import job_pb2
from tests.store.rig import FakeAgent, ManualRig, item

LIMIT = 5


@pytest.fixture
def rig_class():
    return ManualRig


async def states(rig, run_id):
    return [State(attempt.state) for attempt in await rig.attempts(run_id)]


async def _has_deadline(rig, run_id):
    row = await rig.row(run_id)
    return row.deadline_at is not None and len(rig.engine.run_timeouts) > 0


async def agent(rig, name="a1", **fields):
    found = FakeAgent(rig, await rig.enrol(name), auto=False, **fields)
    await found.connect()
    return found


async def running(rig, a, **fields):
    """A run whose only attempt has started, and its assignment."""
    await rig.job(run_timeout_secs=LIMIT, **fields)
    run = await rig.run()
    first = await a.assignment()
    a.accept(first)
    await rig.until(lambda: _has_deadline(rig, run.run_id))
    return run.run_id, first


async def test_what_runs_is_ended_through_its_agent_and_not_tried_again(rig):
    a = await agent(rig)
    run_id, first = await running(rig, a, retry_max=3)
    row = await rig.row(run_id)
    assert row.deadline_at == row.started_at + LIMIT * 1_000_000

    rig.clock.advance(LIMIT + 1)
    cancel = await a.message("cancel")
    assert (cancel.execution_id, cancel.cancel.reason) == (first.execution_id, "run_timeout")
    a.finish(first, State.CANCELLED)

    row = await rig.ended(run_id)
    assert (row.state, row.state_reason) == (State.TIMED_OUT, Reason.RUN_TIMEOUT)
    (attempt,) = await rig.attempts(run_id)
    assert (attempt.state, attempt.state_reason) == (State.TIMED_OUT, Reason.RUN_TIMEOUT)
    assert attempt.message == "the run took longer than run_timeout_secs (5 s)"
    assert row.cancelled_by == ""
    assert len(rig.engine.run_timeouts) == 0
    await a.leave()


@pytest.mark.parametrize("reported", [State.FAILED, State.TIMED_OUT])
async def test_however_the_agent_calls_the_end_it_is_the_runs_timeout(rig, reported):
    a = await agent(rig)
    run_id, first = await running(rig, a, retry_max=3)
    rig.clock.advance(LIMIT + 1)
    await a.message("cancel")
    a.finish(first, reported)
    row = await rig.ended(run_id)
    assert (row.state, row.state_reason) == (State.TIMED_OUT, Reason.RUN_TIMEOUT)
    await a.leave()


async def test_a_task_that_succeeds_all_the_same_has_succeeded(rig):
    a = await agent(rig)
    run_id, first = await running(rig, a)
    rig.clock.advance(LIMIT + 1)
    await a.message("cancel")
    a.finish(first, State.SUCCEEDED)
    assert (await rig.ended(run_id)).state == State.SUCCEEDED
    await a.leave()


async def test_a_retry_that_waits_ends_with_its_run(rig):
    a = await agent(rig)
    run_id, first = await running(rig, a, retry_max=1, retry_delay_secs=4_000)
    a.finish(first, State.FAILED, exit_code=1)
    await rig.until(lambda: _two(rig, run_id))

    rig.clock.advance(LIMIT + 1)
    assert (await rig.ended(run_id)).state == State.TIMED_OUT
    assert await states(rig, run_id) == [State.FAILED, State.TIMED_OUT]
    await a.leave()


async def _two(rig, run_id):
    return len(await rig.attempts(run_id)) == 2


async def test_targets_that_still_wait_end_too_and_those_that_have_ended_stay(rig):
    one, two, full = await agent(rig, "a1"), await agent(rig, "a2", boot="c"), None
    full = await rig.enrol("a3")
    await rig.job(run_timeout_secs=LIMIT, target=job_pb2.Target(all=job_pb2.AllTarget()))
    run_id = (await rig.run()).run_id
    first, second = await one.assignment(), await two.assignment()
    one.accept(first)
    one.finish(first)
    two.accept(second)
    await rig.until(lambda: _in_states(rig, run_id, State.SUCCEEDED, State.RUNNING, State.PENDING))

    rig.clock.advance(LIMIT + 1)
    await two.message("cancel")
    two.finish(second, State.CANCELLED)
    row = await rig.ended(run_id)
    assert (row.state, row.state_reason) == (State.TIMED_OUT, Reason.RUN_TIMEOUT)
    assert await states(rig, run_id) == [State.SUCCEEDED, State.TIMED_OUT, State.TIMED_OUT]
    assert full.name == "a3"
    await one.leave()
    await two.leave()


async def _in_states(rig, run_id, *wanted):
    return await states(rig, run_id) == list(wanted)


async def test_the_deadline_survives_a_restart_of_the_engine(rig, store_url, tmp_path):
    a = await agent(rig)
    run_id, first = await running(rig, a, retry_max=1)
    await a.leave()
    await rig.stop()

    other = ManualRig(store_url, tmp_path, rig.clock)
    await other.start()
    assert len(other.engine.run_timeouts) == 1
    again = FakeAgent(other, a.row, auto=False)
    await again.connect(item(first, pb.INVENTORY_STATE_RUNNING))
    rig.clock.advance(LIMIT + 1)
    await again.message("cancel")
    again.finish(first, State.CANCELLED)
    assert (await other.ended(run_id)).state_reason == Reason.RUN_TIMEOUT
    await again.leave()
    await other.stop()


async def test_a_deadline_that_went_by_while_nobody_looked_ends_the_run(rig, store_url, tmp_path):
    a = await agent(rig)
    run_id, first = await running(rig, a, retry_max=1, retry_delay_secs=60)
    a.finish(first, State.FAILED)
    await rig.until(lambda: _two(rig, run_id))
    await a.leave()
    await rig.stop()

    rig.clock.advance(3_600)
    other = ManualRig(store_url, tmp_path, rig.clock)
    await other.start()
    assert (await other.ended(run_id)).state_reason == Reason.RUN_TIMEOUT
    assert await states(other, run_id) == [State.FAILED, State.TIMED_OUT]
    await other.stop()


async def test_an_agent_that_is_cut_off_ends_the_attempt_by_itself(rig):
    a = await agent(rig)
    _, first = await running(rig, a, retry_max=1, timeout_secs=100)
    assert first.assignment.timeout.seconds == LIMIT + CUT_OFF_SECS
    rig.clock.advance(2)
    a.finish(first, State.FAILED)
    second = await a.assignment(2)
    assert second.assignment.timeout.seconds == LIMIT - 2 + CUT_OFF_SECS
    await a.leave()


async def test_a_jump_of_the_wall_clock_moves_no_deadline(rig):
    a = await agent(rig)
    run_id, first = await running(rig, a)
    rig.clock.jump(100 * LIMIT)
    rig.clock.advance(LIMIT - 1)
    a.finish(first)
    assert (await rig.ended(run_id)).state == State.SUCCEEDED
    await a.leave()


async def test_a_run_without_the_limit_has_no_deadline(rig):
    a = await agent(rig)
    await rig.job()
    run_id = (await rig.run()).run_id
    first = await a.assignment()
    assert not first.assignment.HasField("timeout")
    a.accept(first)
    a.finish(first)
    assert (await rig.ended(run_id)).deadline_at is None
    assert len(rig.engine.run_timeouts) == 0
    await a.leave()
