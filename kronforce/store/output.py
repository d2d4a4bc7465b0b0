"""Reading and deleting streamed output, and the output that came with a result.

Rows of an execution are in the order of `sequence`, those that share one are
always read together; each covers `length` bytes of its stream from `start`.
Where the next row of a stream begins later than the one before ended, the bytes
between are not kept: readers show a gap. On SQLite all but
`get_inline` and `inline_of` run over the output file (`Database.read_output`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kronforce.store.database import Tx
from kronforce.store.tables import inline_output, output_chunks, output_progress

# Rows looked at for one read: at 64 KiB a row more than any frame carries.
READ_ROWS = 1_024

# Reads for one head: a task that prints a few bytes at a time has many small rows.
HEAD_READS = 16

_chunks = output_chunks.c

# Pieces of what was one row share its sequence, and are written in their order.
_IN_ORDER = (_chunks.sequence, _chunks.key)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkRow:
    """Stored bytes of one stream; `data` None is a gap of `length` bytes."""

    stream: int
    start: int
    length: int
    sequence: int
    at: int
    data: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressRow:
    """How far an execution's output is stored."""

    execution_key: int
    sequence: int
    stdout_bytes: int
    stderr_bytes: int
    stored_bytes: int
    dropped_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputHead:
    """The first bytes of a stream; `truncated` if there are more, or a gap among them."""

    data: bytes
    truncated: bool


def get_inline(tx: Tx, execution_key: int) -> bytes | None:
    """Output that came with the result: a serialised `kronforce.v1.ExecutionOutput`."""
    query = sa.select(inline_output.c.data).where(inline_output.c.execution_key == execution_key)
    data: bytes | None = tx.conn.scalar(query)
    return data


def inline_of(tx: Tx, execution_keys: Sequence[int]) -> dict[int, bytes]:
    """The same of many, for those that have any."""
    query = sa.select(inline_output.c.execution_key, inline_output.c.data).where(
        inline_output.c.execution_key.in_(execution_keys)
    )
    return {row.execution_key: row.data for row in tx.conn.execute(query)}


def progress_of(tx: Tx, execution_keys: Iterable[int]) -> dict[int, ProgressRow]:
    """How far the output of each is stored, for those that have any."""
    query = sa.select(output_progress).where(
        output_progress.c.execution_key.in_(list(execution_keys))
    )
    return {row.execution_key: ProgressRow(**row._asdict()) for row in tx.conn.execute(query)}


def read_chunks(
    tx: Tx, execution_key: int, after_sequence: int, limit_bytes: int
) -> list[ChunkRow]:
    """What comes after this sequence, both streams interleaved; at least one row if any is."""
    return _read(tx, _of(execution_key).where(_chunks.sequence > after_sequence), limit_bytes)


def read_stream(
    tx: Tx, execution_key: int, stream: int, offset: int, limit_bytes: int
) -> list[ChunkRow]:
    """One stream from an offset on; the first row may begin before it."""
    first = _first_needed(tx, execution_key, stream, offset)
    if first is None:
        return []
    query = _of(execution_key).where(_chunks.stream == stream, _chunks.sequence >= first)
    return _read(tx, query, limit_bytes)


def sequence_before(tx: Tx, execution_key: int, offsets: Mapping[int, int]) -> int:
    """The sequence after which to read so that no byte from these offsets on is missed.

    `offsets` are by stream. What is read there may begin before them.
    """
    # The last first: a row that is stored between these reads must be found by the second.
    last = sa.select(sa.func.max(_chunks.sequence)).where(_chunks.execution_key == execution_key)
    newest = int(tx.conn.scalar(last) or 0)
    needed = [
        _first_needed(tx, execution_key, stream, offset) for stream, offset in offsets.items()
    ]
    first = min((sequence for sequence in needed if sequence is not None), default=None)
    return newest if first is None else first - 1


