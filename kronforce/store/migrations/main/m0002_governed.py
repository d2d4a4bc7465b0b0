"""What is needed to hand the controller to others: variables, audit, run deadlines, groups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _add_columns()
    _create_group_renames()
    _create_variables()
    _create_secret_keys()
    _create_audit()


def _add_columns() -> None:
    for table in ("agents", "join_tokens"):
        op.add_column(
            table, sa.Column("allowed_groups", sa.Text(), nullable=False, server_default="[]")
        )
    for table in ("runs", "executions"):
        op.add_column(table, sa.Column("cancel_reason", Name))
        op.add_column(table, sa.Column("cancel_message", sa.Text()))
    op.add_column("runs", sa.Column("rerun_of", sa.LargeBinary()))
    op.add_column("runs", sa.Column("deadline_at", sa.BigInteger()))
    op.create_index(
        "runs_deadline",
        "runs",
        ["deadline_at"],
        sqlite_where=sa.text("deadline_at IS NOT NULL AND finished_at IS NULL"),
        postgresql_where=sa.text("deadline_at IS NOT NULL AND finished_at IS NULL"),
    )


def _create_group_renames() -> None:
    op.create_table(
        "group_renames",
        sa.Column("old_name", Name, primary_key=True),
        sa.Column("new_name", Name, nullable=False, unique=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
    )


def _create_variables() -> None:
    op.create_table(
        "variables",
        sa.Column("key", Key, primary_key=True),
        sa.Column("id", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("name", Name, nullable=False, unique=True),
        sa.Column("secret", sa.Boolean(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("allowed_groups", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("expiry_told", sa.SmallInteger(), nullable=False),
        sa.Column("secret_key", Name),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", Name, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    )
    op.create_index(
        "variables_expiry",
        "variables",
        ["expires_at"],
        sqlite_where=sa.text("expires_at IS NOT NULL"),
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_table(
        "job_variables",
        sa.Column("name", Name, nullable=False),
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "job_key"),
    )
    op.create_index("job_variables_job", "job_variables", ["job_key"])


def _create_secret_keys() -> None:
    op.create_table(
        "secret_keys",
        sa.Column("id", Name, primary_key=True),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("canary", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.BigInteger()),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("key", Key, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("actor_id", Name, nullable=False),
        sa.Column("operation", Name, nullable=False),
        sa.Column("resource_type", Name, nullable=False),
        sa.Column("resource_id", Name, nullable=False),
        sa.Column("resource_name", Name, nullable=False),
        sa.Column("group_name", Name, nullable=False),
        sa.Column("refused", sa.Boolean(), nullable=False),
        sa.Column("peer", Name, nullable=False),
        sa.Column("surface", Name, nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
    )
    op.create_index("audit_at", "audit", ["at"])
    op.create_table(
        "audit_chains",
        sa.Column("chain_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("controller", Name, nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("first_hash", sa.LargeBinary(), nullable=False),
        sa.Column("first_mac", sa.LargeBinary(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_hash", sa.LargeBinary(), nullable=False),
        sa.Column("last_mac", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "audit_book",
        sa.Column("key", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("first_chain", sa.BigInteger(), nullable=False),
        sa.Column("last_chain", sa.BigInteger(), nullable=False),
        sa.Column("cut", sa.BigInteger(), nullable=False),
        sa.Column("broken_at", sa.BigInteger()),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
    )
