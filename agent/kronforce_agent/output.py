"""Output on its way from tasks to the controller: order, credit, and keeping it until it is stored.

Each execution has a buffer. What a task wrote is `unsent` until a stream takes it and `unacked`
until the controller says that it is stored; on a new session the same chunks go again. The
sum is bounded by credit: the source (launcher or in-agent task) may only produce what the
controller has room for, and without a session it gets none, so the launcher spools. The first
bytes of an execution are held back a moment, because those of a short run ride in its result.
This module knows no stream and no socket: `next_frame` is what a stream sends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from kronforce_agent.clock import timestamp
from kronforce_agent.outcome import INLINE_LIMIT_BYTES
from kronforce_agent.records import Key

CHUNK_BYTES = 64 * 1024
"""Small writes of one stream are merged up to here: a row of the store, a frame's worth."""
FRAME_BYTES = 512 * 1024
"""A frame is closed at this size, so it stays below 1 MiB with the chunk that crosses it."""
SHARE_BYTES = 128 * 1024
"""What one execution may have of a frame before the next one's turn."""
FRAME_EXECUTIONS = 256
"""Executions in a frame; bounds the time to build one."""
WINDOW_BYTES = 1024 * 1024
"""What one execution may have in this process, whatever the controller grants."""
GRANT_STEP_BYTES = 32 * 1024
"""Credit is passed on in steps of this, or when the source has none left."""
HOLD_SECS = 0.002
"""How long the first bytes wait for the exit of a short run."""

NEW, HELD, RELEASED = range(3)
"""Nothing written yet; the first bytes wait for the exit; bytes go as they come."""


@dataclass(kw_only=True, slots=True)
class Chunk:
    """Neighbouring writes of one stream; sequence is that of the last of them."""

    stream: int
    offset: int
    sequence: int
    at_micros: int
    parts: list[bytes]
    size: int
    gap: int = 0
    sent: bool = False
    """What went out once goes out again unchanged: nothing is merged into it."""

    def message(self) -> ex.OutputChunk:
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        return ex.OutputChunk(
            stream=self.stream,  # type: ignore[arg-type]  # the launcher uses the same numbers
            offset=self.offset,
            data=data,
            gap_bytes=self.gap,
            at=timestamp(self.at_micros),
            sequence=self.sequence,
        )


@dataclass(kw_only=True, slots=True, eq=False)
class OutputBuffer:
    """One execution's output in this process."""

    key: Key
    grant: Callable[[int], None]
    """Lets the source produce so many bytes more."""
    stored: Callable[[int], None]
    """Tells the source that everything up to this sequence is stored."""
    unsent: deque[Chunk] = field(default_factory=deque)
    unsent_bytes: int = 0
    unacked: deque[Chunk] = field(default_factory=deque)
    unacked_bytes: int = 0
    credit: int = 0
    """Bytes that this session's stream may still carry."""
    source_credit: int = 0
    """Bytes that the source may still produce."""
    last_sequence: int = 0
    ends: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})
    sent: bool = False
    """Whether anything ever went to a stream: then nothing may ride in the result."""
    hold: int = NEW
    waiting_turn: bool = False
    closed: bool = False


