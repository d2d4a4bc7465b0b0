"""The news of runs, as the controller in memory streams them to who watches or started one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from kronforce.v1 import run_pb2
from tests.fakes.api.refused import Refused
from tests.fakes.api.state import State
from tests.fakes.api.story import STATES


async def watch(shared: State, request) -> AsyncIterator[run_pb2.RunUpdates]:
    cuts = shared.cuts
    begun = list(shared.runs)
    sent: dict[str, int] = {}
    told: dict[str, int] = {}
    wanted = {(at.stream): at.offset for at in request.positions}
    while True:
        version = shared.version
        frame = run_pb2.RunUpdates()
        covered = [
            run
            for run in shared.runs.values()
            if (run.id in request.run_ids) or (not request.run_ids and run.id not in begun)
        ]
        for run in covered:
            _add_news(shared, frame, run, request, sent, told, wanted)
        if frame.updates:
            yield frame
            if _should_cut(shared, covered, sent):
                raise Refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "shutting down")
        if request.run_ids and all(run.HasField("finished_at") for run in covered):
            return
        await shared.changed_since(version)
        if shared.cuts != cuts:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "shutting down")


def _should_cut(shared: State, covered, sent) -> bool:
    for run in covered:
        story = shared.stories.get(run.job_name)
        if story and story.cut_after is not None and sent.get(run.id, 0) >= story.cut_after:
            story.cut_after = None
            return True
    return False


def _add_news(shared: State, frame, run, request, sent, told, wanted) -> None:
    execution = run.executions[0]
    if run.id not in told:
        _add_state(shared, frame, run, execution, first=True)
        told[run.id] = 1
    story = shared.stories.get(run.job_name)
    limit = story.cut_after if story else None
    chunks = shared.chunks[run.id] if request.include_output else []
    for chunk in chunks[sent.get(run.id, 0) : limit]:
        sent[run.id] = sent.get(run.id, 0) + 1
        if chunk.offset + len(chunk.data) > wanted.get(chunk.stream, 0):
            update = frame.updates.add(run_id=run.id, cursor=f"c{next(shared.ids)}")
            update.output.execution_id = execution.id
            update.output.chunk.CopyFrom(chunk)
    if run.HasField("finished_at") and told[run.id] < run.revision and limit is None:
        _add_state(shared, frame, run, execution, first=False)
        told[run.id] = run.revision


def _add_state(shared: State, frame, run, execution, *, first: bool) -> None:
    update = frame.updates.add(run_id=run.id, cursor=f"c{next(shared.ids)}")
    update.state.CopyFrom(
        run_pb2.RunStatus(
            state=STATES.EXECUTION_STATE_RUNNING if first else run.state,
            revision=1 if first else run.revision,
            message="" if first else run.message,
            execution_id=execution.id,
            attempt_number=1,
            agent_name="local",
            started_at=run.started_at,
            job_name=run.job_name,
            job_id=run.job_id,
        )
    )
    if not first:
        update.state.finished_at.CopyFrom(run.finished_at)
