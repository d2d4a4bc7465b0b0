"""Custom agents: each run is given to one poll, and its end is stored once, whatever happens."""

import asyncio

import pytest

from kronforce.errors import (
    AgentNotFound,
    ExecutionNotFound,
    InvalidArgument,
    KronforceError,
    SessionTaken,
    StaleFence,
)
from kronforce.store.tables import evidence, inline_output
from kronforce.v1 import job_pb2
from tests.store.pull_agent import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    PullAgent,
    job_for,
    on,
    python_task,
)
from tests.store.rig import ADMIN, FakeAgent, Someone


async def cancel(rig, run_id):
    await rig.engine.cancelling.cancel_run(ADMIN, run_id, Someone(name="mia"), "enough")


async def test_what_waits_is_given_to_a_poll_and_its_report_ends_the_run(rig, puller):
    await job_for(puller)
    run = await rig.run()
    claim = await puller.pull()
    assert claim.work.live.run.job.job.task.custom.data["script"] == "print(1)"
    assert (await rig.row(run.run_id)).state == 3
    await puller.finish(claim, exit_code=0, stdout="hello\n", stderr="a warning\n")
    row = await rig.row(run.run_id)
    assert row.state == SUCCEEDED
    (attempt,) = await rig.attempts(run.run_id)
    assert (attempt.exit_code, attempt.stdout_bytes, attempt.stderr_bytes) == (0, 6, 10)


async def test_a_poll_that_waits_is_given_what_is_triggered(rig, puller):
    await job_for(puller)
    poll = puller.pulling()
    await puller.asking()
    run = await rig.run()
    claim = await poll
    assert claim.work.live.run.id_text == run.run_id
    assert claim.work.live.fence > 0


async def test_without_work_a_poll_that_does_not_wait_is_answered_at_once(puller):
    assert await puller.pull() is None
    assert await puller.pull() is None


async def test_no_two_polls_get_the_same_work(rig, puller):
    await job_for(puller)
    polls = [puller.pulling() for _ in range(20)]
    await puller.asking()
    runs = [await rig.run() for _ in range(20)]
    claims = await asyncio.gather(*polls)
    assert {c.work.live.run.id_text for c in claims} == {run.run_id for run in runs}
    await asyncio.gather(*(puller.finish(claim) for claim in claims))
    for run in runs:
        (attempt,) = await rig.attempts(run.run_id)
        assert attempt.state == SUCCEEDED


async def test_slots_that_an_agent_named_are_a_limit(rig):
    puller = await PullAgent.enrolled(rig, slots=1)
    await job_for(puller)
    await rig.run()
    await rig.run()
    first = await puller.pull()
    assert await puller.pull() is None
    await puller.finish(first)
    assert await puller.pull() is not None


async def test_work_whose_caller_left_is_given_to_the_next_poll_under_the_same_fence(rig, puller):
    await job_for(puller)
    poll = puller.pulling()
    await puller.asking()
    session = rig.engine.dispatcher.sessions[puller.row.key]
    run = await rig.run()

    async def is_handed_over():
        return not session.asks

    await rig.until(is_handed_over)
    poll.cancel()
    await asyncio.gather(poll, return_exceptions=True)
    claim = await puller.pull()
    assert claim is not None
    assert claim.work.live.run.id_text == run.run_id
    (attempt,) = await rig.attempts(run.run_id)
    assert (attempt.attempt_number, attempt.fence) == (1, claim.work.live.fence)
    assert await puller.pull() is None


async def test_a_poll_that_left_before_there_was_work_takes_none(rig, puller):
    await job_for(puller)
    poll = puller.pulling()
    await puller.asking()
    poll.cancel()
    await asyncio.gather(poll, return_exceptions=True)
    run = await rig.run()
    assert (await rig.row(run.run_id)).state == 1
    assert await puller.pull() is not None


async def test_a_repeated_report_is_acknowledged_and_another_one_refused(rig, puller):
    await job_for(puller)
    run = await rig.run()
    claim = await puller.pull()
    report = puller.report(claim, exit_code=0)
    await puller.send(report)
    await puller.send(report)
    with pytest.raises(StaleFence):
        await puller.send(puller.report(claim, FAILED, exit_code=1))
    assert (await rig.row(run.run_id)).state == SUCCEEDED
    rows = await rig.store.read(lambda tx: tx.conn.execute(evidence.select()).all())
    assert len(rows) == 1