class OutputRouter:
    """All buffers of the agent, and the turn order of those that have something to send."""

    def __init__(self, call_later: Callable[[float, Callable[[], None]], object]) -> None:
        self._call_later = call_later
        self._buffers: dict[str, OutputBuffer] = {}
        self._ready: deque[OutputBuffer] = deque()
        self._session_credit = 0
        self.online = False
        self.wake = asyncio.Event()
        """Set when `next_frame` may have something."""

    @property
    def initial_credit(self) -> int:
        """What a new execution may produce at once; 0 without a session."""
        return min(self._session_credit, WINDOW_BYTES)

    def open(
        self, key: Key, grant: Callable[[int], None], stored: Callable[[int], None]
    ) -> OutputBuffer:
        """A buffer for a new execution; a newer fence replaces the older one's by id."""
        buffer = OutputBuffer(key=key, grant=grant, stored=stored, credit=self._session_credit)
        self._buffers[key[0]] = buffer
        return buffer

    def forget(self, buffer: OutputBuffer) -> None:
        """The result is acknowledged, so all output is stored."""
        buffer.closed = True
        buffer.unsent.clear()
        buffer.unacked.clear()
        if self._buffers.get(buffer.key[0]) is buffer:
            del self._buffers[buffer.key[0]]

    def receive(self, buffer: OutputBuffer, chunk: Chunk) -> None:
        """Take a chunk from the source; one that was taken before (after a reattach) is ignored."""
        if chunk.sequence <= buffer.last_sequence or buffer.closed:
            return
        buffer.last_sequence = chunk.sequence
        buffer.ends[chunk.stream] = chunk.offset + chunk.size + chunk.gap
        buffer.source_credit -= chunk.size
        buffer.unsent_bytes += chunk.size
        if not _merged(buffer, chunk):
            buffer.unsent.append(chunk)
        if buffer.hold == NEW:
            buffer.hold = HELD
            self._call_later(HOLD_SECS, lambda: self.release(buffer))
        if buffer.unsent_bytes > INLINE_LIMIT_BYTES:
            buffer.hold = RELEASED
        self._queue(buffer)

    def release(self, buffer: OutputBuffer) -> None:
        """Hold its first bytes back no longer."""
        buffer.hold = RELEASED
        self._queue(buffer)

    def take_inline(self, buffer: OutputBuffer, last_sequence: int) -> list[Chunk] | None:
        """The whole output, to ride in the result; None if it has to go, or went, by the stream."""
        whole = buffer.last_sequence >= last_sequence and buffer.unsent_bytes <= INLINE_LIMIT_BYTES
        if buffer.sent or not whole:
            self.release(buffer)
            return None
        chunks = list(buffer.unsent)
        buffer.unsent.clear()
        buffer.unsent_bytes = 0
        buffer.closed = True
        return chunks

    def start_session(self, credit: int) -> None:
        """A new stream: what was not acknowledged goes again, credit starts afresh."""
        self.online = True
        self._session_credit = credit
        self.resend()

    def resend(self) -> None:
        """The stream is new: what the last one may have lost goes again, in order."""
        for buffer in self._buffers.values():
            buffer.unsent.extendleft(reversed(buffer.unacked))
            buffer.unsent_bytes += buffer.unacked_bytes
            buffer.unacked.clear()
            buffer.unacked_bytes = 0
            buffer.credit = self._session_credit
            self._queue(buffer)
            self.top_up(buffer)

    def end_session(self) -> None:
        """No stream, no credit: sources stop when they have used what they have."""
        self.online = False
        self._session_credit = 0
        self._ready.clear()
        for buffer in self._buffers.values():
            buffer.waiting_turn = False
            buffer.credit = 0

    def progress(self, progress: pb.OutputProgress) -> None:
        """The controller stored some of it, or has room for more."""
        buffer = self._buffers.get(progress.execution_id)
        if buffer is None:
            return
        if progress.stored_sequence:
            self._stored(buffer, progress.stored_sequence)
        buffer.credit += progress.credit_bytes
        self._queue(buffer)
        self.top_up(buffer)

    def top_up(self, buffer: OutputBuffer) -> None:
        """Pass on what credit there is for bytes that the source has not produced yet."""
        room = min(
            buffer.credit - buffer.unsent_bytes,
            WINDOW_BYTES - buffer.unsent_bytes - buffer.unacked_bytes,
        )
        amount = room - buffer.source_credit
        if amount >= GRANT_STEP_BYTES or (amount > 0 and buffer.source_credit <= 0):
            buffer.source_credit += amount
            buffer.grant(amount)

    def next_frame(self) -> list[pb.ExecutionOutput]:
        """What to send now, in turn; empty if there is nothing or no credit for it."""
        outputs: list[pb.ExecutionOutput] = []
        size = 0
        while self._ready and size < FRAME_BYTES and len(outputs) < FRAME_EXECUTIONS:
            buffer = self._ready.popleft()
            buffer.waiting_turn = False
            chunks, taken = self._take(buffer)
            if chunks:
                size += taken
                execution_id, fence = buffer.key
                outputs.append(
                    pb.ExecutionOutput(execution_id=execution_id, fence=fence, chunks=chunks)
                )
            self._queue(buffer)
        if not self._ready:
            self.wake.clear()
        return outputs

    def _take(self, buffer: OutputBuffer) -> tuple[list[ex.OutputChunk], int]:
        chunks: list[ex.OutputChunk] = []
        taken = 0
        while taken < SHARE_BYTES and _sendable(buffer):
            chunk = buffer.unsent.popleft()
            buffer.sent = chunk.sent = True
            buffer.unsent_bytes -= chunk.size
            buffer.credit -= chunk.size
            buffer.unacked.append(chunk)
            buffer.unacked_bytes += chunk.size
            taken += chunk.size
            chunks.append(chunk.message())
        return chunks, taken

    def _stored(self, buffer: OutputBuffer, sequence: int) -> None:
        before = len(buffer.unacked)
        while buffer.unacked and buffer.unacked[0].sequence <= sequence:
            buffer.unacked_bytes -= buffer.unacked.popleft().size
        if len(buffer.unacked) != before:
            buffer.stored(sequence)

    def _queue(self, buffer: OutputBuffer) -> None:
        if buffer.waiting_turn or buffer.hold == HELD or not self.online or not _sendable(buffer):
            return
        buffer.waiting_turn = True
        self._ready.append(buffer)
        self.wake.set()


def _sendable(buffer: OutputBuffer) -> bool:
    """One chunk may overdraw the credit: it cannot be cut without losing its sequence."""
    if not buffer.unsent or buffer.closed:
        return False
    return buffer.credit > 0 or buffer.unsent[0].size == 0


def _merged(buffer: OutputBuffer, chunk: Chunk) -> bool:
    """Whether it continues the last chunk, and became part of it."""
    if not buffer.unsent or chunk.gap:
        return False
    last = buffer.unsent[-1]
    if last.sent or last.gap or last.stream != chunk.stream:
        return False
    if last.size + chunk.size > CHUNK_BYTES or last.offset + last.size != chunk.offset:
        return False
    last.parts.append(chunk.parts[0])
    last.size += chunk.size
    last.sequence = chunk.sequence
    return True
