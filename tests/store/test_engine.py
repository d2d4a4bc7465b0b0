"""The engine over both stores: one run reaches one end, whatever happens in between."""

from contextlib import asynccontextmanager

from kronforce.core.access import Role, Scope
from kronforce.engine.triggering import Triggered
from kronforce.errors import KronforceError
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import job_pb2
from kronforce.v1.execution_service_pb2 import WatchRunsRequest
from kronforce.v1.job_service_pb2 import TriggerJobRequest
from tests.store.rig import ADMIN, FakeAgent, Rig, Someone, item

SUCCEEDED, FAILED, CANCELLED, SKIPPED, LOST = 4, 5, 7, 8, 11


@asynccontextmanager
async def agent(rig, name="a1", **fields):
    found = FakeAgent(rig, await rig.enrol(name), **fields)
    await found.connect()
    yield found
    await found.leave()


async def test_a_trigger_runs_on_a_connected_agent_and_succeeds(rig):
    await rig.job()
    async with agent(rig):
        run = await rig.run()
        row = await rig.ended(run.run_id)
    assert (row.state, row.open_targets) == (SUCCEEDED, 0)
    (attempt,) = await rig.attempts(run.run_id)
    assert (attempt.state, attempt.fence > 0, attempt.exit_code) == (SUCCEEDED, True, 0)
    assert attempt.started_at is not None


async def test_a_trigger_without_an_agent_waits_for_one(rig):
    await rig.job()
    run = await rig.run()
    assert run.warnings
    async with agent(rig):
        assert (await rig.ended(run.run_id)).state == SUCCEEDED


async def test_many_triggers_share_batches_and_none_is_left(rig):
    await rig.job()
    async with agent(rig):
        outcomes = await rig.trigger(*[TriggerJobRequest(job_id="job")] * 200)
        for outcome in outcomes:
            assert (await rig.ended(outcome.run_id)).state == SUCCEEDED


async def test_fences_grow_across_runs(rig):
    await rig.job()
    async with agent(rig):
        fences = []
        for _ in range(5):
            run = await rig.run()
            await rig.ended(run.run_id)
            fences += [attempt.fence for attempt in await rig.attempts(run.run_id)]
    assert fences == sorted(set(fences))


async def test_a_request_id_makes_one_run_however_often_it_comes(rig):
    await rig.job()
    request = TriggerJobRequest(job_id="job", request_id="r1")
    outcomes = await rig.trigger(*[request] * 20)
    again = await rig.trigger(request)
    ids = {outcome.run_id for outcome in outcomes + again}
    assert len(ids) == 1
    assert [outcome.replayed for outcome in outcomes].count(False) == 1
    assert again[0].replayed
    assert again[0].execution_ids == outcomes[0].execution_ids


async def test_a_request_id_with_other_content_is_refused(rig):
    await rig.job()
    await rig.trigger(TriggerJobRequest(job_id="job", request_id="r1"))
    (outcome,) = await rig.trigger(TriggerJobRequest(job_id="job", request_id="r1", priority=3))
    assert isinstance(outcome, KronforceError)
    assert outcome.reason == "REQUEST_ID_REUSED"


async def test_an_unknown_job_and_one_out_of_scope_look_alike(rig):
    await rig.job(group="ETL")
    scope = Scope(principal_id="x", role=Role.OPERATOR, groups=frozenset({"Other"}))
    outcomes = await rig.trigger(
        TriggerJobRequest(job_id="job"), TriggerJobRequest(job_id="nope"), scope=scope
    )
    assert [outcome.reason for outcome in outcomes] == ["JOB_NOT_FOUND", "JOB_NOT_FOUND"]


async def test_a_failed_attempt_is_retried_and_the_run_takes_the_last_outcome(rig):
    await rig.job(retry_max=1)
    async with agent(rig, auto=False) as a:
        run = await rig.run()
        first = await a.assignment()
        a.accept(first)
        a.finish(first, FAILED, exit_code=3)
        second = await a.assignment(2)
        a.accept(second)
        a.finish(second)
        assert (await rig.ended(run.run_id)).state == SUCCEEDED
    attempts = await rig.attempts(run.run_id)
    assert [attempt.state for attempt in attempts] == [FAILED, SUCCEEDED]
    assert attempts[1].retry_of == attempts[0].id
    assert second.assignment.attempt_number == 2
    assert second.fence > first.fence


async def test_a_limit_of_one_runs_them_one_after_the_other_by_priority(rig):
    await rig.job(max_concurrent=1)
    async with agent(rig, auto=False) as a:
        one = await rig.run()
        first = await a.assignment()
        low, high = await rig.run(), await rig.run(priority=5)
        assert (await rig.row(low.run_id)).state_reason == "concurrency"
        a.accept(first)
        a.finish(first)
        await rig.ended(one.run_id)
        second = await a.assignment(2)
        assert second.execution_id in high.execution_ids
        a.accept(second)
        a.finish(second)
        third = await a.assignment(3)
        assert third.execution_id in low.execution_ids
        a.accept(third)
        a.finish(third)
        assert (await rig.ended(low.run_id)).state == SUCCEEDED