async def test_two_copies_of_a_report_at_once_are_both_acknowledged(rig, puller):
    await job_for(puller)
    await rig.run()
    claim = await puller.pull()
    report = puller.report(claim, stdout="once\n")
    await asyncio.gather(puller.send(report), puller.send(report))
    (attempt,) = await rig.attempts(claim.work.live.run.id_text)
    assert attempt.stdout_bytes == 5


async def test_an_attempt_that_nobody_was_given_is_refused(rig, puller):
    await job_for(puller)
    await rig.run()
    claim = await puller.pull()
    for attempt in ("", "1", f"{claim.work.live.fence + 1}.AAAA", "x.y"):
        with pytest.raises(InvalidArgument, match="callback_url"):
            await puller.send(puller.report(claim, attempt=attempt or "-"))


async def test_an_agent_speaks_for_itself_alone(rig, puller):
    other = await PullAgent.enrolled(rig, "other")
    await job_for(puller)
    await rig.run()
    claim = await puller.pull()
    with pytest.raises(AgentNotFound):
        await rig.engine.polls.pull(other.caller, puller.row.name, 0)
    with pytest.raises(AgentNotFound):
        await rig.engine.polls.pull(Someone(id="no-such-key"), puller.row.name, 0)
    with pytest.raises((StaleFence, ExecutionNotFound)):
        await rig.engine.pull_calls.finish(other.caller, puller.report(claim))
    assert not claim.work.live.ended


async def test_the_key_that_enrolled_it_speaks_for_it(rig):
    puller = await PullAgent.enrolled(rig, by="key:1234")
    puller.caller = Someone(id="1234")
    await job_for(puller)
    run = await rig.run()
    await puller.finish(await puller.pull())
    assert (await rig.row(run.run_id)).state == SUCCEEDED


async def test_an_agent_with_a_stream_does_not_poll(rig):
    row = await rig.enrol("streams")
    with pytest.raises(InvalidArgument, match="custom"):
        await rig.engine.polls.pull(Someone(agent_key=row.key), "streams", 0)
    agent = FakeAgent(rig, row)
    await agent.connect()
    with pytest.raises(SessionTaken):
        await rig.engine.polls.pull(Someone(agent_key=row.key), "streams", 0)
    await agent.leave()


async def test_long_output_is_kept_whole_and_what_was_appended_is_not_repeated(rig, puller):
    await job_for(puller)
    run = await rig.run()
    claim = await puller.pull()
    assert (await puller.append(claim, "first\n")).stored_sequence == 1
    assert (await puller.append(claim, "first\n")).stored_sequence == 1
    rest = "x" * 300_000
    await puller.finish(claim, stdout="first\n" + rest)
    (attempt,) = await rig.attempts(run.run_id)
    assert attempt.stdout_bytes == 6 + len(rest)


async def test_output_that_its_agent_cut_says_so(rig, puller):
    await job_for(puller)
    run = await rig.run()
    claim = await puller.pull()
    await puller.finish(claim, stdout="head", stdout_truncated=True, message="fine")
    (attempt,) = await rig.attempts(run.run_id)
    assert attempt.message == "fine; its agent cut stdout"


async def test_a_failed_attempt_is_retried(rig, puller):
    await job_for(puller, retry_max=1)
    run = await rig.run()
    await puller.finish(await puller.pull(), FAILED, exit_code=3)

    async def again():
        return await puller.pull()

    second = await rig.until(again)
    await puller.finish(second)
    first, last = await rig.attempts(run.run_id)
    assert [first.state, last.state] == [FAILED, SUCCEEDED]
    assert (first.state_reason, first.exit_code) == ("exit_code", 3)


async def test_a_cancel_is_told_by_heartbeat_and_poll_and_with_output(rig, puller):
    await job_for(puller)
    run = await rig.run()
    claim = await puller.pull()
    assert await puller.heartbeat() == []
    await cancel(rig, run.run_id)
    assert await puller.heartbeat() == [claim.work.live.id_text]
    assert (await puller.append(claim, "still here")).cancel
    other = await rig.run()
    second = await puller.pull()
    assert second.work.live.run.id_text == other.run_id
    assert second.cancels == [claim.work.live.id_text]
    await puller.finish(claim, FAILED, exit_code=143, stdout_offset=10)
    assert (await rig.row(run.run_id)).state == CANCELLED
    await puller.send(puller.report(claim, FAILED, exit_code=143))


