"""Reading streamed output from any place, in the order it was written."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from kronforce.store.database import Tx
from kronforce.store.tables import inline_output, output_chunks, output_progress

STDOUT, STDERR = 1, 2

# Rows per read: at 64 KiB each, a few MiB.
ROWS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkRow:
    """Bytes of one stream, or a gap of `length` where `data` is None."""

    stream: int
    start: int
    length: int
    sequence: int
    at: int
    data: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressRow:
    """How far an execution's streamed output is stored."""

    execution_key: int
    sequence: int
    stdout_bytes: int
    stderr_bytes: int
    stored_bytes: int
    dropped_bytes: int


def chunks_from(
    tx: Tx, execution_key: int, *, after: int, stdout: int, stderr: int, limit: int = ROWS
) -> list[ChunkRow]:
    """Rows after a sequence that reach beyond the offsets, oldest first."""
    c = output_chunks.c
    end = c.start + c.length
    query = (
        sa.select(c.stream, c.start, c.length, c.sequence, c.at, c.data)
        .where(c.execution_key == execution_key, c.sequence > after)
        .where(
            sa.or_(
                sa.and_(c.stream == STDOUT, end > stdout),
                sa.and_(c.stream == STDERR, end > stderr),
            )
        )
        .order_by(c.sequence, c.key)
        .limit(limit)
    )
    return [
        ChunkRow(
            stream=row.stream, start=row.start, length=row.length, sequence=row.sequence, at=row.at,
            data=None if row.data is None else bytes(row.data),
        )
        for row in tx.conn.execute(query)
    ]  # fmt: skip


def progress_of(tx: Tx, execution_keys: list[int]) -> dict[int, ProgressRow]:
    """What is stored of each; executions without streamed output are not in it."""
    query = sa.select(output_progress).where(output_progress.c.execution_key.in_(execution_keys))
    return {row.execution_key: ProgressRow(**row._asdict()) for row in tx.conn.execute(query)}


def tail_sequences(tx: Tx, execution_key: int, after: int) -> list[tuple[int, int]]:
    """(sequence, length) of the data rows after a sequence: what the cap may still give up."""
    c = output_chunks.c
    query = (
        sa.select(c.sequence, c.length)
        .where(c.execution_key == execution_key, c.sequence > after, c.data.is_not(None))
        .order_by(c.sequence)
    )
    return [(row.sequence, row.length) for row in tx.conn.execute(query)]


def inline_of(tx: Tx, execution_key: int) -> bytes | None:
    """A serialised `ExecutionOutput` that came with the result, if any did."""
    query = sa.select(inline_output.c.data).where(inline_output.c.execution_key == execution_key)
    data = tx.conn.execute(query).scalar()
    return None if data is None else bytes(data)
