"""JobService: previews of schedules, and the ledger of what became of their instants."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.clock import to_us
from kronforce.errors import Code
from kronforce.store.fires import Skip, record_skips
from kronforce.store.jobs import find_job
from kronforce.v1 import job_service_pb2 as pb
from kronforce.v1.job_pb2 import (
    DST_GAP_SKIP,
    IntervalSchedule,
    Job,
    NoopTask,
    Schedule,
    Task,
)
from tests.store.rig import ADMIN

NOOP = Task(noop=NoopTask())
NIGHTLY = Schedule(cron="0 30 2 * * *")
IN_MARCH = datetime(2026, 3, 27, 12, tzinfo=UTC)


def stamp(at: datetime) -> Timestamp:
    return Timestamp(seconds=int(at.timestamp()))


async def create(rig, **fields):
    job = Job(**{"name": "etl", "task": NOOP} | fields)
    return await rig.call("JobService.CreateJob", pb.CreateJobRequest(job=job))


async def preview(rig, *, key="admin", **fields):
    request = pb.PreviewScheduleRequest(**fields)
    return await rig.call("JobService.PreviewSchedule", request, key=key)


async def refused_preview(rig, *, key="admin", **fields):
    request = pb.PreviewScheduleRequest(**fields)
    return await rig.refused("JobService.PreviewSchedule", request, key=key)


async def test_a_saved_job_and_its_definition_have_the_same_preview(rig):
    fields = {"schedule": NIGHTLY, "timezone": "Europe/Berlin", "jitter_secs": 600}
    await create(rig, **fields, dst_gap=DST_GAP_SKIP)
    unsaved = Job(name="etl", **fields, dst_gap=DST_GAP_SKIP)

    saved = await preview(rig, job_id="etl", count=4, after=stamp(IN_MARCH))
    to_be = await preview(rig, job=unsaved, count=4, after=stamp(IN_MARCH))

    assert saved == to_be
    assert saved.timezone == "Europe/Berlin"
    assert [fire.local_time for fire in saved.fires] == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T02:30:00+01:00",
        "2026-03-30T02:30:00+02:00",
        "2026-03-31T02:30:00+02:00",
    ]
    assert [fire.skipped_reason for fire in saved.fires] == ["", "dst_gap", "", ""]
    assert [fire.zone_abbreviation for fire in saved.fires] == ["CET", "CET", "CEST", "CEST"]
    assert [fire.utc_offset_secs for fire in saved.fires] == [3600, 3600, 7200, 7200]


async def test_the_first_fire_of_a_preview_is_what_the_job_says_itself(rig):
    job = await create(rig, schedule=NIGHTLY, jitter_secs=600)

    found = await preview(rig, job_id=job.id)

    assert len(found.fires) == 10
    assert found.fires[0].fire_at == job.next_fire_at


async def test_an_interval_that_never_ran_starts_at_once(rig):
    schedule = Schedule(interval=IntervalSchedule(interval_secs=60))
    await create(rig, schedule=schedule)

    saved, to_be = await preview(rig, job_id="etl"), await preview(rig, job=Job(schedule=schedule))

    assert saved == to_be
    assert [fire.fire_at for fire in saved.fires] == [stamp(rig.clock.now())]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "job_id"),
        ({"job_id": "etl", "job": Job(schedule=NIGHTLY)}, "job_id"),
        ({"job_id": "etl", "count": 1001}, "count"),
        ({"job_id": "etl", "count": -1}, "count"),
        ({"job_id": "etl", "after": Timestamp(seconds=253_402_300_799)}, "after"),
        ({"job": Job(schedule=Schedule(cron="0 6 * * 1-5"))}, "job.schedule.value"),
        ({"job": Job(schedule=NIGHTLY, timezone="Mars/Base")}, "job.timezone"),
        ({"job": Job(schedule=NIGHTLY, dst_fold=9)}, "job.dst_fold"),
    ],
)
async def test_a_question_that_makes_no_sense_names_its_field(rig, fields, field):
    await create(rig, schedule=NIGHTLY)

    refused = await refused_preview(rig, **fields)

    assert refused.code == Code.INVALID_ARGUMENT
    assert [violation.field for violation in refused.violations] == [field]


async def test_five_fields_are_answered_with_six_and_when_those_fire(rig):
    job = Job(schedule=Schedule(cron="0 6 * * 1-5"), timezone="Europe/Berlin")

    refused = await refused_preview(rig, job=job)

    text = refused.violations[0].description
    assert 'did you mean "0 0 6 * * 1-5"?   next: Thu 2026-01-01 06:00:00 +01:00' in text


async def test_a_job_that_the_key_may_not_see_has_no_preview(rig):
    await create(rig, group="ops", schedule=NIGHTLY)

    refused = await refused_preview(rig, key="web", job_id="etl")

    assert refused.code == Code.NOT_FOUND


async def test_a_gap_that_is_to_be_noted_is_not_shown_as_the_next_fire(rig):
    rig.clock.jump(datetime(2026, 3, 28, 12, tzinfo=UTC) - rig.clock.now())

    job = await create(rig, schedule=NIGHTLY, timezone="Europe/Berlin", dst_gap=DST_GAP_SKIP)

    assert job.next_fire_at == stamp(datetime(2026, 3, 30, 0, 30, tzinfo=UTC))


async def test_the_ledger_tells_what_was_at_one_instant(rig):
    await create(rig, schedule=NIGHTLY)
    start = rig.clock.now()
    await rig.store.write(_skip, start, "downtime", 0, 5)
    await rig.store.write(_skip, start, "paused", 6, 9)

    async def at(minutes):
        then = stamp(start + timedelta(minutes=minutes))
        request = pb.ListFiresRequest(job_id="etl", since=then, until=then)
        reply = await rig.call("JobService.ListFires", request)
        return [fire.skipped_reason for fire in reply.fires]

    assert [await at(0), await at(3), await at(6), await at(9)] == [
        ["downtime"], ["downtime"], ["paused"], ["paused"],
    ]  # fmt: skip
    assert await at(10) == []


async def test_a_one_shot_that_was_left_out_says_what_became_of_its_instant(rig):
    at = rig.clock.now() + timedelta(hours=1)
    await create(rig, schedule=Schedule(one_shot=stamp(at)))
    ahead = await preview(rig, job_id="etl")
    await rig.store.write(_skip, at, "paused", 0, 0)
    rig.clock.advance(timedelta(hours=2))

    spent = await preview(rig, job_id="etl")

    assert (len(ahead.fires), ahead.note) == (1, "it fires once")
    assert (len(spent.fires), spent.note) == (
        0,
        f"its one instant, {at:%Y-%m-%dT%H:%M:%SZ}, was skipped (paused): none follows it",
    )


async def test_a_change_accounts_for_what_was_due_and_not_fired(rig):
    await create(rig, schedule=Schedule(cron="0 * * * * *"))
    rig.clock.advance(timedelta(minutes=3))

    changed = Job(name="etl", task=NOOP, schedule=NIGHTLY)
    await rig.call("JobService.UpdateJob", pb.UpdateJobRequest(job_id="etl", job=changed))

    ledger = await rig.call("JobService.ListFires", pb.ListFiresRequest(job_id="etl"))
    assert [(fire.skipped_reason, fire.count) for fire in ledger.fires] == [
        ("edited", 1),
        ("downtime", 2),
    ]


async def test_what_a_window_refused_is_noted_when_the_job_is_changed(rig):
    opens = stamp(rig.clock.now() + timedelta(days=30))
    await create(rig, schedule=Schedule(cron="0 * * * * *"), starts_at=opens)
    rig.clock.advance(timedelta(hours=1))

    changed = Job(name="etl", task=NOOP, schedule=NIGHTLY)
    await rig.call("JobService.UpdateJob", pb.UpdateJobRequest(job_id="etl", job=changed))

    ledger = await rig.call("JobService.ListFires", pb.ListFiresRequest(job_id="etl"))
    assert [(fire.skipped_reason, fire.count) for fire in ledger.fires] == [("window", 60)]


def _skip(tx, start, reason, first, last):
    def at(minutes):
        return to_us(start + timedelta(minutes=minutes))

    key = find_job(tx, ADMIN, "etl").key
    record_skips(tx, [Skip(key, at(first), at(last), last - first + 1, reason, at(last))])