async def test_what_succeeds_after_a_cancel_has_succeeded(rig, puller):
    await job_for(puller)
    run = await rig.run()
    claim = await puller.pull()
    await cancel(rig, run.run_id)
    await puller.finish(claim)
    assert (await rig.row(run.run_id)).state == SUCCEEDED


async def test_what_is_cancelled_before_it_is_claimed_is_never_given(rig, puller):
    await job_for(puller)
    run = await rig.run()
    await cancel(rig, run.run_id)
    assert (await rig.row(run.run_id)).state == CANCELLED
    assert await puller.pull() is None


async def test_agents_are_found_by_task_type(rig):
    wrong = await PullAgent.enrolled(rig, "wrong", types=("ruby",), tags=("gpu",))
    right = await PullAgent.enrolled(rig, "right", types=("python",), tags=("gpu",))
    undefined = await PullAgent.enrolled(rig, "undefined", tags=("gpu",))
    gpu = job_pb2.Target(tagged=job_pb2.TaggedTarget(tag="gpu"))
    await rig.job("tagged", task=python_task(), target=gpu)
    await rig.job("any", task=python_task(), target=job_pb2.Target(any=job_pb2.AnyTarget()))
    for job in ("tagged", "any"):
        run = await rig.run(job)
        assert await wrong.pull() is None
        assert await undefined.pull() is None
        claim = await right.pull()
        assert claim.work.live.run.id_text == run.run_id


async def test_all_agents_are_those_that_run_such_tasks(rig):
    everybody = job_pb2.Target(all=job_pb2.AllTarget())
    python = await PullAgent.enrolled(rig, "python", types=("python",))
    await PullAgent.enrolled(rig, "ruby", types=("ruby",))
    standard = FakeAgent(rig, await rig.enrol("standard"))
    await standard.connect()
    await rig.job("noop", target=everybody)
    await rig.job("python-job", task=python_task(), target=everybody)
    assert len((await rig.run("noop")).execution_ids) == 1
    run = await rig.run("python-job")
    assert len(run.execution_ids) == 1
    assert (await python.pull()).work.live.run.id_text == run.run_id
    await standard.leave()


async def test_only_custom_agents_get_custom_tasks(rig, puller):
    standard = FakeAgent(rig, await rig.enrol("standard"))
    await standard.connect()
    await rig.job("any", task=python_task(), target=job_pb2.Target(any=job_pb2.AnyTarget()))
    await rig.job("plain", target=on(puller))
    await rig.run("any")
    await rig.run("plain")
    assert await puller.pull() is None
    assert [m for m in standard.got if m.HasField("assignment")] == []
    await standard.leave()


async def test_values_are_put_in_and_masked_in_output(rig, puller):
    await job_for(puller, data={"script": "run {{params.what}}"})
    request = {"what": "tests"}
    run = await rig.run(params=request)
    claim = await puller.pull()
    assert claim.work.resolved.task.custom.data["script"] == "run tests"
    await puller.finish(claim)
    assert (await rig.row(run.run_id)).state == SUCCEEDED


async def test_passwords_in_the_job_are_masked_in_its_output(rig, puller):
    task = python_task(token="hunter2", script="{{params.what}}")
    task.custom.secret_fields.append("token")
    await rig.job("job", task=task, target=on(puller))
    plain = python_task(token="hunter2")
    plain.custom.secret_fields.append("token")
    await rig.job("plain", task=plain, target=on(puller))
    for job in ("job", "plain"):
        run = await rig.run(job)
        claim = await puller.pull()
        await puller.finish(claim, stdout="token is hunter2\n", message="with hunter2")
        (attempt,) = await rig.attempts(run.run_id)
        assert "hunter2" not in attempt.message
        kept = await rig.store.read(lambda tx: tx.conn.execute(inline_output.select()).all())
        assert "hunter2" not in str(kept)


async def test_a_drained_agent_is_given_nothing(rig, puller):
    await job_for(puller)
    await puller.pull()
    rig.engine.sessions.on_drain(puller.row.key, True)
    await rig.run()
    assert await puller.pull() is None
    rig.engine.sessions.on_drain(puller.row.key, False)
    assert await puller.pull() is not None


async def test_a_wait_beyond_its_limit_is_refused(puller):
    for wait in (-1, 61):
        with pytest.raises(KronforceError, match="60"):
            await puller.pull(wait)
