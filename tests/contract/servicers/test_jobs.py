"""JobService: definitions, as every caller sees them."""

from datetime import timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.errors import Code
from kronforce.v1 import job_service_pb2 as pb
from kronforce.v1.audit_service_pb2 import ListAuditRequest
from kronforce.v1.event_service_pb2 import ListEventsRequest
from kronforce.v1.execution_service_pb2 import ListRunsRequest
from kronforce.v1.job_pb2 import (
    JOB_STATUS_PAUSED,
    JOB_STATUS_SCHEDULED,
    JOB_STATUS_UNSCHEDULED,
    AgentTarget,
    IntervalSchedule,
    Job,
    NoopTask,
    Schedule,
    ShellTask,
    Target,
    Task,
)

NOOP = Task(noop=NoopTask())
EVERY_MINUTE = Schedule(cron="0 * * * * *")


async def create(rig, key="admin", *, request_id="", immediate=False, **fields):
    job = Job(**{"name": "etl", "task": NOOP} | fields)
    request = pb.CreateJobRequest(job=job, request_id=request_id, immediate=immediate)
    return await rig.call("JobService.CreateJob", request, key=key)


async def update(rig, job_id="etl", *, paths=(), key="admin", **fields):
    request = pb.UpdateJobRequest(
        job_id=job_id, job=Job(**fields), update_mask=FieldMask(paths=paths)
    )
    return await rig.call("JobService.UpdateJob", request, key=key)


async def runs(rig):
    return (await rig.call("ExecutionService.ListRuns", ListRunsRequest())).runs


async def test_a_job_is_made_and_read_back_as_it_was_written(rig):
    made = await create(rig, schedule=EVERY_MINUTE, tags=["a", "b"], labels={"team": "x"})

    read = await rig.call("JobService.GetJob", pb.GetJobRequest(job_id=made.id))
    assert read == made
    assert (made.version, made.group, made.status) == (1, "Default", JOB_STATUS_SCHEDULED)
    assert made.schedule == EVERY_MINUTE
    assert list(made.tags) == ["a", "b"]
    assert not made.HasField("queue_limit")
    assert made.next_fire_at.ToMicroseconds() == rig.clock.now_us() + 60_000_000


async def test_a_job_is_found_by_its_exact_name_alone(rig):
    await create(rig)

    assert (await rig.call("JobService.GetJob", pb.GetJobRequest(job_id="etl"))).name == "etl"
    refused = await rig.refused("JobService.GetJob", pb.GetJobRequest(job_id="ETL"))
    assert (refused.code, refused.reason) == (Code.NOT_FOUND, "JOB_NOT_FOUND")


async def test_every_wrong_field_is_named_at_once(rig):
    request = pb.CreateJobRequest(
        job=Job(name="etl", task=NOOP, schedule=Schedule(cron="0 6 * * 1-5"), priority=5_000)
    )
    refused = await rig.refused("JobService.CreateJob", request)

    assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [v.field for v in refused.violations] == ["schedule.value", "priority"]
    assert "0 0 6 * * 1-5" in refused.violations[0].description


async def test_two_jobs_cannot_have_one_name(rig):
    await create(rig)
    refused = await rig.refused(
        "JobService.CreateJob", pb.CreateJobRequest(job=Job(name="etl", task=NOOP))
    )
    assert (refused.code, refused.reason) == (Code.ALREADY_EXISTS, "NAME_TAKEN")


async def test_an_agent_that_does_not_exist_is_answered_with_those_that_look_like_it(rig):
    await rig.call("AgentService.RegisterAgent", register("gpu-01"), key="enroller")
    request = pb.CreateJobRequest(
        job=Job(name="etl", task=NOOP, target=Target(agent=AgentTarget(agent_id="gpu-1")))
    )
    refused = await rig.refused("JobService.CreateJob", request)

    assert refused.violations[0].field == "target.agent_id"
    assert "gpu-01" in refused.violations[0].description


def register(name):
    from kronforce.v1.agent_service_pb2 import RegisterAgentRequest  # noqa: PLC0415

    return RegisterAgentRequest(name=name)


