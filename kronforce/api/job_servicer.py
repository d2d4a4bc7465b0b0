# mypy: disable-error-code="override"
# Servicers take our Call where the generated base names grpc's context.
"""JobService: jobs are defined, listed, fired; groups are listed and made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Literal

from kronforce.api import references
from kronforce.api.call import Call
from kronforce.api.convert.instants import instant_us
from kronforce.api.convert.job import fire_message, group_message, job_message
from kronforce.api.convert.run import run_message
from kronforce.api.in_order import in_order
from kronforce.api.paging import Shape, next_token, read_page
from kronforce.api.ports import History, Rerunning, Triggering, Watching
from kronforce.api.preview import (
    find_spent,
    preview_question,
    preview_saved,
    preview_unsaved,
)
from kronforce.api.status import to_status
from kronforce.api.text_limits import check_text
from kronforce.clock import Clock
from kronforce.core.access import Scope
from kronforce.core.job_preview import Spent
from kronforce.engine.groups import Groups
from kronforce.engine.jobs import Jobs
from kronforce.errors import InvalidArgument, KronforceError
from kronforce.store import fires, jobs, runs
from kronforce.store import groups as stored_groups
from kronforce.store.database import Tx
from kronforce.store.fires import FireRow
from kronforce.store.jobs import JobRow, LastRunRow
from kronforce.store.paging import Page, PageRequest
from kronforce.store.store import Store
from kronforce.v1 import job_service_pb2 as pb
from kronforce.v1 import job_service_pb2_grpc
from kronforce.v1.group_pb2 import Group
from kronforce.v1.job_pb2 import Job, JobStatus
from kronforce.v1.run_pb2 import Run, RunUpdates

MAX_ITEMS = 1_000

# Requests of one TriggerJobsStream under way: enough to fill commits back to back.
STREAM_AHEAD = 16

_BY_NAME: Shape = (str,)
_BY_INSTANT: Shape = (int,)


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """Thin: use cases change, store functions read, `convert` renders."""

    def __init__(
        self, *, store: Store, clock: Clock, jobs: Jobs, groups: Groups, triggering: Triggering,
        watching: Watching, rerunning: Rerunning, history: History,
        rekeyed: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._jobs = jobs
        self._groups = groups
        # Awaited after what keys may see has changed, so that it holds here at once.
        self._rekeyed = rekeyed
        self._triggering = triggering
        self._watching = watching
        self._rerunning = rerunning
        self._history = history

    async def CreateJob(self, request: pb.CreateJobRequest, call: Call) -> Job:
        if request.validate_only:
            row = await self._jobs.check_new(
                call.scope, call.principal, request.job, immediate=request.immediate
            )
            return self._would_be(row, without=("id", "etag"))
        row, may_have_run = await self._jobs.create(
            call.scope,
            call.principal,
            request.job,
            request_id=request.request_id,
            immediate=request.immediate,
        )
        if may_have_run:
            return await self._changed(call.scope, row)
        return self._with_warnings(row, job_message(row, None, self._clock.now_us()))

    async def GetJob(self, request: pb.GetJobRequest, call: Call) -> Job:
        row, last = await self._store.read_once(
            references.job_with_last_run, call.scope, request.job_id
        )
        return job_message(row, last, self._clock.now_us())

    async def ListJobs(self, request: pb.ListJobsRequest, call: Call) -> pb.ListJobsResponse:
        if request.status not in JobStatus.values():
            raise InvalidArgument.of(("status", "use scheduled, paused or unscheduled"))
        page, last = await self._store.read(
            _jobs, call.scope, request, read_page(request, _BY_NAME)
        )
        now = self._clock.now_us()
        return pb.ListJobsResponse(
            jobs=[job_message(row, last.get(row.key), now) for row in page.items],
            next_page_token=next_token(request, page),
            total=page.total,
            total_exact=page.total_exact,
        )

    async def UpdateJob(self, request: pb.UpdateJobRequest, call: Call) -> Job:
        if request.validate_only:
            row = await self._jobs.check_change(
                call.scope, call.principal, request.job_id, request.job, request.update_mask.paths
            )
            return self._would_be(row, without=("etag",))
        row = await self._jobs.update(
            call.scope, call.principal, request.job_id, request.job, request.update_mask.paths
        )
        return await self._changed(call.scope, row)

    async def DeleteJob(self, request: pb.DeleteJobRequest, call: Call) -> pb.DeleteJobResponse:
        cancelled = await self._jobs.delete(
            call.scope, call.principal, request.job_id, request.etag
        )
        return pb.DeleteJobResponse(cancelled_runs=cancelled)

    async def PauseJob(self, request: pb.PauseJobRequest, call: Call) -> Job:
        until = instant_us(request.until) if request.HasField("until") else None
        row = await self._jobs.pause(call.scope, call.principal, request.job_id, until)
        return await self._shown(call.scope, row)

    async def ResumeJob(self, request: pb.ResumeJobRequest, call: Call) -> Job:
        row = await self._jobs.resume(call.scope, call.principal, request.job_id)
        return await self._shown(call.scope, row)

    async def TriggerJob(self, request: pb.TriggerJobRequest, call: Call) -> pb.TriggerJobResponse:
        return await self._triggered(await self._trigger_one(request, call), call)

    async def RerunRun(self, request: pb.RerunRunRequest, call: Call) -> pb.TriggerJobResponse:
        if not request.run_id:
            raise InvalidArgument.of(("run_id", "is required: a run's id"))
        outcome = await self._rerunning.rerun(call.scope, call.principal, request)
        if isinstance(outcome, KronforceError):
            raise outcome
        return await self._triggered(outcome, call)

    async def ClearHistory(
        self, request: pb.ClearHistoryRequest, call: Call
    ) -> pb.ClearHistoryResponse:
        row = await self._store.read(references.job, call.scope, request.job_id)
        deleted, more = await self._history.clear(call.scope, row, call.principal)
        return pb.ClearHistoryResponse(deleted_runs=deleted, more=more)

    async def _triggered(self, made: Any, call: Call) -> pb.TriggerJobResponse:
        return pb.TriggerJobResponse(
            run=made.message() or await self._run(call.scope, made.run_id),
            execution_ids=made.execution_ids,
            replayed=made.replayed,
            warnings=made.warnings,
        )

    async def TriggerJobs(
        self, request: pb.TriggerJobsRequest, call: Call
    ) -> pb.TriggerJobsResponse:
        if not 1 <= len(request.requests) <= MAX_ITEMS:
            raise InvalidArgument.of(
                ("requests", f"has {len(request.requests)} items; from 1 to {MAX_ITEMS:,}")
            )
        outcomes = await self._triggering.trigger(call.scope, call.principal, request.requests)
        return _results(outcomes)

    async def TriggerJobsStream(
        self, requests: AsyncIterator[pb.TriggerJobsRequest], call: Call
    ) -> AsyncGenerator[pb.TriggerJobsResponse, None]:
        async def answer(request: pb.TriggerJobsRequest) -> pb.TriggerJobsResponse:
            # The chain sees the stream, not its messages.
            check_text(request)
            return await self.TriggerJobs(request, call)

        async with aclosing(in_order(requests, answer, ahead=STREAM_AHEAD)) as responses:
            async for response in responses:
                yield response

    async def RunJob(
        self, request: pb.RunJobRequest, call: Call
    ) -> AsyncGenerator[RunUpdates, None]:
        made = await self._trigger_one(request.trigger, call)
        call.log["run"] = made.run_id
        watched = self._watching.watch_run(call.scope, made.run_id, request.include_output)
        async with watched as frames:
            async for frame in frames:
                yield frame

    async def ListFires(self, request: pb.ListFiresRequest, call: Call) -> pb.ListFiresResponse:
        row, page = await self._store.read(
            _fires, call.scope, request, read_page(request, _BY_INSTANT)
        )
        return pb.ListFiresResponse(
            fires=[fire_message(fire, row.id) for fire in page.items],
            next_page_token=next_token(request, page),
            total=page.total,
            total_exact=page.total_exact,
        )

    async def PreviewSchedule(
        self, request: pb.PreviewScheduleRequest, call: Call
    ) -> pb.PreviewScheduleResponse:
        question = preview_question(request, self._clock.now())
        if request.HasField("job"):
            return preview_unsaved(request.job, question)
        row, spent = await self._store.read(_previewed, call.scope, request.job_id)
        return preview_saved(row, question, spent)

    async def ListGroups(self, request: pb.ListGroupsRequest, call: Call) -> pb.ListGroupsResponse:
        rows = await self._store.read(stored_groups.list_groups, call.scope)
        return pb.ListGroupsResponse(
            groups=[group_message(row) for row in rows], names=[row.name for row in rows]
        )

    async def CreateGroup(self, request: pb.CreateGroupRequest, call: Call) -> Group:
        row = await self._groups.create(call.scope, call.principal, request.name)
        return group_message(row)

    async def RenameGroup(self, request: pb.RenameGroupRequest, call: Call) -> Group:
        row = await self._groups.rename(
            call.scope, call.principal, request.old_name, request.new_name
        )
        await self._rekeyed()
        return group_message(row)

    async def DeleteGroup(
        self, request: pb.DeleteGroupRequest, call: Call
    ) -> pb.DeleteGroupResponse:
        moved = await self._groups.delete(call.scope, call.principal, request.name)
        return pb.DeleteGroupResponse(moved_jobs=moved)

    async def AssignGroup(
        self, request: pb.AssignGroupRequest, call: Call
    ) -> pb.AssignGroupResponse:
        moved = await self._groups.assign(
            call.scope, call.principal, request.job_ids, request.group
        )
        return pb.AssignGroupResponse(moved_jobs=moved)

    async def _trigger_one(self, request: pb.TriggerJobRequest, call: Call) -> Any:
        if not request.job_id:
            raise InvalidArgument.of(("job_id", "is required: a job's id or exact name"))
        [outcome] = await self._triggering.trigger(call.scope, call.principal, [request])
        if isinstance(outcome, KronforceError):
            raise outcome
        return outcome

    async def _run(self, scope: Scope, run_id: str) -> Run:
        row, counts = await self._store.read(_run, scope, run_id)
        return run_message(row, counts)

    async def _changed(self, scope: Scope, row: JobRow) -> Job:
        """The reply to a change of its definition: with what its author should know."""
        return self._with_warnings(row, await self._shown(scope, row))

    def _would_be(self, row: JobRow, *, without: Sequence[Literal["id", "etag"]]) -> Job:
        """The reply to a change that was only checked: it has no run, and nothing to refer to."""
        message = job_message(row, None, self._clock.now_us())
        for field in without:
            message.ClearField(field)
        return self._with_warnings(row, message)

    def _with_warnings(self, row: JobRow, message: Job) -> Job:
        message.warnings.extend(self._jobs.warnings_about(row))
        return message

    async def _shown(self, scope: Scope, row: JobRow) -> Job:
        last = await self._store.read_once(jobs.last_runs, [row.key], scope)
        return job_message(row, last.get(row.key), self._clock.now_us())


def _previewed(tx: Tx, scope: Scope, ref: str) -> tuple[JobRow, Spent | None]:
    row = references.job(tx, scope, ref)
    return row, find_spent(tx, scope, row)


def _jobs(
    tx: Tx, scope: Scope, request: pb.ListJobsRequest, page: PageRequest
) -> tuple[Page[JobRow], dict[int, LastRunRow]]:
    found = jobs.list_jobs(
        tx,
        scope,
        group=request.group or None,
        status=request.status or None,
        search=request.search or None,
        tag=request.tag or None,
        label=request.label or None,
        page=page,
    )
    return found, jobs.last_runs(tx, [row.key for row in found.items], scope)


def _fires(
    tx: Tx, scope: Scope, request: pb.ListFiresRequest, page: PageRequest
) -> tuple[JobRow, Page[FireRow]]:
    row = references.job(tx, scope, request.job_id)
    since = instant_us(request.since) if request.HasField("since") else None
    until = instant_us(request.until) if request.HasField("until") else None
    return row, fires.list_fires(tx, scope, row.key, since=since, until=until, page=page)


def _run(tx: Tx, scope: Scope, run_id: str) -> tuple[runs.RunRow, dict[int, int]]:
    row = references.run(tx, scope, run_id)
    return row, runs.target_counts(tx, [row]).get(row.key, {})


def _results(outcomes: Sequence[Any]) -> pb.TriggerJobsResponse:
    """Written in place: a message put into another is copied."""
    reply = pb.TriggerJobsResponse()
    for outcome in outcomes:
        if isinstance(outcome, KronforceError):
            reply.results.add().error.CopyFrom(to_status(outcome))
        else:
            reply.results.add(
                run_id=outcome.run_id,
                execution_ids=outcome.execution_ids,
                replayed=outcome.replayed,
            )
    return reply
