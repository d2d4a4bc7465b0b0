"""Following streams across lost connections and restarts of the controller.

A `Bookmark` remembers where each stream stands (cursor, output offsets, the last state of each
run); after a cut the next call starts there, and what comes twice is dropped. Nothing is left out
in silence: gaps that the server announces are passed on. Following never cancels a run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import TypeVar

from kronforce.v1.execution_pb2 import OutputChunk, OutputStream
from kronforce.v1.execution_service_pb2 import OutputPosition
from kronforce.v1.run_pb2 import RunStatus, RunUpdate, RunUpdates
from kronforce_client.calls import MAX_ATTEMPTS, Caller, is_cut
from kronforce_client.errors import ClientError

F = TypeVar("F")

# How long a server may stay away before a watch gives up: a restart with a migration is shorter.
RECONNECT_FOR_SECS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """A stream was cut (`error` is set, another attempt follows), or goes on again."""

    error: ClientError | None
    attempt: int

    @property
    def resumed(self) -> bool:
        """Whether the stream goes on again."""
        return self.error is None


OnInterruption = Callable[[Interruption], None]


class Outage:
    """The time without a connection: how often it was tried, and when to give up."""

    def __init__(self, caller: Caller, tell: OnInterruption | None) -> None:
        self._caller = caller
        self._tell = tell
        self._came_up = False
        self._attempt = 0
        self._began = 0.0

    def over(self) -> None:
        """A frame came."""
        if self._attempt:
            self._say(None)
        self._attempt = 0
        self._came_up = True

    async def pause(self, error: ClientError) -> None:
        """Wait before the next attempt, or raise the error when that makes no sense."""
        if not self._attempt:
            self._began = time.monotonic()
        if not is_cut(error) or self._too_long():
            raise error
        self._attempt += 1
        self._say(error)
        await asyncio.sleep(self._caller.pause_secs(self._attempt))

    def _too_long(self) -> bool:
        if not self._came_up:
            return self._attempt + 1 >= MAX_ATTEMPTS
        return time.monotonic() - self._began > RECONNECT_FOR_SECS

    def _say(self, error: ClientError | None) -> None:
        if self._tell is not None and self._came_up:
            self._tell(Interruption(error=error, attempt=self._attempt))


async def frames(
    caller: Caller,
    connect: Callable[[], AbstractAsyncContextManager[AsyncIterator[F]]],
    *,
    done: Callable[[], bool],
    tell: OnInterruption | None,
) -> AsyncGenerator[F, None]:
    """Frames of a stream that is opened again, where it stood, whenever it is cut.

    `connect` is asked anew each time and uses what was read so far; `done` says whether an
    orderly end is the end. A stream that never came up fails after a few tries, like any call.
    """
    outage = Outage(caller, tell)
    while True:
        try:
            async with connect() as stream:
                async for frame in stream:
                    outage.over()
                    yield frame
            if done():
                return
            raise caller.unreachable("the server ended the stream")
        except ClientError as error:
            await outage.pause(error)


@dataclass(slots=True)
class Bookmark:
    """Where a watch of runs stands."""

    cursor: str = ""
    offsets: dict[tuple[str, OutputStream.ValueType], int] = field(default_factory=dict)
    states: dict[str, RunStatus] = field(default_factory=dict)

    def positions(self) -> list[OutputPosition]:
        """Where output goes on."""
        return [
            OutputPosition(execution_id=execution, stream=stream, offset=offset)
            for (execution, stream), offset in self.offsets.items()
        ]

    def ended(self, run_id: str) -> bool:
        """Whether the run's last state was seen."""
        return run_id in self.states and self.states[run_id].HasField("finished_at")

    def accept(self, update: RunUpdate) -> RunUpdate | None:
        """The update, or what is new of it, or None; remembers where that leaves the watch."""
        self.cursor = update.cursor or self.cursor
        arm = update.WhichOneof("update")
        if arm == "state":
            return self._accept_state(update)
        if arm == "output":
            return self._accept_output(update)
        return update if arm else None

    def _accept_state(self, update: RunUpdate) -> RunUpdate | None:
        known = self.states.get(update.run_id)
        if known is not None and (known == update.state or known.revision > update.state.revision):
            return None
        self.states[update.run_id] = update.state
        return update

    def _accept_output(self, update: RunUpdate) -> RunUpdate | None:
        chunk = update.output.chunk
        key = (update.output.execution_id, chunk.stream)
        fresh = unseen(chunk, self.offsets.get(key, 0))
        if fresh is None:
            return None
        self.offsets[key] = end_of(fresh)
        if fresh is chunk:
            return update
        trimmed = RunUpdate()
        trimmed.CopyFrom(update)
        trimmed.output.chunk.CopyFrom(fresh)
        return trimmed


def end_of(chunk: OutputChunk) -> int:
    """The offset after a chunk or a gap."""
    return chunk.offset + (len(chunk.data) or chunk.gap_bytes)


def unseen(chunk: OutputChunk, offset: int) -> OutputChunk | None:
    """The part of a chunk from `offset` on; None when all of it was seen."""
    skip = offset - chunk.offset
    if skip <= 0:
        return chunk
    if end_of(chunk) <= offset:
        return None
    rest = OutputChunk()
    rest.CopyFrom(chunk)
    rest.offset = offset
    if chunk.data:
        rest.data = chunk.data[skip:]
    else:
        rest.gap_bytes = chunk.gap_bytes - skip
    return rest


async def run_updates(
    source: AsyncGenerator[RunUpdates, None], bookmark: Bookmark
) -> AsyncGenerator[RunUpdate, None]:
    """The updates of a watch that were not seen before."""
    async with aclosing(source) as open_source:
        async for frame in open_source:
            for update in frame.updates:
                fresh = bookmark.accept(update)
                if fresh is not None:
                    yield fresh
