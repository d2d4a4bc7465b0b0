"""Executions: single attempts, and their output."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from kronforce.v1 import execution_service_pb2 as pb
from kronforce.v1.execution_pb2 import Execution, ExecutionState, OutputChunk, OutputStream
from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceStub
from kronforce_client.calls import Caller
from kronforce_client.follow import OnInterruption, end_of, frames, unseen
from kronforce_client.lines import OutputLine, lines_of, matcher
from kronforce_client.output_diff import collect, unified
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

    def lines(
        self,
        execution: str,
        *,
        stream: OutputStream.ValueType | None = None,
        stdout_offset: int = 0,
        stderr_offset: int = 0,
        follow: bool = False,
    ) -> Stream[OutputLine]:
        """Its output line by line, each stream numbered by itself from where reading began."""
        chunks = self.output(
            execution,
            stream=stream,
            stdout_offset=stdout_offset,
            stderr_offset=stderr_offset,
            follow=follow,
        )
        return Stream(_lines(chunks))

    def search(
        self,
        execution: str,
        pattern: str,
        *,
        ignore_case: bool = False,
        stream: OutputStream.ValueType | None = None,
        follow: bool = False,
    ) -> Stream[OutputLine]:
        """The lines that have a regular expression in them; raises ValueError if it is none."""
        wanted = matcher(pattern, ignore_case=ignore_case)
        return Stream(_matching(self.lines(execution, stream=stream, follow=follow), wanted))

    async def diff(
        self, first: str, second: str, *, stream: OutputStream.ValueType = STDOUT
    ) -> Sequence[bytes]:
        """A unified diff of two executions' output, line by line; empty where it is the same.

        Raises OutputTooLarge beyond `output_diff.DIFF_MAX_BYTES` or `DIFF_MAX_LINES`.
        """
        sides = []
        for execution in (first, second):
            async with self.lines(execution, stream=stream) as lines:
                sides.append(await collect(lines, f"execution {execution}"))
        return list(unified(sides[0], sides[1], (first, second)))

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


async def _lines(chunks: Stream[OutputChunk]) -> AsyncGenerator[OutputLine, None]:
    async with chunks, aclosing(lines_of(chunks)) as lines:
        async for line in lines:
            yield line


async def _matching(
    lines: Stream[OutputLine], wanted: Callable[[bytes], bool]
) -> AsyncGenerator[OutputLine, None]:
    async with lines:
        async for line in lines:
            if wanted(line.data):
                yield line
