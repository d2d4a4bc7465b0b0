"""Triggering and ExecutionService: what callers see of runs and executions."""

import asyncio

import pytest
import sqlalchemy as sa
from google.protobuf.struct_pb2 import Struct

from kronforce.api.transport import CallFailed
from kronforce.core.ids import to_text
from kronforce.errors import Code
from kronforce.store import tables
from kronforce.v1 import execution_service_pb2 as pb
from kronforce.v1.agent_service_pb2 import ExecutionOutput, RegisterAgentRequest
from kronforce.v1.execution_pb2 import (
    DISPATCH_STATE_NONE,
    EXECUTION_STATE_CANCELLED,
    EXECUTION_STATE_FAILED,
    EXECUTION_STATE_PENDING,
    EXECUTION_STATE_RUNNING,
    OUTPUT_STREAM_STDERR,
    OUTPUT_STREAM_STDOUT,
    OutputChunk,
)
from kronforce.v1.job_pb2 import AnyTarget, Job, NoopTask, Target, Task
from kronforce.v1.job_service_pb2 import (
    ClearHistoryRequest,
    CreateJobRequest,
    DeleteJobRequest,
    RerunRunRequest,
    RunJobRequest,
    TriggerJobRequest,
    TriggerJobsRequest,
)
from kronforce.v1.run_pb2 import TRIGGER_API, TRIGGER_RETRY
from tests.store.rows import make_execution, make_run

ANY = Target(any=AnyTarget())


async def create(rig, name="etl", **fields):
    job = Job(**{"name": name, "task": Task(noop=NoopTask())} | fields)
    return await rig.call("JobService.CreateJob", CreateJobRequest(job=job))


async def trigger(rig, name="etl", key="admin", **fields):
    request = TriggerJobRequest(job_id=name, **fields)
    return await rig.call("JobService.TriggerJob", request, key=key)


async def get_run(rig, run_id):
    return await rig.call("ExecutionService.GetRun", pb.GetRunRequest(run_id=run_id))


async def list_runs(rig, key="admin", **fields):
    return await rig.call("ExecutionService.ListRuns", pb.ListRunsRequest(**fields), key=key)


async def get_execution(rig, execution_id):
    request = pb.GetExecutionRequest(execution_id=execution_id)
    return await rig.call("ExecutionService.GetExecution", request)


async def put_execution(rig, job, run=None, **values):
    """An execution as the hot path would have left it."""

    def insert(tx):
        row = tx.conn.execute(sa.select(tables.jobs).where(tables.jobs.c.name == job.name)).one()
        made = make_run(tx, row, **(run or {}))
        return made, make_execution(tx, made, **values)

    return await rig.store.write(insert)


async def put_output(rig, execution, *rows, dropped=0):
    """Streamed output: (stream, start, data)."""

    def insert(tx):
        for sequence, (stream, start, data) in enumerate(rows, 1):
            tx.conn.execute(
                sa.insert(tables.output_chunks).values(
                    key=execution.key * 100 + sequence,
                    execution_key=execution.key,
                    stream=stream,
                    start=start,
                    length=len(data),
                    sequence=sequence,
                    at=0,
                    data=data,
                )
            )
        ends = {s: start + len(data) for s, start, data in rows}
        tx.conn.execute(
            sa.insert(tables.output_progress).values(
                execution_key=execution.key,
                sequence=len(rows),
                stdout_bytes=ends.get(1, 0),
                stderr_bytes=ends.get(2, 0),
                stored_bytes=sum(len(data) for _, _, data in rows) + dropped,
                dropped_bytes=dropped,
            )
        )

    await rig.store.write_output(insert)


async def put_inline(rig, execution, *chunks):
    data = ExecutionOutput(chunks=chunks).SerializeToString()
    statement = sa.insert(tables.inline_output).values(execution_key=execution.key, data=data)
    await rig.store.write(lambda tx: tx.conn.execute(statement) and None)


