"""Executions: single attempts, and their output."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from kronforce.v1 import execution_service_pb2 as pb
from kronforce.v1.execution_pb2 import Execution, ExecutionState, OutputChunk, OutputStream
from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceStub
from kronforce_client.calls import Caller
from kronforce_client.follow import OnInterruption, end_of, frames, unseen
from kronforce_client.paging import pages
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceAsyncStub

STDOUT = OutputStream.OUTPUT_STREAM_STDOUT
STDERR = OutputStream.OUTPUT_STREAM_STDERR


class Executions:
    """`kf.executions`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: ExecutionServiceAsyncStub = ExecutionServiceStub(caller.channel)

    async def get(self, execution: str, *, timeout_secs: float | None = None) -> Execution:
        """An execution with the head of its output."""
        request = pb.GetExecutionRequest(execution_id=execution)
        return await self._caller.unary(self._stub.GetExecution, request, timeout_secs=timeout_secs)

    async def page(
        self,
        *,
        job: str = "",
        run: str = "",
        state: ExecutionState.ValueType | None = None,
        agent: str = "",
        group: str = "",
        search: str = "",
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListExecutionsResponse:
        """One page of executions, newest first."""
        request = pb.ListExecutionsRequest(
            page_size=page_size,
            page_token=page_token,
            job_id=job,
            run_id=run,
            state=state or ExecutionState.EXECUTION_STATE_UNSPECIFIED,
            agent_id=agent,
            group=group,
            search=search,
        )
        return await self._caller.unary(
            self._stub.ListExecutions, request, timeout_secs=timeout_secs
        )

    def list(
        self,
        *,
        job: str = "",
        run: str = "",
        state: ExecutionState.ValueType | None = None,
        agent: str = "",
    ) -> Stream[Execution]:
        """Every execution that matches, newest first, fetched page by page as they are read."""

        async def fetch(token: str) -> tuple[Sequence[Execution], str]:
            page = await self.page(job=job, run=run, state=state, agent=agent, page_token=token)
            return page.executions, page.next_page_token

        return Stream(pages(fetch))

    async def cancel(
        self, execution: str, *, reason: str = "", timeout_secs: float | None = None
    ) -> Execution:
        """Cancel one execution; its target is not retried."""
        request = pb.CancelExecutionRequest(execution_id=execution, reason=reason)
        return await self._caller.unary(
            self._stub.CancelExecution, request, timeout_secs=timeout_secs, idempotent=False
        )

    def output(
        self,
        execution: str,
        *,
        stream: OutputStream.ValueType | None = None,
        stdout_offset: int = 0,
        stderr_offset: int = 0,
        follow: bool = False,
        on_interruption: OnInterruption | None = None,
    ) -> Stream[OutputChunk]:
        """Its output in the order read; with `follow`, until it ends. Survives restarts."""
        request = pb.ReadOutputRequest(
            execution_id=execution,
            stream=stream or OutputStream.OUTPUT_STREAM_UNSPECIFIED,
            follow=follow,
        )
        offsets = {STDOUT: stdout_offset, STDERR: stderr_offset}
        return Stream(self._output(request, offsets, on_interruption))

    async def _output(
        self,
        request: pb.ReadOutputRequest,
        offsets: dict[OutputStream.ValueType, int],
        tell: OnInterruption | None,
    ) -> AsyncGenerator[OutputChunk, None]:
        def from_here() -> pb.ReadOutputRequest:
            resumed = pb.ReadOutputRequest()
            resumed.CopyFrom(request)
            resumed.stdout_offset = offsets[STDOUT]
            resumed.stderr_offset = offsets[STDERR]
            return resumed

        source = frames(
            self._caller,
            lambda: self._caller.stream(self._stub.ReadOutput, from_here()),
            done=lambda: True,
            tell=tell,
        )
        async with aclosing(source) as replies:
            async for reply in replies:
                for chunk in reply.chunks:
                    fresh = unseen(chunk, offsets.get(chunk.stream, 0))
                    if fresh is not None:
                        offsets[fresh.stream] = end_of(fresh)
                        yield fresh
