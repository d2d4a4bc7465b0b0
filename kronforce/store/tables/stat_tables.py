"""Statistics: sums that the commands which end executions keep, never a row per execution."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
)

from kronforce.store.tables.base import Id, Instant, Key, Name, metadata


class Level:
    """How long a bucket is, in UTC."""

    MINUTE = 1
    HOUR = 2
    DAY = 3


class Subject:
    """Whose numbers a row has, and what `ref` is."""

    # 0: the group's name is in every row.
    GROUP = 1
    # The job's key.
    JOB = 2
    # The agent's key.
    AGENT = 3


def _sums() -> list[Column[int]]:
    return [
        # Executions and runs that ended in this state; agents have no runs.
        Column("executions", BigInteger, nullable=False),
        Column("runs", BigInteger, nullable=False),
        # Executions that had started; how long these took together, and the longest of them.
        Column("started", BigInteger, nullable=False),
        Column("busy_us", BigInteger, nullable=False),
        Column("longest_us", BigInteger, nullable=False),
        # First attempts that had started, and how long their runs had waited for that together.
        Column("waits", BigInteger, nullable=False),
        Column("wait_us", BigInteger, nullable=False),
    ]


# What batches have added and nobody has put into buckets yet: written at the end of a table without
# an index, in the transaction that ends what is counted.
stats_added = Table(
    "stats_added",
    metadata,
    Column("key", Key, primary_key=True),
    # When the minute begins.
    Column("at", Instant, nullable=False),
    Column("job_key", BigInteger, nullable=False),
    Column("agent_key", BigInteger),
    # The group that the job was in when the run was triggered.
    Column("group_name", Name, nullable=False),
    Column("state", SmallInteger, nullable=False),
    # How long they took, as `core.size_classes`.
    Column("size", SmallInteger, nullable=False),
    *_sums(),
)

# The buckets of one time stand together, whoever's they are: rows that change together share a few
# pages. Who asks names every bucket of a span, so that each is one descent.
stats = Table(
    "stats",
    metadata,
    Column("level", SmallInteger, nullable=False),
    # When the bucket begins.
    Column("at", Instant, nullable=False),
    Column("subject", SmallInteger, nullable=False),
    Column("ref", BigInteger, nullable=False),
    Column("group_name", Name, nullable=False),
    Column("state", SmallInteger, nullable=False),
    # Of jobs' hours and days alone, elsewhere 0.
    Column("size", SmallInteger, nullable=False),
    *_sums(),
    PrimaryKeyConstraint("level", "at", "subject", "ref", "group_name", "state", "size"),
    sqlite_with_rowid=False,
    # The newest rows change again and again: room for that on their own page.
    postgresql_with={"fillfactor": 60},
)

# What jobs were called that are gone and still have numbers.
past_jobs = Table(
    "past_jobs",
    metadata,
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Id, nullable=False),
    Column("name", Name, nullable=False),
    Column("gone_at", Instant, nullable=False),
)