async def test_a_trigger_gives_the_run_and_its_executions(rig):
    job = await create(rig)
    params = Struct()
    params.update({"day": "monday"})
    made = await trigger(rig, key="operator", params=params, priority=7, client_id="c")
    run = await get_run(rig, made.run.id)

    assert (run.job_id, run.job_name, run.group) == (job.id, "etl", "Default")
    assert (run.state, run.trigger, run.triggered_by) == (
        EXECUTION_STATE_PENDING,
        TRIGGER_API,
        "operator",
    )
    assert (run.params, run.priority, run.client_id, run.job_version) == (params, 7, "c", 1)
    assert [e.id for e in run.executions] == list(made.execution_ids)
    assert [(t.index, t.state) for t in run.targets] == [(0, EXECUTION_STATE_PENDING)]
    assert run.targets_by_state == {"pending": 1}
    assert not made.replayed
    assert made.warnings


async def test_a_repeated_trigger_gives_the_same_run(rig):
    await create(rig)
    first = await trigger(rig, request_id="r1")
    again = await trigger(rig, request_id="r1")

    assert again.replayed
    assert again.run.id == first.run.id
    assert again.execution_ids == first.execution_ids


async def test_ids_of_creates_and_of_triggers_never_meet(rig):
    job = Job(name="etl", task=Task(noop=NoopTask()))
    await rig.call("JobService.CreateJob", CreateJobRequest(job=job, request_id="r1"))
    assert not (await trigger(rig, request_id="r1")).replayed


async def test_a_trigger_of_nothing_is_refused(rig):
    assert (await rig.refused("JobService.TriggerJob", TriggerJobRequest())).violations
    unknown = TriggerJobRequest(job_id="nothing")
    assert (await rig.refused("JobService.TriggerJob", unknown)).reason == "JOB_NOT_FOUND"


async def test_input_that_json_cannot_carry_is_refused_by_its_place(rig):
    await create(rig)
    params = Struct()
    params.fields["rate"].number_value = float("nan")
    request = TriggerJobRequest(job_id="etl", params=params, request_id="r1")
    refused = await rig.refused("JobService.TriggerJob", request)
    assert refused.violations[0].field == "params.rate"


async def test_an_item_that_is_refused_stops_no_other(rig):
    await create(rig)
    request = TriggerJobsRequest(
        requests=[TriggerJobRequest(job_id=name) for name in ("etl", "nothing", "etl")]
    )
    results = (await rig.call("JobService.TriggerJobs", request)).results

    assert [bool(result.run_id) for result in results] == [True, False, True]
    assert results[1].error.code == Code.NOT_FOUND.value
    assert len({result.run_id for result in results}) == 3


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_a_size(rig, count):
    request = TriggerJobsRequest(requests=[TriggerJobRequest(job_id="x")] * count)
    refused = await rig.refused("JobService.TriggerJobs", request)
    assert refused.violations[0].field == "requests"


async def test_a_stream_of_batches_is_answered_in_order(rig):
    for name in "abc":
        await create(rig, name)

    async def requests():
        for name in "abcabc":
            yield TriggerJobsRequest(requests=[TriggerJobRequest(job_id=name, request_id=name)])

    async with rig.bidi("JobService.TriggerJobsStream", requests()) as responses:
        results = [response.results[0] async for response in responses]

    assert [r.run_id for r in results[:3]] == [r.run_id for r in results[3:]]
    assert sum(result.replayed for result in results) == 3
    made = [await get_run(rig, result.run_id) for result in results[:3]]
    assert [run.job_name for run in made] == ["a", "b", "c"]


async def test_runs_are_listed_newest_first_in_pages_and_filtered(rig):
    await create(rig)
    await create(rig, "site", group="web")
    ids = [(await trigger(rig, name)).run.id for name in ("etl", "site", "etl")]

    first = await list_runs(rig, page_size=2)
    rest = await list_runs(rig, page_token=first.next_page_token)
    assert [run.id for run in [*first.runs, *rest.runs]] == ids[::-1]
    assert (first.total, first.total_exact) == (3, True)
    assert [run.id for run in (await list_runs(rig, job_id="site")).runs] == [ids[1]]
    assert [run.id for run in (await list_runs(rig, group="web")).runs] == [ids[1]]
    assert not (await list_runs(rig, state=EXECUTION_STATE_FAILED)).runs
    assert [run.id for run in (await list_runs(rig, key="web")).runs] == [ids[1]]