async def test_a_repeated_request_gives_the_job_that_it_made(rig):
    first = await create(rig, request_id="r1")
    assert await create(rig, request_id="r1") == first


async def test_a_request_id_of_other_content_is_refused(rig):
    await create(rig, request_id="r1")
    refused = await rig.refused(
        "JobService.CreateJob",
        pb.CreateJobRequest(job=Job(name="other", task=NOOP), request_id="r1"),
    )
    assert (refused.code, refused.reason) == (Code.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_a_refused_create_leaves_its_request_id_free(rig):
    await create(rig)
    again = pb.CreateJobRequest(job=Job(name="etl", task=NOOP), request_id="r1")
    await rig.refused("JobService.CreateJob", again)

    assert (await create(rig, name="other", request_id="r1")).name == "other"


async def test_immediate_makes_one_run_however_often_it_is_repeated(rig):
    for _ in range(3):
        job = await create(rig, request_id="r1", immediate=True)

    [run] = await runs(rig)
    assert run.job_id == job.id


async def test_a_job_that_is_refused_takes_its_immediate_run_with_it(rig):
    await create(rig)
    again = pb.CreateJobRequest(job=Job(name="etl", task=NOOP), immediate=True)
    assert (await rig.refused("JobService.CreateJob", again)).reason == "NAME_TAKEN"
    assert not await runs(rig)


async def test_an_immediate_run_is_in_the_job_s_own_transaction(rig):
    before = rig.store.commits
    await create(rig, immediate=True)
    assert rig.store.commits == before + 1


async def test_an_immediate_run_holds_its_job_s_slot(rig):
    job = await create(rig, immediate=True, max_concurrent=1)
    await rig.call("JobService.TriggerJob", pb.TriggerJobRequest(job_id=job.id))
    assert [run.state_reason for run in await runs(rig)] == ["concurrency", ""]


async def test_immediate_outside_the_window_makes_nothing(rig):
    later = Timestamp(seconds=rig.clock.now_us() // 1_000_000 + 60)
    request = pb.CreateJobRequest(job=Job(name="etl", task=NOOP, starts_at=later), immediate=True)
    refused = await rig.refused("JobService.CreateJob", request)

    assert refused.reason == "OUTSIDE_WINDOW"
    assert (await rig.refused("JobService.GetJob", pb.GetJobRequest(job_id="etl"))).reason


async def test_a_mask_changes_what_it_names_and_nothing_else(rig):
    before = await create(rig, schedule=EVERY_MINUTE, description="old", tags=["a"], priority=3)
    after = await update(rig, paths=["tags", "description"], tags=["b"], priority=9)

    assert list(after.tags) == ["b"]
    assert (after.description, after.priority, after.version) == ("", 3, 2)
    assert after.next_fire_at == before.next_fire_at
    assert after.etag != before.etag


async def test_a_union_is_replaced_whole(rig):
    await create(rig, task=Task(shell=ShellTask(command="true", working_dir="/tmp")))
    after = await update(rig, paths=["task"], task=Task(shell=ShellTask(command="false")))

    assert after.task == Task(shell=ShellTask(command="false"))


async def test_without_a_mask_the_whole_definition_is_new(rig):
    await create(rig, description="old", tags=["a"])
    after = await update(rig, name="etl", task=NOOP)

    assert (after.description, list(after.tags)) == ("", [])


async def test_a_mask_of_output_only_fields_changes_nothing(rig):
    before = await create(rig)
    assert await update(rig, paths=["id", "version"], id="x") == before


async def test_an_update_that_changes_nothing_makes_no_version(rig):
    before = await create(rig, schedule=EVERY_MINUTE)
    assert await update(rig, name="etl", task=NOOP, schedule=EVERY_MINUTE) == before


@pytest.mark.parametrize(
    ("path", "hint"), [("task.command", "'task'"), ("descripton", "'description'")]
)
async def test_a_field_that_does_not_exist_is_answered_with_the_one_that_does(rig, path, hint):
    await create(rig)
    request = pb.UpdateJobRequest(job_id="etl", update_mask=FieldMask(paths=[path]))
    refused = await rig.refused("JobService.UpdateJob", request)

    assert refused.violations[0].field == "update_mask"
    assert hint in refused.violations[0].description


async def test_an_update_under_an_old_etag_is_refused(rig):
    before = await create(rig)
    await update(rig, paths=["priority"], priority=1)
    request = pb.UpdateJobRequest(
        job_id="etl",
        job=Job(etag=before.etag, priority=2),
        update_mask=FieldMask(paths=["priority"]),
    )
    refused = await rig.refused("JobService.UpdateJob", request)
    assert (refused.code, refused.reason) == (Code.ABORTED, "ETAG_MISMATCH")


async def test_a_new_schedule_never_fires_the_past(rig):
    await create(rig, schedule=EVERY_MINUTE)
    rig.clock.advance(timedelta(hours=1, seconds=30))
    after = await update(rig, paths=["schedule"], schedule=Schedule(cron="0 */2 * * * *"))

    assert after.next_fire_at.ToMicroseconds() > rig.clock.now_us()


async def test_an_interval_that_never_ran_fires_at_once(rig):
    made = await create(rig, schedule=Schedule(interval=IntervalSchedule(interval_secs=60)))
    assert made.next_fire_at.ToMicroseconds() == rig.clock.now_us()


async def test_an_interval_that_is_triggered_at_once_does_not_fire_beside_that_run(rig):
    every_minute = Schedule(interval=IntervalSchedule(interval_secs=60))
    made = await create(rig, schedule=every_minute, immediate=True)
    assert made.status == JOB_STATUS_SCHEDULED
    assert not made.HasField("next_fire_at")
    assert len(await runs(rig)) == 1


async def test_an_interval_whose_run_is_open_waits_for_it(rig):
    await create(rig, immediate=True)
    every_minute = Schedule(interval=IntervalSchedule(interval_secs=60))
    after = await update(rig, paths=["schedule"], schedule=every_minute)

    assert after.status == JOB_STATUS_SCHEDULED
    assert not after.HasField("next_fire_at")


async def test_a_job_is_paused_and_resumed_from_now_on(rig):
    made = await create(rig, schedule=EVERY_MINUTE)
    paused = await rig.call("JobService.PauseJob", pb.PauseJobRequest(job_id="etl"))
    assert paused.status == JOB_STATUS_PAUSED
    assert not paused.HasField("next_fire_at")
    assert paused.etag != made.etag
    assert paused.version == made.version

    rig.clock.advance(timedelta(minutes=5))
    resumed = await rig.call("JobService.ResumeJob", pb.ResumeJobRequest(job_id="etl"))
    assert resumed.status == JOB_STATUS_SCHEDULED
    assert resumed.next_fire_at.ToMicroseconds() > rig.clock.now_us()


async def test_a_pause_until_an_instant_shows_the_first_fire_after_it(rig):
    await create(rig, schedule=EVERY_MINUTE)
    until = Timestamp()
    until.FromMicroseconds(rig.clock.now_us() + 150_000_000)
    paused = await rig.call("JobService.PauseJob", pb.PauseJobRequest(job_id="etl", until=until))

    assert paused.paused_until == until
    assert paused.next_fire_at.ToMicroseconds() == rig.clock.now_us() + 180_000_000


async def test_a_pause_that_is_over_is_not_shown_any_more(rig):
    await create(rig, schedule=EVERY_MINUTE)
    until = Timestamp()
    until.FromMicroseconds(rig.clock.now_us() + 10_000_000)
    await rig.call("JobService.PauseJob", pb.PauseJobRequest(job_id="etl", until=until))
    rig.clock.advance(11)

    job = await rig.call("JobService.GetJob", pb.GetJobRequest(job_id="etl"))
    assert job.status == JOB_STATUS_SCHEDULED
    assert not job.HasField("paused_until")


async def test_a_pause_until_the_past_is_refused(rig):
    await create(rig)
    request = pb.PauseJobRequest(job_id="etl", until=Timestamp(seconds=5))
    refused = await rig.refused("JobService.PauseJob", request)
    assert refused.violations[0].field == "until"


async def test_a_job_is_created_paused_and_stays_so_under_a_mask(rig):
    made = await create(rig, schedule=EVERY_MINUTE, status=JOB_STATUS_PAUSED)
    assert made.status == JOB_STATUS_PAUSED
    after = await update(rig, paths=["priority"], priority=1)
    assert after.status == JOB_STATUS_PAUSED


async def test_a_change_of_nothing_in_particular_is_refused_by_its_field(rig):
    for method, request in [
        ("UpdateJob", pb.UpdateJobRequest()),
        ("DeleteJob", pb.DeleteJobRequest()),
        ("PauseJob", pb.PauseJobRequest()),
        ("ResumeJob", pb.ResumeJobRequest()),
        ("GetJob", pb.GetJobRequest()),
    ]:
        refused = await rig.refused(f"JobService.{method}", request)
        assert [v.field for v in refused.violations] == ["job_id"]


async def test_a_deleted_job_is_gone_and_its_name_is_free(rig):
    first = await create(rig)
    await rig.call("JobService.DeleteJob", pb.DeleteJobRequest(job_id="etl", etag=first.etag))

    refused = await rig.refused("JobService.GetJob", pb.GetJobRequest(job_id=first.id))
    assert refused.reason == "JOB_NOT_FOUND"
    assert (await create(rig)).id != first.id


async def test_jobs_are_listed_by_name_in_pages_and_filtered(rig):
    for name, group, tags in [
        ("c", "web", []),
        ("a", "web", ["x"]),
        ("B", "ops", []),
        ("d", "", []),
    ]:
        await create(rig, name=name, group=group, tags=tags)

    first = await rig.call("JobService.ListJobs", pb.ListJobsRequest(page_size=3))
    rest = await rig.call(
        "JobService.ListJobs", pb.ListJobsRequest(page_token=first.next_page_token)
    )
    assert [job.name for job in [*first.jobs, *rest.jobs]] == ["B", "a", "c", "d"]
    assert (first.total, first.total_exact, rest.next_page_token) == (4, True, "")
    found = await rig.call("JobService.ListJobs", pb.ListJobsRequest(group="web", tag="x"))
    assert [job.name for job in found.jobs] == ["a"]
    found = await rig.call(
        "JobService.ListJobs",
        pb.ListJobsRequest(search="b", status=JOB_STATUS_UNSCHEDULED),
    )
    assert [job.name for job in found.jobs] == ["B"]


async def test_a_token_of_another_filter_is_refused(rig):
    for name in "abc":
        await create(rig, name=name)
    first = await rig.call("JobService.ListJobs", pb.ListJobsRequest(page_size=1))
    other = pb.ListJobsRequest(search="x", page_token=first.next_page_token)
    refused = await rig.refused("JobService.ListJobs", other)
    assert refused.reason == "INVALID_PAGE_TOKEN"


async def test_a_key_sees_and_makes_jobs_of_its_groups_alone(rig):
    await create(rig, name="hidden", group="ops")
    await create(rig, "web", name="site", group="web")

    listed = await rig.call("JobService.ListJobs", pb.ListJobsRequest(), key="web")
    assert [job.name for job in listed.jobs] == ["site"]
    hidden = pb.GetJobRequest(job_id="hidden")
    assert (await rig.refused("JobService.GetJob", hidden, key="web")).reason == "JOB_NOT_FOUND"
    other = pb.CreateJobRequest(job=Job(name="x", task=NOOP, group="ops"))
    refused = await rig.refused("JobService.CreateJob", other, key="web")
    assert refused.reason == "GROUP_NOT_FOUND"
    assert "web" in refused.message


async def test_a_key_cannot_move_a_job_out_of_its_groups(rig):
    await create(rig, "web", name="site", group="web")
    request = pb.UpdateJobRequest(
        job_id="site", job=Job(group="ops"), update_mask=FieldMask(paths=["group"])
    )
    refused = await rig.refused("JobService.UpdateJob", request, key="web")
    assert refused.reason == "GROUP_NOT_FOUND"


async def test_a_viewer_changes_nothing(rig):
    request = pb.CreateJobRequest(job=Job(name="x", task=NOOP))
    refused = await rig.refused("JobService.CreateJob", request, key="viewer")
    assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "ROLE_FORBIDS")


async def test_groups_are_made_listed_and_counted(rig):
    made = await rig.call("JobService.CreateGroup", pb.CreateGroupRequest(name="ops"))
    assert (made.name, made.job_count) == ("ops", 0)
    await create(rig, group="web")

    listed = await rig.call("JobService.ListGroups", pb.ListGroupsRequest())
    assert [(g.name, g.job_count) for g in listed.groups] == [
        ("Default", 0),
        ("ops", 0),
        ("web", 1),
    ]
    mine = await rig.call("JobService.ListGroups", pb.ListGroupsRequest(), key="web")
    assert [g.name for g in mine.groups] == ["web"]


async def test_a_group_is_made_once_and_well_named(rig):
    again = pb.CreateGroupRequest(name="Default")
    assert (await rig.refused("JobService.CreateGroup", again)).reason == "NAME_TAKEN"
    wrong = await rig.refused("JobService.CreateGroup", pb.CreateGroupRequest(name="a/b"))
    assert wrong.violations[0].field == "name"


async def test_each_change_tells_an_event_with_who_made_it(rig):
    await create(rig, "operator")
    await update(rig, paths=["priority"], priority=1)
    await rig.call("JobService.DeleteJob", pb.DeleteJobRequest(job_id="etl"))

    listed = await rig.call("EventService.ListEvents", ListEventsRequest(kind_pattern="job.*"))
    assert [(e.kind, e.actor, e.job_name) for e in listed.events] == [
        ("job.deleted", "admin", "etl"),
        ("job.updated", "admin", "etl"),
        ("job.created", "operator", "etl"),
    ]


async def everything(rig):
    """What a change would leave behind."""
    listed = await rig.call("JobService.ListJobs", pb.ListJobsRequest())
    told = await rig.call("EventService.ListEvents", ListEventsRequest())
    audited = await rig.call("AuditService.ListAudit", ListAuditRequest())
    return listed, told, [entry.operation for entry in audited.entries], list(await runs(rig))


@pytest.mark.parametrize("immediate", [False, True])
async def test_a_job_that_is_only_checked_is_not_made(rig, immediate):
    before = await everything(rig)
    request = pb.CreateJobRequest(
        job=Job(name="etl", task=NOOP, schedule=EVERY_MINUTE, group="new"),
        request_id="once",
        immediate=immediate,
        validate_only=True,
    )

    would_be = await rig.call("JobService.CreateJob", request)

    assert (would_be.name, would_be.version, would_be.id, would_be.etag) == ("etl", 1, "", "")
    assert await everything(rig) == before
    made = await create(rig, request_id="once", schedule=EVERY_MINUTE, group="new")
    assert (made.name, made.version) == ("etl", 1)


async def test_a_check_is_refused_as_the_change_would_be(rig):
    made = await create(rig)
    new = pb.CreateJobRequest(job=Job(name="etl", task=NOOP), validate_only=True)
    assert (await rig.refused("JobService.CreateJob", new)).reason == "NAME_TAKEN"
    new.job.name = "other"
    new.job.target.agent.agent_id = "nobody"
    assert (await rig.refused("JobService.CreateJob", new)).reason == "INVALID_FIELD"
    change = pb.UpdateJobRequest(
        job_id="etl", job=Job(etag="old", retry_max=1), update_mask=FieldMask(paths=["retry_max"]),
        validate_only=True,
    )  # fmt: skip
    assert (await rig.refused("JobService.UpdateJob", change)).reason == "ETAG_MISMATCH"
    before = await everything(rig)

    change.job.etag = made.etag
    would_be = await rig.call("JobService.UpdateJob", change)

    assert (would_be.retry_max, would_be.version, would_be.id) == (1, 2, made.id)
    assert await everything(rig) == before
    assert await rig.call("JobService.GetJob", pb.GetJobRequest(job_id="etl")) == made
