"""The queue over both stores: what waits is never lost, never sent twice, never sent in vain."""

import pytest
import sqlalchemy as sa

from kronforce.core.lifecycle import Reason, State
from kronforce.engine import dispatcher, loading, rescuer
from kronforce.engine.triggering import Triggered
from kronforce.errors import NotFound
from kronforce.store import open_work
from kronforce.store.hot.commands import Finish
from kronforce.store.tables import Phase, executions, slots
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import job_pb2
from kronforce.v1.job_service_pb2 import TriggerJobRequest
from tests.store.rig import FakeAgent, Rig, Someone

SUCCEEDED, FAILED, CANCELLED, EXPIRED = 4, 5, 7, 9


def _live(rig, run: Triggered):
    return rig.engine.table.by_id[run.execution_ids[0]]


async def _many(rig, count: int):
    outcomes = await rig.trigger(*[TriggerJobRequest(job_id="job")] * count)
    assert all(isinstance(outcome, Triggered) for outcome in outcomes)
    return outcomes


async def test_what_is_being_cancelled_is_not_given_to_an_agent_in_the_same_batch(rig):
    await rig.job()
    a = FakeAgent(rig, await rig.enrol(), auto=False, slots=1)
    await a.connect()
    await rig.run()
    await a.assignment()
    waiting = await rig.run()
    # A slot is free in the very turn in which the cancel is staged.
    rig.engine.completion.never_started(
        _live(rig, waiting), State.CANCELLED, Reason.CANCELLED, "cancelled by ci"
    )
    rig.engine.dispatcher.sessions[a.row.key].free += 1
    row = await rig.ended(waiting.run_id)
    assert row.state == CANCELLED
    assert len([m for m in a.got if m.HasField("assignment")]) == 1
    (attempt,) = await rig.attempts(waiting.run_id)
    assert attempt.state == CANCELLED
    await a.leave()


async def test_an_assignment_of_what_has_ended_gives_its_slot_back_and_is_not_tried_again(rig):
    await rig.job()
    ended, good = await _many(rig, 2)
    live = _live(rig, ended)
    await rig.store.write(_end_behind_our_back, live.key)
    a = FakeAgent(rig, await rig.enrol(), slots=2)
    await a.connect()
    assert (await rig.ended(good.run_id)).state == SUCCEEDED
    session = rig.engine.dispatcher.sessions[a.row.key]
    await rig.until(lambda: _true(session.free == 2))
    assert live.ended
    assert ended.execution_ids[0] not in rig.engine.table.by_id
    await a.leave()


async def test_beyond_the_head_work_waits_in_the_store_alone_and_all_of_it_runs(rig, monkeypatch):
    monkeypatch.setattr(dispatcher, "HEAD", 8)
    monkeypatch.setattr(loading, "HEAD", 8)
    await rig.job()
    outcomes = await _many(rig, 100)
    assert len(rig.engine.table.by_id) <= 8
    (route,) = rig.engine.dispatcher.routes.values()
    assert route.more
    a = FakeAgent(rig, await rig.enrol())
    await a.connect()
    for outcome in outcomes:
        assert (await rig.ended(outcome.run_id)).state == SUCCEEDED
    sent = [m.execution_id for m in a.got if m.HasField("assignment")]
    assert sorted(sent) == sorted(outcome.execution_ids[0] for outcome in outcomes)
    assert not rig.engine.table.by_id
    await a.leave()


async def test_what_is_urgent_goes_first_also_from_beyond_the_head(rig, monkeypatch):
    monkeypatch.setattr(dispatcher, "HEAD", 4)
    monkeypatch.setattr(loading, "HEAD", 4)
    await rig.job()
    priorities = [5, 0, 0, 0, 5, 5, 0, 0]
    for priority in priorities:
        await rig.run(priority=priority)
    (route,) = rig.engine.dispatcher.routes.values()
    a = FakeAgent(rig, await rig.enrol(), auto=False, slots=1)
    await a.connect()
    order = []
    for nth in range(1, len(priorities) + 1):
        sent = await a.assignment(nth)
        live = rig.engine.table.by_id[sent.execution_id]
        order.append((-live.run.priority, live.key))
        await rig.until(lambda: _true(not route.refilling))
        assert len(route.heap) <= 2 * 4
        a.accept(sent)
        a.finish(sent)
    assert order == sorted(order)
    await a.leave()


async def test_a_session_of_an_agent_that_is_removed_meanwhile_is_not_begun(rig, monkeypatch):
    row = await rig.enrol()
    adopt = rig.engine.loader.adopt

    async def adopt_and_remove(rows):
        rig.engine.directory.remove(row.key)
        return await adopt(rows)

    monkeypatch.setattr(rig.engine.loader, "adopt", adopt_and_remove)
    hello = pb.AgentMessage()
    hello.hello.protocol_version, hello.hello.boot_id, hello.hello.slots = 1, "b" * 16, 1

    async def frames():
        yield pb.ConnectRequest(messages=[hello])

    with pytest.raises(NotFound):
        await anext(rig.engine.sessions.connect(Someone(agent_key=row.key), frames()))
    assert not rig.engine.dispatcher.sessions


