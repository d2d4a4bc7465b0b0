"""Streamed output: on SQLite in a file of its own."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
)

from kronforce.store.tables.base import Instant, Key, output_metadata

output_chunks = Table(
    "output_chunks",
    output_metadata,
    Column("key", Key, primary_key=True),
    Column("execution_key", BigInteger, nullable=False),
    Column("stream", SmallInteger, nullable=False),
    # Stream offset of the first byte, and bytes covered (data, or the gap when data is null).
    Column("start", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    # The last agent sequence in this row; rows of an execution are read in this order, and in
    # that of `key` where the cap has cut one row into several.
    Column("sequence", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("data", LargeBinary),
    Index("output_chunks_execution", "execution_key", "sequence"),
    # Finds the row that holds an offset.
    Index("output_chunks_offset", "execution_key", "stream", "start"),
)

# How far each execution's streamed output is stored; the resume point after a restart.
output_progress = Table(
    "output_progress",
    output_metadata,
    Column("execution_key", Key, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("stdout_bytes", BigInteger, nullable=False),
    Column("stderr_bytes", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("dropped_bytes", BigInteger, nullable=False),
)
