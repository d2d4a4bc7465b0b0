"""WebhookService: URLs that fire jobs; who may make them, and what a delivery may do."""

import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.api.throttle import FAILURES, WINDOW_SECS
from kronforce.errors import Code
from kronforce.security.webhook_signature import signed_content
from kronforce.store import secret_keys, webhooks
from kronforce.store.audit import list_audit
from kronforce.store.paging import PageRequest
from kronforce.v1 import job_service_pb2, system_service_pb2
from kronforce.v1 import webhook_service_pb2 as pb
from kronforce.v1.execution_service_pb2 import GetRunRequest, ListRunsRequest
from kronforce.v1.job_pb2 import Job, NoopTask, Parameter, Task
from kronforce.v1.run_pb2 import TRIGGER_WEBHOOK
from kronforce.v1.webhook_pb2 import (
    WEBHOOK_BODY_ENVELOPE,
    WEBHOOK_BODY_IGNORED,
    WEBHOOK_BODY_PARAMS,
)

NOBODYS = "kfw_" + "A" * 43


async def job(rig, name="build", **fields):
    wanted = Job(name=name, task=Task(noop=NoopTask()), **fields)
    request = job_service_pb2.CreateJobRequest(job=wanted)
    return await rig.call("JobService.CreateJob", request)


async def enable(rig, name="build", *, key="admin", **options):
    request = pb.EnableWebhookRequest(job_id=name, **options)
    return await rig.call("WebhookService.EnableWebhook", request, key=key)


async def webhook(rig, **options):
    await job(rig)
    return await enable(rig, **options)


def delivery(issued, body=None, **fields):
    token = issued if isinstance(issued, str) else issued.token
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return pb.FireWebhookRequest(token=token, body=raw, **fields)


async def fire(rig, issued, body=None, *, key="", **fields):
    return await rig.call("WebhookService.FireWebhook", delivery(issued, body, **fields), key=key)


async def refused(rig, issued, body=None, *, key="", **fields):
    request = delivery(issued, body, **fields)
    return await rig.refused("WebhookService.FireWebhook", request, key=key)


async def get_run(rig, run_id):
    return await rig.call("ExecutionService.GetRun", GetRunRequest(run_id=run_id))


async def runs(rig):
    return (await rig.call("ExecutionService.ListRuns", ListRunsRequest())).runs


async def audit(rig):
    page = await rig.store.read(list_audit, page=PageRequest(size=100))
    return [row for row in reversed(page.items) if row.operation.startswith("webhook.")]


async def one(rig, method, name="build", key="admin"):
    request = getattr(pb, f"{method}Request")(job_id=name)
    return await rig.call(f"WebhookService.{method}", request, key=key)