async def test_forbid_skips_with_a_visible_row(rig):
    await rig.job(concurrency_policy=job_pb2.CONCURRENCY_POLICY_FORBID)
    async with agent(rig, auto=False) as a:
        await rig.run()
        await a.assignment()
        second = await rig.run()
        row = await rig.row(second.run_id)
    assert (row.state, row.state_reason) == (SKIPPED, "overlap")


async def test_replace_cancels_the_older_and_lets_the_newest_run(rig):
    await rig.job(concurrency_policy=job_pb2.CONCURRENCY_POLICY_REPLACE)
    async with agent(rig, auto=False) as a:
        old = await rig.run()
        first = await a.assignment()
        a.accept(first)
        middle = await rig.run()
        newest = await rig.run()
        cancel = await a.message("cancel")
        assert cancel.execution_id == first.execution_id
        a.finish(first, CANCELLED)
        assert (await rig.ended(old.run_id)).state == CANCELLED
        row = await rig.ended(middle.run_id)
        assert (row.state, row.state_reason) == (CANCELLED, "replaced")
        last = await a.assignment(2)
        assert last.execution_id in newest.execution_ids


async def test_the_queue_limit_skips_what_comes_after_it(rig):
    await rig.job(max_concurrent=1, queue_limit=1)
    async with agent(rig, auto=False) as a:
        await rig.run()
        await a.assignment()
        await rig.run()
        third = await rig.run()
        row = await rig.row(third.run_id)
    assert (row.state, row.state_reason) == (SKIPPED, "queue_full")


async def test_a_waiting_run_is_cancelled_at_once(rig):
    await rig.job()
    run = await rig.run()
    await rig.engine.cancelling.cancel_run(_admin(), run.run_id, Someone(), "not needed")
    row = await rig.row(run.run_id)
    assert (row.state, row.cancelled_by) == (CANCELLED, "ci")
    async with agent(rig) as a:
        again = await rig.run()
        await rig.ended(again.run_id)
        assert (await a.assignment()).execution_id in again.execution_ids


async def test_a_running_attempt_is_cancelled_through_its_agent(rig):
    await rig.job(retry_max=5)
    async with agent(rig, auto=False) as a:
        run = await rig.run()
        first = await a.assignment()
        a.accept(first)
        await rig.engine.cancelling.cancel_run(_admin(), run.run_id, Someone(), "")
        await a.message("cancel")
        a.finish(first, CANCELLED)
        assert (await rig.ended(run.run_id)).state == CANCELLED
    assert len(await rig.attempts(run.run_id)) == 1


async def test_a_success_after_the_cancel_stays_a_success(rig):
    await rig.job()
    async with agent(rig, auto=False) as a:
        run = await rig.run()
        first = await a.assignment()
        a.accept(first)
        await rig.engine.cancelling.cancel_run(_admin(), run.run_id, Someone(), "")
        a.finish(first)
        assert (await rig.ended(run.run_id)).state == SUCCEEDED


async def test_a_cancelled_waiting_run_gives_its_place_back(rig):
    await rig.job(max_concurrent=1)
    async with agent(rig, auto=False) as a:
        await rig.run()
        first = await a.assignment()
        second, third = await rig.run(), await rig.run()
        await rig.engine.cancelling.cancel_run(_admin(), second.run_id, Someone(), "")
        a.accept(first)
        a.finish(first)
        assert (await a.assignment(2)).execution_id in third.execution_ids
    assert await rig.store.write(_recount) == []


async def test_a_report_under_a_stale_fence_changes_nothing_and_is_kept(rig):
    await rig.job()
    async with agent(rig) as a:
        run = await rig.run()
        await rig.ended(run.run_id)
        stale = pb.ControllerMessage(execution_id=run.execution_ids[0], fence=999_999)
        for _ in range(20):
            a.finish(stale, FAILED)
        await a.message("acknowledge", 21)
        assert (await rig.row(run.run_id)).state == SUCCEEDED


async def test_an_agent_that_comes_back_with_a_running_task_keeps_it(rig):
    await rig.job()
    row = await rig.enrol()
    a = FakeAgent(rig, row, auto=False)
    await a.connect()
    run = await rig.run()
    first = await a.assignment()
    a.accept(first)
    await rig.until(lambda: _running(rig, run))
    await a.leave()
    await a.connect(item(first, pb.INVENTORY_STATE_RUNNING))
    assert (await a.message("acknowledge")).execution_id == first.execution_id
    a.finish(first)
    assert (await rig.ended(run.run_id)).state == SUCCEEDED
    await a.leave()


