"""Every method that the contract calls audited leaves an entry with what it changed."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from google.protobuf.json_format import MessageToDict

from kronforce.core.access import administers
from kronforce.errors import Code
from kronforce.store.audit import list_audit
from kronforce.store.paging import PageRequest
from kronforce.v1 import agent_service_pb2 as agent_pb
from kronforce.v1 import audit_service_pb2 as pb
from kronforce.v1 import execution_service_pb2 as execution_pb
from kronforce.v1 import job_service_pb2 as job_pb
from kronforce.v1 import key_service_pb2 as key_pb
from kronforce.v1 import options_pb2, system_service_pb2
from kronforce.v1 import variable_service_pb2 as variable_pb
from kronforce.v1 import webhook_service_pb2 as webhook_pb
from kronforce.v1.agent_pb2 import AGENT_TYPE_CUSTOM
from kronforce.v1.api_key_pb2 import ROLE_VIEWER, ApiKey
from kronforce.v1.job_pb2 import Job
from tests.contract.servicers.rig import SERVICES, Rig

METHODS = {
    f"{service}.{method.name}": method.GetOptions().Extensions[options_pb2.access]
    for service, file in SERVICES.items()
    for method in file.DESCRIPTOR.services_by_name[service].methods
}
AUDITED = {name for name, rule in METHODS.items() if rule.audited}


async def entries(rig: Rig, **filters):
    request = pb.ListAuditRequest(**filters)
    return (await rig.call("AuditService.ListAudit", request)).entries


async def make_job(rig: Rig, name: str = "backup", **fields) -> Job:
    job = Job(name=name, **fields)
    if job.task.WhichOneof("kind") is None:
        job.task.noop.SetInParent()
    job.target.any.SetInParent()
    return await rig.call("JobService.CreateJob", job_pb.CreateJobRequest(job=job))


async def make_run(rig: Rig) -> job_pb.TriggerJobResponse:
    await make_job(rig)
    request = job_pb.TriggerJobRequest(job_id="backup")
    return await rig.call("JobService.TriggerJob", request)


async def make_agent(rig: Rig) -> str:
    token = await rig.call("AgentService.CreateJoinToken", agent_pb.CreateJoinTokenRequest())
    request = agent_pb.RegisterAgentRequest(name="web-1", join_token=token.token)
    return (await rig.call("AgentService.RegisterAgent", request, key="")).agent_id


async def make_variable(rig: Rig, name: str = "BUCKET", value: str = "b-1", *, secret=False):
    request = variable_pb.CreateVariableRequest()
    request.variable.name, request.variable.value, request.variable.secret = name, value, secret
    return await rig.call("VariableService.CreateVariable", request)


# Each makes what its method needs, calls it, and says which operation the log must then have.


async def create_job(rig):
    await make_job(rig)
    return "job.created"


async def update_job(rig):
    job = await make_job(rig)
    job.retry_max = 3
    await rig.call("JobService.UpdateJob", job_pb.UpdateJobRequest(job_id="backup", job=job))
    return "job.updated"


async def delete_job(rig):
    await make_job(rig)
    await rig.call("JobService.DeleteJob", job_pb.DeleteJobRequest(job_id="backup"))
    return "job.deleted"


async def pause_job(rig):
    await make_job(rig)
    await rig.call("JobService.PauseJob", job_pb.PauseJobRequest(job_id="backup"))
    return "job.paused"


async def resume_job(rig):
    await pause_job(rig)
    await rig.call("JobService.ResumeJob", job_pb.ResumeJobRequest(job_id="backup"))
    return "job.resumed"


async def trigger_job(rig):
    await make_run(rig)
    return "job.triggered"


async def trigger_jobs(rig):
    await make_job(rig)
    one = job_pb.TriggerJobRequest(job_id="backup")
    await rig.call("JobService.TriggerJobs", job_pb.TriggerJobsRequest(requests=[one, one]))
    return "job.triggered"


async def trigger_jobs_stream(rig):
    await make_job(rig)

    async def requests() -> AsyncIterator[job_pb.TriggerJobsRequest]:
        one = job_pb.TriggerJobRequest(job_id="backup")
        yield job_pb.TriggerJobsRequest(requests=[one])

    async with rig.bidi("JobService.TriggerJobsStream", requests()) as replies:
        await anext(replies)
    return "job.triggered"


async def run_job(rig):
    await make_job(rig)
    request = job_pb.RunJobRequest(trigger=job_pb.TriggerJobRequest(job_id="backup"))
    async with rig.follow("JobService.RunJob", request) as replies:
        await anext(replies)
    return "job.triggered"


async def rerun_run(rig):
    made = await make_run(rig)
    await rig.call("JobService.RerunRun", job_pb.RerunRunRequest(run_id=made.run.id))
    again = (await entries(rig))[0]
    assert again.details["rerun_of"] == made.run.id
    return "job.triggered"


async def clear_history(rig):
    await make_run(rig)
    await rig.call("JobService.ClearHistory", job_pb.ClearHistoryRequest(job_id="backup"))
    return "job.history_cleared"


async def cancel_run(rig):
    made = await make_run(rig)
    request = execution_pb.CancelRunRequest(run_id=made.run.id, reason="not today")
    await rig.call("ExecutionService.CancelRun", request)
    return "run.cancelled"


async def cancel_execution(rig):
    made = await make_run(rig)
    request = execution_pb.CancelExecutionRequest(execution_id=made.execution_ids[0])
    await rig.call("ExecutionService.CancelExecution", request)
    return "execution.cancelled"


async def create_group(rig):
    await rig.call("JobService.CreateGroup", job_pb.CreateGroupRequest(name="web"))
    return "group.created"


async def rename_group(rig):
    await create_group(rig)
    request = job_pb.RenameGroupRequest(old_name="web", new_name="site")
    await rig.call("JobService.RenameGroup", request)
    return "group.renamed"


async def delete_group(rig):
    await create_group(rig)
    await rig.call("JobService.DeleteGroup", job_pb.DeleteGroupRequest(name="web"))
    return "group.deleted"


async def assign_group(rig):
    await make_job(rig)
    await create_group(rig)
    request = job_pb.AssignGroupRequest(job_ids=["backup"], group="web")
    await rig.call("JobService.AssignGroup", request)
    return "job.moved"


async def register_agent(rig):
    await make_agent(rig)
    return "agent.registered"


async def create_join_token(rig):
    await make_agent(rig)
    return "join_token.created"


async def drain_agent(rig):
    agent = await make_agent(rig)
    await rig.call("AgentService.DrainAgent", agent_pb.DrainAgentRequest(agent_id=agent))
    return "agent.drained"


async def update_agent(rig):
    agent = await make_agent(rig)
    request = agent_pb.UpdateAgentRequest(agent_id=agent)
    request.agent.tags.append("gpu")
    request.update_mask.paths.append("tags")
    await rig.call("AgentService.UpdateAgent", request)
    return "agent.updated"


async def delete_agent(rig):
    agent = await make_agent(rig)
    await rig.call("AgentService.DeleteAgent", agent_pb.DeleteAgentRequest(agent_id=agent))
    return "agent.deregistered"


async def set_task_types(rig):
    request = agent_pb.RegisterAgentRequest(name="poller", agent_type=AGENT_TYPE_CUSTOM)
    token = await rig.call("AgentService.CreateJoinToken", agent_pb.CreateJoinTokenRequest())
    request.join_token = token.token
    agent = (await rig.call("AgentService.RegisterAgent", request, key="")).agent_id
    types = agent_pb.SetAgentTaskTypesRequest(agent_id=agent)
    types.task_types.add(name="python")
    await rig.call("AgentService.SetAgentTaskTypes", types)
    return "agent.task_types_set"


async def create_key(rig):
    key = ApiKey(name="reader", role=ROLE_VIEWER)
    await rig.call("KeyService.CreateKey", key_pb.CreateKeyRequest(key=key))
    return "key.created"


async def revoke_key(rig):
    await create_key(rig)
    await rig.call("KeyService.RevokeKey", key_pb.RevokeKeyRequest(key_id="reader"))
    return "key.revoked"


async def create_variable(rig):
    await make_variable(rig)
    return "variable.created"


async def update_variable(rig):
    made = await make_variable(rig)
    made.value = "b-2"
    request = variable_pb.UpdateVariableRequest(variable_id="BUCKET", variable=made)
    request.update_mask.paths.append("value")
    await rig.call("VariableService.UpdateVariable", request)
    return "variable.updated"


async def delete_variable(rig):
    await make_variable(rig)
    request = variable_pb.DeleteVariableRequest(variable_id="BUCKET")
    await rig.call("VariableService.DeleteVariable", request)
    return "variable.deleted"


async def rotate_secret_key(rig):
    await rig.call("SystemService.RotateSecretKey", system_service_pb2.RotateSecretKeyRequest())
    return "secret_key.rotated"


async def make_webhook(rig: Rig) -> str:
    await make_job(rig)
    request = webhook_pb.EnableWebhookRequest(job_id="backup")
    return (await rig.call("WebhookService.EnableWebhook", request)).token


async def enable_webhook(rig):
    await make_webhook(rig)
    return "webhook.enabled"


async def rotate_webhook_token(rig):
    await make_webhook(rig)
    request = webhook_pb.RotateWebhookTokenRequest(job_id="backup")
    await rig.call("WebhookService.RotateWebhookToken", request)
    return "webhook.rotated"


async def disable_webhook(rig):
    await make_webhook(rig)
    request = webhook_pb.DisableWebhookRequest(job_id="backup")
    await rig.call("WebhookService.DisableWebhook", request)
    return "webhook.disabled"


async def fire_webhook(rig):
    request = webhook_pb.FireWebhookRequest(token=await make_webhook(rig))
    await rig.call("WebhookService.FireWebhook", request, key="")
    return "job.triggered"


# Whom an entry names where it is not the key that calls.
OTHERS = {
    "AgentService.RegisterAgent": "join token",
    "WebhookService.FireWebhook": "webhook:backup",
}

SCENARIOS = {
    "JobService.CreateJob": create_job,
    "JobService.UpdateJob": update_job,
    "JobService.DeleteJob": delete_job,
    "JobService.PauseJob": pause_job,
    "JobService.ResumeJob": resume_job,
    "JobService.TriggerJob": trigger_job,
    "JobService.TriggerJobs": trigger_jobs,
    "JobService.TriggerJobsStream": trigger_jobs_stream,
    "JobService.RunJob": run_job,
    "JobService.RerunRun": rerun_run,
    "JobService.ClearHistory": clear_history,
    "JobService.CreateGroup": create_group,
    "JobService.RenameGroup": rename_group,
    "JobService.DeleteGroup": delete_group,
    "JobService.AssignGroup": assign_group,
    "ExecutionService.CancelRun": cancel_run,
    "ExecutionService.CancelExecution": cancel_execution,
    "AgentService.RegisterAgent": register_agent,
    "AgentService.CreateJoinToken": create_join_token,
    "AgentService.DrainAgent": drain_agent,
    "AgentService.UpdateAgent": update_agent,
    "AgentService.SetAgentTaskTypes": set_task_types,
    "AgentService.DeleteAgent": delete_agent,
    "WebhookService.EnableWebhook": enable_webhook,
    "WebhookService.RotateWebhookToken": rotate_webhook_token,
    "WebhookService.DisableWebhook": disable_webhook,
    "WebhookService.FireWebhook": fire_webhook,
    "KeyService.CreateKey": create_key,
    "KeyService.RevokeKey": revoke_key,
    "VariableService.CreateVariable": create_variable,
    "VariableService.UpdateVariable": update_variable,
    "VariableService.DeleteVariable": delete_variable,
    "SystemService.RotateSecretKey": rotate_secret_key,
}


def test_every_audited_method_has_a_scenario_here():
    assert set(SCENARIOS) == AUDITED


@pytest.mark.parametrize("method", sorted(SCENARIOS))
async def test_a_change_leaves_an_entry_that_names_its_author(rig, method):
    operation = await SCENARIOS[method](rig)
    found = await entries(rig, operation=operation)
    assert found, f"{method} left no {operation}"
    assert found[0].actor == OTHERS.get(method, "admin")
    assert found[0].actor_id
    assert (found[0].peer, found[0].surface) == ("local", "grpc")
    assert not found[0].refused
    checked = await rig.call("AuditService.VerifyAudit", pb.VerifyAuditRequest())
    assert checked.ok
    assert checked.checked == len(await entries(rig))


@pytest.mark.parametrize(
    "method", sorted(name for name, rule in METHODS.items() if administers(rule.permission))
)
async def test_an_admins_method_that_is_refused_leaves_an_entry(rig, method):
    service, name = method.split(".")
    descriptor = SERVICES[service].DESCRIPTOR.services_by_name[service].methods_by_name[name]
    refusal = await rig.refused(method, descriptor.input_type._concrete_class(), key="viewer")
    assert refusal.code is Code.PERMISSION_DENIED
    [entry] = await entries(rig, refused=True)
    assert (entry.operation, entry.resource_name) == ("call.refused", f"{service}/{name}")
    assert (entry.actor, entry.refused) == ("viewer", True)
    assert entry.details["permission"] == METHODS[method].permission


async def test_a_refused_call_says_what_it_was_about(rig):
    await rig.refused("KeyService.RevokeKey", key_pb.RevokeKeyRequest(key_id="admin"), key="web")
    [entry] = await entries(rig, refused=True)
    assert entry.details["key_id"] == "admin"


async def test_a_key_that_is_refused_again_and_again_does_not_fill_the_log(rig):
    for _ in range(25):
        await rig.refused("KeyService.ListKeys", key_pb.ListKeysRequest(), key="viewer")
    assert len(await entries(rig, refused=True)) == 10
    rig.clock.advance(timedelta(seconds=61))
    await rig.refused("KeyService.ListKeys", key_pb.ListKeysRequest(), key="viewer")
    newest = (await entries(rig, refused=True))[0]
    assert newest.details["left_out_before"] == 15


async def test_an_update_shows_the_definition_before_and_after(rig):
    await update_job(rig)
    [entry] = await entries(rig, operation="job.updated")
    before, after = MessageToDict(entry.before), MessageToDict(entry.after)
    assert before == {k: v for k, v in after.items() if k != "retry_max"} | {"version": 1}
    assert (after["retry_max"], after["version"]) == (3, 2)
    assert after["task"] == {"type": "noop", "message": "ok"} or after["task"]["type"] == "noop"


async def test_secrets_are_in_no_entry(rig):
    job = Job(name="deploy")
    job.task.shell.command = "true"
    job.task.shell.env["DB_PASSWORD"] = "hunter22-literal"
    job.task.shell.env["REGION"] = "eu"
    job.task.shell.env["API_TOKEN"] = "{{API_TOKEN}}"
    await rig.call("JobService.CreateJob", job_pb.CreateJobRequest(job=job))
    made = await make_variable(rig, "API_TOKEN", "hunter22-variable", secret=True)
    made.value = "hunter22-another"
    request = variable_pb.UpdateVariableRequest(variable_id="API_TOKEN", variable=made)
    request.update_mask.paths.append("value")
    await rig.call("VariableService.UpdateVariable", request)
    key = await rig.call(
        "KeyService.CreateKey", key_pb.CreateKeyRequest(key=ApiKey(name="k", role=ROLE_VIEWER))
    )
    await make_agent(rig)

    page = await rig.store.read(list_audit, page=PageRequest(size=100))
    everything = b"".join(row.detail for row in page.items)
    assert b"hunter22" not in everything
    assert key.secret.encode() not in everything
    [created] = await entries(rig, operation="job.created")
    env = created.after["task"]["env"]
    assert (env["REGION"], env["DB_PASSWORD"], env["API_TOKEN"]) == (
        "eu", "••••••••", "{{API_TOKEN}}",
    )  # fmt: skip
    [changed] = await entries(rig, operation="variable.updated")
    assert changed.details["value_changed"]


async def test_entries_are_found_by_each_filter_and_paged(rig):
    await update_job(rig)
    await create_key(rig)
    await rig.refused("KeyService.ListKeys", key_pb.ListKeysRequest(), key="viewer")
    assert [e.operation for e in await entries(rig, operation="job.*")] == [
        "job.updated", "job.created",
    ]  # fmt: skip
    assert [e.operation for e in await entries(rig, actor="viewer")] == ["call.refused"]
    assert [e.operation for e in await entries(rig, resource="reader")] == ["key.created"]
    assert len(await entries(rig)) == 4
    seen, token = [], ""
    while True:
        request = pb.ListAuditRequest(page_size=1, page_token=token)
        page = await rig.call("AuditService.ListAudit", request)
        seen += [entry.sequence for entry in page.entries]
        token = page.next_page_token
        assert page.total == 4
        if not token:
            break
    assert seen == [4, 3, 2, 1]


async def test_what_is_asked_wrongly_is_refused(rig):
    refusal = await rig.refused("AuditService.ListAudit", pb.ListAuditRequest(operation="Job %"))
    assert refusal.code is Code.INVALID_ARGUMENT
    refusal = await rig.refused("AuditService.VerifyAudit", pb.VerifyAuditRequest(page_token="x"))
    assert refusal.code is Code.INVALID_ARGUMENT


async def test_a_repeated_trigger_is_one_entry(rig):
    await make_job(rig)
    request = job_pb.TriggerJobRequest(job_id="backup", request_id="once")
    for _ in range(2):
        await rig.call("JobService.TriggerJob", request)
    assert len(await entries(rig, operation="job.triggered")) == 1
