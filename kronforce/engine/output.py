"""Streamed output on its way in: repeats dropped, coalesced, stored, acknowledged, shown.

Watchers see bytes as they arrive; the agent hears of them when they are stored
and keeps them until then, so a crash loses nothing. An execution has one batch
of rows under way at a time: what arrives meanwhile gathers and becomes larger
rows. Credit comes back as bytes are stored, from one pool, so that memory is
bounded however many tasks talk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from kronforce.clock import Clock
from kronforce.engine.capacity import Capacity
from kronforce.engine.live import LiveExecution, LiveTable
from kronforce.engine.output_cap import Capped, Piece
from kronforce.engine.timers import Timers
from kronforce.engine.values.masking import HOLD_SECS
from kronforce.engine.watching import Hub
from kronforce.errors import ProtocolViolation
from kronforce.failpoints import failpoint
from kronforce.store.dialect import Row
from kronforce.store.hot.output_apply import StoreOutput
from kronforce.store.output import ProgressRow
from kronforce.store.store import Store
from kronforce.v1.agent_service_pb2 import ExecutionOutput, OutputProgress
from kronforce.v1.execution_pb2 import OutputChunk

log = logging.getLogger(__name__)

Reply = Callable[[OutputProgress], None]

STDOUT, STDERR = 1, 2

# Bytes of output that may be between the agents' pipes and the disk, all together.
POOL = 64 << 20
# What one execution may have of it, at most and at least.
WINDOW = 1 << 20
LEAST_WINDOW = 16 << 10
# What every execution may send before it hears from us.
INITIAL_CREDIT = 64 << 10
# A row holds at most this much, unless a single chunk is larger.
ROW_BYTES = 64 << 10
# Bytes of one execution that may wait here: an agent that keeps to its credit never has more than
# its window and one chunk that overdraws it.
MAX_PENDING = WINDOW + (4 << 20)
# After a failed write: how long until it is tried again, seconds.
RETRY_SECS = 1.0

_on_chunks = failpoint("engine.output.received")
_on_stored = failpoint("engine.output.stored")


class OutputState:
    """One execution's output: what has come, what is stored, and what the cap keeps of it."""

    __slots__ = (
        "bytes_pending", "capped", "counted", "in_flight", "offsets", "pending", "reply",
        "sequence", "stored_bytes", "stored_offsets", "stored_sequence", "used", "waiting",
        "window",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sequence = 0
        self.offsets = {STDOUT: 0, STDERR: 0}
        self.stored_sequence = 0
        self.stored_offsets = {STDOUT: 0, STDERR: 0}
        # What was stored, also where the cap has dropped it since.
        self.stored_bytes = 0
        self.capped = Capped()
        self.pending: list[OutputChunk] = []
        self.bytes_pending = 0
        self.in_flight = False
        # It is one of those that share the pool.
        self.counted = False
        self.window = INITIAL_CREDIT
        # Of that, what came since the last row was begun: repeats as well, which are never stored.
        self.used = 0
        # To the stream that brought something last: what is stored is told there.
        self.reply: Reply = _no_reply
        # Called when more is stored.
        self.waiting: list[Callable[[], None]] = []

    @classmethod
    def resumed(cls, row: ProgressRow, tail: Iterable[Piece], head: int) -> OutputState:
        """The state after a restart, from what is stored."""
        state = cls()
        state.sequence = state.stored_sequence = row.sequence
        state.offsets = {STDOUT: row.stdout_bytes, STDERR: row.stderr_bytes}
        state.stored_offsets = dict(state.offsets)
        state.stored_bytes = row.stored_bytes
        state.capped = Capped(head, tail, row.dropped_bytes)
        return state

    def restart_credit(self) -> None:
        """A new session: the agent's credit starts afresh, and so does what we know of it."""
        self.window, self.used, self.reply = INITIAL_CREDIT, 0, _no_reply

    def is_stored_to(self, stdout: int, stderr: int) -> bool:
        """Whether both streams are stored at least to these offsets."""
        return self.stored_offsets[STDOUT] >= stdout and self.stored_offsets[STDERR] >= stderr


class OutputIntake:
    """Takes output in. `progress` tells the agent's output stream what to send it."""

    def __init__(self, *, store: Store, clock: Clock, table: LiveTable, hub: Hub,
                 capacity: Capacity, timers: Timers):  # fmt: skip
        self._store = store
        self._clock = clock
        self._table = table
        self._hub = hub
        self._capacity = capacity
        self._timers = timers
        self._talking = 0
        self._held_back: list[LiveExecution] = []

    def receive(
        self, agent_key: int, message: ExecutionOutput, reply: Callable[[OutputProgress], None]
    ) -> None:
        """Take chunks of one execution; `reply` is called now or when they are stored."""
        live = self._table.by_id.get(message.execution_id)
        if live is None or live.fence != message.fence or live.agent_key != agent_key:
            # Nobody waits for it: let the agent forget it.
            last = message.chunks[-1].sequence if message.chunks else 0
            reply(OutputProgress(execution_id=message.execution_id, stored_sequence=last,
                                 credit_bytes=_size(message.chunks)))  # fmt: skip
            return
        _on_chunks()
        state = self.state_of(live)
        state.reply = reply
        state.used += _size(message.chunks)
        fresh = list(_filled(state, message.chunks))
        if live.masks is not None:
            fresh = live.masks.take(fresh)
            self._release_soon(live)
        self._take(live, state, fresh)
        if state.bytes_pending > MAX_PENDING:
            raise ProtocolViolation(
                f"{state.bytes_pending} bytes of {message.execution_id} came without credit",
            )

    def _take(self, live: LiveExecution, state: OutputState, fresh: list[OutputChunk]) -> None:
        """Show and store what is new."""
        if fresh:
            state.pending += fresh
            state.bytes_pending += _size(fresh)
            self._hub.output(live, fresh)
        self._flush(live, state)

    def _release_soon(self, live: LiveExecution) -> None:
        """An end that may begin a secret waits for the rest; not long, its agent needs credit."""
        if live.masks.holds and not live.masks.timed:
            live.masks.timed = True
            self._timers.after(HOLD_SECS, lambda: self.release_held(live))

    def release_held(self, live: LiveExecution) -> None:
        """Nothing more comes for now: what its masks hold back goes on."""
        live.masks.timed = False
        if not live.ended and live.masks.holds:
            self._take(live, self.state_of(live), live.masks.flush())

    def state_of(self, live: LiveExecution) -> OutputState:
        """The execution's state, made when its first output comes, or resumed before."""
        if live.output is None:
            live.output = OutputState()
        if not live.output.counted:
            live.output.counted = True
            self._talking += 1
        state: OutputState = live.output
        return state

    def forget(self, live: LiveExecution) -> None:
        """The execution has ended."""
        if live.output is not None and live.output.counted:
            live.output.counted = False
            self._talking -= 1

    def beyond_cap(self, live: LiveExecution, chunks: list[OutputChunk]) -> bool:
        """Whether these are more than may be kept beside what was streamed."""
        if live.output is None:
            return False
        state: OutputState = live.output
        kept = state.stored_bytes - state.capped.dropped
        return kept + _size(chunks) > live.run.job.settings.output_cap_bytes

    def append(self, live: LiveExecution, chunks: list[OutputChunk]) -> tuple[int, int]:
        """Take the last output, masked already, as if it was streamed; the offsets it ends at."""
        state = self.state_of(live)
        self._take(live, state, list(_filled(state, chunks)))
        return state.offsets[STDOUT], state.offsets[STDERR]

    def close_gap(self, live: LiveExecution, stdout: int, stderr: int) -> None:
        """Output up to here will not come any more: say so, as a gap."""
        state = self.state_of(live)
        missing = []
        for stream, end in ((STDOUT, stdout), (STDERR, stderr)):
            if end > state.offsets[stream]:
                missing.append(_gap(state, stream, end))
        state.pending += missing
        self._hub.output(live, missing)
        self._flush(live, state)

    def retry_held_back(self) -> None:
        """Try again what a full disk or a store that was away kept from being written."""
        if self._capacity.disk_short:
            return
        held, self._held_back = self._held_back, []
        for live in held:
            if live.output is not None:
                self._flush(live, live.output)

    def _flush(self, live: LiveExecution, state: OutputState) -> None:
        if state.in_flight:
            return
        if not state.pending:
            if state.stored_sequence:
                state.reply(self._progress(live, state, _taken(state)))
            return
        if self._capacity.disk_short:
            self._held_back.append(live)
            return
        chunks, used = state.pending, _taken(state)
        state.pending, state.bytes_pending, state.in_flight = [], 0, True
        rows = _rows(live.key, chunks)
        taken = state.capped.take(rows, live.run.job.settings.output_cap_bytes)
        last = chunks[-1].sequence
        ends = dict(state.stored_offsets)
        for row in rows:
            ends[row[1]] = row[2] + row[3]
        total = state.stored_bytes + sum(row[3] for row in rows if row[6] is not None)

        def stored(_command: StoreOutput, error: Exception | None) -> None:
            state.in_flight = False
            if error is not None:
                state.capped.take_back(taken)
                self._failed(live, state, chunks, used, error)
                return
            _on_stored()
            state.stored_sequence, state.stored_offsets = max(last, state.stored_sequence), ends
            state.stored_bytes = total
            state.reply(self._progress(live, state, used))
            waiting, state.waiting = state.waiting, []
            for call in waiting:
                call()
            self._flush(live, state)

        progress = (live.key, max(last, state.stored_sequence), ends[STDOUT], ends[STDERR], total,
                    state.capped.dropped)  # fmt: skip
        dropped = [(live.key, *piece[:3]) for piece in taken.delete]
        self._store.output.stage(StoreOutput(taken.store, dropped, progress, stored))

    def _failed(self, live: LiveExecution, state: OutputState, chunks: list[OutputChunk],
                used: int, error: Exception) -> None:  # fmt: skip
        """Keep it and try again: the agent gets neither acknowledgement nor credit meanwhile."""
        log.warning("output was not stored: %s", error,
                    extra={"action": "output_held_back", "execution": live.id_text})  # fmt: skip
        state.pending = chunks + state.pending
        state.bytes_pending += _size(chunks)
        state.used += used
        self._held_back.append(live)

    def _progress(self, live: LiveExecution, state: OutputState, used: int) -> OutputProgress:
        """Acknowledge, and give back the credit that was used, more or less of it."""
        fair = max(LEAST_WINDOW, min(WINDOW, POOL // max(1, self._talking)))
        credit = max(0, used + fair - state.window)
        state.window = fair if credit else state.window - used
        return OutputProgress(execution_id=live.id_text, stored_sequence=state.stored_sequence,
                              credit_bytes=credit)  # fmt: skip


def _filled(state: OutputState, chunks: Iterable[OutputChunk]) -> Iterable[OutputChunk]:
    """The chunks that are new. Where one begins beyond what is known, readers see a gap."""
    for sent in chunks:
        chunk = sent
        if chunk.sequence <= state.sequence and chunk.sequence:
            continue
        end = chunk.offset + (len(chunk.data) or chunk.gap_bytes)
        known = state.offsets.get(chunk.stream)
        if known is None or end <= known:
            continue
        if chunk.offset < known:
            chunk = OutputChunk(stream=chunk.stream, offset=known, sequence=chunk.sequence,
                                data=chunk.data[known - chunk.offset :], at=chunk.at)  # fmt: skip
        state.offsets[chunk.stream] = end
        state.sequence = chunk.sequence = max(chunk.sequence, state.sequence + 1)
        yield chunk


def _gap(state: OutputState, stream: int, end: int) -> OutputChunk:
    """An explicit gap from what is known to `end`, behind everything that has come."""
    known = state.offsets[stream]
    state.offsets[stream] = end
    gap = OutputChunk(stream=stream, offset=known, gap_bytes=end - known,  # type: ignore[arg-type]  # a number of the enum
                      sequence=state.sequence + 1)  # fmt: skip
    state.sequence += 1
    return gap


def _rows(key: int, chunks: list[OutputChunk]) -> list[Row]:
    """Rows of up to 64 KiB: neighbours of one stream become one."""
    rows: list[Row] = []
    parts: list[bytes] = []
    stream = start = length = sequence = at = 0

    def close() -> None:
        nonlocal parts, length
        if parts:
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            rows.append((key, stream, start, length, sequence, at, data))
        parts, length = [], 0

    for chunk in chunks:
        data = chunk.data
        if not data:
            close()
            rows.append((key, chunk.stream, chunk.offset, chunk.gap_bytes, chunk.sequence,
                         chunk.at.ToMicroseconds(), None))  # fmt: skip
            continue
        apart = chunk.stream != stream or chunk.offset != start + length
        if parts and (apart or length + len(data) > ROW_BYTES):
            close()
        if not parts:
            stream, start, at = chunk.stream, chunk.offset, chunk.at.ToMicroseconds()
        parts.append(data)
        length += len(data)
        sequence = chunk.sequence
    close()
    return rows


def _taken(state: OutputState) -> int:
    """How much credit was used since this was asked last."""
    used, state.used = state.used, 0
    return used


def _size(chunks: Iterable[OutputChunk]) -> int:
    return sum(len(chunk.data) for chunk in chunks)


def _no_reply(_progress: OutputProgress) -> None:
    return None
