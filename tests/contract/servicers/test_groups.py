"""Groups as callers meet them: who may do what to which, and what a limited key sees then."""

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from kronforce.api.transport import CallFailed
from kronforce.errors import Code
from kronforce.v1 import agent_service_pb2 as agent_pb
from kronforce.v1 import api_key_pb2, execution_service_pb2
from kronforce.v1 import job_service_pb2 as pb
from kronforce.v1.agent_pb2 import Agent
from kronforce.v1.event_service_pb2 import ListEventsRequest
from kronforce.v1.execution_pb2 import EXECUTION_STATE_CANCELLED
from kronforce.v1.job_pb2 import AgentTarget, AnyTarget, Job, NoopTask, Target, Task
from kronforce.v1.variable_pb2 import Variable
from kronforce.v1.variable_service_pb2 import CreateVariableRequest

NOOP = Task(noop=NoopTask())


async def create(rig, name, group="", key="admin", **fields):
    job = Job(**{"name": name, "group": group, "task": NOOP} | fields)
    return await rig.call("JobService.CreateJob", pb.CreateJobRequest(job=job), key=key)


async def group_of(rig, name):
    return (await rig.call("JobService.GetJob", pb.GetJobRequest(job_id=name))).group


async def rename(rig, old, new, key="admin"):
    request = pb.RenameGroupRequest(old_name=old, new_name=new)
    return await rig.call("JobService.RenameGroup", request, key=key)


async def refused_rename(rig, old, new, key="admin"):
    request = pb.RenameGroupRequest(old_name=old, new_name=new)
    return await rig.refused("JobService.RenameGroup", request, key=key)


async def test_a_group_is_renamed_with_its_jobs_and_keys(rig):
    job = await create(rig, "site", "web", target=Target(any=AnyTarget()))
    run = await rig.call("JobService.TriggerJob", pb.TriggerJobRequest(job_id="site"))

    renamed = await rename(rig, "web", "front")

    assert (renamed.name, renamed.job_count) == ("front", 1)
    after = await rig.call("JobService.GetJob", pb.GetJobRequest(job_id="site"), key="web")
    assert (after.group, after.version) == ("front", 1)
    assert after.etag != job.etag
    # Its history is seen at once, though its rows follow in the background.
    request = execution_service_pb2.GetRunRequest(run_id=run.run.id)
    assert (await rig.call("ExecutionService.GetRun", request, key="web")).id == run.run.id
    await rig.settle()
    assert (await rig.call("ExecutionService.GetRun", request, key="web")).group == "front"


async def test_a_change_of_another_field_leaves_a_renamed_group_alone(rig):
    await create(rig, "site", "web")
    await rename(rig, "web", "front")
    change = pb.UpdateJobRequest(
        job_id="site", job=Job(description="new"), update_mask=FieldMask(paths=["description"])
    )
    assert (await rig.call("JobService.UpdateJob", change)).group == "front"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Default", "front", "IN_USE"),
        ("web", "Default", "NAME_TAKEN"),
        ("web", "a/b", "INVALID_FIELD"),
        ("web", "", "INVALID_FIELD"),
        ("nothing", "front", "GROUP_NOT_FOUND"),
    ],
)
async def test_a_rename_that_cannot_be_is_refused(rig, old, new, reason):
    await create(rig, "site", "web")
    assert (await refused_rename(rig, old, new)).reason == reason
    assert await group_of(rig, "site") == "web"


async def test_a_limited_key_renames_only_within_its_groups(rig):
    await create(rig, "site", "web")
    await create(rig, "db", "ops")

    assert (await refused_rename(rig, "ops", "mine", key="web")).reason == "GROUP_NOT_FOUND"
    # Another name may be one that a secret or somebody else's key waits for.
    assert (await refused_rename(rig, "web", "payroll", key="web")).reason == "NOT_ALLOWED"
    assert (await refused_rename(rig, "web", "x", key="viewer")).reason == "ROLE_FORBIDS"


async def test_a_group_is_deleted_and_its_jobs_are_in_default(rig):
    await create(rig, "site", "web")
    deleted = await rig.call("JobService.DeleteGroup", pb.DeleteGroupRequest(name="web"))
    assert deleted.moved_jobs == 1
    assert await group_of(rig, "site") == "Default"
    listed = await rig.call("JobService.ListGroups", pb.ListGroupsRequest())
    assert [group.name for group in listed.groups] == ["Default"]

    for name, reason in {"Default": "IN_USE", "web": "GROUP_NOT_FOUND"}.items():
        request = pb.DeleteGroupRequest(name=name)
        assert (await rig.refused("JobService.DeleteGroup", request)).reason == reason


async def keep(rig, name, *groups):
    variable = Variable(name=name, value="hunter22", secret=True, allowed_groups=groups)
    request = CreateVariableRequest(variable=variable)
    return await rig.call("VariableService.CreateVariable", request)