async def test_a_run_is_found_by_the_end_of_its_id(rig):
    await create(rig)
    run_id = (await trigger(rig)).run.id
    await trigger(rig)

    assert [run.id for run in (await list_runs(rig, id_suffix=run_id[-8:])).runs] == [run_id]
    request = pb.ListRunsRequest(id_suffix="xyz")
    refused = await rig.refused("ExecutionService.ListRuns", request)
    assert refused.violations[0].field == "id_suffix"


async def test_what_is_outside_of_a_key_s_groups_is_not_there(rig):
    await create(rig)
    made = await trigger(rig)
    run, execution = made.run.id, made.execution_ids[0]

    refused = await rig.refused("ExecutionService.GetRun", pb.GetRunRequest(run_id=run), key="web")
    assert (refused.code, refused.reason) == (Code.NOT_FOUND, "RUN_NOT_FOUND")
    request = pb.GetExecutionRequest(execution_id=execution)
    refused = await rig.refused("ExecutionService.GetExecution", request, key="web")
    assert refused.reason == "EXECUTION_NOT_FOUND"
    request = TriggerJobRequest(job_id="etl")
    refused = await rig.refused("JobService.TriggerJob", request, key="web")
    assert refused.reason == "JOB_NOT_FOUND"


async def test_a_name_is_no_id_of_a_run(rig):
    request = pb.GetRunRequest(run_id="etl")
    assert (await rig.refused("ExecutionService.GetRun", request)).reason == "RUN_NOT_FOUND"


async def test_an_execution_that_no_enrolled_agent_can_run_waits_as_labels(rig):
    await create(rig, target=ANY)
    made = await trigger(rig)
    execution = await get_execution(rig, made.execution_ids[0])

    assert (execution.state, execution.state_reason) == (EXECUTION_STATE_PENDING, "labels")
    assert "no enrolled agent fits" in execution.message
    assert execution.trigger == "api"
    assert execution.dispatch.state == DISPATCH_STATE_NONE
    run = await get_run(rig, made.run.id)
    assert (run.state_reason, run.message) == ("labels", execution.message)


async def test_an_execution_whose_agents_are_away_waits_as_offline(rig):
    await create(rig, target=ANY)
    made = await trigger(rig)
    request = RegisterAgentRequest(name="web-1")
    await rig.call("AgentService.RegisterAgent", request, key="enroller")

    execution = await get_execution(rig, made.execution_ids[0])
    assert execution.state_reason == "offline"


async def test_executions_are_listed_and_filtered(rig):
    await create(rig)
    await create(rig, "site", group="web")
    first, second = [await trigger(rig, name) for name in ("etl", "site")]

    async def found(**fields):
        request = pb.ListExecutionsRequest(**fields)
        listed = await rig.call("ExecutionService.ListExecutions", request)
        return [execution.id for execution in listed.executions]

    etl, site = first.execution_ids[0], second.execution_ids[0]
    assert await found() == [site, etl]
    assert await found(run_id=first.run.id) == [etl]
    assert await found(job_id="site") == [site]
    assert await found(group="web") == [site]
    assert await found(search="ET") == [etl]
    assert await found(state=EXECUTION_STATE_RUNNING) == []
    request = pb.ListExecutionsRequest(agent_id="nobody")
    refused = await rig.refused("ExecutionService.ListExecutions", request)
    assert refused.reason == "AGENT_NOT_FOUND"


async def test_a_failed_execution_says_how(rig):
    job = await create(rig)
    _, row = await put_execution(
        rig,
        job,
        run={"state": 5, "finished_at": 2, "state_reason": "exit_code"},
        state=5,
        phase=0,
        state_reason="exit_code",
        exit_code=137,
        finished_at=2,
    )
    execution = await get_execution(rig, to_text(row.id))

    assert execution.HasField("exit_code")
    assert execution.exit_code == 137
    assert execution.message == "exit 137: killed by SIGKILL (out of memory?)"


async def test_output_that_came_with_the_result_is_shown(rig):
    _, row = await put_execution(
        rig, await create(rig), state=4, phase=0, finished_at=2, stdout_bytes=3, stderr_bytes=2
    )
    await put_inline(
        rig,
        row,
        OutputChunk(stream=OUTPUT_STREAM_STDOUT, data=b"ok\n"),
        OutputChunk(stream=OUTPUT_STREAM_STDERR, data=b"\xff!"),
    )
    execution = await get_execution(rig, to_text(row.id))

    assert (execution.stdout, execution.stderr) == ("ok\n", "�!")
    assert not execution.stdout_truncated
    assert not execution.stderr_truncated


