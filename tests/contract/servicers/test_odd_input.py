"""Odd input is answered by its field or finds nothing: never a fault of ours."""

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.api.transport import CallFailed
from kronforce.errors import Code
from kronforce.v1 import agent_service_pb2 as agent_pb
from kronforce.v1 import event_service_pb2 as event_pb
from kronforce.v1 import execution_service_pb2 as execution_pb
from kronforce.v1 import job_service_pb2 as pb
from kronforce.v1.job_pb2 import AgentTarget, Job, NoopTask, Target, Task

NUL = "a\x00b"
FAR = Timestamp(seconds=2**62, nanos=-5)
LONG = "x" * 100_000
NOOP = Task(noop=NoopTask())

ANSWERED = {Code.INVALID_ARGUMENT, Code.NOT_FOUND}


REFUSED = [
    ("JobService.GetJob", pb.GetJobRequest(job_id=NUL)),
    ("JobService.GetJob", pb.GetJobRequest(job_id=LONG)),
    ("JobService.TriggerJob", pb.TriggerJobRequest(job_id=NUL)),
    ("JobService.TriggerJob", pb.TriggerJobRequest(job_id="etl", client_id=NUL)),
    ("JobService.TriggerJob", pb.TriggerJobRequest(job_id="etl", request_id=NUL)),
    ("JobService.ListJobs", pb.ListJobsRequest(search=NUL)),
    ("JobService.ListJobs", pb.ListJobsRequest(group=NUL)),
    ("JobService.ListJobs", pb.ListJobsRequest(tag=NUL)),
    ("JobService.ListJobs", pb.ListJobsRequest(status=77)),
    ("JobService.CreateJob", pb.CreateJobRequest(job=Job(name=NUL, task=NOOP))),
    ("JobService.CreateJob", pb.CreateJobRequest(job=Job(name=LONG, task=NOOP))),
    (
        "JobService.CreateJob",
        pb.CreateJobRequest(job=Job(name="n", task=NOOP), request_id=NUL),
    ),
    (
        "JobService.CreateJob",
        pb.CreateJobRequest(job=Job(name="n", task=NOOP, starts_at=FAR), request_id="r"),
    ),
    (
        "JobService.CreateJob",
        pb.CreateJobRequest(
            job=Job(name="n", task=NOOP, target=Target(agent=AgentTarget(agent_id=NUL)))
        ),
    ),
    ("JobService.UpdateJob", pb.UpdateJobRequest(job_id=NUL)),
    (
        "JobService.UpdateJob",
        pb.UpdateJobRequest(job_id="etl", update_mask=FieldMask(paths=[NUL, LONG])),
    ),
    (
        "JobService.PauseJob",
        pb.PauseJobRequest(job_id="etl", until=Timestamp(seconds=-(2**62))),
    ),
    ("JobService.CreateGroup", pb.CreateGroupRequest(name=NUL)),
    ("JobService.ListFires", pb.ListFiresRequest(job_id=NUL)),
    ("ExecutionService.ListRuns", execution_pb.ListRunsRequest(group=NUL)),
    ("ExecutionService.ListRuns", execution_pb.ListRunsRequest(id_suffix=NUL)),
    ("ExecutionService.CancelRun", execution_pb.CancelRunRequest(run_id=NUL, reason=NUL)),
    ("ExecutionService.ListExecutions", execution_pb.ListExecutionsRequest(search=NUL)),
    ("ExecutionService.ListExecutions", execution_pb.ListExecutionsRequest(agent_id=NUL)),
    ("ExecutionService.ListExecutions", execution_pb.ListExecutionsRequest(run_id=NUL)),
    ("EventService.ListEvents", event_pb.ListEventsRequest(kind_pattern=NUL)),
    ("EventService.ListEvents", event_pb.ListEventsRequest(job_id=NUL)),
    ("AgentService.GetAgent", agent_pb.GetAgentRequest(agent_id=NUL)),
    ("AgentService.DrainAgent", agent_pb.DrainAgentRequest(agent_id=NUL)),
    ("AgentService.DeleteAgent", agent_pb.DeleteAgentRequest(agent_id=NUL)),
    ("AgentService.CreateJoinToken", agent_pb.CreateJoinTokenRequest(tags=[NUL])),
]


async def test_it_is_refused(rig):
    await rig.call("JobService.CreateJob", pb.CreateJobRequest(job=Job(name="etl", task=NOOP)))
    for method, request in REFUSED:
        refused = await rig.refused(method, request)
        assert refused.code in ANSWERED, (method, request, refused.message)


async def test_a_reason_that_cannot_be_stored_is_refused_before_anything_is_cancelled(rig):
    await rig.call("JobService.CreateJob", pb.CreateJobRequest(job=Job(name="etl", task=NOOP)))
    made = await rig.call("JobService.TriggerJob", pb.TriggerJobRequest(job_id="etl"))
    request = execution_pb.CancelRunRequest(run_id=made.run.id, reason=NUL)
    assert (await rig.refused("ExecutionService.CancelRun", request)).code in ANSWERED


@pytest.mark.parametrize("until", [FAR, Timestamp(seconds=2**62)])
async def test_a_far_instant_is_taken_as_the_end_of_the_calendar(rig, until):
    await rig.call("JobService.CreateJob", pb.CreateJobRequest(job=Job(name="etl", task=NOOP)))
    request = pb.PauseJobRequest(job_id="etl", until=until)
    try:
        paused = await rig.call("JobService.PauseJob", request)
    except CallFailed as refused:
        assert refused.code in ANSWERED  # noqa: PT017 - either answer will do, a fault will not
    else:
        assert paused.paused_until.seconds < 2**40
    listed = execution_pb.ListRunsRequest(since=until)
    assert not (await rig.call("ExecutionService.ListRuns", listed)).runs