def head_and_tail(
    tx: Tx, execution_key: int, half: int
) -> tuple[int, list[tuple[int, int, int, int]]]:
    """Bytes in the rows that make the first half of the cap, and all others.

    Those are (sequence, stream, start, bytes).
    """
    sizes = sa.select(_chunks.sequence, _chunks.stream, _chunks.start, _stored()).where(
        _chunks.execution_key == execution_key
    )
    head_bytes = 0
    tail: list[tuple[int, int, int, int]] = []
    for row in tx.conn.execute(sizes.order_by(*_IN_ORDER)):
        sequence, stream, start, stored = row
        if head_bytes + stored <= half and not tail:
            head_bytes += stored
        else:
            tail.append((sequence, stream, start, stored))
    return head_bytes, tail


def head(tx: Tx, execution_key: int, stream: int, limit: int) -> OutputHead:
    """The first `limit` bytes of a stream, up to its first gap."""
    of_stream = _of(execution_key).where(_chunks.stream == stream)
    data, last = bytearray(), 0
    for _ in range(HEAD_READS):
        rows = _read(tx, of_stream.where(_chunks.sequence > last), limit + 1 - len(data), over=True)
        if not rows:
            return OutputHead(data=bytes(data), truncated=False)
        for row in rows:
            if row.data is None or row.start != len(data):
                return OutputHead(data=bytes(data[:limit]), truncated=True)
            data += row.data
        if len(data) > limit:
            break
        last = rows[-1].sequence
    return OutputHead(data=bytes(data[:limit]), truncated=True)


def delete_output(tx: Tx, execution_keys: Sequence[int], limit: int) -> int:
    """Delete up to `limit` rows of these executions; call again until it gives 0."""
    some = (
        sa.select(_chunks.key, _chunks.at)
        .where(_chunks.execution_key.in_(execution_keys))
        .limit(limit)
    )
    found = tx.conn.execute(some).all()
    if found:
        # `at` finds the partition on PostgreSQL.
        days = _chunks.at.between(min(row.at for row in found), max(row.at for row in found))
        keys = _chunks.key.in_([row.key for row in found])
        tx.conn.execute(sa.delete(output_chunks).where(keys, days))
        return len(found)
    progress = output_progress.c.execution_key.in_(execution_keys)
    tx.conn.execute(sa.delete(output_progress).where(progress))
    return 0


def _of(execution_key: int) -> sa.Select[Any]:
    return sa.select(*(_chunks[name] for name in ChunkRow.__slots__)).where(
        _chunks.execution_key == execution_key
    )


def _first_needed(tx: Tx, execution_key: int, stream: int, offset: int) -> int | None:
    """The sequence of the stream's first row that holds anything from the offset on."""
    of_stream = sa.select(_chunks.sequence, _chunks.start, _chunks.length).where(
        _chunks.execution_key == execution_key, _chunks.stream == stream
    )
    before = of_stream.where(_chunks.start <= offset).order_by(_chunks.start.desc()).limit(1)
    row = tx.conn.execute(before).one_or_none()
    if row is None or row.start + row.length <= offset:
        after = of_stream.where(_chunks.start > offset).order_by(_chunks.start).limit(1)
        row = tx.conn.execute(after).one_or_none()
    return None if row is None else row.sequence


def _stored() -> sa.ColumnElement[int]:
    return sa.case((_chunks.data.is_(None), 0), else_=_chunks.length)


def _read(tx: Tx, query: sa.Select[Any], limit_bytes: int, *, over: bool = False) -> list[ChunkRow]:
    """Rows in order, up to the limit, or with `over` up to the row that reaches beyond it."""
    query = query.order_by(*_IN_ORDER)
    # First how much there is: a client of PostgreSQL gets every row that it asks for.
    sizes = query.with_only_columns(_chunks.sequence, _stored()).limit(READ_ROWS)
    last, total = None, 0
    for sequence, stored in tx.conn.execute(sizes):
        if last is not None and total + (0 if over else stored) > limit_bytes:
            break
        last, total = sequence, total + stored
    if last is None:
        return []
    rows = tx.conn.execute(query.where(_chunks.sequence <= last))
    return [ChunkRow(**row._asdict()) for row in rows]