async def test_streamed_output_and_the_rest_with_the_result_read_as_one(rig):
    _, row = await put_execution(
        rig, await create(rig), state=4, phase=0, finished_at=2, stdout_bytes=9
    )
    await put_output(rig, row, (1, 0, b"one "), (1, 4, b"two"))
    await put_inline(rig, row, OutputChunk(stream=OUTPUT_STREAM_STDOUT, offset=7, data=b" 3"))

    execution = await get_execution(rig, to_text(row.id))
    assert execution.stdout == "one two 3"
    assert not execution.stdout_truncated


async def test_of_more_than_256_kib_the_head_is_shown_and_said_to_be_one(rig):
    block = b"x" * (200 << 10)
    _, row = await put_execution(
        rig, await create(rig), state=4, phase=0, finished_at=2, stdout_bytes=2 * len(block)
    )
    await put_output(rig, row, (1, 0, block), (1, len(block), block))

    execution = await get_execution(rig, to_text(row.id))
    assert len(execution.stdout) == 256 << 10
    assert execution.stdout_truncated


async def test_what_was_not_kept_is_told_of_an_execution_and_of_its_run(rig):
    run, row = await put_execution(
        rig, await create(rig), state=4, phase=0, finished_at=2, stdout_bytes=32, stderr_bytes=5
    )
    await put_output(rig, row, (1, 0, b"head"), (1, 26, b"tail"), dropped=22)
    await put_inline(
        rig,
        row,
        OutputChunk(stream=OUTPUT_STREAM_STDOUT, offset=30, data=b"ok"),
        OutputChunk(stream=OUTPUT_STREAM_STDERR, data=b"12"),
        OutputChunk(stream=OUTPUT_STREAM_STDERR, offset=2, gap_bytes=3),
    )
    assert (await get_execution(rig, to_text(row.id))).missing_bytes == 22 + 3
    (shown,) = (await get_run(rig, to_text(run.id))).executions
    assert shown.missing_bytes == 22 + 3


async def test_of_what_runs_the_cap_tells_what_is_gone_by_now(rig):
    run, row = await put_execution(rig, await create(rig), state=3, phase=3, started_at=1)
    await put_output(rig, row, (1, 0, b"head"), (1, 26, b"tail"), dropped=22)
    (shown,) = (await get_run(rig, to_text(run.id))).executions
    assert (shown.stdout_bytes, shown.missing_bytes) == (0, 22)


async def test_output_ends_at_its_first_gap(rig):
    _, row = await put_execution(
        rig, await create(rig), state=4, phase=0, finished_at=2, stdout_bytes=30
    )
    await put_output(rig, row, (1, 0, b"head"), (1, 26, b"tail"))

    execution = await get_execution(rig, to_text(row.id))
    assert execution.stdout == "head"
    assert execution.stdout_truncated


async def test_what_runs_shows_the_bytes_that_are_stored(rig):
    _, row = await put_execution(rig, await create(rig), state=3, phase=5)
    await put_output(rig, row, (1, 0, b"so far"))

    execution = await get_execution(rig, to_text(row.id))
    assert (execution.stdout, execution.stdout_bytes) == ("so far", 6)


async def test_an_execution_whose_agent_is_away_is_unreachable(rig):
    job = await create(rig)
    request = RegisterAgentRequest(name="web-1")
    await rig.call("AgentService.RegisterAgent", request, key="enroller")
    agent_key = await rig.store.read(lambda tx: tx.conn.scalar(sa.select(tables.agents.c.key)))
    _, row = await put_execution(rig, job, state=3, phase=5, agent_key=agent_key)

    execution = await get_execution(rig, to_text(row.id))
    assert (execution.state_reason, execution.agent_name) == ("agent_unreachable", "web-1")
    assert execution.message


