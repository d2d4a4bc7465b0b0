"""What columns are made of, and the words of their numbers."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()
# Streamed output. On SQLite its tables live in a file of their own, written and committed before
# the finish that refers to them; on PostgreSQL in the same database.
output_metadata = MetaData()

# Collation "C" on PostgreSQL: the same order as SQLite's BINARY, and index-friendly.
Name = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite makes an alias of the row id only of "INTEGER PRIMARY KEY".
Key = BigInteger().with_variant(Integer(), "sqlite")
Instant = BigInteger
Id = LargeBinary


class Phase:
    """Where an open execution stands, for the statements that pick work; 0 when it has ended.

    `state` and `state_reason` of the contract are derived from it while it is not 0.
    """

    ENDED = 0
    READY = 1
    CONCURRENCY = 2
    RETRY_WAIT = 3
    ASSIGNED = 4
    RUNNING = 5


class Admission:
    """What a run holds of its job's limit."""

    UNLIMITED = 0
    ACTIVE = 1
    WAITING = 2
    RELEASED = 3


counters = Table(
    "counters",
    metadata,
    Column("name", Name, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
