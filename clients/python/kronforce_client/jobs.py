"""Jobs: define, change, fire."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct

from kronforce.v1 import job_service_pb2 as pb
from kronforce.v1.execution_service_pb2 import WatchRunsRequest
from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceStub
from kronforce.v1.job_pb2 import Fire, Job, JobStatus
from kronforce.v1.job_service_pb2_grpc import JobServiceStub
from kronforce.v1.run_pb2 import RunUpdates
from kronforce_client import dialect
from kronforce_client.apply import Applied, Planned, plan_one
from kronforce_client.calls import Caller
from kronforce_client.errors import NotFound, Unreachable
from kronforce_client.follow import Bookmark, OnInterruption, frames, run_updates
from kronforce_client.handle import RunHandle
from kronforce_client.instants import timestamp
from kronforce_client.paging import pages
from kronforce_client.runs import watch_from
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceAsyncStub
    from kronforce.v1.job_service_pb2_grpc import JobServiceAsyncStub

# A definition: the message, or its JSON form as plain data.
Definition = Job | Mapping[str, Any]


class Jobs:
    """`kf.jobs`. Every `job` takes an id or an exact name."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: JobServiceAsyncStub = JobServiceStub(caller.channel)
        self._executions: ExecutionServiceAsyncStub = ExecutionServiceStub(caller.channel)

    async def create(
        self,
        job: Definition,
        *,
        immediate: bool = False,
        validate_only: bool = False,
        request_id: str | None = None,
        timeout_secs: float | None = None,
    ) -> Job:
        """Make a job; `immediate` also triggers it once, `validate_only` checks and makes nothing.

        The contract (JobService.CreateJob): Makes a job. With `immediate` it is triggered once as
        well; outside its window that is refused with OUTSIDE_WINDOW. Repeating a `request_id`
        returns the job it made, as it is now. A name that is taken is NAME_TAKEN.
        """
        request = pb.CreateJobRequest(
            job=as_job(job),
            immediate=immediate,
            validate_only=validate_only,
            request_id=request_id or new_request_id(),
        )
        return await self._caller.unary(self._stub.CreateJob, request, timeout_secs=timeout_secs)

    async def get(self, job: str, *, timeout_secs: float | None = None) -> Job:
        """A job by id or exact name."""
        request = pb.GetJobRequest(job_id=job)
        return await self._caller.unary(self._stub.GetJob, request, timeout_secs=timeout_secs)

    async def page(
        self,
        *,
        group: str = "",
        status: JobStatus.ValueType | None = None,
        search: str = "",
        tag: str = "",
        label: str = "",
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListJobsResponse:
        """One page of jobs, by name."""
        request = pb.ListJobsRequest(
            page_size=page_size,
            page_token=page_token,
            group=group,
            status=status or JobStatus.JOB_STATUS_UNSPECIFIED,
            search=search,
            tag=tag,
            label=label,
        )
        return await self._caller.unary(self._stub.ListJobs, request, timeout_secs=timeout_secs)

    def list(
        self,
        *,
        group: str = "",
        status: JobStatus.ValueType | None = None,
        search: str = "",
        tag: str = "",
        label: str = "",
    ) -> Stream[Job]:
        """Every job that matches, by name, fetched page by page as they are read."""

        async def fetch(token: str) -> tuple[Sequence[Job], str]:
            page = await self.page(
                group=group,
                status=status,
                search=search,
                tag=tag,
                label=label,
                page_token=token,
            )
            return page.jobs, page.next_page_token

        return Stream(pages(fetch))

    async def update(
        self,
        job: str,
        definition: Definition,
        *,
        mask: Sequence[str] = (),
        etag: str = "",
        validate_only: bool = False,
        timeout_secs: float | None = None,
    ) -> Job:
        """Change the fields that `mask` names, or the whole definition without one.

        With `validate_only` everything is checked and nothing changed. With an `etag` (here or in
        the definition), a job that changed meanwhile is a Conflict.

        The contract (JobService.UpdateJob): Changes the fields that `update_mask` names; without a
        mask, replaces the whole definition, so that a paused job whose new definition does not say
        `status: paused` is resumed. A union, a list and a map are replaced whole. Makes a new
        version (none if nothing changes); runs that exist keep theirs. Never fires the past: a
        change of schedule, zone, jitter or window plans the next fire from now on, any other leaves
        it where it is.
        """
        wanted = Job()
        wanted.CopyFrom(as_job(definition))
        wanted.etag = etag or wanted.etag
        request = pb.UpdateJobRequest(
            job_id=job,
            job=wanted,
            update_mask=FieldMask(paths=mask),
            validate_only=validate_only,
        )
        return await self._caller.unary(
            self._stub.UpdateJob, request, timeout_secs=timeout_secs, idempotent=validate_only
        )

    async def plan(self, jobs: Sequence[Definition]) -> Sequence[Planned]:
        """What `apply` would do: compares each definition with the job of that name."""
        return [await self._plan_one(as_job(each)) for each in jobs]

    async def check(self, jobs: Sequence[Definition | Planned]) -> Sequence[Job]:
        """What `apply` would make, asked of the server; raises what would refuse one of them.

        Nothing is changed. A planned change is checked against the version that it was planned
        with: a job that changed since is a Conflict.
        """
        return [await self._make(each, validate_only=True) for each in await self._planned(jobs)]

    async def apply(self, jobs: Sequence[Definition | Planned]) -> Sequence[Applied]:
        """Make each job what its definition says, in order; what is so already is left alone.

        Several are all checked first, as `check` does: where one of them is refused, nothing is
        changed. A planned change is made against the version that it was planned with: a job that
        changed since is a Conflict.
        """
        planned = await self._planned(jobs)
        if len(planned) > 1:
            await self.check(planned)
        return [
            Applied(planned=each, job=await self._make(each, validate_only=False))
            for each in planned
        ]

    async def delete(
        self, job: str, *, etag: str = "", timeout_secs: float | None = None
    ) -> pb.DeleteJobResponse:
        """Delete a job: waiting runs end `cancelled`, running ones run on.

        The contract (JobService.DeleteJob): Deletes a job: it fires no more, its waiting runs end
        `cancelled`, its running ones run on. Its runs stay readable, by their ids and in lists
        without `job_id`, until retention ends them.
        """
        request = pb.DeleteJobRequest(job_id=job, etag=etag)
        return await self._caller.unary(
            self._stub.DeleteJob, request, timeout_secs=timeout_secs, idempotent=False
        )

    async def pause(
        self, job: str, *, until: datetime | None = None, timeout_secs: float | None = None
    ) -> Job:
        """Hold a job's schedule, for good or until an instant.

        The contract (JobService.PauseJob): Holds a job's schedule, for good or until an instant.
        Manual triggers still run. What comes due meanwhile is in the ledger as `paused`. Pausing
        again sets the instant anew.
        """
        request = pb.PauseJobRequest(job_id=job, until=timestamp(until))
        return await self._caller.unary(self._stub.PauseJob, request, timeout_secs=timeout_secs)

    async def resume(self, job: str, *, timeout_secs: float | None = None) -> Job:
        """Let a held schedule fire again.

        The contract (JobService.ResumeJob): Lets a held schedule fire again, from now on. Harmless
        for a job that is not paused.
        """
        request = pb.ResumeJobRequest(job_id=job)
        return await self._caller.unary(self._stub.ResumeJob, request, timeout_secs=timeout_secs)

    async def preview(
        self,
        job: str | Definition,
        *,
        count: int = 10,
        after: datetime | None = None,
        timeout_secs: float | None = None,
    ) -> pb.PreviewScheduleResponse:
        """When a schedule fires next: of a saved job by name or id, or of a definition.

        A definition need not be whole: `{"schedule": {…}, "timezone": …}` is enough.
        """
        request = pb.PreviewScheduleRequest(count=count, after=timestamp(after))
        if isinstance(job, str):
            request.job_id = job
        else:
            request.job.CopyFrom(as_job(job))
        return await self._caller.unary(
            self._stub.PreviewSchedule, request, timeout_secs=timeout_secs
        )

    async def fires_page(
        self,
        job: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListFiresResponse:
        """One page of a job's ledger, newest first: fires, and ranges of skipped instants."""
        request = pb.ListFiresRequest(
            job_id=job,
            since=timestamp(since),
            until=timestamp(until),
            page_size=page_size,
            page_token=page_token,
        )
        return await self._caller.unary(self._stub.ListFires, request, timeout_secs=timeout_secs)

    def fires(
        self, job: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> Stream[Fire]:
        """All of a job's ledger, newest first; with the same `since` and `until`, what was then."""

        async def fetch(token: str) -> tuple[Sequence[Fire], str]:
            page = await self.fires_page(job, since=since, until=until, page_token=token)
            return page.fires, page.next_page_token

        return Stream(pages(fetch))

    async def clear_history(
        self, job: str, *, timeout_secs: float | None = None
    ) -> pb.ClearHistoryResponse:
        """Delete a job's runs that have ended but the newest; `more` says that some are left.

        The contract (JobService.ClearHistory): Deletes the runs of a job that have ended, with
        their executions and output, oldest first, in short steps, at most 100,000 in one call; its
        newest run stays, and so do runs that have not ended. What one call has deleted is gone also
        if the caller leaves.
        """
        request = pb.ClearHistoryRequest(job_id=job)
        return await self._caller.unary(
            self._stub.ClearHistory, request, timeout_secs=timeout_secs, idempotent=False
        )

    async def trigger(
        self,
        job: str,
        *,
        params: Mapping[str, Any] | None = None,
        priority: int | None = None,
        force: bool = False,
        client_id: str = "",
        request_id: str | None = None,
        timeout_secs: float | None = None,
    ) -> pb.TriggerJobResponse:
        """Fire a job once; when this returns the run is durable.

        The contract (JobService.TriggerJob): Fires a job once. When this returns, the run is
        durable and reaches exactly one terminal state. Repeating a `request_id` with the same
        content returns the same run. At the job's limit the run waits as `concurrency`, or is
        `skipped`, which is no error. Refused: QUEUE_FULL and DISK_FULL (try again later),
        OUTSIDE_WINDOW (without `force`).
        """
        request = trigger_request(
            job,
            params=params,
            priority=priority,
            force=force,
            client_id=client_id,
            request_id=request_id,
        )
        return await self._caller.unary(self._stub.TriggerJob, request, timeout_secs=timeout_secs)

    async def trigger_many(
        self, requests: Sequence[pb.TriggerJobRequest], *, timeout_secs: float | None = None
    ) -> pb.TriggerJobsResponse:
        """Fire up to 1,000 at once; each has its own result.

        Items without a `request_id` get one, so that a retry fires nothing twice.
        """
        request = pb.TriggerJobsRequest(requests=requests)
        for item in request.requests:
            item.request_id = item.request_id or new_request_id()
        return await self._caller.unary(self._stub.TriggerJobs, request, timeout_secs=timeout_secs)

    async def run(
        self,
        job: str,
        *,
        params: Mapping[str, Any] | None = None,
        priority: int | None = None,
        force: bool = False,
        include_output: bool = True,
        request_id: str | None = None,
        on_interruption: OnInterruption | None = None,
    ) -> RunHandle:
        """Fire a job and follow its run: `output()`, `result()`, `updates()`."""
        trigger = trigger_request(
            job, params=params, priority=priority, force=force, request_id=request_id
        )
        following = _Following(self._caller, self._stub, self._executions, trigger)
        return await following.start(include_output, on_interruption)

    async def _plan_one(self, wanted: Job) -> Planned:
        try:
            current = await self.get(wanted.name)
        except NotFound:
            current = None
        return plan_one(wanted, current)

    async def _planned(self, jobs: Sequence[Definition | Planned]) -> Sequence[Planned]:
        return [
            each if isinstance(each, Planned) else await self._plan_one(as_job(each))
            for each in jobs
        ]

    async def _make(self, planned: Planned, *, validate_only: bool) -> Job:
        if planned.current is None:
            return await self.create(planned.wanted, validate_only=validate_only)
        if not planned.changes:
            return planned.current
        return await self.update(
            planned.current.id,
            planned.wanted,
            mask=planned.mask,
            etag=planned.current.etag,
            validate_only=validate_only,
        )


class _Following:
    """Fires a run and follows it: the first stream fires, any later one watches."""

    def __init__(
        self,
        caller: Caller,
        jobs: JobServiceAsyncStub,
        executions: ExecutionServiceAsyncStub,
        trigger: pb.TriggerJobRequest,
    ) -> None:
        self._caller = caller
        self._jobs = jobs
        self._executions = executions
        self._trigger = trigger
        self._bookmark = Bookmark()
        self._run_id = ""

    async def start(self, include_output: bool, tell: OnInterruption | None) -> RunHandle:
        source = run_updates(
            frames(
                self._caller,
                lambda: self._connect(include_output),
                done=lambda: self._bookmark.ended(self._run_id),
                tell=tell,
            ),
            self._bookmark,
        )
        try:
            first = await anext(source)
        except StopAsyncIteration:
            raise Unreachable(
                f"{self._caller.address} did not say which run it made",
                address=self._caller.address,
            ) from None
        self._run_id = first.run_id
        return RunHandle(self._caller, source, self._bookmark, run_id=first.run_id, first=first)

    def _connect(
        self, include_output: bool
    ) -> AbstractAsyncContextManager[AsyncIterator[RunUpdates]]:
        if self._run_id:
            watch = WatchRunsRequest(run_ids=[self._run_id], include_output=include_output)
            return watch_from(self._caller, self._executions, watch, self._bookmark)
        # Asked again before its first frame, the same request_id gives the same run.
        request = pb.RunJobRequest(trigger=self._trigger, include_output=include_output)
        return self._caller.stream(self._jobs.RunJob, request)


def trigger_request(
    job: str,
    *,
    params: Mapping[str, Any] | None = None,
    priority: int | None = None,
    force: bool = False,
    client_id: str = "",
    request_id: str | None = None,
) -> pb.TriggerJobRequest:
    """One item for `trigger_many`, with a `request_id` of its own unless one is given."""
    return pb.TriggerJobRequest(
        job_id=job,
        request_id=request_id or new_request_id(),
        params=None if params is None else dialect.parse(Struct, dict(params)),
        priority=priority,
        force=force,
        client_id=client_id,
    )


def as_job(definition: Definition) -> Job:
    """The message; plain data is read strictly. Raises dialect.DialectError."""
    return definition if isinstance(definition, Job) else dialect.parse(Job, dict(definition))


def new_request_id() -> str:
    """Makes a call repeatable: the server answers the second copy with the first's reply."""
    return uuid.uuid4().hex
