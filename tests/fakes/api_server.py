"""A controller in memory, over a real loopback socket, for tests of the client and the command.

It keeps jobs, runs, agents, keys and events in dictionaries and answers with the contract's own
messages, error details included. A run does what the `Story` of its job says. It decides nothing
that the real controller decides (no schedules, no admission); a test that needs that belongs to
the system tests. Faults: `cut_streams()` ends every open stream as a dying server would, and
`refuse` makes the next calls of a method fail.
"""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from kronforce.v1 import (
    agent_pb2,
    agent_service_pb2,
    agent_service_pb2_grpc,
    api_key_pb2,
    audit_service_pb2_grpc,
    event_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    execution_pb2,
    execution_service_pb2,
    execution_service_pb2_grpc,
    group_pb2,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    run_pb2,
    stats_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
    variable_pb2,
    variable_service_pb2_grpc,
    webhook_service_pb2_grpc,
)
from tests.fakes.audit_log import FakeAudit
from tests.fakes.stats import FakeStats
from tests.fakes.variables import FakeVariables
from tests.fakes.webhooks import FakeWebhooks

KEY = "kf_" + "a" * 43
STATES = execution_pb2.ExecutionState
STDOUT = execution_pb2.OutputStream.OUTPUT_STREAM_STDOUT
STDERR = execution_pb2.OutputStream.OUTPUT_STREAM_STDERR


@dataclass(kw_only=True)
class Story:
    """What the runs of a job do."""

    output: list[tuple[int, bytes]] = field(default_factory=lambda: [(STDOUT, b"ok\n")])
    state: int = STATES.EXECUTION_STATE_SUCCEEDED
    message: str = ""
    exit_code: int | None = 0
    # Ends only when this is set; None: at once.
    until: asyncio.Event | None = None
    # Cut the first watching stream after this many chunks.
    cut_after: int | None = None