async def test_a_list_of_runs_says_why_each_went_wrong(rig):
    job = await create(rig)
    for number, signal, message in ((3, 0, "exit 3"), (127, 0, ""), (None, 9, "")):
        reason = "signal" if signal else "exit_code"
        ended = {"state": EXECUTION_STATE_FAILED, "state_reason": reason, "finished_at": 1}
        await put_execution(
            rig, job, ended, phase=0, exit_code=number, signal=signal, message=message, **ended
        )

    listed = await list_runs(rig)
    assert [run.message for run in listed.runs] == [
        "killed by SIGKILL (out of memory?)", "exit 127: command not found", "exit 3",
    ]  # fmt: skip


async def test_a_reason_to_cancel_has_a_length(rig):
    request = pb.CancelRunRequest(run_id="x", reason="y" * 1001)
    refused = await rig.refused("ExecutionService.CancelRun", request)
    assert refused.violations[0].field == "reason"


async def test_a_waiting_run_is_cancelled_at_once_by_name_and_reason(rig):
    await create(rig)
    made = await trigger(rig)
    request = pb.CancelRunRequest(run_id=made.run.id, reason="not today")
    run = await rig.call("ExecutionService.CancelRun", request, key="operator")

    assert (run.state, run.cancelled_by) == (EXECUTION_STATE_CANCELLED, "operator")
    assert "operator" in run.executions[0].message
    assert "not today" in run.executions[0].message
    refused = await rig.refused("ExecutionService.CancelRun", request)
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "ALREADY_TERMINAL")


async def test_an_execution_is_cancelled_by_itself(rig):
    await create(rig)
    made = await trigger(rig)
    request = pb.CancelExecutionRequest(execution_id=made.execution_ids[0])
    execution = await rig.call("ExecutionService.CancelExecution", request)

    assert execution.state == EXECUTION_STATE_CANCELLED
    assert (await get_run(rig, made.run.id)).state == EXECUTION_STATE_CANCELLED


async def test_what_waits_of_a_deleted_job_is_cancelled_and_stays_readable(rig):
    await create(rig)
    made = [await trigger(rig) for _ in range(3)]
    reply = await rig.call("JobService.DeleteJob", DeleteJobRequest(job_id="etl"))

    assert reply.cancelled_runs == 3
    for one in made:
        run = await get_run(rig, one.run.id)
        assert (run.state, run.job_name) == (EXECUTION_STATE_CANCELLED, "etl")


async def test_a_viewer_cancels_nothing(rig):
    request = pb.CancelRunRequest(run_id="x")
    refused = await rig.refused("ExecutionService.CancelRun", request, key="viewer")
    assert refused.reason == "ROLE_FORBIDS"


async def test_a_watch_of_runs_that_have_ended_tells_so_and_ends(rig):
    await create(rig)
    made = await trigger(rig)
    await rig.call("ExecutionService.CancelRun", pb.CancelRunRequest(run_id=made.run.id))

    request = pb.WatchRunsRequest(run_ids=[made.run.id])
    async with rig.follow("ExecutionService.WatchRuns", request) as frames:
        updates = [update async for frame in frames for update in frame.updates]
    assert [update.run_id for update in updates] == [made.run.id]
    assert updates[0].state.state == EXECUTION_STATE_CANCELLED
    assert updates[0].state.HasField("finished_at")


async def test_run_job_tells_the_run_first_and_ends_with_it(rig):
    await create(rig)
    request = RunJobRequest(trigger=TriggerJobRequest(job_id="etl"))
    async with rig.follow("JobService.RunJob", request) as frames:
        run_id = (await anext(frames)).updates[0].run_id
        await rig.call("ExecutionService.CancelRun", pb.CancelRunRequest(run_id=run_id))
        states = [u.state.state async for frame in frames for u in frame.updates]
    assert states[-1] == EXECUTION_STATE_CANCELLED


async def test_output_is_read_from_any_place(rig):
    _, row = await put_execution(rig, await create(rig), state=4, phase=0, finished_at=2)
    await put_output(rig, row, (1, 0, b"one"), (2, 0, b"err"), (1, 3, b"two"))

    request = pb.ReadOutputRequest(execution_id=to_text(row.id), stdout_offset=1)
    async with rig.follow("ExecutionService.ReadOutput", request) as frames:
        chunks = [chunk async for frame in frames for chunk in frame.chunks]
    assert [(c.stream, c.offset, c.data) for c in chunks] == [
        (1, 1, b"ne"),
        (2, 0, b"err"),
        (1, 3, b"two"),
    ]