async def test_what_was_sent_and_never_accepted_goes_back_to_the_queue(rig):
    await rig.job()
    row = await rig.enrol()
    a = FakeAgent(rig, row, auto=False)
    await a.connect()
    run = await rig.run()
    first = await a.assignment()
    await a.leave()
    await a.connect()
    again = await a.assignment()
    assert again.execution_id == first.execution_id
    assert again.fence > first.fence
    a.accept(again)
    a.finish(again)
    assert (await rig.ended(run.run_id)).state == SUCCEEDED
    await a.leave()


async def test_what_was_accepted_and_never_started_is_sent_again_under_its_fence(rig):
    await rig.job()
    row = await rig.enrol()
    a = FakeAgent(rig, row, auto=False)
    await a.connect()
    run = await rig.run()
    first = await a.assignment()
    a.accept(first)
    await rig.until(lambda: _running(rig, run))
    await a.leave()
    await a.connect(item(first, pb.INVENTORY_STATE_ACCEPTED))
    again = await a.assignment()
    assert (again.execution_id, again.fence) == (first.execution_id, first.fence)
    a.finish(again)
    assert (await rig.ended(run.run_id)).state == SUCCEEDED
    await a.leave()


async def test_what_was_accepted_and_forgotten_is_lost(rig):
    await rig.job()
    row = await rig.enrol()
    a = FakeAgent(rig, row, auto=False)
    await a.connect()
    run = await rig.run()
    first = await a.assignment()
    a.accept(first)
    await rig.until(lambda: _running(rig, run))
    await a.leave()
    await a.connect()
    found = await rig.ended(run.run_id)
    assert (found.state, found.state_reason) == (LOST, "agent_restarted")
    await a.leave()


async def test_at_least_once_runs_again_and_quarantines_after_three_losses(rig):
    await rig.job(delivery=job_pb2.DELIVERY_AT_LEAST_ONCE)
    async with agent(rig, auto=False) as a:
        run = await rig.run()
        for nth in (1, 2, 3):
            sent = await a.assignment(nth)
            a.accept(sent)
            a.finish(sent, LOST, state_reason="launcher_died")
        row = await rig.ended(run.run_id)
    assert (row.state, row.state_reason) == (LOST, "quarantined")
    assert [x.state for x in await rig.attempts(run.run_id)] == [LOST, LOST, LOST]


async def test_a_busy_agent_gets_it_later_and_an_unsupported_task_fails(rig):
    await rig.job()
    async with agent(rig, auto=False) as a:
        run = await rig.run()
        a.reject(await a.assignment(), pb.REJECT_REASON_BUSY)
        again = await a.assignment(2)
        assert again.execution_id in run.execution_ids
        a.reject(again, pb.REJECT_REASON_UNSUPPORTED)
        row = await rig.ended(run.run_id)
    assert (row.state, row.state_reason) == (FAILED, "unsupported")


async def test_slots_bound_what_an_agent_gets(rig):
    await rig.job()
    async with agent(rig, auto=False, slots=2) as a:
        await rig.trigger(*[TriggerJobRequest(job_id="job")] * 5)
        first = await a.assignment(1)
        await a.assignment(2)
        assert len([m for m in a.got if m.HasField("assignment")]) == 2
        a.accept(first)
        a.finish(first)
        await a.assignment(3)


async def test_a_target_of_all_makes_one_attempt_per_agent(rig):
    job = job_pb2.Target()
    job.all.SetInParent()
    await rig.job(target=job)
    async with agent(rig, "a1"), agent(rig, "a2"):
        run = await rig.run()
        row = await rig.ended(run.run_id)
    assert (row.state, row.target_count, len(run.execution_ids)) == (SUCCEEDED, 2, 2)


async def test_the_worst_target_decides(rig):
    target = job_pb2.Target()
    target.all.SetInParent()
    await rig.job(target=target)
    async with agent(rig, "a1") as _, agent(rig, "a2", auto=False) as b:
        run = await rig.run()
        mine = await b.assignment()
        b.accept(mine)
        b.finish(mine, FAILED, exit_code=9)
        row = await rig.ended(run.run_id)
    assert row.state == FAILED


async def test_a_named_agent_that_is_not_there_makes_a_skipped_run(rig):
    target = job_pb2.Target()
    target.agent.agent_id = "nobody"
    await rig.job(target=target)
    run = await rig.run()
    row = await rig.row(run.run_id)
    assert (row.state, row.state_reason) == (SKIPPED, "no_agent")


