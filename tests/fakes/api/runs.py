"""How a run begins, plays its story and ends in the controller in memory."""

from __future__ import annotations

import asyncio

from kronforce.v1 import execution_pb2, run_pb2
from tests.fakes.api.state import State, new_id, now
from tests.fakes.api.story import STATES, STDERR, STDOUT, Story


def trigger(shared: State, request) -> tuple[run_pb2.Run, bool]:
    job = shared.find_job(request.job_id)
    if request.request_id in shared.requests:
        return shared.runs[shared.requests[request.request_id]], True
    run = run_pb2.Run(
        id=new_id(),
        job_id=job.id,
        job_name=job.name,
        job_version=job.version,
        group=job.group,
        trigger=run_pb2.Trigger.TRIGGER_API,
        triggered_by="admin",
        client_id=request.client_id,
        params=request.params if request.HasField("params") else None,
        priority=request.priority,
        created_at=now(),
        started_at=now(),
        revision=1,
        state=STATES.EXECUTION_STATE_RUNNING,
        target_count=1,
    )
    run.executions.add(
        id=new_id(),
        run_id=run.id,
        job_name=job.name,
        attempt_number=1,
        agent_name="local",
        state=STATES.EXECUTION_STATE_RUNNING,
        started_at=now(),
    )
    shared.runs[run.id] = run
    shared.requests[request.request_id] = run.id
    shared.chunks[run.id] = []
    story = shared.stories.get(job.name) or Story()
    shared.plays.append(asyncio.get_running_loop().create_task(_play(shared, run, story)))
    return run, False


async def _play(shared: State, run: run_pb2.Run, story: Story) -> None:
    offsets = {STDOUT: 0, STDERR: 0}
    for stream, data in story.output:
        shared.chunks[run.id].append(
            execution_pb2.OutputChunk(
                stream=stream,
                offset=offsets[stream],
                data=data,
                at=now(),
                sequence=len(shared.chunks[run.id]) + 1,
            )
        )
        offsets[stream] += len(data)
        await shared.notify()
    if story.until is not None:
        await story.until.wait()
    if not run.HasField("finished_at"):
        finish(shared, run, story.state, story.message, story.exit_code)
    await shared.notify()


def finish(
    shared: State, run: run_pb2.Run, state: int, message: str, exit_code: int | None
) -> None:
    execution = run.executions[0]
    for each in (run, execution):
        each.state = state
        each.message = message
        each.finished_at.CopyFrom(now())
    if exit_code is not None:
        execution.exit_code = exit_code
    for chunk in shared.chunks[run.id]:
        if chunk.stream == STDERR:
            execution.stderr_bytes += len(chunk.data)
        else:
            execution.stdout_bytes += len(chunk.data)
    run.revision += 1
    shared.add_event("execution.completed", f"{run.job_name} ended")
