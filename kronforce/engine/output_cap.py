"""What the cap keeps of an execution's streamed output: its first half and its last.

The head is filled to the byte. Beyond it is the tail, in pieces small enough that
giving up the oldest for what is new leaves most of the half. Never more than
the cap is kept. What has to be dropped anyway is not stored first.

Pieces of one row share its sequence, so a piece is named by stream and start too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from kronforce.store.dialect import Row

# The tail is whole to within this part of it, or to within a row.
PIECES = 8

# (sequence, stream, start, bytes) of a stored piece of the tail; a gap has no bytes.
Piece = tuple[int, int, int, int]


@dataclass(slots=True)
class Taken:
    """What becomes of a batch of rows, and how to take that back."""

    store: list[Row]
    given_up: list[Piece]
    before: tuple[int, int, int, int]

    @property
    def delete(self) -> list[Piece]:
        """Those that are stored already."""
        return self.given_up[: self.before[3]]


class Capped:
    """Which rows of one execution are kept."""

    __slots__ = ("dropped", "head_bytes", "tail", "tail_bytes")

    def __init__(self, head_bytes: int = 0, tail: Iterable[Piece] = (), dropped: int = 0) -> None:
        self.head_bytes = head_bytes
        self.tail = deque(tail)
        self.tail_bytes = sum(piece[3] for piece in self.tail)
        self.dropped = dropped

    def take(self, rows: list[Row], cap: int) -> Taken:
        """Decide on the next rows of the execution, in their order."""
        half = cap // 2
        before = (self.head_bytes, self.tail_bytes, self.dropped, len(self.tail))
        total = sum(map(_kept, rows))
        if not self.tail and self.head_bytes + total <= half:
            self.head_bytes += total
            return Taken(rows, [], before)
        room = 0 if self.tail else half - self.head_bytes
        head, fresh = _split(rows, room, max(0, total - room - half), max(1, half // PIECES))
        in_head = sum(map(_kept, head))
        self.head_bytes += in_head
        self.dropped += total - in_head - sum(map(_kept, fresh))
        given_up = self._append(fresh, half)
        unstored = max(0, len(given_up) - before[3])
        return Taken(head + fresh[unstored:], given_up, before)

    def take_back(self, taken: Taken) -> None:
        """The rows were not stored, nor any deleted: all is where it was."""
        self.head_bytes, self.tail_bytes, self.dropped, length = taken.before
        self.tail = deque(islice(chain(taken.given_up, self.tail), length))

    def _append(self, fresh: Iterable[Row], half: int) -> list[Piece]:
        """Make the pieces the newest of the tail; those that it gives up for them."""
        for row in fresh:
            length = _kept(row)
            self.tail.append((row[4], row[1], row[2], length))
            self.tail_bytes += length
        given_up: list[Piece] = []
        while self.tail_bytes > half:
            piece = self.tail.popleft()
            self.tail_bytes -= piece[3]
            self.dropped += piece[3]
            given_up.append(piece)
        return given_up


def _split(rows: Iterable[Row], room: int, skip: int, size: int) -> tuple[list[Row], list[Row]]:
    """The rows to the end of the head; those behind it less `skip` bytes, in pieces."""
    head: list[Row] = []
    fresh: list[Row] = []
    for row in rows:
        length = _kept(row)
        if not length:
            # A gap stands where it was written.
            (fresh if fresh or not room else head).append(row)
            continue
        if first := min(room, length):
            room -= first
            head.append(_part(row, 0, first))
        dropped = min(skip, length - first)
        skip -= dropped
        fresh += _pieces(row, first + dropped, size)
    return head, fresh


def _pieces(row: Row, begin: int, size: int) -> Iterator[Row]:
    for start in range(begin, row[3], size):
        yield _part(row, start, min(start + size, row[3]))


def _part(row: Row, begin: int, end: int) -> Row:
    """The row's bytes from `begin` to `end`, counted from its first."""
    if not begin and end == row[3]:
        return row
    key, stream, start, _, sequence, at, data = row
    return (key, stream, start + begin, end - begin, sequence, at, data[begin:end])


def _kept(row: Row) -> int:
    """Bytes of data; rows are as `store.hot.output_apply` writes them."""
    length: int = row[3] if row[6] is not None else 0
    return length
