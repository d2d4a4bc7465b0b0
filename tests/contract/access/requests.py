"""A real request for every method: to a thing inside the limited keys' groups, or outside.

A new method needs its line here; a test says so when it has none. Whatever a
call changes or ends is made for it alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from kronforce.v1 import agent_service_pb2 as agent
from kronforce.v1 import audit_service_pb2 as audit
from kronforce.v1 import event_service_pb2 as event
from kronforce.v1 import execution_service_pb2 as execution
from kronforce.v1 import job_service_pb2 as job
from kronforce.v1 import key_service_pb2 as key
from kronforce.v1 import stats_service_pb2 as stats
from kronforce.v1 import system_service_pb2 as system
from kronforce.v1 import variable_service_pb2 as variable
from kronforce.v1 import webhook_service_pb2 as webhook
from kronforce.v1.agent_pb2 import Agent
from kronforce.v1.api_key_pb2 import ROLE_VIEWER, ApiKey
from kronforce.v1.job_pb2 import AgentTarget, Job, NoopTask, Target, Task
from kronforce.v1.variable_pb2 import Variable
from tests.contract.access.world import IN, OUT, World

Make = Callable[[World, str], Awaitable[Message]]

# Every item of a list, so that what is hidden would be seen.
ALL = 1_000


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to call a method."""

    make: Make
    # What a limited key gets for what lies outside its groups; empty: it gets the same, without it.
    outside: str = ""
    # What everybody gets who may call it: what it needs is not there in this test.
    anyway: str = ""
    # Keys with the role are refused: it needs an agent's own credential.
    credential_only: bool = False


def about(message: type[Message], **fields: Callable[[World, str], Awaitable[Any]]) -> Make:
    """A request with these fields made for the side."""

    async def make(world: World, side: str) -> Message:
        return message(**{name: await value(world, side) for name, value in fields.items()})

    return make


def plain(request: Message) -> Make:
    """The same request for both sides."""

    async def make(_world: World, _side: str) -> Message:
        return request

    return make


async def side_of(_world: World, side: str) -> str:
    return side


async def run_id(world: World, side: str) -> str:
    return str((await world.run(side)).run.id)


async def execution_id(world: World, side: str) -> str:
    return str((await world.run(side)).execution_ids[0])


async def new_job(world: World, side: str) -> Message:
    made = Job(name=world.name(side, "job"), group=side, task=Task(noop=NoopTask()))
    return job.CreateJobRequest(job=made)


async def job_on_agent(world: World, side: str) -> Message:
    """A job of an inside group for an agent of the side."""
    target = Target(agent=AgentTarget(agent_id=await world.agent(side)))
    made = Job(name=world.name(IN, "job"), group=IN, task=Task(noop=NoopTask()), target=target)
    return job.CreateJobRequest(job=made)


async def changed_job(world: World, side: str) -> Message:
    return job.UpdateJobRequest(
        job_id=await world.job(side),
        job=Job(description="changed"),
        update_mask=FieldMask(paths=["description"]),
    )


async def trigger(world: World, side: str) -> job.TriggerJobRequest:
    return job.TriggerJobRequest(job_id=await world.job(side))


async def some_triggers(world: World, side: str) -> Message:
    return job.TriggerJobsRequest(requests=[await trigger(world, side)])


async def new_group(world: World, side: str) -> Message:
    name = "web new" if side == IN else world.name(OUT, "group")
    await world.group(name, there=False)
    return job.CreateGroupRequest(name=name)


async def group_to_delete(world: World, side: str) -> Message:
    name = "web gone" if side == IN else world.name(OUT, "group")
    await world.group(name, there=True)
    return job.DeleteGroupRequest(name=name)


async def group_to_rename(_world: World, side: str) -> Message:
    # To its own name: a limited key's list would follow a real one.
    return job.RenameGroupRequest(old_name=side, new_name=side)


async def jobs_to_move(world: World, side: str) -> Message:
    return job.AssignGroupRequest(job_ids=[await world.job(side)], group=IN)


async def new_variable(world: World, side: str) -> Message:
    name = world.name(side, "variable").replace(" ", "_")
    return variable.CreateVariableRequest(
        variable=Variable(name=name, value="v", allowed_groups=[side])
    )


