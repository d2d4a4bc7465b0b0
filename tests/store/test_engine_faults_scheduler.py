"""Schedules over both stores: every due instant is fired once or says why not, and none starves."""

import sqlalchemy as sa

from kronforce.engine import firing, scheduler
from kronforce.errors import ResourceExhausted, Unavailable
from kronforce.store import jobs as job_store
from kronforce.store import open_work
from kronforce.store.hot.commands import CreateRun
from kronforce.store.tables import fires, jobs, runs, slots
from kronforce.v1 import job_pb2
from kronforce.v1.job_service_pb2 import TriggerJobRequest
from tests.store.rig import ADMIN, FakeAgent

SUCCEEDED, SKIPPED = 4, 8
EVERY_SECOND = job_pb2.Schedule(cron="* * * * * *")
NOBODY = job_pb2.Target(agent=job_pb2.AgentTarget(agent_id="nobody"))


async def _true(value):
    return value


def _fires(tx):
    return tx.conn.execute(sa.select(fires).order_by(fires.c.nominal_at)).all()


def _count_runs(tx):
    return tx.conn.scalar(sa.select(sa.func.count()).select_from(runs))


async def test_a_fire_that_finds_no_agent_does_not_hold_back_the_next(rig):
    await rig.job(schedule=EVERY_SECOND, target=NOBODY)

    async def fired_twice():
        return len([f for f in await rig.store.read(_fires) if f.run_key]) >= 2

    await rig.until(fired_twice)
    assert {f.reason for f in await rig.store.read(_fires)} == {""}


async def test_an_interval_that_finds_no_agent_goes_on(rig):
    schedule = job_pb2.Schedule(interval=job_pb2.IntervalSchedule(interval_secs=1))
    await rig.job(schedule=schedule, target=NOBODY)

    async def twice():
        return await rig.store.read(_count_runs) >= 2

    await rig.until(twice)


async def test_more_jobs_than_one_read_are_due_at_one_instant_and_all_fire(rig, monkeypatch):
    monkeypatch.setattr(scheduler, "BATCH", 3)
    past = rig.clock.now_us() - 1_000_000
    for index in range(10):
        await rig.job(f"job-{index}", schedule=job_pb2.Schedule(cron="0 0 0 1 1 *"))
    await rig.store.write(_due_at, past)
    rig.engine.scheduler._reload_at = 0.0
    rig.engine.scheduler._wake.set()

    async def all_moved_on():
        return not await rig.store.read(job_store.due_jobs, rig.clock.now_us(), 100)

    await rig.until(all_moved_on)


async def test_fires_wait_while_no_run_may_be_made(rig, monkeypatch):
    capacity = rig.engine.capacity
    full = ResourceExhausted("full", reason="QUEUE_FULL")

    def refuse():
        refused.append(1)
        raise full

    refused: list[int] = []
    monkeypatch.setattr(capacity, "admit_trigger", refuse)
    await rig.job(schedule=EVERY_SECOND)
    await rig.until(lambda: _true(refused))
    assert await rig.store.read(_count_runs) == 0
    monkeypatch.undo()

    async def fired():
        return await rig.store.read(_count_runs)

    await rig.until(fired)


async def test_a_fire_that_the_store_did_not_take_is_made_up_for(rig, monkeypatch):
    stage = rig.store.stage
    refused: list[CreateRun] = []

    def refuse_first(command):
        if isinstance(command, CreateRun) and not refused:
            refused.append(command)
            command.committed(Unavailable("the store is away"))
        else:
            stage(command)

    monkeypatch.setattr(rig.store, "stage", refuse_first)
    await rig.job(schedule=EVERY_SECOND)

    async def fired():
        return [f.nominal_at for f in await rig.store.read(_fires)]

    found = await rig.until(fired)
    assert refused[0].fire_at in found


async def test_one_job_whose_run_cannot_be_made_holds_back_no_other(rig, monkeypatch):
    new_run = rig.engine.triggering.new_run

    def refuse_bad(job, **kw):
        if job.name == "bad":
            raise ValueError("broken")
        return new_run(job, **kw)

    monkeypatch.setattr(rig.engine.triggering, "new_run", refuse_bad)
    await rig.job("bad", schedule=EVERY_SECOND, target=NOBODY)
    await rig.job("good", schedule=EVERY_SECOND, target=NOBODY)

    async def goes_on():
        return await rig.store.read(_count_runs) >= 3

    await rig.until(goes_on)


