"""Statistics, begun with what is stored of the past."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_MINUTE_US = 60 * 1_000_000

# More binary digits than any number of microseconds has that an instant can hold.
_DIGITS = 63


def upgrade() -> None:
    _create_stats_added()
    _create_stats()
    _create_past_jobs()
    op.execute(_fill_in())


def _create_stats_added() -> None:
    op.create_table(
        "stats_added",
        sa.Column("key", Key, primary_key=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.Column("agent_key", sa.BigInteger()),
        sa.Column("group_name", Name, nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("size", sa.SmallInteger(), nullable=False),
        *_sums(),
    )


def _create_stats() -> None:
    op.create_table(
        "stats",
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.SmallInteger(), nullable=False),
        sa.Column("ref", sa.BigInteger(), nullable=False),
        sa.Column("group_name", Name, nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("size", sa.SmallInteger(), nullable=False),
        *_sums(),
        sa.PrimaryKeyConstraint("level", "at", "subject", "ref", "group_name", "state", "size"),
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": 60},
    )


def _create_past_jobs() -> None:
    op.create_table(
        "past_jobs",
        sa.Column("key", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("gone_at", sa.BigInteger(), nullable=False),
    )


def _sums() -> list[sa.Column[int]]:
    names = ("executions", "runs", "started", "busy_us", "longest_us", "waits", "wait_us")
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _fill_in() -> str:
    """What is stored of the past, as if its batches had been counted: the controller goes on.

    One reading of runs and executions, and a row for each (minute, job, agent, outcome, size).
    """
    return (
        "INSERT INTO stats_added (at, job_key, agent_key, group_name, state, size, executions, "
        f"runs, started, busy_us, longest_us, waits, wait_us) {_executions()} UNION ALL {_runs()}"
    )


def _executions() -> str:
    took = "CASE WHEN e.finished_at > e.started_at THEN e.finished_at - e.started_at ELSE 0 END"
    first = "e.attempt_number = 1 AND e.started_at IS NOT NULL"
    return (
        f"SELECT e.finished_at - e.finished_at % {_MINUTE_US}, e.job_key, e.agent_key, "
        f"r.group_name, e.state, {_size(took)}, count(*), 0, count(e.started_at), "
        f"sum({took}), max({took}), sum(CASE WHEN {first} THEN 1 ELSE 0 END), "
        f"sum(CASE WHEN {first} AND e.started_at > r.created_at "
        "THEN e.started_at - r.created_at ELSE 0 END) "
        "FROM executions e JOIN runs r ON r.key = e.run_key WHERE e.finished_at IS NOT NULL "
        "GROUP BY 1, 2, 3, 4, 5, 6"
    )


def _runs() -> str:
    return (
        f"SELECT finished_at - finished_at % {_MINUTE_US}, job_key, NULL, group_name, state, 0, "
        "0, count(*), 0, 0, 0, 0, 0 FROM runs WHERE finished_at IS NOT NULL GROUP BY 1, 2, 4, 5"
    )


def _size(took: str) -> str:
    """The number of binary digits, without functions that only some builds have."""
    steps = " ".join(f"WHEN {took} < {1 << digits} THEN {digits}" for digits in range(_DIGITS))
    return f"CASE {steps} ELSE {_DIGITS} END"