async def changed_variable(world: World, side: str) -> Message:
    return variable.UpdateVariableRequest(
        variable_id=await world.variable(side),
        variable=Variable(value="changed"),
        update_mask=FieldMask(paths=["value"]),
    )


async def new_key(world: World, _side: str) -> Message:
    return key.CreateKeyRequest(key=ApiKey(name=world.name("a", "key"), role=ROLE_VIEWER))


async def key_to_revoke(world: World, _side: str) -> Message:
    return key.RevokeKeyRequest(key_id=await world.key_id())


async def new_agent(world: World, _side: str) -> Message:
    # With a token: what else comes with the call does not matter.
    return agent.RegisterAgentRequest(
        name=world.name("an", "agent"), join_token=await world.token()
    )


async def session(world: World, _side: str) -> Message:
    message = agent.AgentMessage()
    message.hello.protocol_version = 1
    message.hello.agent_id = world.agent_id
    # The same each time: it takes over from the session before.
    message.hello.boot_id = "b" * 16
    message.hello.slots = 1
    return agent.ConnectRequest(messages=[message])


async def schedule(_world: World, side: str) -> Message:
    made = Job(name="x", group=side)
    made.schedule.cron = "0 0 * * * *"
    return job.PreviewScheduleRequest(job=made)


async def agent_to_change(world: World, side: str) -> Message:
    return agent.UpdateAgentRequest(
        agent_id=await world.agent(side),
        agent=Agent(tags=["gpu"]),
        update_mask=FieldMask(paths=["tags"]),
    )


async def job_with_webhook(world: World, side: str) -> str:
    return (await world.webhook(side)).webhook.job_name


async def delivery(world: World, side: str) -> Message:
    # Whoever has the token fires, with any key or none.
    return webhook.FireWebhookRequest(
        token=(await world.webhook(side)).token, body=b'{"params": {"n": 1}}', delivery_id="d1"
    )


JOB, RUN, GROUP = "JOB_NOT_FOUND", "RUN_NOT_FOUND", "GROUP_NOT_FOUND"
EXECUTION, AGENT, VARIABLE = "EXECUTION_NOT_FOUND", "AGENT_NOT_FOUND", "VARIABLE_NOT_FOUND"