async def test_what_is_left_to_the_store_while_the_head_is_read_is_read_again(rig, monkeypatch):
    monkeypatch.setattr(dispatcher, "HEAD", 4)
    monkeypatch.setattr(loading, "HEAD", 4)
    await rig.job()
    first = await _many(rig, 4)
    (route,) = rig.engine.dispatcher.routes.values()
    read = rig.store.read

    async def read_then_more_comes(query, *args, **kw):
        rows = await read(query, *args, **kw)
        if query is open_work.ready_head:
            monkeypatch.setattr(rig.store, "read", read)
            late.extend(await _many(rig, 3))
        return rows

    late: list[Triggered] = []
    monkeypatch.setattr(rig.store, "read", read_then_more_comes)
    rig.engine.loader.refill(route)
    await rig.until(lambda: _true(late and not route.refilling))
    a = FakeAgent(rig, await rig.enrol())
    await a.connect()
    for outcome in first + late:
        assert (await rig.ended(outcome.run_id)).state == SUCCEEDED
    await a.leave()


async def test_a_row_that_was_read_before_its_end_does_not_come_to_life_again(rig, monkeypatch):
    await rig.job()
    run = await rig.run()
    a = FakeAgent(rig, await rig.enrol())
    read = rig.store.read

    async def read_then_it_ends(query, *args, **kw):
        rows = await read(query, *args, **kw)
        if query is open_work.ready_head and not a.got:
            await a.connect()
            await rig.ended(run.run_id)
        return rows

    monkeypatch.setattr(rig.store, "read", read_then_it_ends)
    (route,) = rig.engine.dispatcher.routes.values()
    rig.engine.loader.refill(route)
    await rig.until(lambda: _true(not route.refilling))
    assert not rig.engine.table.by_id
    await a.leave()


async def test_runs_that_were_skipped_do_not_count_as_waiting(rig):
    await rig.job("solo", concurrency_policy=job_pb2.CONCURRENCY_POLICY_FORBID)
    await rig.job()
    request = TriggerJobRequest(job_id="solo")
    for _ in range(2):
        await rig.trigger(*[request] * 600)
    assert isinstance((await rig.trigger(TriggerJobRequest(job_id="job")))[0], Triggered)


async def test_triggers_beyond_max_pending_are_refused_and_taken_again_when_there_is_room(rig):
    await rig.job()
    await _many(rig, 1_000)
    (refused,) = await rig.trigger(TriggerJobRequest(job_id="job"))
    assert refused.reason == "QUEUE_FULL"
    a = FakeAgent(rig, await rig.enrol(), slots=64)
    await a.connect()

    async def taken():
        (outcome,) = await rig.trigger(TriggerJobRequest(job_id="job"))
        return isinstance(outcome, Triggered)

    await rig.until(taken)
    await a.leave()


async def test_after_a_restart_a_retry_may_still_go_to_any_agent(rig, store_url, tmp_path):
    await rig.job(retry_max=1)
    first = FakeAgent(rig, await rig.enrol("first"), auto=False, slots=1)
    await first.connect()
    run = await rig.run()
    sent = await first.assignment()
    first.accept(sent)
    drained = rig.engine.dispatcher.sessions[first.row.key]
    drained.draining = True
    first.finish(sent, FAILED, exit_code=1)

    async def retried():
        return len(await rig.attempts(run.run_id)) == 2

    await rig.until(retried)
    await first.leave()
    await rig.stop()

    other = Rig(store_url, tmp_path)
    await other.start()
    second = FakeAgent(other, await other.enrol("second"))
    await second.connect()
    assert (await other.ended(run.run_id)).state == SUCCEEDED
    await second.leave()
    await other.stop()


async def test_a_retry_whose_delay_is_over_waits_under_its_deadline(rig):
    await rig.job(retry_max=1, retry_delay_secs=0.01)
    a = FakeAgent(rig, await rig.enrol(), auto=False)
    await a.connect()
    run = await rig.run()
    sent = await a.assignment()
    a.accept(sent)
    rig.engine.dispatcher.sessions[a.row.key].draining = True
    a.finish(sent, FAILED, exit_code=1)

    async def ready():
        await rig.engine.loader.load_retries()
        return await rig.store.read(_phase_of_last) == Phase.READY

    await rig.until(ready)
    rig.engine.dispatcher.sessions[a.row.key].draining = False
    rig.store.main.wake()
    again = await a.assignment(2)
    a.accept(again)
    a.finish(again)
    assert (await rig.ended(run.run_id)).state == SUCCEEDED
    await a.leave()


