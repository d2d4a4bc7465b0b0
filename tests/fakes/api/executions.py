"""The runs and executions of the controller in memory (`api_server.py`)."""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

import grpc

from kronforce.v1 import execution_service_pb2, execution_service_pb2_grpc, run_pb2
from tests.fakes.api.refused import Refused
from tests.fakes.api.runs import finish
from tests.fakes.api.state import State, page
from tests.fakes.api.story import STATES, STDERR, STDOUT
from tests.fakes.api.watch import watch


class FakeExecutions(execution_service_pb2_grpc.ExecutionServiceServicer):
    """ExecutionService: reads, watches and cancels."""

    def __init__(self, shared: State) -> None:
        self._shared = shared

    async def GetRun(self, request, context):
        return self._shared.find_run(request.run_id)

    async def ListRuns(self, request, context):
        found = list(reversed(self._shared.runs.values()))
        if request.job_id:
            job = self._shared.find_job(request.job_id)
            found = [run for run in found if run.job_id == job.id]
        if request.id_suffix:
            found = [run for run in found if run.id.endswith(request.id_suffix)]
        if request.state:
            found = [run for run in found if run.state == request.state]
        if request.HasField("since"):
            found = [
                run
                for run in found
                if run.created_at.ToNanoseconds() >= request.since.ToNanoseconds()
            ]
        rows, token = page(found, request)
        return execution_service_pb2.ListRunsResponse(
            runs=rows, next_page_token=token, total=len(found), total_exact=True
        )

    async def CancelRun(self, request, context):
        run = self._shared.find_run(request.run_id)
        if run.HasField("finished_at"):
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_TERMINAL", "the run has ended"
            )
        finish(self._shared, run, STATES.EXECUTION_STATE_CANCELLED, "cancelled by admin", None)
        self._shared.changed()
        return run

    async def ExplainRun(self, request, context):
        run = self._shared.find_run(request.run_id)
        word = STATES.Name(run.state).removeprefix("EXECUTION_STATE_").capitalize()
        explained = run_pb2.RunExplanation(
            run_id=run.id,
            job_name=run.job_name,
            state=run.state,
            sentence=f"{word} on local: {run.message or 'nothing to tell'}.",
            next_steps=[f"kronforce run logs {run.id}", f"again: kronforce run rerun {run.id}"],
        )
        explained.executions.add(
            execution_id=run.executions[0].id,
            state=run.state,
            attempt_number=1,
            sentence="The only one.",
            agents=[run_pb2.AgentVerdict(agent_name="web-1", verdict="busy", slots=4)],
        )
        return explained

    async def GetExecution(self, request, context):
        return self._execution(request.execution_id)[1]

    async def ListExecutions(self, request, context):
        found = [each for run in self._shared.runs.values() for each in run.executions]
        rows, token = page(found, request)
        return execution_service_pb2.ListExecutionsResponse(
            executions=rows, next_page_token=token, total=len(found), total_exact=True
        )

    async def WatchRuns(self, request, context):
        self._shared.seen_watches.append(request)
        self._shared.changed()
        if request.run_ids:
            for run_id in request.run_ids:
                self._shared.find_run(run_id)
        async for frame in watch(self._shared, request):
            yield frame

    async def ReadOutput(self, request, context):
        run, _ = self._execution(request.execution_id)
        offsets = {STDOUT: request.stdout_offset, STDERR: request.stderr_offset}
        for chunk in self._shared.chunks[run.id]:
            if request.stream and chunk.stream != request.stream:
                continue
            if chunk.offset + len(chunk.data) > offsets[chunk.stream]:
                yield execution_service_pb2.ReadOutputResponse(chunks=[chunk])

    def _execution(self, execution_id: str):
        for run in self._shared.runs.values():
            for execution in run.executions:
                if execution.id == execution_id:
                    return run, execution
        raise Refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND", "no such execution")
