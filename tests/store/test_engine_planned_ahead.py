"""What is due soon is planned ahead: it fires by what is true when its instant comes."""

from datetime import timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa

from kronforce.engine import scheduler
from kronforce.store.tables import fires, jobs, runs
from kronforce.v1 import job_pb2
from tests.store.rig import ADMIN, ManualRig, Someone

EVERY_SECOND = job_pb2.Schedule(cron="* * * * * *")
EVERY_MINUTE = job_pb2.Schedule(cron="0 * * * * *")
NOBODY = job_pb2.Target(agent=job_pb2.AgentTarget(agent_id="nobody"))
SKIP = job_pb2.MISFIRE_POLICY_SKIP


@pytest.fixture
def rig_class():
    return ManualRig


def _fires(tx):
    return tx.conn.execute(sa.select(fires).order_by(fires.c.nominal_at)).all()


def _runs(tx):
    return tx.conn.execute(sa.select(runs)).all()


async def _planned_ahead(rig):
    async def all_are():
        held = rig.engine.scheduler._due.values()
        return held and all(each.ahead for each in held)

    await rig.until(all_are)


async def _fired(rig, count):
    async def enough():
        found = await rig.store.read(_fires)
        return found if len(found) >= count else None

    return await rig.until(enough)


async def test_a_job_fires_by_its_plan_second_after_second(rig):
    await rig.job(schedule=EVERY_SECOND, target=NOBODY)
    for count in range(1, 6):
        await _planned_ahead(rig)
        rig.clock.advance(1)
        await _fired(rig, count)
    found = await rig.store.read(_fires)
    steps = {b.nominal_at - a.nominal_at for a, b in pairwise(found)}
    assert steps == {1_000_000}
    assert {(row.reason, row.caught_up) for row in found} == {("", False)}


async def test_a_change_that_nobody_told_of_is_not_overlooked(rig):
    await rig.job(schedule=EVERY_MINUTE, target=NOBODY, priority=1)
    await _planned_ahead(rig)
    await rig.store.write(_change_priority)
    rig.clock.advance(60)
    await _fired(rig, 1)
    assert [row.priority for row in await rig.store.read(_runs)] == [2]


async def test_a_timing_that_somebody_else_moved_is_left_as_it_is(rig):
    await rig.job(schedule=EVERY_MINUTE, target=NOBODY)
    await _planned_ahead(rig)
    (held,) = rig.engine.scheduler._due.values()
    later = held.row.next_fire_at + 3_600_000_000
    await rig.store.write(_due_at, later)
    rig.clock.advance(60)
    await _fired(rig, 1)
    (at,) = await rig.store.read(lambda tx: tx.conn.scalars(sa.select(jobs.c.next_fire_at)))
    assert at == later


async def test_a_group_that_was_renamed_is_the_new_one(rig):
    await rig.engine.groups.create(ADMIN, Someone(), "old")
    await rig.job(schedule=EVERY_MINUTE, target=NOBODY, group="old")
    await _planned_ahead(rig)
    await rig.engine.groups.rename(ADMIN, Someone(), "old", "new")
    rig.clock.advance(60)
    await _fired(rig, 1)
    assert [row.group_name for row in await rig.store.read(_runs)] == ["new"]


async def test_a_plan_is_void_when_its_instant_has_passed_for_long(rig):
    await rig.job(schedule=EVERY_MINUTE, target=NOBODY, misfire_policy=SKIP)
    await _planned_ahead(rig)
    rig.clock.advance(66)
    (row,) = await _fired(rig, 1)
    assert (row.reason, row.run_key) == ("downtime", None)


async def test_who_waits_for_others_of_the_same_instant_is_on_time(rig, monkeypatch):
    monkeypatch.setattr(scheduler, "BATCH", 1)
    for index in range(4):
        await rig.job(f"job-{index}", schedule=EVERY_MINUTE, target=NOBODY, misfire_policy=SKIP)
    fire = rig.engine.scheduler._firing.fire

    async def slowly(due, now):
        fired = await fire(due, now)
        rig.clock.advance(timedelta(seconds=7))
        return fired

    monkeypatch.setattr(rig.engine.scheduler._firing, "fire", slowly)
    await _planned_ahead(rig)
    rig.clock.advance(60)
    found = await _fired(rig, 4)
    assert [row.reason for row in found] == [""] * 4


def _change_priority(tx):
    (spec,) = tx.conn.scalars(sa.select(jobs.c.spec))
    job = job_pb2.Job.FromString(spec)
    job.priority = 2
    values = {"spec": job.SerializeToString(), "revision": jobs.c.revision + 1}
    tx.conn.execute(sa.update(jobs).values(values))


def _due_at(tx, at):
    tx.conn.execute(sa.update(jobs).values(next_fire_at=at, next_nominal_at=at))
