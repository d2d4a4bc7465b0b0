"""StatsService: the sums as callers see them, each end counted at once."""

import asyncio
from datetime import timedelta

import pytest

from kronforce.errors import Code
from kronforce.v1 import stats_service_pb2 as pb
from kronforce.v1.execution_service_pb2 import CancelRunRequest
from kronforce.v1.job_pb2 import Job, NoopTask, TaggedTarget, Target, Task
from kronforce.v1.job_service_pb2 import CreateJobRequest, TriggerJobRequest


async def ended_run(rig, name, group):
    """A run of a new job that is cancelled before anybody could run it."""
    target = Target(tagged=TaggedTarget(tag="nobody has it"))
    job = Job(name=name, group=group, task=Task(noop=NoopTask()), target=target)
    await rig.call("JobService.CreateJob", CreateJobRequest(job=job))
    made = await rig.call("JobService.TriggerJob", TriggerJobRequest(job_id=name))
    await rig.call("ExecutionService.CancelRun", CancelRunRequest(run_id=made.run.id))


async def overview(rig, key="admin"):
    """Jobs are read with pauses between pages, and time stands still."""
    request = pb.GetSystemStatsRequest()
    call = asyncio.create_task(rig.call("StatsService.GetSystemStats", request, key=key))
    async with asyncio.timeout(10):
        while not call.done():
            rig.clock.advance(timedelta(milliseconds=20))
            # Long enough that a busy reader's thread comes before the patience of others ends.
            await asyncio.sleep(0.005)
    return await call


async def test_an_answer_counts_what_ended_before_the_call(rig):
    await ended_run(rig, "site", "web")
    await ended_run(rig, "db", "ops")

    found = await overview(rig)
    assert (found.jobs, found.jobs_exact) == (2, True)
    assert dict(found.jobs_by_task_type) == {"noop": 2}
    assert dict(found.jobs_by_schedule_type) == {"on_demand": 2}
    for tally in (found.today, found.last_7_days, found.all_kept):
        assert (tally.runs.total, tally.runs.cancelled, tally.executions.cancelled) == (2, 2, 2)
        assert not tally.HasField("success_rate")
        assert not tally.HasField("mean_secs")

    ours = await overview(rig, "web")
    assert (ours.jobs, ours.today.runs.total) == (1, 1)


async def test_a_timeline_has_every_bucket_and_their_sum(rig):
    await ended_run(rig, "site", "web")
    request = pb.GetTimelineRequest(bucket=pb.STATS_BUCKET_HOUR, job_id="site")

    found = await rig.call("StatsService.GetTimeline", request)
    assert len(found.buckets) == 25
    assert [bucket.tally.runs.total for bucket in found.buckets] == [0] * 24 + [1]
    assert found.sum.runs.cancelled == 1
    assert found.buckets[0].start == found.since


async def test_lists_name_jobs_and_groups(rig):
    await ended_run(rig, "site", "web")

    jobs = await rig.call("StatsService.ListJobStats", pb.ListJobStatsRequest(page_size=1))
    assert [(job.job_name, job.tally.runs.total) for job in jobs.jobs] == [("site", 1)]
    assert not jobs.jobs[0].HasField("p95_secs")
    groups = await rig.call("StatsService.ListGroupLoad", pb.ListGroupLoadRequest())
    assert [load.group for load in groups.groups] == ["web"]
    agents = await rig.call("StatsService.ListAgentLoad", pb.ListAgentLoadRequest())
    assert (list(agents.agents), agents.total) == ([], 0)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("GetTimeline", pb.GetTimelineRequest(bucket=9), "bucket"),
        ("ListJobStats", pb.ListJobStatsRequest(order=9), "order"),
        ("ListJobStats", pb.ListJobStatsRequest(page_size=9_999), "page_size"),
    ],
)
async def test_what_cannot_be_is_refused_by_field(rig, method, request_, field):
    refused = await rig.refused(f"StatsService.{method}", request_)
    assert refused.code is Code.INVALID_ARGUMENT
    assert refused.violations[0].field == field