def saying(name):
    return {"task": Task(noop=NoopTask(message=f"{{{{{name}}}}}"))}


async def test_a_group_is_not_deleted_while_its_jobs_would_lose_a_secret(rig):
    await keep(rig, "SEC", "web")
    await keep(rig, "ADMINS")
    await keep(rig, "BOTH", "web", "Default")
    await create(rig, "site", "web", **saying("SEC"))
    for name in ("ADMINS", "BOTH", "NOTHING"):
        await create(rig, name.lower(), "web", **saying(name))
    delete = pb.DeleteGroupRequest(name="web")

    refused = await rig.refused("JobService.DeleteGroup", delete)
    assert (refused.reason, refused.code) == ("IN_USE", Code.FAILED_PRECONDITION)
    assert "may not use: site (SEC); move" in refused.message
    assert "kronforce group assign GROUP site" in refused.message
    assert await group_of(rig, "site") == "web"

    await rig.call("JobService.DeleteJob", pb.DeleteJobRequest(job_id="site"))
    assert (await rig.call("JobService.DeleteGroup", delete)).moved_jobs == 3


async def test_of_many_jobs_that_would_lose_a_secret_some_are_named(rig):
    await keep(rig, "SEC", "web")
    for number in range(7):
        await create(rig, f"site-{number}", "web", **saying("SEC"))
    refused = await rig.refused("JobService.DeleteGroup", pb.DeleteGroupRequest(name="web"))
    assert "site-4 (SEC) and others; move" in refused.message
    assert "site-5" not in refused.message


async def test_a_limited_key_deletes_only_where_it_sees_default(rig):
    await create(rig, "site", "web")
    request = pb.DeleteGroupRequest(name="web")
    assert (await rig.refused("JobService.DeleteGroup", request, key="web")).reason == "NOT_ALLOWED"
    groups = ["web", "Default"]
    await rig.add_key("both", api_key_pb2.ROLE_OPERATOR, b"k" * 16, groups=groups)
    assert (await rig.call("JobService.DeleteGroup", request, key="both")).moved_jobs == 1


async def test_jobs_are_moved_all_or_none(rig):
    for name in ("a", "b", "c"):
        await create(rig, name, "ops" if name == "c" else "web")

    missing = pb.AssignGroupRequest(job_ids=["a", "nothing", "b"], group="front")
    assert (await rig.refused("JobService.AssignGroup", missing)).reason == "JOB_NOT_FOUND"
    hidden = pb.AssignGroupRequest(job_ids=["a", "c"], group="web")
    assert (
        await rig.refused("JobService.AssignGroup", hidden, key="web")
    ).reason == "JOB_NOT_FOUND"
    beyond = pb.AssignGroupRequest(job_ids=["a"], group="ops")
    refused = await rig.refused("JobService.AssignGroup", beyond, key="web")
    assert refused.reason == "GROUP_NOT_FOUND"
    assert [await group_of(rig, name) for name in ("a", "b", "c")] == ["web", "web", "ops"]

    moving = pb.AssignGroupRequest(job_ids=["a", "b", "c", "a"], group="ops")
    assert (await rig.call("JobService.AssignGroup", moving)).moved_jobs == 2
    assert [await group_of(rig, name) for name in ("a", "b", "c")] == ["ops"] * 3
    again = await rig.call("JobService.TriggerJob", pb.TriggerJobRequest(job_id="a"))
    assert again.run.group == "ops"


@pytest.mark.parametrize("names", [[], ["x"] * 1_001])
async def test_jobs_are_moved_in_a_bounded_number(rig, names):
    request = pb.AssignGroupRequest(job_ids=names, group="web")
    assert (await rig.refused("JobService.AssignGroup", request)).reason == "INVALID_FIELD"


async def test_a_moved_job_does_not_show_a_run_of_another_group(rig):
    await create(rig, "site", "ops", target=Target(any=AnyTarget()))
    await rig.call("JobService.TriggerJob", pb.TriggerJobRequest(job_id="site"))
    move = pb.AssignGroupRequest(job_ids=["site"], group="web")
    await rig.call("JobService.AssignGroup", move)

    get, every = pb.GetJobRequest(job_id="site"), pb.ListJobsRequest()
    for key, shown in {"admin": True, "web": False}.items():
        job = await rig.call("JobService.GetJob", get, key=key)
        [listed] = (await rig.call("JobService.ListJobs", every, key=key)).jobs
        assert (job.HasField("last_run"), listed.HasField("last_run")) == (shown, shown)


# Agents that are kept for groups.


