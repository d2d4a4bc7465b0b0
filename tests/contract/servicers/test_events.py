"""EventService: listing and following, in commit order and within the caller's sight."""

import asyncio

import pytest

from kronforce.api.transport import CallFailed
from kronforce.core.access import system_scope
from kronforce.store.events import events_after
from kronforce.v1 import event_service_pb2 as pb
from kronforce.v1.event_pb2 import SEVERITY_ERROR, SEVERITY_INFO
from kronforce.v1.job_pb2 import Job, NoopTask, Task
from kronforce.v1.job_service_pb2 import CreateJobRequest, TriggerJobRequest


async def create(rig, name, group=""):
    job = Job(name=name, group=group, task=Task(noop=NoopTask()))
    return await rig.call("JobService.CreateJob", CreateJobRequest(job=job))


async def trigger(rig, name):
    return await rig.call("JobService.TriggerJob", TriggerJobRequest(job_id=name))


async def listed(rig, key="admin", **fields):
    request = pb.ListEventsRequest(**fields)
    return (await rig.call("EventService.ListEvents", request, key=key)).events


async def next_events(rig, frames, count):
    """The next events of a stream; time passes for the follower, which sleeps between reads."""
    found = []
    while len(found) < count:
        frame = asyncio.ensure_future(anext(frames))
        while not frame.done():
            # Either it waits for time to pass, or the store answers it.
            if rig.clock.sleeping:
                rig.clock.advance(1.0)
            await asyncio.sleep(0)
        found += (await frame).events
    return found


async def seen_by_followers(rig):
    """Wait until followers see what there is: in PostgreSQL any open transaction hides it.

    Those of the tests that run beside this one are in the same server.
    """
    async with asyncio.timeout(60):
        while not (await rig.store.read(events_after, system_scope("test"), (0, 0)))[0]:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.01)


async def test_events_are_listed_newest_first_in_pages(rig):
    for name in "abc":
        await create(rig, name)

    request = pb.ListEventsRequest(kind_pattern="job.created", page_size=2)
    first = await rig.call("EventService.ListEvents", request)
    request.page_token = first.next_page_token
    rest = await rig.call("EventService.ListEvents", request)
    assert [e.job_name for e in [*first.events, *rest.events]] == ["c", "b", "a"]
    assert (first.total, first.total_exact) == (3, True)


async def test_events_are_filtered_by_kind_job_severity_and_time(rig):
    await create(rig, "a")
    rig.clock.advance(10)
    await create(rig, "b")
    await trigger(rig, "b")

    assert {e.kind for e in await listed(rig, job_id="b")} == {"job.created", "job.triggered"}
    assert [e.job_name for e in await listed(rig, kind_pattern="job.cr*")] == ["b", "a"]
    assert not await listed(rig, severity=SEVERITY_ERROR)
    assert len(await listed(rig, severity=SEVERITY_INFO, kind_pattern="job.triggered")) == 1


async def test_an_event_of_the_hot_path_reads_as_a_sentence(rig):
    await create(rig, "etl")
    await trigger(rig, "etl")
    [event] = await listed(rig, kind_pattern="job.triggered")
    assert "etl" in event.message
    assert event.actor == "admin"
    assert event.run_id
    assert event.execution_id


async def test_a_key_sees_events_of_its_groups_alone(rig):
    await create(rig, "a", group="ops")
    await create(rig, "b", group="web")
    assert [e.job_name for e in await listed(rig, key="web")] == ["b"]


@pytest.mark.parametrize("pattern", ["Job.*", "job.*.x", "a" * 101, "job.created'"])
async def test_what_is_no_pattern_is_refused(rig, pattern):
    request = pb.ListEventsRequest(kind_pattern=pattern)
    refused = await rig.refused("EventService.ListEvents", request)
    assert refused.violations[0].field == "kind_pattern"


async def test_a_follower_gets_what_comes_from_now_on_and_nothing_before(rig):
    await create(rig, "before")
    await seen_by_followers(rig)
    async with rig.follow("EventService.WatchEvents", pb.WatchEventsRequest()) as frames:
        first = await anext(frames)
        assert first.cursor
        assert not first.events
        await create(rig, "after")
        [event] = await next_events(rig, frames, 1)
    assert event.job_name == "after"


async def test_a_follower_goes_on_after_its_cursor(rig):
    for name in "abc":
        await create(rig, name)
    cursor = (await listed(rig))[-1].cursor

    request = pb.WatchEventsRequest(cursor=cursor)
    async with rig.follow("EventService.WatchEvents", request) as frames:
        events = await next_events(rig, frames, 2)
    assert [e.job_name for e in events] == ["b", "c"]


async def test_a_follower_sees_only_what_its_filter_and_its_key_let_through(rig):
    request = pb.WatchEventsRequest(kind_pattern="job.created")
    async with rig.follow("EventService.WatchEvents", request, key="web") as frames:
        await anext(frames)
        await create(rig, "hidden", group="ops")
        await create(rig, "shown", group="web")
        await trigger(rig, "shown")
        await create(rig, "too", group="web")
        events = await next_events(rig, frames, 2)
    assert [e.job_name for e in events] == ["shown", "too"]


@pytest.mark.parametrize("cursor", ["x", "1-", "-1-1", "1-" + "f" * 17, "f" * 16 + "-1"])
async def test_a_cursor_that_nobody_made_is_refused(rig, cursor):
    request = pb.WatchEventsRequest(cursor=cursor)
    async with rig.follow("EventService.WatchEvents", request) as frames:
        with pytest.raises(CallFailed) as refused:
            await anext(frames)
    assert refused.value.reason == "INVALID_PAGE_TOKEN"


async def test_a_quiet_stream_shows_that_it_lives(rig):
    async with rig.follow("EventService.WatchEvents", pb.WatchEventsRequest()) as frames:
        await anext(frames)
        begun = rig.clock.monotonic()
        frame = asyncio.ensure_future(anext(frames))
        while not frame.done():
            if rig.clock.sleeping:
                rig.clock.advance(1.0)
            await asyncio.sleep(0)
    assert not frame.result().events
    assert 15 <= rig.clock.monotonic() - begun <= 20