async def test_one_job_that_cannot_be_fired_holds_back_no_other(rig, monkeypatch):
    await rig.job("bad", schedule=EVERY_SECOND)
    of_row = rig.engine.snapshots.of_row

    def refuse_bad(row):
        if row.name == "bad":
            raise ValueError("broken")
        return of_row(row)

    monkeypatch.setattr(rig.engine.snapshots, "of_row", refuse_bad)
    await rig.job("good", schedule=EVERY_SECOND)

    async def fired():
        return await rig.store.read(_count_runs)

    await rig.until(fired)


async def test_a_resume_is_not_undone_by_a_skip_that_is_being_written(rig, monkeypatch):
    row = await _paused(rig)
    write = rig.store.write

    async def resume_first(fn, *args, **kw):
        if fn is firing._record:
            monkeypatch.setattr(rig.store, "write", write)
            await write(
                job_store.set_timing, key=row.key, status=1, paused_until=None,
                next_fire_at=row.next_fire_at, next_nominal_at=row.next_nominal_at,
                now=rig.clock.now_us(), bump=True,
            )  # fmt: skip
            resumed.append(1)
        return await write(fn, *args, **kw)

    resumed: list[int] = []
    monkeypatch.setattr(rig.store, "write", resume_first)
    await rig.until(lambda: _true(resumed))

    async def fired():
        return await rig.store.read(_count_runs)

    await rig.until(fired)


async def test_a_run_that_was_let_in_while_it_was_being_cancelled_gives_back_what_it_holds(rig):
    await rig.job(max_concurrent=1)
    a = FakeAgent(rig, await rig.enrol(), auto=False)
    await a.connect()
    first = await rig.run()
    sent = await a.assignment()
    waiting = await rig.run()
    key = (await rig.row(waiting.run_id)).key
    # Memory reads it as waiting; then it is let in.
    ((_, live),) = await rig.engine.loader.read(open_work.of_runs, [key])
    rig.engine.completion.admitted = lambda keys: None
    a.accept(sent)
    a.finish(sent)
    await rig.ended(first.run_id)
    rig.engine.completion.never_started(live, 7, "cancelled", "")
    await rig.ended(waiting.run_id)
    assert await rig.store.read(_slots) == [(0, 0)]
    await a.leave()


async def test_what_waits_although_there_is_room_is_let_in(rig):
    await rig.job(max_concurrent=1)
    first = await rig.run()
    waiting = await rig.run()
    await rig.store.write(_forget_active)
    await rig.engine.loader.admit_waiting()
    assert (await rig.row(waiting.run_id)).state_reason == ""
    a = FakeAgent(rig, await rig.enrol())
    await a.connect()
    for run in (first, waiting):
        assert (await rig.ended(run.run_id)).state == SUCCEEDED
    await a.leave()


async def test_two_copies_of_a_request_whose_definition_changed_get_one_run(rig, monkeypatch):
    await rig.job()
    request = TriggerJobRequest(job_id="job", request_id="r1")
    await rig.engine.snapshots.load(ADMIN, ["job"])
    await rig.store.write(_bump)
    outcomes = await rig.trigger(request, request)
    (id_,) = {outcome.run_id for outcome in outcomes}
    assert await rig.row(id_) is not None


async def _paused(rig):
    await rig.job(schedule=EVERY_SECOND)
    row = (await rig.store.read(job_store.due_jobs, 1 << 60, 10))[0]
    row = await rig.store.write(
        job_store.set_timing, key=row.key, status=2, paused_until=None,
        next_fire_at=row.next_fire_at, next_nominal_at=row.next_nominal_at,
        now=rig.clock.now_us(), bump=True,
    )  # fmt: skip
    rig.engine.scheduler.changed(row)
    return row


def _due_at(tx, at):
    tx.conn.execute(sa.update(jobs).values(next_fire_at=at, next_nominal_at=at))


def _bump(tx):
    tx.conn.execute(sa.update(jobs).values(revision=jobs.c.revision + 1))


def _slots(tx):
    return [(row.active, row.waiting) for row in tx.conn.execute(sa.select(slots))]


def _forget_active(tx):
    tx.conn.execute(sa.update(slots).values(active=0))
