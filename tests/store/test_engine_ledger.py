"""What happened at 02:30 last Sunday? The ledger's answer, for everything that can have."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.clock import ManualClock, to_us
from kronforce.engine import job_changes
from kronforce.engine.job_changes import Change
from kronforce.store import jobs as job_store
from kronforce.store.fires import list_fires
from kronforce.store.paging import PageRequest
from kronforce.v1 import job_pb2
from tests.store.rig import ADMIN, FakeAgent, Rig, Someone
from tests.store.time_travel import KEEP, TimeTravel

# Half past two on a Sunday in Berlin, in summer.
SATURDAY = datetime(2026, 5, 30, 12, tzinfo=UTC)
THEN = datetime(2026, 5, 31, 0, 30, tzinfo=UTC)
NIGHTLY = job_pb2.Schedule(cron="0 30 2 * * *")
HALF_HOURLY = job_pb2.Schedule(cron="0 */30 * * * *")
NOBODY = job_pb2.Target(agent=job_pb2.AgentTarget(agent_id="nobody"))
ANY = job_pb2.Target(any=job_pb2.AnyTarget())


@pytest.fixture
async def rig(store_url, tmp_path):
    rig = Rig(store_url, tmp_path, clock=ManualClock(SATURDAY), retention=KEEP)
    await rig.start()
    yield rig
    await rig.stop()


async def save(rig, **fields):
    await rig.job(**{"timezone": "Europe/Berlin", "schedule": NIGHTLY, "target": NOBODY} | fields)


async def pass_time(rig, until):
    """Let time go by, hour by hour, with the scheduler awake."""
    while rig.clock.now() < until:
        rig.clock.advance(min(timedelta(minutes=30), until - rig.clock.now()))
        await settle(rig)


async def settle(rig):
    await TimeTravel(rig, rig.clock, 0).settle()


async def sleep_through(rig, until):
    """The machine is suspended: nobody is there until then."""
    rig.clock.jump(until - rig.clock.now())
    rig.clock.advance(31)
    await settle(rig)


async def at(rig, then=THEN):
    """What the ledger has for the instant: reason, how many, caught up."""
    row = await rig.store.read(job_store.find_job, ADMIN, "job")
    us = to_us(then)
    page = await rig.store.read(
        list_fires, ADMIN, row.key, since=us, until=us, page=PageRequest(size=10)
    )
    return [(fire.reason or "fired", fire.count, fire.caught_up) for fire in page.items]


MONDAY = datetime(2026, 6, 1, 12, tzinfo=UTC)


async def test_it_fired(rig):
    await save(rig)
    await pass_time(rig, MONDAY)

    assert await at(rig) == [("fired", 1, False)]


async def test_it_fired_late_because_nobody_was_there(rig):
    await save(rig)
    await sleep_through(rig, THEN + timedelta(hours=3))

    assert await at(rig) == [("fired", 1, True)]


async def test_nobody_was_there_and_the_policy_does_not_make_up_for_it(rig):
    await save(rig, misfire_policy=job_pb2.MISFIRE_POLICY_SKIP)
    await sleep_through(rig, MONDAY)

    assert await at(rig) == [("downtime", 2, False)]


async def test_when_somebody_was_there_again_it_was_too_late(rig):
    await save(rig, starting_deadline_secs=3600)
    await sleep_through(rig, THEN + timedelta(hours=3))

    assert await at(rig) == [("deadline", 1, False)]


async def test_it_was_paused(rig):
    await save(rig)
    change = Change(scope=ADMIN, author=Someone(), trusted=True, now=rig.clock.now_us())
    row, _ = await rig.store.write(job_changes.pause_job, change, ref="job", until=None)
    rig.engine.scheduler.changed(row)
    await pass_time(rig, MONDAY)

    assert await at(rig) == [("paused", 2, False)]


async def test_its_window_was_not_open_yet(rig):
    opens = Timestamp(seconds=int((MONDAY - timedelta(hours=1)).timestamp()))
    await save(rig, schedule=HALF_HOURLY, starts_at=opens)
    assert await at(rig) == []
    await pass_time(rig, MONDAY)

    # From Saturday noon until the window opened on Monday at 11: one row, written then.
    assert await at(rig) == [("window", 2 * 47 - 1, False)]
    assert await at(rig, MONDAY - timedelta(hours=1)) == [("fired", 1, False)]


async def test_the_run_before_had_not_started(rig):
    await save(rig, schedule=HALF_HOURLY, target=ANY, offline_timeout_secs=0)
    await pass_time(rig, THEN + timedelta(minutes=30))

    # The first waits for an agent; all others would overlap it.
    assert await at(rig, SATURDAY + timedelta(minutes=30)) == [("fired", 1, False)]
    assert await at(rig) == [("overlap", 25, False)]


async def test_the_run_before_had_not_ended_and_the_job_forbids_two(rig):
    forbid = job_pb2.CONCURRENCY_POLICY_FORBID
    await save(rig, schedule=HALF_HOURLY, target=ANY, concurrency_policy=forbid)
    agent = FakeAgent(rig, await rig.enrol(), auto=False)
    await agent.connect()
    first = SATURDAY + timedelta(minutes=30)
    await pass_time(rig, first)
    agent.accept(await agent.assignment())
    await rig.until(lambda: _started(rig))

    rig.clock.advance(timedelta(minutes=30))
    await settle(rig)

    assert await at(rig, first) == [("fired", 1, False)]
    assert await at(rig, first + timedelta(minutes=30)) == [("overlap", 1, False)]
    await agent.leave()


async def test_the_clocks_went_forward_over_it(rig):
    rig.clock.jump(datetime(2026, 3, 28, 12, tzinfo=UTC) - rig.clock.now())
    await save(rig, dst_gap=job_pb2.DST_GAP_SKIP)
    await pass_time(rig, datetime(2026, 3, 30, 12, tzinfo=UTC))

    gap = datetime(2026, 3, 29, 0, 59, 59, 999999, tzinfo=UTC)
    assert await at(rig, gap) == [("dst_gap", 1, False)]
    assert await at(rig, datetime(2026, 3, 30, 0, 30, tzinfo=UTC)) == [("fired", 1, False)]


async def test_it_came_twice_and_fired_both_times(rig):
    rig.clock.jump(datetime(2026, 10, 24, 12, tzinfo=UTC) - rig.clock.now())
    await save(rig, dst_fold=job_pb2.DST_FOLD_BOTH)
    await pass_time(rig, datetime(2026, 10, 25, 12, tzinfo=UTC))

    for hour in (0, 1):
        assert await at(rig, datetime(2026, 10, 25, hour, 30, tzinfo=UTC)) == [("fired", 1, False)]


async def test_a_month_of_missed_seconds_is_one_row(rig):
    await save(rig, schedule=job_pb2.Schedule(cron="* * * * * *"))
    await sleep_through(rig, SATURDAY + timedelta(days=30))

    [(reason, count, _)] = await at(rig)

    assert reason == "downtime"
    assert 30 * 86_400 < count < 30 * 86_400 + 60


async def _started(rig):
    return not rig.engine.scheduler._firing._not_started.get(1)