async def enrol(rig, name, *groups):
    made = await rig.call(
        "AgentService.CreateJoinToken", agent_pb.CreateJoinTokenRequest(allowed_groups=groups)
    )
    request = agent_pb.RegisterAgentRequest(name=name, join_token=made.token)
    await rig.call("AgentService.RegisterAgent", request, key="")


async def agents_seen(rig, key):
    listed = await rig.call("AgentService.ListAgents", agent_pb.ListAgentsRequest(), key=key)
    assert listed.total == len(listed.agents)
    return [agent.name for agent in listed.agents]


async def test_agents_of_other_groups_are_hidden_from_a_limited_key(rig):
    await enrol(rig, "free")
    await enrol(rig, "ours", "web", "ops")
    await enrol(rig, "theirs", "ops")

    assert await agents_seen(rig, "viewer") == ["free", "ours", "theirs"]
    assert await agents_seen(rig, "web") == ["free", "ours"]
    hidden = agent_pb.GetAgentRequest(agent_id="theirs")
    assert (await rig.refused("AgentService.GetAgent", hidden, key="web")).reason == (
        "AGENT_NOT_FOUND"
    )
    events = await rig.call("EventService.ListEvents", ListEventsRequest(), key="web")
    told = {event.message for event in events.events}
    assert told == {"agent free was enrolled", "agent ours was enrolled"}


async def test_a_job_is_not_saved_for_an_agent_that_its_group_may_not_use(rig):
    await enrol(rig, "theirs", "ops")
    await enrol(rig, "ours", "web", "ops")
    for_them = {"target": Target(agent=AgentTarget(agent_id="theirs"))}

    wrong = pb.CreateJobRequest(job=Job(name="a", group="web", task=NOOP, **for_them))
    refused = await rig.refused("JobService.CreateJob", wrong)
    assert (refused.reason, refused.code) == ("NOT_ALLOWED", Code.PERMISSION_DENIED)
    assert "runs jobs of ops and not of 'web'" in refused.message
    # To who may not see it, it does not exist, and it is not suggested either.
    wrong.job.target.agent.agent_id = "their"
    refused = await rig.refused("JobService.CreateJob", wrong, key="web")
    assert refused.reason == "INVALID_FIELD"
    assert "theirs" not in refused.message
    assert "there are: ours" in refused.message
    wrong.job.target.agent.agent_id = "OUR"
    refused = await rig.refused("JobService.CreateJob", wrong, key="web")
    assert "agents that look like it: ours" in refused.message

    await create(rig, "fine", "ops", **for_them)
    move = pb.AssignGroupRequest(job_ids=["fine"], group="web")
    assert (await rig.refused("JobService.AssignGroup", move)).reason == "NOT_ALLOWED"


async def test_an_admin_places_an_agent_anew(rig):
    await enrol(rig, "a1", "ops")
    before = await rig.call("AgentService.GetAgent", agent_pb.GetAgentRequest(agent_id="a1"))

    change = agent_pb.UpdateAgentRequest(
        agent_id="a1",
        agent=Agent(tags=["gpu"], labels={"zone": "b"}, etag=before.etag),
        update_mask=FieldMask(paths=["tags", "labels"]),
    )
    after = await rig.call("AgentService.UpdateAgent", change)
    assert (list(after.tags), dict(after.labels)) == (["gpu"], {"zone": "b"})
    assert list(after.allowed_groups) == ["ops"]

    assert (await rig.refused("AgentService.UpdateAgent", change)).reason == "ETAG_MISMATCH"
    everything = agent_pb.UpdateAgentRequest(agent_id="a1", agent=Agent())
    after = await rig.call("AgentService.UpdateAgent", everything)
    assert [*after.tags, *after.labels, *after.allowed_groups] == []
    assert (await rig.refused("AgentService.UpdateAgent", everything, key="operator")).reason == (
        "ROLE_FORBIDS"
    )


@pytest.mark.parametrize(
    ("agent", "paths", "field"),
    [
        (Agent(), ["nam"], "update_mask"),
        (Agent(name="other"), ["name"], "name"),
        (Agent(allowed_groups=["a/b"]), ["allowed_groups"], "allowed_groups[0]"),
        (Agent(allowed_groups=["x"] * 1_001), [], "allowed_groups"),
        (Agent(tags=["a,b"]), ["tags"], "tags[0]"),
    ],
)
async def test_an_agent_is_not_placed_nonsensically(rig, agent, paths, field):
    await enrol(rig, "a1")
    request = agent_pb.UpdateAgentRequest(
        agent_id="a1", agent=agent, update_mask=FieldMask(paths=paths)
    )
    refused = await rig.refused("AgentService.UpdateAgent", request)
    assert [violation.field for violation in refused.violations] == [field]


# What is watched.


async def updates(stream, count):
    """The next so many updates of a watch."""
    found = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += (await anext(stream)).updates
    return found


