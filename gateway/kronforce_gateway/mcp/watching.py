"""`watch_run`: waits for a run's end and tells of what happens on the way.

Progress goes out with each change, and in silence often enough that no client takes it for dead.
The wait is bounded; leaving it cancels nothing, and whoever calls again goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from google.protobuf.message import Message

from kronforce.api.transport import Transport
from kronforce.v1.execution_service_pb2 import GetRunRequest, WatchRunsRequest
from kronforce.v1.run_pb2 import Progress, RunStatus, RunUpdates
from kronforce_client.dialect import DialectError, Problem, parse, render
from kronforce_gateway.mcp.catalogue import GET_RUN, WATCH_RUNS

# Clients that hear nothing give up after a minute; with progress they wait on.
WAIT_SECS = 300
WAIT_SECS_MAX = 3_600
SILENCE_SECS = 10.0

# Of what a task says of itself, in one line.
SAID_MAX = 200

# Progress, the whole of it where known, and a line about it.
Report = Callable[[float, float | None, str | None], Awaitable[None]]


async def watch_run(
    transport: Transport, arguments: Mapping[str, Any], report: Report, options: Mapping[str, Any]
) -> Message:
    """The run, once it has ended or the wait is over. Raises CallFailed or DialectError."""
    given = dict(arguments)
    wait = _wait_secs(given.pop("wait_secs", WAIT_SECS))
    request = parse(GetRunRequest, given)
    watch = WatchRunsRequest(run_ids=[request.run_id])
    told = _Told(report)
    following = transport.server_stream(WATCH_RUNS, watch, **options)
    async with following as frames, _ticking(frames, wait) as ticks:
        async for frame in ticks:
            if await told.of(cast("RunUpdates | None", frame)):
                break
    return await transport.unary(GET_RUN, request, **options)


def _wait_secs(value: Any) -> int:
    if type(value) is int and 1 <= value <= WAIT_SECS_MAX:
        return value
    message = f"a whole number from 1 to {WAIT_SECS_MAX}"
    raise DialectError([Problem(path=("wait_secs",), message=message)])


@asynccontextmanager
async def _ticking(
    frames: AsyncIterator[Message], wait: float
) -> AsyncIterator[AsyncIterator[Message | None]]:
    """The frames until the wait is over, and None after each silence."""
    loop = asyncio.get_running_loop()
    over = loop.time() + wait
    reading: asyncio.Future[Message] | None = None

    async def ticks() -> AsyncIterator[Message | None]:
        nonlocal reading
        while (left := over - loop.time()) > 0:
            reading = reading or asyncio.ensure_future(anext(frames))
            done, _ = await asyncio.wait({reading}, timeout=min(SILENCE_SECS, left))
            if not done:
                yield None
                continue
            try:
                frame = reading.result()
            except StopAsyncIteration:
                return
            finally:
                reading = None
            yield frame

    try:
        yield ticks()
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


class _Told:
    """What the client has been told: each notification has a number above the last one's."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._count = 0
        self._last = "waiting"

    async def of(self, frame: RunUpdates | None) -> bool:
        """Tell of a frame, or that nothing came; whether the run has ended."""
        if frame is None:
            await self._tell(f"still {self._last}")
            return False
        ended = False
        for update in frame.updates:
            if update.HasField("state"):
                ended = update.state.HasField("finished_at")
                self._last = _state_line(update.state)
                await self._tell(self._last)
            elif update.HasField("progress"):
                await self._tell(_progress_line(update.progress))
        return ended

    async def _tell(self, line: str) -> None:
        self._count += 1
        await self._report(self._count, None, line)


def _state_line(status: RunStatus) -> str:
    word = str(render(status)["state"]).replace("_", " ")
    where = f" on {status.agent_name}" if status.agent_name else ""
    attempt = f", attempt {status.attempt_number}" if status.attempt_number > 1 else ""
    why = f" ({status.state_reason})" if status.state_reason else ""
    return f"{word}{where}{attempt}{why}"


def _progress_line(progress: Progress) -> str:
    """What a task says of itself, in quotes: its words are not ours."""
    whole = f" of {progress.total:g}" if progress.HasField("total") else ""
    said = "".join(each for each in progress.message if each.isprintable())[:SAID_MAX]
    return f"task at {progress.current:g}{whole}" + (f': "{said}"' if said else "")
