"""A run in the hand: follow it, read its output, wait for its result."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kronforce.v1 import execution_service_pb2 as pb
from kronforce.v1.execution_pb2 import Execution, ExecutionState, OutputChunk, OutputStream
from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceStub
from kronforce.v1.run_pb2 import Run, RunUpdate
from kronforce_client.calls import Caller, within
from kronforce_client.errors import ClientError, RunFailed
from kronforce_client.follow import Bookmark
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceAsyncStub

# What an error message shows of a failed run.
LAST_LINES = 10
# How far back those lines are looked for.
_TAIL_BYTES = 8 * 1024


def state_word(state: ExecutionState.ValueType) -> str:
    """`timed_out` for EXECUTION_STATE_TIMED_OUT."""
    return ExecutionState.Name(state).removeprefix("EXECUTION_STATE_").lower()


class RunHandle:
    """One run. Its updates can be read once; leaving it never cancels the run."""

    def __init__(
        self,
        caller: Caller,
        source: AsyncGenerator[RunUpdate, None],
        bookmark: Bookmark,
        *,
        run_id: str,
        first: RunUpdate | None = None,
    ) -> None:
        self._caller = caller
        self._stub: ExecutionServiceAsyncStub = ExecutionServiceStub(caller.channel)
        self._bookmark = bookmark
        self._source = source
        self._first = first
        self.id = run_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop following; the run goes on."""
        await self._source.aclose()

    def updates(self) -> Stream[RunUpdate]:
        """Everything that is told about the run, to its end."""
        return Stream(self._updates())

    def output(self) -> Stream[OutputChunk]:
        """What the run writes, as it comes, to its end; chunks without data are gaps."""
        return Stream(self._output())

    async def wait(self, *, timeout_secs: float | None = None) -> Run:
        """The run once it has ended, however it ended. Raises TimedOut."""
        return await within(timeout_secs, f"run {self.id} has not ended", self._ended())

    async def result(self, *, timeout_secs: float | None = None) -> Run:
        """The run once it has succeeded. Raises RunFailed for any other end, or TimedOut."""
        run = await self.wait(timeout_secs=timeout_secs)
        if run.state == ExecutionState.EXECUTION_STATE_SUCCEEDED:
            return run
        raise RunFailed(
            run,
            state=state_word(run.state),
            last_lines=await fetch_last_lines(self._caller, run, LAST_LINES),
            address=f"{self._caller.address}/api/runs/{run.id}",
        )

    async def cancel(self, *, reason: str = "") -> Run:
        """Cancel it. It may still succeed if it was quicker.

        The contract (ExecutionService.CancelRun): Cancels every execution of a run that has not
        ended, and its retries. Waiting ones end at once; running ones get TERM, grace, KILL, and
        are `cancelling` when this returns. A task that succeeds all the same stays `succeeded`.
        Repeating it is harmless; a run that has ended is refused with ALREADY_TERMINAL.
        """
        request = pb.CancelRunRequest(run_id=self.id, reason=reason)
        return await self._caller.unary(self._stub.CancelRun, request, idempotent=False)

    async def _ended(self) -> Run:
        async with aclosing(self._updates()) as updates:
            async for _ in updates:
                pass
        return await self._caller.unary(self._stub.GetRun, pb.GetRunRequest(run_id=self.id))

    async def _updates(self) -> AsyncGenerator[RunUpdate, None]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        async for update in self._source:
            yield update

    async def _output(self) -> AsyncGenerator[OutputChunk, None]:
        async with aclosing(self._updates()) as updates:
            async for update in updates:
                if update.WhichOneof("update") == "output":
                    yield update.output.chunk


async def fetch_last_lines(caller: Caller, run: Run, count: int) -> Sequence[str]:
    """The last lines of the run's last execution that wrote any; standard error if there is."""
    written = [each for each in run.executions if each.stderr_bytes or each.stdout_bytes]
    if not written:
        return []
    last = written[-1]
    stream, size = (
        (OutputStream.OUTPUT_STREAM_STDERR, last.stderr_bytes)
        if last.stderr_bytes
        else (OutputStream.OUTPUT_STREAM_STDOUT, last.stdout_bytes)
    )
    try:
        tail = await _read_tail(caller, last, stream, max(0, size - _TAIL_BYTES))
    except ClientError:
        return []  # the run's outcome is known; its tail is a courtesy
    return tail.decode("utf-8", "replace").splitlines()[-count:]


async def _read_tail(
    caller: Caller, execution: Execution, stream: OutputStream.ValueType, offset: int
) -> bytes:
    stub: ExecutionServiceAsyncStub = ExecutionServiceStub(caller.channel)
    request = pb.ReadOutputRequest(
        execution_id=execution.id, stream=stream, stdout_offset=offset, stderr_offset=offset
    )
    tail = bytearray()
    async with caller.stream(stub.ReadOutput, request) as replies:
        async for reply in replies:
            tail += b"".join(chunk.data for chunk in reply.chunks)
            del tail[:-_TAIL_BYTES]
    return bytes(tail)