async def test_a_watch_of_a_job_loses_what_moves_out_of_the_readers_groups(rig):
    job = await create(rig, "site", "web", target=Target(any=AnyTarget()))
    watch = execution_service_pb2.WatchRunsRequest(job_id=job.id)
    async with (
        rig.follow("ExecutionService.WatchRuns", watch, key="web") as limited,
        rig.follow("ExecutionService.WatchRuns", watch) as everything,
    ):
        await anext(limited)
        await anext(everything)
        for group in ("web", "ops", "web"):
            move = pb.AssignGroupRequest(job_ids=["site"], group=group)
            await rig.call("JobService.AssignGroup", move)
            await rig.call("JobService.TriggerJob", pb.TriggerJobRequest(job_id="site"))
        all_runs = [update.run_id for update in await updates(everything, 3)]
        seen = [update.run_id for update in await updates(limited, 2)]
    assert seen == [all_runs[0], all_runs[2]]


async def test_streams_of_a_key_whose_groups_changed_end_and_may_be_opened_again(rig):
    await create(rig, "site", "web", target=Target(any=AnyTarget()))
    watch = execution_service_pb2.WatchRunsRequest(job_id="site")
    async with (
        rig.follow("ExecutionService.WatchRuns", watch, key="web") as limited,
        rig.follow("ExecutionService.WatchRuns", watch) as everything,
    ):
        await anext(limited)
        await anext(everything)
        await rename(rig, "web", "front")
        with pytest.raises(CallFailed) as ended:
            await anext(limited)
        assert (ended.value.code, ended.value.reason) == (Code.UNAVAILABLE, "UNAVAILABLE")
        async with rig.follow("ExecutionService.WatchRuns", watch, key="web") as again:
            await anext(again)
            run = await rig.call("JobService.TriggerJob", pb.TriggerJobRequest(job_id="site"))
            for stream in (again, everything):
                [update] = await updates(stream, 1)
                assert update.run_id == run.run.id


async def moved_with_a_run(rig, *, ended):
    """A job of `web` that has a run, open or not, from when it was in `ops`; the run's id."""
    await create(rig, "site", "ops", target=Target(any=AnyTarget()))
    runs = []
    for _ in range(2):
        made = await rig.call("JobService.TriggerJob", pb.TriggerJobRequest(job_id="site"))
        runs.append(made.run.id)
        if ended:
            cancel = execution_service_pb2.CancelRunRequest(run_id=made.run.id)
            await rig.call("ExecutionService.CancelRun", cancel)
    move = pb.AssignGroupRequest(job_ids=["site"], group="web")
    await rig.call("JobService.AssignGroup", move)
    return runs[0]


async def state_of(rig, run_id):
    request = execution_service_pb2.GetRunRequest(run_id=run_id)
    return (await rig.call("ExecutionService.GetRun", request)).state


async def clear(rig, key):
    request = pb.ClearHistoryRequest(job_id="site")
    call = asyncio.create_task(rig.call("JobService.ClearHistory", request, key=key))
    while not call.done():
        rig.clock.advance(1)
        await asyncio.sleep(0)
    return (await call).deleted_runs


async def test_clearing_a_moved_jobs_history_leaves_runs_of_another_group(rig):
    run = await moved_with_a_run(rig, ended=True)
    assert await clear(rig, key="web") == 0
    assert await state_of(rig, run) == EXECUTION_STATE_CANCELLED
    assert await clear(rig, key="admin") == 1


async def test_deleting_a_moved_job_cancels_what_waits_from_its_time_in_another_group(rig):
    run = await moved_with_a_run(rig, ended=False)
    gone = await rig.call("JobService.DeleteJob", pb.DeleteJobRequest(job_id="site"), key="web")
    assert gone.cancelled_runs == 2
    assert await state_of(rig, run) == EXECUTION_STATE_CANCELLED


async def test_an_explanation_does_not_name_an_agent_of_other_groups(rig):
    await enrol(rig, "payroll-db-1")
    [agent] = (await rig.call("AgentService.ListAgents", agent_pb.ListAgentsRequest())).agents
    await create(rig, "site", "web", target=Target(agent=AgentTarget(agent_id=agent.id)))
    made = await rig.call("JobService.TriggerJob", pb.TriggerJobRequest(job_id="site"))
    change = agent_pb.UpdateAgentRequest(
        agent_id=agent.id,
        agent=Agent(allowed_groups=["payroll"]),
        update_mask=FieldMask(paths=["allowed_groups"]),
    )
    await rig.call("AgentService.UpdateAgent", change)

    request = execution_service_pb2.ExplainRunRequest(run_id=made.run.id)
    told = await rig.call("ExecutionService.ExplainRun", request, key="web")
    assert "payroll" not in str(told)
    assert agent.id in told.sentence
