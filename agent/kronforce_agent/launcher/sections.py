"""The kinds of section that a backlog is made of: chunks in memory, a segment on disk, a gap.

Each keeps its own place of sending. `ack` forgets from the front and says whether the section is
done with; a segment is removed whole, so a partly acknowledged one only remembers how far.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.spool import CRC_BYTES, SegmentFile

CHUNK_OVERHEAD = 400
"""What Python keeps for a chunk beside its bytes: tiny chunks count for what they cost."""


@dataclass(slots=True)
class Entry:
    """One chunk: stream bytes start..end, and the frame that carries them."""

    seq: int
    stream: int
    start: int
    end: int
    at_micros: int
    frame: bytes
    size: int
    """Bytes it costs of the credit: 0 for a gap."""


class MemoryBudget:
    """Bytes held in memory: an attempt's budget draws on the launcher's."""

    def __init__(self, limit_bytes: int, parent: MemoryBudget | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._parent = parent

    @property
    def has_room(self) -> bool:
        room = self.used_bytes < self.limit_bytes
        return room and (self._parent is None or self._parent.has_room)

    def charge(self, cost: int) -> None:
        self.used_bytes += cost
        if self._parent is not None:
            self._parent.charge(cost)


class Section(Protocol):
    """A run of neighbouring chunks."""

    @property
    def unsent(self) -> bool: ...

    def next(self) -> Entry:
        """The first unsent chunk, which counts as sent from now on."""
        ...

    def rewind(self) -> None:
        """Nothing unacknowledged counts as sent any more."""
        ...

    def ack(self, seq: int) -> bool:
        """Forget chunks up to `seq`; True if the section is empty now and its place is free."""
        ...

    def first_starts(self) -> dict[int, int]:
        """By stream, where its first unacknowledged chunk begins."""
        ...

    def delete(self) -> None: ...


class MemorySection:
    """Chunks in memory, or the chunks of a gap."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._entries: deque[Entry] = deque()
        self._sent = 0

    @property
    def unsent(self) -> bool:
        return self._sent < len(self._entries)

    def append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._budget.charge(len(entry.frame) + CHUNK_OVERHEAD)

    def next(self) -> Entry:
        self._sent += 1
        return self._entries[self._sent - 1]

    def rewind(self) -> None:
        self._sent = 0

    def ack(self, seq: int) -> bool:
        while self._entries and self._entries[0].seq <= seq:
            self._budget.charge(-len(self._entries.popleft().frame) - CHUNK_OVERHEAD)
            self._sent = max(0, self._sent - 1)
        return not self._entries

    def first_starts(self) -> dict[int, int]:
        starts: dict[int, int] = {}
        for entry in self._entries:
            starts.setdefault(entry.stream, entry.start)
            if len(starts) == 2:
                break
        return starts

    def delete(self) -> None:
        self.ack(self._entries[-1].seq if self._entries else 0)


class DiskSection:
    """Chunks in one segment file. `starts`, `ends` and `seqs` are by stream."""

    def __init__(self, file: SegmentFile) -> None:
        self._file = file
        self.starts: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.seqs: dict[int, int] = {}
        self.last_at = 0
        self._sent_to = 0
        self._acked_seq = 0
        self._read: deque[Entry] = deque()

    @property
    def unsent(self) -> bool:
        return self._sent_to < self._file.size

    @property
    def size(self) -> int:
        return self._file.size

    @property
    def has_room(self) -> bool:
        return self._file.has_room

    @property
    def untouched(self) -> bool:
        """Nothing of it was sent on this connection or acknowledged on an earlier one."""
        return self._sent_to == 0 and self._acked_seq == 0

    def append(self, entry: Entry) -> None:
        """Raises OSError, and then nothing was added."""
        self._file.append(entry.frame)
        self.starts.setdefault(entry.stream, entry.start)
        self.ends[entry.stream] = entry.end
        self.seqs[entry.stream] = entry.seq
        self.last_at = entry.at_micros

    def seal(self) -> None:
        """Nothing more is written to it: give the descriptor back until it is read."""
        self._file.close()

    def next(self) -> Entry:
        if not self._read:
            self._read.extend(map(_entry, self._file.read(self._sent_to)))
        entry = self._read.popleft()
        self._sent_to += CRC_BYTES + len(entry.frame)
        if not self.unsent:
            self._file.close()
        return entry

    def rewind(self) -> None:
        """Raises OSError where the file cannot be read."""
        self._read.clear()
        self._sent_to = 0
        while self._acked_seq and self.unsent and self._peek().seq <= self._acked_seq:
            self.next()

    def ack(self, seq: int) -> bool:
        self._acked_seq = max(self._acked_seq, min(seq, self._last_seq))
        if self._acked_seq < self._last_seq:
            return False
        self.delete()
        return True

    def first_starts(self) -> dict[int, int]:
        """Raises OSError where the file cannot be read."""
        if not self._acked_seq:
            return dict(self.starts)
        starts: dict[int, int] = {}
        position = 0
        while frames := self._file.read(position):
            for entry in map(_entry, frames):
                if entry.seq > self._acked_seq:
                    starts.setdefault(entry.stream, entry.start)
            position += sum(CRC_BYTES + len(frame) for frame in frames)
        return starts

    def delete(self) -> None:
        self._read.clear()
        self._file.delete()

    def keep_aside(self) -> None:
        """Raises OSError; the file's name is free in either case once it is deleted."""
        self._file.keep_aside()

    @property
    def _last_seq(self) -> int:
        return max(self.seqs.values(), default=0)

    def _peek(self) -> Entry:
        if not self._read:
            self._read.extend(map(_entry, self._file.read(self._sent_to)))
        return self._read[0]


def _entry(frame: bytes) -> Entry:
    chunk = protocol.decode(frame, 4, len(frame))
    assert isinstance(chunk, protocol.Output)
    size = len(chunk.data)
    end = chunk.offset + size
    return Entry(chunk.seq, chunk.stream, chunk.offset, end, chunk.at_micros, frame, size)