def signed(issued, body, *, at, delivery_id=""):
    content = signed_content(str(at), delivery_id, body)
    digest = hmac.new(issued.secret.encode(), content, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def github(issued, body):
    return "sha256=" + hmac.new(issued.secret.encode(), body, hashlib.sha256).hexdigest()


def seconds(rig):
    return rig.clock.now_us() // 1_000_000


# Managing.


async def test_a_webhook_is_enabled_read_rotated_and_disabled(rig):
    made = await job(rig)
    issued = await enable(rig, key="operator")
    assert issued.token.startswith("kfw_")
    assert len(issued.token) == 47
    assert issued.path == f"/api/webhooks/{issued.token}"
    assert issued.url == f"https://kf.example{issued.path}"
    assert issued.secret == ""
    shown = await one(rig, "GetWebhook", key="viewer")
    assert shown == issued.webhook
    assert (shown.job_id, shown.job_name, shown.created_by) == (made.id, "build", "operator")
    assert (shown.hmac, shown.body_as) == (False, WEBHOOK_BODY_ENVELOPE)
    assert issued.token.startswith(shown.token_prefix)

    rotated = await one(rig, "RotateWebhookToken", made.id)
    assert rotated.token != issued.token
    assert rotated.webhook.HasField("rotated_at")
    await refused(rig, issued)
    await fire(rig, rotated)

    await one(rig, "DisableWebhook")
    assert (await refused(rig, rotated)).reason == "WEBHOOK_NOT_FOUND"
    gone = await rig.refused("WebhookService.GetWebhook", pb.GetWebhookRequest(job_id="build"))
    assert (gone.reason, gone.status.code) == ("WEBHOOK_NOT_FOUND", Code.NOT_FOUND.value)


async def test_a_second_webhook_of_a_job_is_refused_with_the_way_out(rig):
    await webhook(rig)
    again = await rig.refused(
        "WebhookService.EnableWebhook", pb.EnableWebhookRequest(job_id="build")
    )
    assert again.reason == "WEBHOOK_EXISTS"
    assert "kronforce webhook rotate build" in again.message


async def test_managing_needs_to_write_the_job(rig):
    await webhook(rig)
    await job(rig, "site", group="web")
    for method in ("EnableWebhook", "RotateWebhookToken", "DisableWebhook"):
        name, request = f"WebhookService.{method}", getattr(pb, f"{method}Request")
        assert (await rig.refused(name, request(job_id="build"), key="web")).reason == (
            "JOB_NOT_FOUND"
        )
        assert (await rig.refused(name, request(job_id="site"), key="viewer")).reason == (
            "ROLE_FORBIDS"
        )
        assert (await rig.refused(name, request(job_id=""))).reason == "INVALID_FIELD"
    await enable(rig, "site", key="web")


async def test_webhooks_are_listed_by_job_page_by_page_and_by_group(rig):
    for name, group in (("c", "web"), ("a", ""), ("b", "web"), ("gone", "")):
        await job(rig, name, group=group)
        await enable(rig, name)
    await job(rig, "without")
    gone = job_service_pb2.DeleteJobRequest(job_id="gone")
    await rig.call("JobService.DeleteJob", gone)

    async def names(key="viewer", **page):
        reply = await rig.call(
            "WebhookService.ListWebhooks", pb.ListWebhooksRequest(**page), key=key
        )
        return [each.job_name for each in reply.webhooks], reply

    first, reply = await names(page_size=2)
    rest, _ = await names(page_size=2, page_token=reply.next_page_token)
    assert (first, rest, reply.total) == (["a", "b"], ["c"], 3)
    assert (await names("web"))[0] == ["b", "c"]


async def test_an_unknown_way_to_take_bodies_is_refused(rig):
    await job(rig)
    request = pb.EnableWebhookRequest(job_id="build", body_as=77)
    assert "body_as" in (await rig.refused("WebhookService.EnableWebhook", request)).message


async def test_changes_are_audited_without_token_or_secret(rig):
    first = await webhook(rig, hmac=True)
    second = await one(rig, "RotateWebhookToken")
    await one(rig, "DisableWebhook")
    entries = await audit(rig)
    assert [entry.operation for entry in entries] == [
        "webhook.enabled",
        "webhook.rotated",
        "webhook.disabled",
    ]
    assert {(entry.resource_type, entry.resource_name) for entry in entries} == {
        ("webhook", "build")
    }
    kept = b"".join(entry.detail for entry in entries)
    for issued in (first, second):
        assert issued.token.encode() not in kept
        assert issued.secret.encode() not in kept
        assert issued.webhook.token_prefix.encode() in kept


async def test_neither_token_nor_secret_is_in_the_store(rig):
    issued = await webhook(rig, hmac=True)
    row = await rig.store.read(
        webhooks.find_by_token, hashlib.sha256(issued.token.encode()).digest()
    )
    assert row is not None
    kept = repr(row).encode() + row.token_hash + row.secret
    assert issued.token.encode() not in kept
    assert issued.secret.encode() not in kept


# Firing.


async def test_a_delivery_fires_the_job_and_says_which_webhook_did(rig):
    issued = await webhook(rig)
    fired = await fire(rig, issued, {"params": {"day": "x"}})
    run = await get_run(rig, fired.run_id)
    assert (run.trigger, run.triggered_by, run.job_name) == (
        TRIGGER_WEBHOOK,
        "webhook:build",
        "build",
    )
    assert run.params["day"] == "x"
    assert len(fired.execution_ids) == 1
    page = await rig.store.read(list_audit, page=PageRequest(size=1))
    [entry] = page.items
    assert (entry.operation, entry.actor) == ("job.triggered", "webhook:build")


async def test_the_key_that_comes_with_a_delivery_says_nothing(rig):
    issued = await webhook(rig)
    for key in ("admin", "viewer", "web"):
        fired = await fire(rig, issued, key=key)
        assert (await get_run(rig, fired.run_id)).triggered_by == "webhook:build"


@pytest.mark.parametrize(
    "token", ["", "x", NOBODYS, "kf_" + "0" * 43, "kfw_", "é" * 500, "a/b", " "]
)
async def test_every_token_that_fires_nothing_gets_the_same_answer(rig, token):
    issued = await webhook(rig)
    await one(rig, "DisableWebhook")
    unknown, disabled = await refused(rig, token), await refused(rig, issued)
    assert (unknown.reason, unknown.message) == (disabled.reason, disabled.message)
    assert unknown.status == disabled.status
    assert not token.strip() or len(token) < 4 or token not in unknown.message


async def test_whoever_deletes_the_job_ends_its_webhook(rig):
    issued = await webhook(rig)
    await rig.call("JobService.DeleteJob", job_service_pb2.DeleteJobRequest(job_id="build"))
    assert (await refused(rig, issued)).reason == "WEBHOOK_NOT_FOUND"
    await job(rig)
    assert (await refused(rig, issued)).reason == "WEBHOOK_NOT_FOUND"
    await enable(rig)


async def test_a_renamed_job_in_another_group_keeps_its_webhook(rig):
    issued = await webhook(rig)
    await fire(rig, issued)
    change = job_service_pb2.UpdateJobRequest(
        job_id="build", job=Job(name="make", group="web", task=Task(noop=NoopTask()))
    )
    await rig.call("JobService.UpdateJob", change)
    fired = await fire(rig, issued)
    run = await get_run(rig, fired.run_id)
    assert (run.job_name, run.group, run.triggered_by) == ("make", "web", "webhook:make")


async def test_params_are_checked_as_those_of_any_trigger(rig):
    await job(rig, parameters=[Parameter(name="ref", required=True)])
    issued = await enable(rig)
    assert "params.ref" in (await refused(rig, issued)).message
    wrong = await refused(rig, issued, {"params": {"ref": "main", "nope": 1}})
    assert [each.field for each in wrong.violations] == ["params.nope"]
    await fire(rig, issued, {"params": {"ref": "main"}})


async def test_somebody_elses_event_can_be_taken_as_it_is(rig):
    await job(rig, parameters=[Parameter(name="ref", required=True)])
    issued = await enable(rig, body_as=WEBHOOK_BODY_PARAMS)
    event = {"ref": "refs/heads/main", "repository": {"id": 1}, "force": True, "priority": 9}
    fired = await fire(rig, issued, event)
    run = await get_run(rig, fired.run_id)
    assert dict(run.params) == {"ref": "refs/heads/main"}
    assert run.priority == 0


async def test_a_body_that_is_ignored_may_be_anything(rig):
    issued = await webhook(rig, body_as=WEBHOOK_BODY_IGNORED)
    await fire(rig, issued, b"\x00\xff not json")


async def test_params_that_no_text_column_holds_are_no_fault_of_ours(rig):
    await job(rig, max_concurrent=1, concurrency_key="{{params.x}}")
    issued = await enable(rig)
    assert (await refused(rig, issued, {"params": {"x": "a\x00b"}})).reason == "INVALID_FIELD"
    await fire(rig, issued, {"params": {"x": "é", "y": "a\x00b"}})


@pytest.mark.parametrize("field", ["force", "skip_deps", "targets", "priority", "job_id"])
async def test_a_delivery_cannot_ask_for_more_than_params(rig, field):
    issued = await webhook(rig)
    assert [each.field for each in (await refused(rig, issued, {field: 1})).violations] == [field]
    assert not await runs(rig)


async def test_a_body_beyond_the_limit_is_refused(rig):
    issued = await webhook(rig, body_as=WEBHOOK_BODY_IGNORED)
    await fire(rig, issued, b"x" * (1 << 20))
    too_large = await refused(rig, issued, b"x" * ((1 << 20) + 1))
    assert [each.field for each in too_large.violations] == ["body"]


async def test_outside_its_window_a_job_is_not_fired(rig):
    opens = Timestamp(seconds=seconds(rig) + 3_600)
    await job(rig, starts_at=opens)
    issued = await enable(rig)
    early = await refused(rig, issued)
    assert early.reason == "OUTSIDE_WINDOW"
    assert "trigger it with force" not in early.message
    rig.clock.advance(timedelta(hours=1))
    await fire(rig, issued)


async def test_a_paused_job_is_not_fired_until_it_is_resumed(rig):
    issued = await webhook(rig)
    await rig.call("JobService.PauseJob", job_service_pb2.PauseJobRequest(job_id="build"))
    held = await refused(rig, issued)
    assert (held.reason, held.status.code) == ("JOB_PAUSED", Code.FAILED_PRECONDITION.value)
    by_hand = job_service_pb2.TriggerJobRequest(job_id="build")
    await rig.call("JobService.TriggerJob", by_hand)
    await rig.call("JobService.ResumeJob", job_service_pb2.ResumeJobRequest(job_id="build"))
    await fire(rig, issued)


async def test_a_pause_with_an_end_holds_until_then(rig):
    issued = await webhook(rig)
    until = Timestamp(seconds=seconds(rig) + 60)
    request = job_service_pb2.PauseJobRequest(job_id="build", until=until)
    await rig.call("JobService.PauseJob", request)
    await refused(rig, issued)
    rig.clock.advance(timedelta(seconds=60))
    await fire(rig, issued)


async def test_a_ping_fires_nothing(rig):
    issued = await webhook(rig, hmac=True)
    pinged = await fire(rig, issued, {}, event="ping", signature=github(issued, b"{}"))
    assert pinged == pb.FireWebhookResponse()
    assert (await refused(rig, issued, {}, event="ping")).reason == "BAD_SIGNATURE"
    assert not await runs(rig)


# Delivery ids.


async def test_the_same_delivery_is_the_same_run(rig):
    issued = await webhook(rig)
    first = await fire(rig, issued, {"params": {"n": 1}}, delivery_id="d1")
    again = await fire(rig, issued, {"params": {"n": 1}}, delivery_id="d1")
    assert (again.run_id, again.execution_ids) == (first.run_id, first.execution_ids)
    assert (first.replayed, again.replayed) == (False, True)
    other = await refused(rig, issued, {"params": {"n": 2}}, delivery_id="d1")
    assert other.reason == "REQUEST_ID_REUSED"
    assert (await fire(rig, issued, delivery_id="d2")).run_id != first.run_id
    assert len(await runs(rig)) == 2


async def test_deliveries_are_known_again_after_the_token_was_replaced(rig):
    issued = await webhook(rig)
    first = await fire(rig, issued, delivery_id="d1")
    rotated = await one(rig, "RotateWebhookToken")
    assert (await fire(rig, rotated, delivery_id="d1")).run_id == first.run_id
    await one(rig, "DisableWebhook")
    assert (await fire(rig, await enable(rig), delivery_id="d1")).run_id == first.run_id


async def test_delivery_ids_are_each_webhooks_own_and_apart_from_keys(rig):
    issued, _ = await webhook(rig), await job(rig, "other")
    by_key = job_service_pb2.TriggerJobRequest(job_id="build", request_id="d1")
    made = await rig.call("JobService.TriggerJob", by_key)
    ids = {made.run.id, (await fire(rig, issued, delivery_id="d1")).run_id}
    ids.add((await fire(rig, await enable(rig, "other"), delivery_id="d1")).run_id)
    assert len(ids) == 3


async def test_without_a_delivery_id_each_delivery_is_a_run(rig):
    issued = await webhook(rig)
    assert len({(await fire(rig, issued)).run_id for _ in range(3)}) == 3


@pytest.mark.parametrize("text", ["x" * 101, "a\tb", "\x07", "é"])
async def test_a_delivery_id_that_cannot_be_kept_is_refused(rig, text):
    issued = await webhook(rig)
    wrong = await refused(rig, issued, delivery_id=text)
    assert [each.field for each in wrong.violations] == ["delivery_id"]


# Signatures.


async def test_what_is_not_signed_right_is_refused(rig):
    issued = await webhook(rig, hmac=True)
    other = await enable(rig, (await job(rig, "other")).name, hmac=True)
    for signature in ("", "nonsense", github(other, b"{}"), github(issued, b"{ }")):
        wrong = await refused(rig, issued, {}, signature=signature)
        assert (wrong.reason, wrong.status.code) == (
            "BAD_SIGNATURE",
            Code.UNAUTHENTICATED.value,
        )
        assert issued.secret not in wrong.message
    await fire(rig, issued, {}, signature=github(issued, b"{}"))
    assert len(await runs(rig)) == 1


async def test_a_recorded_delivery_fires_once_and_not_after_the_window(rig):
    issued = await webhook(rig, hmac=True)
    signature = signed(issued, b"{}", at=seconds(rig))
    first = await fire(rig, issued, {}, signature=signature)
    again = await fire(rig, issued, {}, signature=signature)
    assert (again.run_id, again.replayed) == (first.run_id, True)
    renamed = await refused(rig, issued, {}, signature=signature, delivery_id="another")
    assert renamed.reason == "BAD_SIGNATURE"
    rig.clock.advance(timedelta(seconds=301))
    assert (await refused(rig, issued, {}, signature=signature)).reason == "BAD_SIGNATURE"
    assert len(await runs(rig)) == 1


async def test_a_sender_that_tries_again_signs_anew_and_gets_its_run(rig):
    issued = await webhook(rig, hmac=True)
    ids = set()
    for _ in range(2):
        signature = signed(issued, b"{}", at=seconds(rig), delivery_id="d1")
        ids.add((await fire(rig, issued, {}, signature=signature, delivery_id="d1")).run_id)
        rig.clock.advance(timedelta(seconds=400))
    assert len(ids) == 1


async def test_rotating_replaces_the_secret_too(rig):
    issued = await webhook(rig, hmac=True)
    rotated = await one(rig, "RotateWebhookToken")
    assert rotated.secret not in ("", issued.secret)
    assert (await refused(rig, rotated, {}, signature=github(issued, b"{}"))).reason == (
        "BAD_SIGNATURE"
    )
    await fire(rig, rotated, {}, signature=github(rotated, b"{}"))


async def test_secrets_are_written_anew_when_their_key_is_rotated(rig):
    issued = await webhook(rig, hmac=True)
    before = await rig.store.read(secret_keys.all_keys)
    request = system_service_pb2.RotateSecretKeyRequest()
    await rig.call("SystemService.RotateSecretKey", request)
    after = await rig.store.read(secret_keys.all_keys)
    assert len(after) == 1
    assert after[0].id != before[0].id
    await fire(rig, issued, {}, signature=github(issued, b"{}"))


# Those who try.


async def test_wrong_tokens_are_throttled_and_good_ones_go_on(rig):
    issued = await webhook(rig)
    await fire(rig, issued)
    for _ in range(FAILURES):
        assert (await refused(rig, NOBODYS)).reason == "WEBHOOK_NOT_FOUND"
    assert (await refused(rig, NOBODYS)).reason == "OVERLOADED"
    await fire(rig, issued)
    rig.clock.advance(timedelta(seconds=WINDOW_SECS))
    assert (await refused(rig, NOBODYS)).reason == "WEBHOOK_NOT_FOUND"


async def test_a_token_that_was_good_is_throttled_once_it_is_not(rig):
    issued = await webhook(rig)
    await fire(rig, issued)
    await one(rig, "DisableWebhook")
    reasons = {(await refused(rig, issued)).reason for _ in range(FAILURES + 1)}
    assert reasons == {"WEBHOOK_NOT_FOUND", "OVERLOADED"}


async def test_wrong_signatures_count_as_wrong_tokens_do(rig):
    issued = await webhook(rig, hmac=True)
    for _ in range(FAILURES):
        assert (await refused(rig, issued, {}, signature="x")).reason == "BAD_SIGNATURE"
    assert (await refused(rig, NOBODYS)).reason == "OVERLOADED"