async def test_nothing_lies_before_the_beginning_of_an_output(rig):
    _, row = await put_execution(rig, await create(rig), state=4, phase=0, finished_at=2)
    execution_id = to_text(row.id)
    before = pb.OutputPosition(execution_id=execution_id, stream=OUTPUT_STREAM_STDOUT, offset=-1)
    for method, field, request in (
        ("ReadOutput", "stderr_offset",
         pb.ReadOutputRequest(execution_id=execution_id, stderr_offset=-1)),
        ("WatchRuns", "positions[0].offset",
         pb.WatchRunsRequest(run_ids=[execution_id], positions=[before])),
    ):  # fmt: skip
        with pytest.raises(CallFailed) as refused:
            async with rig.follow(f"ExecutionService.{method}", request) as frames:
                await anext(frames)
        assert refused.value.violations[0].field == field


async def explain(rig, run_id, key="admin"):
    request = pb.ExplainRunRequest(run_id=run_id)
    return await rig.call("ExecutionService.ExplainRun", request, key=key)


async def test_a_waiting_run_explains_itself(rig):
    await create(rig, target=ANY)
    made = await trigger(rig)

    told = await explain(rig, made.run.id)

    assert (told.run_id, told.job_name) == (made.run.id, "etl")
    assert (told.state, told.state_reason) == (EXECUTION_STATE_PENDING, "labels")
    assert told.sentence.startswith("Waiting 0 s: no enrolled agent fits any agent")
    assert told.next_steps
    (one,) = told.executions
    assert (one.execution_id, one.state_reason) == (made.execution_ids[0], "labels")
    assert one.since.ToMicroseconds() == rig.clock.now_us()
    # `offline_timeout_secs`, an hour, comes before `queue_timeout_secs`, a day.
    assert one.until.ToMicroseconds() == rig.clock.now_us() + 3_600_000_000
    assert told.further_targets == 0


async def test_a_run_out_of_scope_is_not_explained_and_not_run_again(rig):
    await create(rig, group="ops")
    made = await trigger(rig)

    for method, request in (
        ("ExecutionService.ExplainRun", pb.ExplainRunRequest(run_id=made.run.id)),
        ("JobService.RerunRun", RerunRunRequest(run_id=made.run.id)),
        ("JobService.ClearHistory", ClearHistoryRequest(job_id="etl")),
    ):
        refused = await rig.refused(method, request, key="web")
        assert refused.code is Code.NOT_FOUND


async def test_a_rerun_names_what_it_runs_again(rig):
    await create(rig, target=ANY)
    first = await trigger(rig)

    again = await rig.call(
        "JobService.RerunRun", RerunRunRequest(run_id=first.run.id, request_id="r")
    )
    same = await rig.call(
        "JobService.RerunRun", RerunRunRequest(run_id=first.run.id, request_id="r")
    )

    assert (again.run.rerun_of, again.run.trigger) == (first.run.id, TRIGGER_RETRY)
    assert (same.run.id, same.replayed) == (again.run.id, True)
    assert (await get_run(rig, again.run.id)).rerun_of == first.run.id
    refused = await rig.refused(
        "JobService.RerunRun", RerunRunRequest(run_id=first.run.id, failed_targets_only=True)
    )
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "NOTHING_TO_RERUN")
    refused = await rig.refused("JobService.RerunRun", RerunRunRequest())
    assert refused.code is Code.INVALID_ARGUMENT


async def test_clearing_a_history_leaves_the_newest_run(rig):
    job = await create(rig)
    for _ in range(3):
        await put_execution(rig, job, run={"finished_at": rig.clock.now_us(), "state": 4})

    request = ClearHistoryRequest(job_id="etl")
    call = asyncio.create_task(rig.call("JobService.ClearHistory", request))
    while not call.done():
        rig.clock.advance(1)
        await asyncio.sleep(0)
    reply = await call

    assert (reply.deleted_runs, reply.more) == (2, False)
    assert (await list_runs(rig)).total == 1