class Refused(Exception):
    """An error with the contract's details."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        violations: Iterable[tuple[str, str]] = (),
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.violations, self.metadata = list(violations), metadata

    def status(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain="kronforce", metadata=self.metadata
        )
        status.details.add().Pack(info)
        if self.violations:
            bad = error_details_pb2.BadRequest()
            for name, description in self.violations:
                bad.field_violations.add(field=name, description=description)
            status.details.add().Pack(bad)
        return status


class _Errors(grpc.aio.ServerInterceptor):
    """Checks the key and turns Refused into a status with details; counts open streams."""

    def __init__(self, fake: FakeController) -> None:
        self._fake = fake

    async def intercept_service(self, continuation, details):
        handler = await continuation(details)
        name = details.method.rpartition("/")[2]
        if handler is None:
            return None
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(handler.unary_stream, name),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler.unary_unary, name),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, behaviour, name):
        async def call(request, context):
            try:
                self._fake.enter(name, context)
                return await behaviour(request, context)
            except Refused as error:
                await _abort(context, error)

        return call

    def _stream(self, behaviour, name):
        async def call(request, context):
            self._fake.open_streams += 1
            task = asyncio.current_task()
            self._fake.stream_tasks.add(task)
            try:
                self._fake.enter(name, context)
                async for reply in behaviour(request, context):
                    yield reply
            except Refused as error:
                await _abort(context, error)
            finally:
                self._fake.stream_tasks.discard(task)
                self._fake.open_streams -= 1
                self._fake.changed()

        return call


async def _abort(context, error: Refused) -> None:
    details = (("grpc-status-details-bin", error.status().SerializeToString()),)
    await context.abort(error.code, error.message, details)


class FakeController(
    job_service_pb2_grpc.JobServiceServicer,
    execution_service_pb2_grpc.ExecutionServiceServicer,
    agent_service_pb2_grpc.AgentServiceServicer,
    key_service_pb2_grpc.KeyServiceServicer,
    event_service_pb2_grpc.EventServiceServicer,
    system_service_pb2_grpc.SystemServiceServicer,
):
    """The server; `async with FakeController() as fake:`, then `fake.address`."""

    def __init__(self) -> None:
        self.jobs: dict[str, job_pb2.Job] = {}
        self.runs: dict[str, run_pb2.Run] = {}
        self.chunks: dict[str, list[execution_pb2.OutputChunk]] = {}
        self.stories: dict[str, Story] = {}
        self.agents: dict[str, agent_pb2.Agent] = {}
        self.task_types: dict[str, list[agent_pb2.TaskTypeDefinition]] = {}
        self.variables: dict[str, variable_pb2.Variable] = {}
        self.webhooks = FakeWebhooks(self._job, Refused)
        # Those that were made by themselves; others are there while a job is in them.
        self.groups: set[str] = set()
        self.keys: dict[str, api_key_pb2.ApiKey] = {}
        self.events: list[event_pb2.Event] = []
        self.audit = FakeAudit()
        self.stats = FakeStats()
        self.requests: dict[str, str] = {}
        self.calls: list[str] = []
        self.later_refusals: list[tuple[str, int, Refused]] = []
        self.refusals: list[tuple[str, Refused]] = []
        self.previews: list[job_pb2.PreviewedFire] = []
        self.fires: list[job_pb2.Fire] = []
        self.asked: list[object] = []
        self.oldest_waiting = system_service_pb2.OldestWaiting()
        self.role = api_key_pb2.Role.ROLE_ADMIN
        self.open_streams = 0
        self.stream_tasks: set[asyncio.Task] = set()
        self.seen_watches: list[execution_service_pb2.WatchRunsRequest] = []
        self._ids = itertools.count(1)
        self._change = asyncio.Condition()
        self._cuts = 0
        self._version = 0
        self._plays: list[asyncio.Task] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *unused: object) -> None:
        await self.close()

    async def start(self, port: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self.server = grpc.aio.server(interceptors=[_Errors(self)])
        job_service_pb2_grpc.add_JobServiceServicer_to_server(self, self.server)
        execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server(self, self.server)
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(self, self.server)
        key_service_pb2_grpc.add_KeyServiceServicer_to_server(self, self.server)
        event_service_pb2_grpc.add_EventServiceServicer_to_server(self, self.server)
        system_service_pb2_grpc.add_SystemServiceServicer_to_server(self, self.server)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(self.audit, self.server)
        stats_service_pb2_grpc.add_StatsServiceServicer_to_server(self.stats, self.server)
        variable_service_pb2_grpc.add_VariableServiceServicer_to_server(
            FakeVariables(self.variables, Refused), self.server
        )
        webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(self.webhooks, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        await self.server.start()

    async def stop(self) -> None:
        """Stop serving; runs go on, and `start(port)` serves again."""
        await self.server.stop(None)

    async def close(self) -> None:
        """Stop for good."""
        await self.stop()
        for play in self._plays:
            play.cancel()
        await asyncio.gather(*self._plays, return_exceptions=True)

    # Faults and what tests wait for.

    def refuse(self, method: str, error: Refused, times: int = 1) -> None:
        self.refusals += [(method, error)] * times

    def refuse_after(self, method: str, error: Refused, calls: int) -> None:
        """Refuse the next call of the method after so many that are let through."""
        self.later_refusals.append((method, self.calls.count(method) + calls, error))

    def enter(self, name: str, context) -> None:
        for each in list(self.later_refusals):
            if each[0] == name and self.calls.count(name) == each[1]:
                self.later_refusals.remove(each)
                self.calls.append(name)
                raise each[2]
        self.calls.append(name)
        for index, (method, error) in enumerate(self.refusals):
            if method == name:
                del self.refusals[index]
                raise error
        given = dict(context.invocation_metadata()).get("authorization", "")
        if name != "GetHealth" and given != f"Bearer {KEY}":
            raise Refused(
                grpc.StatusCode.UNAUTHENTICATED, "BAD_KEY", "no key was sent, or it is unknown"
            )

    def changed(self) -> None:
        """Wake whoever waits; may be called from any thread."""
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._notify()))

    async def _notify(self) -> None:
        async with self._change:
            self._version += 1
            self._change.notify_all()

    async def _after(self, version: int) -> None:
        """Wait until something has changed since that version."""
        async with self._change:
            await self._change.wait_for(lambda: self._version != version)

    async def until(self, condition) -> None:
        """Wait until something that a test watches for is so."""
        async with asyncio.timeout(10), self._change:
            await self._change.wait_for(condition)

    def cut_streams(self) -> None:
        """End every open stream, as a server that dies would."""
        self._cuts += 1
        self.changed()

    # What tests put in.

    def add_job(self, name: str, story: Story | None = None, **fields: object) -> job_pb2.Job:
        job = job_pb2.Job(
            name=name, task=job_pb2.Task(shell=job_pb2.ShellTask(command="true")), **fields
        )
        self._store(job, new=True)
        self.stories[name] = story or Story()
        return job

    def add_agent(self, name: str, **fields: object) -> agent_pb2.Agent:
        agent = agent_pb2.Agent(
            id=_uuid(),
            name=name,
            slots=4,
            state=agent_pb2.AgentState.AGENT_STATE_ONLINE,
            last_seen_at=_now(),
            task_types=["shell", "noop"],
            **fields,
        )
        self.agents[agent.id] = agent
        return agent

    def add_event(self, kind: str, message: str) -> event_pb2.Event:
        event = event_pb2.Event(
            cursor=str(len(self.events) + 1), kind=kind, at=_now(), message=message, severity=1
        )
        self.events.append(event)
        self.changed()
        return event

    def _store(self, job: job_pb2.Job, *, new: bool) -> None:
        if new:
            job.id = _uuid()
            job.created_at.CopyFrom(_now())
            job.group = job.group or "Default"
            job.status = job.status or job_pb2.JobStatus.JOB_STATUS_UNSCHEDULED
        job.version += 1
        job.etag = f"e{next(self._ids)}"
        job.updated_at.CopyFrom(_now())
        self.jobs[job.id] = job

    def _job(self, reference: str) -> job_pb2.Job:
        for job in self.jobs.values():
            if reference in (job.id, job.name):
                return job
        raise Refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", f'there is no job "{reference}"')

    def _run(self, run_id: str) -> run_pb2.Run:
        if run_id not in self.runs:
            raise Refused(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", f'there is no run "{run_id}"')
        return self.runs[run_id]

    # JobService

    async def CreateJob(self, request, context):
        if request.request_id in self.requests:
            return self.jobs[self.requests[request.request_id]]
        if any(job.name == request.job.name for job in self.jobs.values()):
            raise Refused(
                grpc.StatusCode.ALREADY_EXISTS,
                "NAME_TAKEN",
                f'a job "{request.job.name}" exists already',
            )
        _check_cron(request.job)
        self._check_agent(request.job)
        job = job_pb2.Job()
        job.CopyFrom(request.job)
        if request.validate_only:
            return job
        self._store(job, new=True)
        self.requests[request.request_id] = job.id
        return job

    def _check_agent(self, job: job_pb2.Job) -> None:
        wanted = job.target.agent.agent_id
        if wanted and wanted not in {agent.name for agent in self.agents.values()}:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_FIELD",
                "the target is wrong",
                [("target.agent_id", f"names agent '{wanted}', which does not exist")],
            )

    async def GetJob(self, request, context):
        return self._job(request.job_id)

    async def ListJobs(self, request, context):
        found = sorted(self.jobs.values(), key=lambda job: job.name)
        found = [job for job in found if request.search in job.name]
        rows, token = _page(found, request)
        return job_service_pb2.ListJobsResponse(
            jobs=rows, next_page_token=token, total=len(found), total_exact=True
        )

    async def UpdateJob(self, request, context):
        old = self._job(request.job_id)
        if request.job.etag and request.job.etag != old.etag:
            raise Refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH", f'job "{old.name}" has changed')
        job = job_pb2.Job()
        job.CopyFrom(old)
        for name in request.update_mask.paths:
            job.ClearField(name)
            if request.job.DESCRIPTOR.fields_by_name[name].is_repeated:
                getattr(job, name).MergeFrom(getattr(request.job, name))
            else:
                partial = job_pb2.Job()
                partial.CopyFrom(request.job)
                for each in partial.DESCRIPTOR.fields:
                    if each.name != name:
                        partial.ClearField(each.name)
                job.MergeFrom(partial)
        _check_cron(job)
        self._check_agent(job)
        if request.validate_only:
            return job
        self._store(job, new=False)
        return job

    async def DeleteJob(self, request, context):
        del self.jobs[self._job(request.job_id).id]
        return job_service_pb2.DeleteJobResponse()

    async def PauseJob(self, request, context):
        job = self._job(request.job_id)
        job.status = job_pb2.JobStatus.JOB_STATUS_PAUSED
        if request.HasField("until"):
            job.paused_until.CopyFrom(request.until)
        return job

    async def ResumeJob(self, request, context):
        job = self._job(request.job_id)
        job.status = job_pb2.JobStatus.JOB_STATUS_UNSCHEDULED
        job.ClearField("paused_until")
        return job

    async def PreviewSchedule(self, request, context):
        self.asked.append(request)
        zone = request.job.timezone if request.HasField("job") else ""
        if request.job_id:
            zone = self._job(request.job_id).timezone
        return job_service_pb2.PreviewScheduleResponse(
            fires=self.previews[: request.count], timezone=zone or "UTC", note="as told"
        )

    async def ListFires(self, request, context):
        self.asked.append(request)
        self._job(request.job_id)
        rows, token = _page(self.fires, request)
        return job_service_pb2.ListFiresResponse(fires=rows, next_page_token=token)

    async def TriggerJob(self, request, context):
        run, replayed = self._trigger(request)
        return job_service_pb2.TriggerJobResponse(
            run=run, execution_ids=[run.executions[0].id], replayed=replayed
        )

    async def TriggerJobs(self, request, context):
        reply = job_service_pb2.TriggerJobsResponse()
        for item in request.requests:
            try:
                run, replayed = self._trigger(item)
                reply.results.add(run_id=run.id, replayed=replayed)
            except Refused as error:
                reply.results.add(error=error.status())
        return reply

    async def RerunRun(self, request, context):
        old = self._run(request.run_id)
        if request.failed_targets_only and old.state == STATES.EXECUTION_STATE_SUCCEEDED:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION, "NOTHING_TO_RERUN", "no target has failed"
            )
        trigger = job_service_pb2.TriggerJobRequest(
            job_id=old.job_id, request_id=request.request_id
        )
        trigger.params.CopyFrom(request.params if request.HasField("params") else old.params)
        run, replayed = self._trigger(trigger)
        run.rerun_of = old.id
        return job_service_pb2.TriggerJobResponse(run=run, replayed=replayed)

    async def ClearHistory(self, request, context):
        job = self._job(request.job_id)
        ended = [run.id for run in self.runs.values()
                 if run.job_id == job.id and run.HasField("finished_at")]  # fmt: skip
        for run_id in ended[:-1][:2]:
            del self.runs[run_id]
        gone, left = min(2, len(ended) - 1), len(ended) - 3
        return job_service_pb2.ClearHistoryResponse(deleted_runs=max(0, gone), more=left > 0)

    async def RunJob(self, request, context):
        run, _ = self._trigger(request.trigger)
        watch = execution_service_pb2.WatchRunsRequest(
            run_ids=[run.id], include_output=request.include_output
        )
        async for frame in self._watch(watch):
            yield frame

    def _trigger(self, request) -> tuple[run_pb2.Run, bool]:
        job = self._job(request.job_id)
        if request.request_id in self.requests:
            return self.runs[self.requests[request.request_id]], True
        run = run_pb2.Run(
            id=_uuid(),
            job_id=job.id,
            job_name=job.name,
            job_version=job.version,
            group=job.group,
            trigger=run_pb2.Trigger.TRIGGER_API,
            triggered_by="admin",
            client_id=request.client_id,
            params=request.params if request.HasField("params") else None,
            priority=request.priority,
            created_at=_now(),
            started_at=_now(),
            revision=1,
            state=STATES.EXECUTION_STATE_RUNNING,
            target_count=1,
        )
        run.executions.add(
            id=_uuid(),
            run_id=run.id,
            job_name=job.name,
            attempt_number=1,
            agent_name="local",
            state=STATES.EXECUTION_STATE_RUNNING,
            started_at=_now(),
        )
        self.runs[run.id] = run
        self.requests[request.request_id] = run.id
        self.chunks[run.id] = []
        story = self.stories.get(job.name) or Story()
        self._plays.append(asyncio.get_running_loop().create_task(self._play(run, story)))
        return run, False

    async def _play(self, run: run_pb2.Run, story: Story) -> None:
        offsets = {STDOUT: 0, STDERR: 0}
        for stream, data in story.output:
            self.chunks[run.id].append(
                execution_pb2.OutputChunk(
                    stream=stream,
                    offset=offsets[stream],
                    data=data,
                    at=_now(),
                    sequence=len(self.chunks[run.id]) + 1,
                )
            )
            offsets[stream] += len(data)
            await self._notify()
        if story.until is not None:
            await story.until.wait()
        if not run.HasField("finished_at"):
            self._finish(run, story.state, story.message, story.exit_code)
        await self._notify()

    def _finish(self, run: run_pb2.Run, state: int, message: str, exit_code: int | None) -> None:
        execution = run.executions[0]
        for each in (run, execution):
            each.state = state
            each.message = message
            each.finished_at.CopyFrom(_now())
        if exit_code is not None:
            execution.exit_code = exit_code
        for chunk in self.chunks[run.id]:
            if chunk.stream == STDERR:
                execution.stderr_bytes += len(chunk.data)
            else:
                execution.stdout_bytes += len(chunk.data)
        run.revision += 1
        self.add_event("execution.completed", f"{run.job_name} ended")

    # ExecutionService

    async def GetRun(self, request, context):
        return self._run(request.run_id)

    async def ListRuns(self, request, context):
        found = list(reversed(self.runs.values()))
        if request.job_id:
            job = self._job(request.job_id)
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
        rows, token = _page(found, request)
        return execution_service_pb2.ListRunsResponse(
            runs=rows, next_page_token=token, total=len(found), total_exact=True
        )

    async def CancelRun(self, request, context):
        run = self._run(request.run_id)
        if run.HasField("finished_at"):
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_TERMINAL", "the run has ended"
            )
        self._finish(run, STATES.EXECUTION_STATE_CANCELLED, "cancelled by admin", None)
        self.changed()
        return run

    async def ExplainRun(self, request, context):
        run = self._run(request.run_id)
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

    def _execution(self, execution_id: str):
        for run in self.runs.values():
            for execution in run.executions:
                if execution.id == execution_id:
                    return run, execution
        raise Refused(grpc.StatusCode.NOT_FOUND, "EXECUTION_NOT_FOUND", "no such execution")

    async def ListExecutions(self, request, context):
        found = [each for run in self.runs.values() for each in run.executions]
        rows, token = _page(found, request)
        return execution_service_pb2.ListExecutionsResponse(
            executions=rows, next_page_token=token, total=len(found), total_exact=True
        )

    async def WatchRuns(self, request, context):
        self.seen_watches.append(request)
        self.changed()
        if request.run_ids:
            for run_id in request.run_ids:
                self._run(run_id)
        async for frame in self._watch(request):
            yield frame

    async def _watch(self, request) -> AsyncIterator[run_pb2.RunUpdates]:
        cuts = self._cuts
        begun = list(self.runs)
        sent: dict[str, int] = {}
        told: dict[str, int] = {}
        wanted = {(at.stream): at.offset for at in request.positions}
        while True:
            version = self._version
            frame = run_pb2.RunUpdates()
            covered = [
                run
                for run in self.runs.values()
                if (run.id in request.run_ids) or (not request.run_ids and run.id not in begun)
            ]
            for run in covered:
                self._add_news(frame, run, request, sent, told, wanted)
            if frame.updates:
                yield frame
                if self._should_cut(covered, sent):
                    raise Refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "shutting down")
            if request.run_ids and all(run.HasField("finished_at") for run in covered):
                return
            await self._after(version)
            if self._cuts != cuts:
                raise Refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "shutting down")

    def _should_cut(self, covered, sent) -> bool:
        for run in covered:
            story = self.stories.get(run.job_name)
            if story and story.cut_after is not None and sent.get(run.id, 0) >= story.cut_after:
                story.cut_after = None
                return True
        return False

    def _add_news(self, frame, run, request, sent, told, wanted) -> None:
        execution = run.executions[0]
        if run.id not in told:
            self._add_state(frame, run, execution, first=True)
            told[run.id] = 1
        story = self.stories.get(run.job_name)
        limit = story.cut_after if story else None
        chunks = self.chunks[run.id] if request.include_output else []
        for chunk in chunks[sent.get(run.id, 0) : limit]:
            sent[run.id] = sent.get(run.id, 0) + 1
            if chunk.offset + len(chunk.data) > wanted.get(chunk.stream, 0):
                update = frame.updates.add(run_id=run.id, cursor=f"c{next(self._ids)}")
                update.output.execution_id = execution.id
                update.output.chunk.CopyFrom(chunk)
        if run.HasField("finished_at") and told[run.id] < run.revision and limit is None:
            self._add_state(frame, run, execution, first=False)
            told[run.id] = run.revision

    def _add_state(self, frame, run, execution, *, first: bool) -> None:
        update = frame.updates.add(run_id=run.id, cursor=f"c{next(self._ids)}")
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

    async def ReadOutput(self, request, context):
        run, _ = self._execution(request.execution_id)
        offsets = {STDOUT: request.stdout_offset, STDERR: request.stderr_offset}
        for chunk in self.chunks[run.id]:
            if request.stream and chunk.stream != request.stream:
                continue
            if chunk.offset + len(chunk.data) > offsets[chunk.stream]:
                yield execution_service_pb2.ReadOutputResponse(chunks=[chunk])

    # AgentService

    def _agent(self, reference: str) -> agent_pb2.Agent:
        for agent in self.agents.values():
            if reference in (agent.id, agent.name):
                return agent
        raise Refused(
            grpc.StatusCode.NOT_FOUND, "AGENT_NOT_FOUND", f'there is no agent "{reference}"'
        )

    async def GetAgent(self, request, context):
        return self._agent(request.agent_id)

    async def ListAgents(self, request, context):
        found = sorted(self.agents.values(), key=lambda agent: agent.name)
        rows, token = _page(found, request)
        return agent_service_pb2.ListAgentsResponse(
            agents=rows, next_page_token=token, total=len(found), total_exact=True
        )

    async def GetAgentTaskTypes(self, request, context):
        name = self._agent(request.agent_id).name
        return agent_service_pb2.GetAgentTaskTypesResponse(task_types=self.task_types.get(name, ()))

    async def SetAgentTaskTypes(self, request, context):
        name = self._agent(request.agent_id).name
        self.task_types[name] = list(request.task_types)
        return agent_service_pb2.SetAgentTaskTypesResponse(task_types=self.task_types[name])

    async def DrainAgent(self, request, context):
        agent = self._agent(request.agent_id)
        draining = request.draining if request.HasField("draining") else True
        states = agent_pb2.AgentState
        agent.state = states.AGENT_STATE_DRAINING if draining else states.AGENT_STATE_ONLINE
        return agent

    async def DeleteAgent(self, request, context):
        del self.agents[self._agent(request.agent_id).id]
        return agent_service_pb2.DeleteAgentResponse()

    async def UpdateAgent(self, request, context):
        agent = self._agent(request.agent_id)
        for name in request.update_mask.paths:
            if name != "etag":
                agent.ClearField(name)
        agent.MergeFrom(
            agent_pb2.Agent(
                tags=request.agent.tags,
                labels=request.agent.labels,
                allowed_groups=request.agent.allowed_groups,
            )
        )
        return agent

    # Groups

    async def RotateSecretKey(self, request, context):
        secrets = sum(each.secret for each in self.variables.values())
        return system_service_pb2.RotateSecretKeyResponse(key_id=_uuid(), rewritten=secrets)

    async def ListGroups(self, request, context):
        names = sorted({"Default", *self.groups, *(job.group for job in self.jobs.values())})
        return job_service_pb2.ListGroupsResponse(groups=[self._group(name) for name in names])

    async def CreateGroup(self, request, context):
        self.groups.add(request.name)
        return self._group(request.name)

    async def RenameGroup(self, request, context):
        self._move(lambda job: job.group == request.old_name, request.new_name)
        self.groups = self.groups - {request.old_name} | {request.new_name}
        return self._group(request.new_name)

    async def DeleteGroup(self, request, context):
        self.groups.discard(request.name)
        moved = self._move(lambda job: job.group == request.name, "Default")
        return job_service_pb2.DeleteGroupResponse(moved_jobs=moved)

    async def AssignGroup(self, request, context):
        wanted = {self._job(reference).id for reference in request.job_ids}
        moved = self._move(lambda job: job.id in wanted, request.group)
        return job_service_pb2.AssignGroupResponse(moved_jobs=moved)

    def _group(self, name):
        count = sum(job.group == name for job in self.jobs.values())
        return group_pb2.Group(name=name, created_at=_now(), job_count=count)

    def _move(self, chosen, group):
        moving = [job for job in self.jobs.values() if chosen(job) and job.group != group]
        for job in moving:
            job.group = group
        return len(moving)

    async def CreateJoinToken(self, request, context):
        return agent_service_pb2.CreateJoinTokenResponse(
            token="kfj_1.secret", expires_at=_now(request.ttl_secs)
        )

    # KeyService

    async def CreateKey(self, request, context):
        key = api_key_pb2.ApiKey()
        key.CopyFrom(request.key)
        key.id, key.prefix = _uuid(), "kf_abcdefgh"
        if key.surface and not key.role:
            key.role = api_key_pb2.ROLE_VIEWER
        key.created_at.CopyFrom(_now())
        self.keys[key.id] = key
        return key_service_pb2.CreateKeyResponse(key=key, secret="kf_abcdefgh" + "x" * 32)

    async def ListKeys(self, request, context):
        rows, token = _page(list(self.keys.values()), request)
        return key_service_pb2.ListKeysResponse(keys=rows, next_page_token=token)

    async def RevokeKey(self, request, context):
        for key in self.keys.values():
            if request.key_id in (key.id, key.name):
                key.revoked_at.CopyFrom(_now())
                return key
        raise Refused(grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND", "there is no such key")

    async def WhoAmI(self, request, context):
        key = api_key_pb2.ApiKey(id=_uuid(), name="admin", role=self.role, prefix="kf_aaaaaaaa")
        return key_service_pb2.WhoAmIResponse(key=key, permissions=["jobs.read", "jobs.write"])

    # EventService

    async def ListEvents(self, request, context):
        found = list(reversed(self.events))
        rows, token = _page(found, request)
        return event_service_pb2.ListEventsResponse(
            events=rows, next_page_token=token, total=len(found), total_exact=True
        )

    async def WatchEvents(self, request, context):
        cuts = self._cuts
        at = int(request.cursor) if request.cursor else len(self.events)
        yield event_service_pb2.WatchEventsResponse(cursor=str(at))
        while True:
            version = self._version
            if self._cuts != cuts:
                raise Refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "shutting down")
            if at < len(self.events):
                fresh = self.events[at:]
                at = len(self.events)
                yield event_service_pb2.WatchEventsResponse(events=fresh, cursor=str(at))
            else:
                await self._after(version)

    # SystemService

    async def GetHealth(self, request, context):
        return system_service_pb2.GetHealthResponse(status="ok", version="0.1.0", db_ok=True)

    async def GetStatus(self, request, context):
        return system_service_pb2.GetStatusResponse(
            version="0.1.0",
            started_at=_now(),
            store="sqlite",
            jobs=len(self.jobs),
            agents=len(self.agents),
            agents_online=len(self.agents),
            slots=4,
            disk_free_bytes=10 * 2**30,
            oldest_waiting=self.oldest_waiting if self.oldest_waiting.job_name else None,
        )


def _page(rows: list, request) -> tuple[list, str]:
    size = request.page_size or 100
    start = int(request.page_token or 0)
    token = str(start + size) if start + size < len(rows) else ""
    return rows[start : start + size], token


def _check_cron(job: job_pb2.Job) -> None:
    cron = job.schedule.cron
    if cron and not cron.startswith("@") and len(cron.split()) != 6:
        raise Refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
            "the cron expression is wrong",
            [("schedule.value", f'"{cron}" has {len(cron.split())} fields, cron here has 6')],
        )


def _uuid() -> str:
    return str(uuid.uuid4())


def _now(plus_secs: float = 0) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(int((datetime.now(UTC).timestamp() + plus_secs) * 1e6))
    return stamp