CASES: dict[str, list[Case]] = {
    "AgentService.Connect": [Case(make=session, credential_only=True)],
    # Needs an open session's id, and answers nothing before it has been sent output.
    "AgentService.StreamOutput": [
        Case(
            make=plain(agent.StreamOutputRequest(session_id="none")),
            anyway="PROTOCOL_VIOLATION",
            credential_only=True,
        )
    ],
    "AgentService.RegisterAgent": [Case(make=new_agent)],
    # Of agents that the caller did not enrol, and of attempts that nobody was given.
    "AgentService.PullAssignment": [
        Case(make=about(agent.PullAssignmentRequest, agent_id=World.agent), anyway=AGENT)
    ],
    "AgentService.Heartbeat": [
        Case(make=about(agent.HeartbeatRequest, agent_id=World.agent), anyway=AGENT)
    ],
    "AgentService.AppendOutput": [
        Case(
            make=about(agent.AppendOutputRequest, execution_id=execution_id),
            anyway="INVALID_FIELD",
        )
    ],
    "AgentService.FinishExecution": [
        Case(
            make=about(agent.FinishExecutionRequest, execution_id=execution_id),
            anyway="INVALID_FIELD",
        )
    ],
    "AgentService.GetAgentTaskTypes": [
        Case(make=about(agent.GetAgentTaskTypesRequest, agent_id=World.agent), outside=AGENT)
    ],
    "AgentService.SetAgentTaskTypes": [
        Case(make=about(agent.SetAgentTaskTypesRequest, agent_id=World.custom_agent))
    ],
    "AgentService.CreateJoinToken": [Case(make=plain(agent.CreateJoinTokenRequest()))],
    "AgentService.GetAgent": [
        Case(make=about(agent.GetAgentRequest, agent_id=World.agent), outside=AGENT)
    ],
    "AgentService.ListAgents": [Case(make=plain(agent.ListAgentsRequest(page_size=ALL)))],
    "AgentService.DrainAgent": [Case(make=about(agent.DrainAgentRequest, agent_id=World.agent))],
    "AgentService.DeleteAgent": [Case(make=about(agent.DeleteAgentRequest, agent_id=World.agent))],
    "AgentService.UpdateAgent": [Case(make=agent_to_change)],
    "AuditService.ListAudit": [Case(make=plain(audit.ListAuditRequest()))],
    "AuditService.VerifyAudit": [Case(make=plain(audit.VerifyAuditRequest()))],
    "EventService.ListEvents": [Case(make=plain(event.ListEventsRequest(page_size=ALL)))],
    "EventService.WatchEvents": [Case(make=plain(event.WatchEventsRequest()))],
    "ExecutionService.GetRun": [
        Case(make=about(execution.GetRunRequest, run_id=run_id), outside=RUN)
    ],
    "ExecutionService.ListRuns": [
        Case(make=plain(execution.ListRunsRequest(page_size=ALL))),
        Case(make=about(execution.ListRunsRequest, job_id=World.job), outside=JOB),
        Case(make=about(execution.ListRunsRequest, group=side_of)),
    ],
    "ExecutionService.CancelRun": [
        Case(make=about(execution.CancelRunRequest, run_id=run_id), outside=RUN)
    ],
    "ExecutionService.GetExecution": [
        Case(
            make=about(execution.GetExecutionRequest, execution_id=execution_id),
            outside=EXECUTION,
        )
    ],
    "ExecutionService.ListExecutions": [
        Case(make=plain(execution.ListExecutionsRequest(page_size=ALL))),
        Case(make=about(execution.ListExecutionsRequest, job_id=World.job), outside=JOB),
        Case(make=about(execution.ListExecutionsRequest, run_id=run_id), outside=RUN),
        Case(make=about(execution.ListExecutionsRequest, agent_id=World.agent), outside=AGENT),
        Case(make=about(execution.ListExecutionsRequest, group=side_of)),
    ],
    "ExecutionService.CancelExecution": [
        Case(
            make=about(execution.CancelExecutionRequest, execution_id=execution_id),
            outside=EXECUTION,
        )
    ],
    "ExecutionService.WatchRuns": [
        Case(make=about(execution.WatchRunsRequest, job_id=World.job), outside=JOB),
        Case(make=about(execution.WatchRunsRequest, group=side_of), outside=GROUP),
        Case(make=plain(execution.WatchRunsRequest(mine=True))),
    ],
    "ExecutionService.ReadOutput": [
        Case(make=about(execution.ReadOutputRequest, execution_id=execution_id), outside=EXECUTION)
    ],
    "ExecutionService.ExplainRun": [
        Case(make=about(execution.ExplainRunRequest, run_id=run_id), outside=RUN)
    ],
    "JobService.CreateJob": [
        Case(make=new_job, outside=GROUP),
        # A job that names an agent which its group may not use is refused to everybody.
        Case(make=lambda world, _side: job_on_agent(world, IN)),
    ],
    "JobService.GetJob": [Case(make=about(job.GetJobRequest, job_id=World.job), outside=JOB)],
    "JobService.ListJobs": [
        Case(make=plain(job.ListJobsRequest(page_size=ALL))),
        Case(make=about(job.ListJobsRequest, group=side_of)),
        Case(make=plain(job.ListJobsRequest(page_size=ALL, search=OUT))),
    ],
    "JobService.UpdateJob": [Case(make=changed_job, outside=JOB)],
    "JobService.DeleteJob": [Case(make=about(job.DeleteJobRequest, job_id=World.job), outside=JOB)],
    "JobService.PauseJob": [Case(make=about(job.PauseJobRequest, job_id=World.job), outside=JOB)],
    "JobService.ResumeJob": [Case(make=about(job.ResumeJobRequest, job_id=World.job), outside=JOB)],
    "JobService.TriggerJob": [
        Case(make=about(job.TriggerJobRequest, job_id=World.job), outside=JOB)
    ],
    "JobService.TriggerJobs": [Case(make=some_triggers, outside=JOB)],
    "JobService.TriggerJobsStream": [Case(make=some_triggers, outside=JOB)],
    "JobService.RunJob": [Case(make=about(job.RunJobRequest, trigger=trigger), outside=JOB)],
    "JobService.ListFires": [Case(make=about(job.ListFiresRequest, job_id=World.job), outside=JOB)],
    "JobService.ListGroups": [Case(make=plain(job.ListGroupsRequest()))],
    "JobService.CreateGroup": [Case(make=new_group, outside="NOT_ALLOWED")],
    "JobService.RenameGroup": [Case(make=group_to_rename, outside=GROUP)],
    "JobService.DeleteGroup": [Case(make=group_to_delete, outside=GROUP)],
    "JobService.AssignGroup": [Case(make=jobs_to_move, outside=JOB)],
    "JobService.PreviewSchedule": [
        Case(make=about(job.PreviewScheduleRequest, job_id=World.job), outside=JOB),
        Case(make=schedule),
    ],
    "JobService.RerunRun": [
        Case(make=about(job.RerunRunRequest, run_id=World.ended_run), outside=RUN)
    ],
    "JobService.ClearHistory": [
        Case(make=about(job.ClearHistoryRequest, job_id=World.job), outside=JOB)
    ],
    "KeyService.CreateKey": [Case(make=new_key)],
    "KeyService.ListKeys": [Case(make=plain(key.ListKeysRequest()))],
    "KeyService.RevokeKey": [Case(make=key_to_revoke)],
    "KeyService.WhoAmI": [Case(make=plain(key.WhoAmIRequest()))],
    "StatsService.GetSystemStats": [Case(make=plain(stats.GetSystemStatsRequest()))],
    "StatsService.GetTimeline": [
        Case(make=plain(stats.GetTimelineRequest())),
        Case(make=about(stats.GetTimelineRequest, job_id=World.job), outside=JOB),
        Case(make=about(stats.GetTimelineRequest, group=side_of)),
    ],
    "StatsService.ListJobStats": [
        Case(make=plain(stats.ListJobStatsRequest(page_size=ALL))),
        Case(make=about(stats.ListJobStatsRequest, job_id=World.job), outside=JOB),
        Case(make=about(stats.ListJobStatsRequest, group=side_of)),
    ],
    "StatsService.ListAgentLoad": [Case(make=plain(stats.ListAgentLoadRequest(page_size=ALL)))],
    "StatsService.ListGroupLoad": [Case(make=plain(stats.ListGroupLoadRequest(page_size=ALL)))],
    "SystemService.GetHealth": [Case(make=plain(system.GetHealthRequest()))],
    "SystemService.GetStatus": [Case(make=plain(system.GetStatusRequest()))],
    "SystemService.RotateSecretKey": [Case(make=plain(system.RotateSecretKeyRequest()))],
    "VariableService.CreateVariable": [Case(make=new_variable, outside="NOT_ALLOWED")],
    "VariableService.GetVariable": [
        Case(make=about(variable.GetVariableRequest, variable_id=World.variable), outside=VARIABLE)
    ],
    "VariableService.ListVariables": [
        Case(make=plain(variable.ListVariablesRequest(page_size=ALL)))
    ],
    "VariableService.UpdateVariable": [Case(make=changed_variable, outside=VARIABLE)],
    "VariableService.DeleteVariable": [
        Case(
            make=about(variable.DeleteVariableRequest, variable_id=World.variable),
            outside=VARIABLE,
        )
    ],
    "WebhookService.EnableWebhook": [
        Case(make=about(webhook.EnableWebhookRequest, job_id=World.job), outside=JOB)
    ],
    "WebhookService.GetWebhook": [
        Case(make=about(webhook.GetWebhookRequest, job_id=job_with_webhook), outside=JOB)
    ],
    "WebhookService.ListWebhooks": [
        Case(make=plain(webhook.ListWebhooksRequest(page_size=ALL))),
    ],
    "WebhookService.RotateWebhookToken": [
        Case(make=about(webhook.RotateWebhookTokenRequest, job_id=job_with_webhook), outside=JOB)
    ],
    "WebhookService.DisableWebhook": [
        Case(make=about(webhook.DisableWebhookRequest, job_id=job_with_webhook), outside=JOB)
    ],
    "WebhookService.FireWebhook": [Case(make=delivery)],
}
