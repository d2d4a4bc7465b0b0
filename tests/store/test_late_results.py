"""A result that comes late says when its task ended: by the time that the agent says it took."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.core.lifecycle import State
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import job_pb2
from tests.store.rig import ADMIN, FakeAgent, ManualRig

SECOND = 1_000_000
# No agent's clock agrees with ours.
AGENT_CLOCK = 1_234_567 * SECOND


@pytest.fixture
def rig_class():
    return ManualRig


async def agent(rig, name="a1", **fields):
    found = FakeAgent(rig, await rig.enrol(name), auto=False, **fields)
    await found.connect()
    return found


async def running(rig, a):
    run = await rig.run()
    await start(rig, a, run.run_id)
    return run.run_id, await a.assignment()


async def start(rig, a, run_id, count=1):
    a.accept(await a.assignment())

    async def started():
        attempts = await rig.attempts(run_id)
        return sum(attempt.started_at is not None for attempt in attempts) == count

    await rig.until(started)


def finish(a, of, took_us, state=State.SUCCEEDED):
    message = pb.AgentMessage(execution_id=of.execution_id, fence=of.fence)
    message.result.state, message.result.exit_code = state, 0 if state == 4 else 1
    message.result.started_at.FromMicroseconds(AGENT_CLOCK)
    message.result.finished_at.FromMicroseconds(AGENT_CLOCK + took_us)
    a.send(message)


@pytest.mark.parametrize(
    ("took", "ran"),
    [
        (3 * SECOND, 3 * SECOND),
        (0, 0),
        # As good as now: what is stored is one instant of one clock.
        (23 * SECOND + 400_000, 24 * SECOND),
        # It cannot have ended in the future, and a clock that went back says nothing.
        (60 * SECOND, 24 * SECOND),
        (-5 * SECOND, 24 * SECOND),
    ],
)
async def test_a_task_that_ended_while_we_were_away_ran_as_long_as_it_did(rig, took, ran):
    await rig.job()
    a = await agent(rig)
    run_id, first = await running(rig, a)
    rig.clock.advance(24)
    finish(a, first, took)

    row = await rig.ended(run_id)
    (attempt,) = await rig.attempts(run_id)
    assert attempt.finished_at - attempt.started_at == ran
    assert row.finished_at == attempt.finished_at
    await a.leave()


async def test_of_a_result_without_times_and_of_a_loss_the_end_is_when_we_heard_of_it(rig):
    await rig.job()
    a = await agent(rig)
    for finished in (a.finish, lambda it: finish(a, it, SECOND, State.LOST)):
        a.got.clear()
        run_id, first = await running(rig, a)
        rig.clock.advance(24)
        finished(first)
        row = await rig.ended(run_id)
        assert row.finished_at - row.started_at == 24 * SECOND
    await a.leave()


async def test_a_time_that_no_calendar_has_ends_nothing_but_its_own_run(rig):
    await rig.job()
    a = await agent(rig)
    run_id, first = await running(rig, a)
    rig.clock.advance(24)
    message = pb.AgentMessage(execution_id=first.execution_id, fence=first.fence)
    message.result.state, message.result.exit_code = State.SUCCEEDED, 0
    message.result.started_at.CopyFrom(Timestamp(seconds=-(1 << 62), nanos=-(1 << 31)))
    message.result.finished_at.CopyFrom(Timestamp(seconds=1 << 62, nanos=(1 << 31) - 1))
    a.send(message)
    row = await rig.ended(run_id)
    assert row.finished_at - row.started_at == 24 * SECOND
    await a.leave()


async def test_a_late_failure_is_tried_again_from_now_on(rig):
    await rig.job(retry_max=1, retry_delay_secs=10, queue_timeout_secs=60)
    a = await agent(rig)
    run_id, first = await running(rig, a)
    rig.clock.advance(3_600)
    finish(a, first, SECOND, State.FAILED)
    a.finish(await a.assignment(2))

    row = await rig.ended(run_id)
    _, again = await rig.attempts(run_id)
    assert (row.state, again.created_at) == (State.SUCCEEDED, row.finished_at)
    assert again.due_at is None
    await a.leave()


async def test_a_run_ends_with_the_last_of_its_targets_whoever_tells_last(rig):
    await rig.job(target=job_pb2.Target(all=job_pb2.AllTarget()))
    one, two = await agent(rig), await agent(rig, "a2", boot="c")
    run = await rig.run()
    await start(rig, one, run.run_id)
    await start(rig, two, run.run_id, 2)
    async with rig.engine.views.watch_run(ADMIN, run.run_id, False) as frames:
        rig.clock.advance(20)
        finish(one, await one.assignment(), 20 * SECOND)
        await rig.until(lambda: _ended(rig, run.run_id, 1))
        rig.clock.advance(20)
        finish(two, await two.assignment(), 5 * SECOND)
        row = await rig.ended(run.run_id)
        states = [u.state async for frame in frames for u in frame.updates]
    first, second = await rig.attempts(run.run_id)
    assert (first.finished_at - first.started_at) == 20 * SECOND
    assert (second.finished_at - second.started_at) == 5 * SECOND
    assert row.finished_at == first.finished_at
    assert states[-1].finished_at.ToMicroseconds() == row.finished_at
    await one.leave()
    await two.leave()


async def _ended(rig, run_id, count):
    attempts = await rig.attempts(run_id)
    return sum(attempt.finished_at is not None for attempt in attempts) == count