async def test_all_that_waits_for_an_absent_agent_expires_however_much_it_is(rig, monkeypatch):
    monkeypatch.setattr(rescuer, "BATCH", 2)
    await rig.job(offline_timeout_secs=5)
    outcomes = await _many(rig, 5)
    (route,) = rig.engine.dispatcher.routes.values()
    route.unserved_since -= 10_000_000
    for outcome in outcomes:
        _live(rig, outcome).run.created_at -= 10_000_000
    for outcome in outcomes:
        row = await rig.ended(outcome.run_id)
        assert (row.state, row.state_reason) == (EXPIRED, "offline_timeout")
    await rig.until(lambda: _true(not route.heap))


async def test_all_that_waited_too_long_expires_at_once_however_much_it_is(rig, monkeypatch):
    monkeypatch.setattr(rescuer, "BATCH", 2)
    await rig.job(max_concurrent=1, queue_timeout_secs=60)
    outcomes = await _many(rig, 7)
    await rig.store.write(_overdue)
    # A single look: what does not fit into its batch follows by itself.
    await rig.engine._rescuer.sweep()
    for outcome in outcomes:
        row = await rig.ended(outcome.run_id)
        assert (row.state, row.state_reason) == (EXPIRED, "queue_timeout")
    assert not await rig.store.read(open_work.slots_are_wrong)


def _overdue(tx):
    tx.conn.execute(sa.update(executions).values(queue_deadline_at=1))


async def test_slots_that_were_counted_wrong_are_found_and_put_right(rig):
    await rig.job(max_concurrent=2)
    await _many(rig, 5)
    assert not await rig.store.read(open_work.slots_are_wrong)
    await rig.store.write(_miscount)
    assert await rig.store.read(open_work.slots_are_wrong)
    ((_, key, active, waiting),) = await rig.store.write(open_work.recount_slots)
    assert (key, active, waiting) == ("", 7, 9)
    assert await rig.store.read(_slots) == [(2, 3, 0)]


def _miscount(tx):
    tx.conn.execute(sa.update(slots).values(active=7, waiting=9, scheduled_waiting=1))


def _slots(tx):
    columns = (slots.c.active, slots.c.waiting, slots.c.scheduled_waiting)
    return [tuple(row) for row in tx.conn.execute(sa.select(*columns))]


async def test_a_cancel_that_a_crash_cut_short_is_finished_at_the_next_start(
    rig, store_url, tmp_path
):
    await rig.job()
    run = await rig.run()
    live = _live(rig, run)
    await rig.store.write(open_work.request_cancel, [live.run.key], [live.key], "ci", 1,
                          reason=Reason.CANCELLED, message="")  # fmt: skip
    await rig.stop()
    other = Rig(store_url, tmp_path)
    await other.start()
    assert (await other.ended(run.run_id)).state == CANCELLED
    await other.stop()


async def test_a_run_that_is_cancelled_between_two_attempts_gets_no_second(rig, monkeypatch):
    await rig.job(retry_max=3)
    a = FakeAgent(rig, await rig.enrol(), auto=False)
    await a.connect()
    run = await rig.run()
    sent = await a.assignment()
    stage = rig.store.stage

    def stage_and_cancel(command):
        stage(command)
        if isinstance(command, Finish):
            # The end with its next attempt is on its way to the store when the cancel comes.
            command.live.run.cancelled_by = "ci"
            command.live.run.cancel_reason = Reason.CANCELLED

    monkeypatch.setattr(rig.store, "stage", stage_and_cancel)
    a.accept(sent)
    a.finish(sent, FAILED, exit_code=1)
    assert (await rig.ended(run.run_id)).state == CANCELLED
    assert [x.state for x in await rig.attempts(run.run_id)] == [FAILED, CANCELLED]
    assert len([m for m in a.got if m.HasField("assignment")]) == 1
    await a.leave()


async def _true(value):
    return value


def _end_behind_our_back(tx, key):
    import sqlalchemy as sa  # noqa: PLC0415

    from kronforce.store.tables import executions  # noqa: PLC0415

    tx.conn.execute(
        sa.update(executions).where(executions.c.key == key).values(phase=0, state=CANCELLED)
    )


def _phase_of_last(tx):
    import sqlalchemy as sa  # noqa: PLC0415

    from kronforce.store.tables import executions  # noqa: PLC0415

    return tx.conn.scalar(sa.select(executions.c.phase).order_by(executions.c.key.desc()).limit(1))


async def test_what_waits_is_counted_alike_before_and_after_a_restart(rig, store_url, tmp_path):
    await rig.job(retry_max=1, retry_delay_secs=600)
    await rig.job("solo", max_concurrent=1)
    a = FakeAgent(rig, await rig.enrol(), auto=False, slots=2)
    await a.connect()
    await rig.run()
    failing = await a.assignment()
    a.accept(failing)
    a.finish(failing, FAILED, exit_code=1)
    await a.message("acknowledge")
    for _ in range(4):
        await rig.run("solo")
    await _many(rig, 3)
    await a.assignment(3)
    counted = rig.engine.counts.waiting
    await a.leave()
    await rig.stop()
    other = Rig(store_url, tmp_path)
    await other.start()
    assert other.engine.counts.waiting == counted == 8
    await other.stop()