async def test_work_survives_a_restart_of_the_engine(rig, store_url, tmp_path):
    await rig.job(max_concurrent=1)
    row = await rig.enrol()
    a = FakeAgent(rig, row, auto=False)
    await a.connect()
    running, waiting = await rig.run(), await rig.run()
    first = await a.assignment()
    a.accept(first)
    await rig.until(lambda: _running(rig, running))
    await a.leave()
    await rig.stop()

    other = Rig(store_url, tmp_path)
    await other.start()
    a = FakeAgent(other, row, auto=False)
    await a.connect(item(first, pb.INVENTORY_STATE_FINISHED))
    a.finish(first)
    assert (await other.ended(running.run_id)).state == SUCCEEDED
    second = await a.assignment()
    assert second.execution_id in waiting.execution_ids
    a.accept(second)
    a.finish(second)
    assert (await other.ended(waiting.run_id)).state == SUCCEEDED
    await a.leave()
    await other.stop()


async def test_a_schedule_fires_each_instant_once(rig):
    schedule = job_pb2.Schedule(cron="* * * * * *")
    async with agent(rig) as a:
        await rig.job(schedule=schedule)
        await a.assignment(3)
    fires = await rig.store.read(_fires)
    instants = [row.nominal_at for row in fires]
    assert len(instants) >= 3
    assert len(set(instants)) == len(instants)
    assert all(row.nominal_at % 1_000_000 == 0 for row in fires)


async def test_an_interval_counts_from_the_end_of_its_last_run(rig):
    schedule = job_pb2.Schedule(interval=job_pb2.IntervalSchedule(interval_secs=1))
    async with agent(rig) as a:
        await rig.job(schedule=schedule)
        await a.assignment(2)


def _admin():
    return Scope(principal_id="admin", role=Role.ADMIN)


async def _running(rig, run: Triggered):
    return (await rig.row(run.run_id)).state == 3


def _recount(tx):
    from kronforce.store.open_work import recount_slots  # noqa: PLC0415

    return recount_slots(tx)


def _fires(tx):
    import sqlalchemy as sa  # noqa: PLC0415

    from kronforce.store.tables import fires  # noqa: PLC0415

    return tx.conn.execute(sa.select(fires)).all()


async def test_a_watch_of_a_job_begins_with_its_open_runs(rig):
    await rig.job()
    run = await rig.run()
    async with rig.engine.views.watch(ADMIN, Someone(), WatchRunsRequest(job_id="job")) as frames:
        found = await first_states(frames)
    assert found[0].run_id == run.run_id


async def test_a_watcher_that_comes_back_is_not_told_again_what_it_knows(rig):
    await rig.job()
    async with agent(rig, auto=False) as a:
        run = await rig.run()
        request = WatchRunsRequest(run_ids=[run.run_id])
        async with rig.engine.views.watch(ADMIN, Someone(), request) as frames:
            first = await a.assignment()
            a.accept(first)
            a.finish(first)
            told = [update async for frame in frames for update in frame.updates]
        assert told[-1].state.HasField("finished_at")
        request.cursor = told[-1].cursor
        async with rig.engine.views.watch(ADMIN, Someone(), request) as frames:
            assert [frame async for frame in frames] == []
        request.cursor = "another-process"
        async with rig.engine.views.watch(ADMIN, Someone(), request) as frames:
            assert [update.run_id async for f in frames for update in f.updates] == [run.run_id]


async def test_a_watcher_of_output_that_comes_back_after_the_end_is_told_of_it(rig):
    await rig.job()
    async with agent(rig, auto=False) as a:
        run = await rig.run()
        request = WatchRunsRequest(run_id=run.run_id, include_output=True)
        async with rig.engine.views.watch(ADMIN, Someone(), request) as frames:
            first = await a.assignment()
            a.accept(first)
            a.finish(first)
            told = [update async for frame in frames for update in frame.updates]
        request.cursor = told[-1].cursor
        async with rig.engine.views.watch(ADMIN, Someone(), request) as frames:
            again = [update async for frame in frames for update in frame.updates]
    assert again[-1].state.HasField("finished_at")


async def test_a_sticky_job_stays_where_it_was(rig):
    await rig.job(sticky=True)
    async with agent(rig, "a1"), agent(rig, "a2"):
        agents = {await ran_on(rig) for _ in range(6)}
    assert len(agents) == 1


async def test_a_job_that_spreads_takes_turns(rig):
    await rig.job(spread=True)
    async with agent(rig, "a1"), agent(rig, "a2"), agent(rig, "a3"):
        agents = [await ran_on(rig) for _ in range(6)]
    assert agents[:3] == agents[3:]
    assert len(set(agents)) == 3


async def ran_on(rig):
    run = await rig.run()
    await rig.ended(run.run_id)
    return (await rig.attempts(run.run_id))[0].agent_name


async def first_states(frames):
    async for frame in frames:
        if frame.updates:
            return list(frame.updates)
    return []
