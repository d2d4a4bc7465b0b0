"""Runs: read, list, follow, wait for, cancel, and their output."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.struct_pb2 import Struct

from kronforce.v1 import execution_service_pb2 as pb
from kronforce.v1.execution_pb2 import ExecutionState, OutputChunk
from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceStub
from kronforce.v1.job_service_pb2 import RerunRunRequest, TriggerJobResponse
from kronforce.v1.job_service_pb2_grpc import JobServiceStub
from kronforce.v1.run_pb2 import Run, RunExplanation, RunUpdate, RunUpdates
from kronforce_client import dialect
from kronforce_client.calls import Caller, within
from kronforce_client.errors import NeverRan, NotFound
from kronforce_client.follow import Bookmark, OnInterruption, frames, run_updates
from kronforce_client.handle import RunHandle, fetch_last_lines
from kronforce_client.instants import timestamp
from kronforce_client.paging import pages
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceAsyncStub
    from kronforce.v1.job_service_pb2_grpc import JobServiceAsyncStub


class Runs:
    """`kf.runs`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: ExecutionServiceAsyncStub = ExecutionServiceStub(caller.channel)
        self._jobs: JobServiceAsyncStub = JobServiceStub(caller.channel)

    async def get(self, run: str, *, timeout_secs: float | None = None) -> Run:
        """A run with its targets and executions."""
        request = pb.GetRunRequest(run_id=run)
        return await self._caller.unary(self._stub.GetRun, request, timeout_secs=timeout_secs)

    async def page(
        self,
        *,
        job: str = "",
        state: ExecutionState.ValueType | None = None,
        group: str = "",
        since: datetime | None = None,
        id_suffix: str = "",
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListRunsResponse:
        """One page of runs, newest first."""
        request = pb.ListRunsRequest(
            page_size=page_size,
            page_token=page_token,
            job_id=job,
            state=state or ExecutionState.EXECUTION_STATE_UNSPECIFIED,
            group=group,
            since=timestamp(since),
            id_suffix=id_suffix,
        )
        return await self._caller.unary(self._stub.ListRuns, request, timeout_secs=timeout_secs)

    def list(
        self,
        *,
        job: str = "",
        state: ExecutionState.ValueType | None = None,
        group: str = "",
        since: datetime | None = None,
    ) -> Stream[Run]:
        """Every run that matches, newest first, fetched page by page as they are read."""

        async def fetch(token: str) -> tuple[Sequence[Run], str]:
            page = await self.page(job=job, state=state, group=group, since=since, page_token=token)
            return page.runs, page.next_page_token

        return Stream(pages(fetch))

    async def last(self, *, job: str = "", timeout_secs: float | None = None) -> Run:
        """The newest run, of one job or of all. Raises NeverRan if there is none."""
        page = await self.page(job=job, page_size=1, timeout_secs=timeout_secs)
        if not page.runs:
            of = f'job "{job}" has' if job else "there are"
            raise NeverRan(f"{of} no runs yet, or none that are kept")
        return await self.get(page.runs[0].id, timeout_secs=timeout_secs)

    async def resolve(self, run: str, *, timeout_secs: float | None = None) -> str:
        """The id that `@last`, a full id or the end of one stands for."""
        if run == "@last":
            return (await self.last(timeout_secs=timeout_secs)).id
        if len(run) == FULL_ID_LENGTH:
            return run
        if not _END_OF_ID.fullmatch(run):
            raise NotFound(
                f'"{run}" is no run: give an id, the end of one (4 characters or more), or @last'
            )
        page = await self.page(id_suffix=run.lower(), page_size=3, timeout_secs=timeout_secs)
        if len(page.runs) == 1:
            return page.runs[0].id
        if not page.runs:
            raise NotFound(f'no recent run has an id that ends in "{run}"')
        shown = ", ".join(each.id for each in page.runs)
        raise NotFound(f'more than one run has an id that ends in "{run}": {shown}')

    async def cancel(self, run: str, *, reason: str = "", timeout_secs: float | None = None) -> Run:
        """Cancel every execution of a run that has not ended.

        The contract (ExecutionService.CancelRun): Cancels every execution of a run that has not
        ended, and its retries. Waiting ones end at once; running ones get TERM, grace, KILL, and
        are `cancelling` when this returns. A task that succeeds all the same stays `succeeded`.
        Repeating it is harmless; a run that has ended is refused with ALREADY_TERMINAL.
        """
        request = pb.CancelRunRequest(run_id=run, reason=reason)
        return await self._caller.unary(
            self._stub.CancelRun, request, timeout_secs=timeout_secs, idempotent=False
        )

    async def explain(self, run: str, *, timeout_secs: float | None = None) -> RunExplanation:
        """Why a run is not running, or why it ended as it did, and what to do next.

        The contract (ExecutionService.ExplainRun): Says why a run is not running, or why it ended
        as it did. Names only what the key may see.
        """
        request = pb.ExplainRunRequest(run_id=run)
        return await self._caller.unary(self._stub.ExplainRun, request, timeout_secs=timeout_secs)

    async def rerun(
        self,
        run: str,
        *,
        params: Mapping[str, Any] | None = None,
        failed_targets_only: bool = False,
        force: bool = False,
        client_id: str = "",
        request_id: str | None = None,
        timeout_secs: float | None = None,
    ) -> TriggerJobResponse:
        """Run a run again, with its own params or others in place of them.

        The contract (JobService.RerunRun): Runs again what a run ran: the same job, as it is
        defined now, with the same or other params, on its targets as they are chosen now, or only
        on those that did not succeed. The run may still be open; the new one is admitted like any
        other, with trigger `retry`. Refused: NOTHING_TO_RERUN where `failed_targets_only` finds
        none, JOB_NOT_FOUND where the job is gone, and all that TriggerJob refuses. Repeated with
        its `request_id` it answers with the run that it made.
        """
        request = RerunRunRequest(
            run_id=run,
            params=None if params is None else dialect.parse(Struct, dict(params)),
            failed_targets_only=failed_targets_only,
            force=force,
            client_id=client_id,
            request_id=request_id or str(uuid.uuid4()),
        )
        return await self._caller.unary(self._jobs.RerunRun, request, timeout_secs=timeout_secs)

    async def wait(self, run: str, *, timeout_secs: float | None = None) -> Run:
        """The run once it has ended, however it ended. Raises TimedOut."""
        return await within(timeout_secs, f"run {run} has not ended", self.handle(run).wait())

    async def last_lines(self, run: Run, *, count: int = 10) -> Sequence[str]:
        """The last lines that a run wrote, standard error first choice."""
        return await fetch_last_lines(self._caller, run, count)

    def handle(
        self,
        run: str,
        *,
        include_output: bool = False,
        on_interruption: OnInterruption | None = None,
    ) -> RunHandle:
        """Something to follow, wait for and read a run that exists already."""
        bookmark = Bookmark()
        source = self._watch(
            pb.WatchRunsRequest(run_ids=[run], include_output=include_output),
            bookmark,
            on_interruption,
        )
        return RunHandle(self._caller, source, bookmark, run_id=run)

    def watch(
        self,
        *,
        runs: Sequence[str] = (),
        job: str = "",
        group: str = "",
        client_id: str = "",
        mine: bool = False,
        include_output: bool = False,
        cursor: str = "",
        on_interruption: OnInterruption | None = None,
    ) -> Stream[RunUpdate]:
        """What happens to runs: exactly one of `runs`, `job`, `group` and `mine`.

        Goes on by itself after a lost connection or a restart of the controller and tells
        `on_interruption`, which the synchronous client calls on its own thread.
        """
        request = pb.WatchRunsRequest(
            run_ids=runs,
            job_id=job,
            group=group,
            mine=mine or bool(client_id),
            client_id=client_id,
            include_output=include_output,
        )
        bookmark = Bookmark(cursor=cursor)
        return Stream(self._watch(request, bookmark, on_interruption))

    def output(
        self, run: str, *, on_interruption: OnInterruption | None = None
    ) -> Stream[OutputChunk]:
        """Everything a run writes, from its beginning to its end, in the order read."""
        handle = self.handle(run, include_output=True, on_interruption=on_interruption)
        return handle.output()

    def _watch(
        self,
        request: pb.WatchRunsRequest,
        bookmark: Bookmark,
        tell: OnInterruption | None,
    ) -> AsyncGenerator[RunUpdate, None]:
        source = frames(
            self._caller,
            lambda: watch_from(self._caller, self._stub, request, bookmark),
            done=lambda: bool(request.run_ids) and all(map(bookmark.ended, request.run_ids)),
            tell=tell,
        )
        return run_updates(source, bookmark)


# A UUID as text; anything shorter is the end of one, for which the server wants four digits.
FULL_ID_LENGTH = 36
_END_OF_ID = re.compile(r"[0-9a-fA-F][0-9a-fA-F-]{3,35}")


def watch_from(
    caller: Caller,
    stub: ExecutionServiceAsyncStub,
    request: pb.WatchRunsRequest,
    bookmark: Bookmark,
) -> AbstractAsyncContextManager[AsyncIterator[RunUpdates]]:
    """The watch that `request` describes, from where the bookmark stands."""
    resumed = pb.WatchRunsRequest()
    resumed.CopyFrom(request)
    resumed.cursor = bookmark.cursor
    if request.include_output:
        resumed.positions.extend(bookmark.positions())
    return caller.stream(stub.WatchRuns, resumed)
