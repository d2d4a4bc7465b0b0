"""The first schema of streamed output."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_output_chunks()
    _create_output_progress()


def _create_output_chunks() -> None:
    # By day on PostgreSQL; a partitioned table's key must hold what it is partitioned by.
    partitioned = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "output_chunks",
        sa.Column("key", Key, autoincrement=True),
        sa.Column("execution_key", sa.BigInteger, nullable=False),
        sa.Column("stream", sa.SmallInteger, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary),
        sa.PrimaryKeyConstraint(*(("key", "at") if partitioned else ("key",))),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("output_chunks_execution", "output_chunks", ["execution_key", "sequence"])
    op.create_index("output_chunks_offset", "output_chunks", ["execution_key", "stream", "start"])
    if partitioned:
        op.execute("CREATE TABLE output_chunks_default PARTITION OF output_chunks DEFAULT")


def _create_output_progress() -> None:
    op.create_table(
        "output_progress",
        sa.Column("execution_key", Key, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("stdout_bytes", sa.BigInteger, nullable=False),
        sa.Column("stderr_bytes", sa.BigInteger, nullable=False),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False),
        sa.Column("dropped_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("execution_key"),
    )
