"""The first schema: everything but streamed output."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_counters()
    _create_groups()
    _create_api_keys()
    _create_join_tokens()
    _create_agents()
    _create_jobs()
    _create_job_versions()
    _create_requests()
    _create_fires()
    _create_slots()
    _create_runs()
    _create_run_targets()
    _create_executions()
    _create_inline_output()
    _create_evidence()
    _create_events()
    _insert_default_group()


def _create_counters() -> None:
    op.create_table(
        "counters",
        sa.Column("name", Name, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def _create_groups() -> None:
    op.create_table(
        "groups",
        sa.Column("key", Key),
        sa.Column("name", Name, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("name"),
    )


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key", Key),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("prefix", Name, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("allowed_groups", sa.Text),
        sa.Column("allowed_networks", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("last_used_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("hash"),
    )
    op.create_index(
        "api_keys_name", "api_keys", ["name"], unique=True, **_only("revoked_at IS NULL")
    )


def _create_join_tokens() -> None:
    op.create_table(
        "join_tokens",
        sa.Column("key", Key),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("uses_left", sa.Integer, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("created_by", Name, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("id"),
    )


def _create_agents() -> None:
    op.create_table(
        "agents",
        sa.Column("key", Key),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("credential_hash", sa.LargeBinary),
        sa.Column("registered_by", Name, nullable=False),
        sa.Column("agent_type", sa.SmallInteger, nullable=False),
        sa.Column("built_in", sa.Boolean, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("task_types", sa.Text, nullable=False),
        sa.Column("facts", sa.LargeBinary, nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("draining", sa.Boolean, nullable=False),
        sa.Column("boot_id", Name, nullable=False),
        sa.Column("session_epoch", sa.BigInteger, nullable=False),
        sa.Column("controller", Name, nullable=False),
        sa.Column("clock_skew_ms", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_seen_at", sa.BigInteger),
        sa.Column("disconnected_at", sa.BigInteger),
        sa.Column("deleted_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("credential_hash"),
    )
    op.create_index("agents_name", "agents", ["name"], unique=True, **_only("deleted_at IS NULL"))


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("key", Key),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("name_lower", Name, nullable=False),
        sa.Column("group_name", Name, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("trusted", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("paused_until", sa.BigInteger),
        sa.Column("next_fire_at", sa.BigInteger),
        sa.Column("next_nominal_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("jobs_group", "jobs", ["group_name", "name"])
    op.create_index("jobs_name", "jobs", ["name"], unique=True, **_only("deleted_at IS NULL"))
    op.create_index("jobs_next_fire", "jobs", ["next_fire_at"], **_only("next_fire_at IS NOT NULL"))


def _create_job_versions() -> None:
    op.create_table(
        "job_versions",
        sa.Column("job_key", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("trusted", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("job_key", "version"),
    )


def _create_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("principal_key", sa.BigInteger, nullable=False),
        sa.Column("request_id", Name, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("resource_id", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("principal_key", "request_id"),
    )
    op.create_index("requests_age", "requests", ["created_at"])


def _create_fires() -> None:
    op.create_table(
        "fires",
        sa.Column("job_key", sa.BigInteger, nullable=False),
        sa.Column("nominal_at", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("reason", Name, nullable=False),
        sa.Column("run_key", sa.BigInteger),
        sa.Column("run_id", sa.LargeBinary),
        sa.Column("caught_up", sa.Boolean, nullable=False),
        sa.Column("fired_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("job_key", "nominal_at"),
    )


def _create_slots() -> None:
    op.create_table(
        "slots",
        sa.Column("job_key", sa.BigInteger, nullable=False),
        sa.Column("slot_key", Name, nullable=False),
        sa.Column("active", sa.BigInteger, nullable=False),
        sa.Column("waiting", sa.BigInteger, nullable=False),
        sa.Column("scheduled_waiting", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("job_key", "slot_key"),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("key", Key),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("job_key", sa.BigInteger, nullable=False),
        sa.Column("job_id", sa.LargeBinary, nullable=False),
        sa.Column("job_name", Name, nullable=False),
        sa.Column("group_name", Name, nullable=False),
        sa.Column("job_version", sa.BigInteger, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("state_reason", Name, nullable=False),
        sa.Column("trigger", sa.SmallInteger, nullable=False),
        sa.Column("principal_key", sa.BigInteger, nullable=False),
        sa.Column("principal", Name, nullable=False),
        sa.Column("client_id", Name, nullable=False),
        sa.Column("params", sa.LargeBinary),
        sa.Column("nominal_at", sa.BigInteger),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("target_count", sa.Integer, nullable=False),
        sa.Column("open_targets", sa.Integer, nullable=False),
        sa.Column("worst", sa.SmallInteger, nullable=False),
        sa.Column("admission", sa.SmallInteger, nullable=False),
        sa.Column("slot_key", Name, nullable=False),
        sa.Column("cancelled_by", Name, nullable=False),
        sa.Column("outputs", sa.LargeBinary),
        sa.Column("pipeline_run_id", sa.LargeBinary),
        sa.Column("parent_run_id", sa.LargeBinary),
        sa.Column("step_id", Name, nullable=False),
        sa.Column("cause_event", Name, nullable=False),
        sa.Column("depth", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("runs_finished", "runs", ["finished_at"], **_only("finished_at IS NOT NULL"))
    op.create_index("runs_group", "runs", ["group_name", "key"])
    op.create_index("runs_job", "runs", ["job_key", "key"])
    op.create_index("runs_unhappy", "runs", ["state", "key"], **_only("state > 4"))
    op.create_index(
        "runs_waiting",
        "runs",
        ["job_key", "slot_key", sa.text("priority DESC"), "key"],
        **_only("admission = 2"),
    )


def _create_run_targets() -> None:
    op.create_table(
        "run_targets",
        sa.Column("run_key", sa.BigInteger, nullable=False),
        sa.Column("target_index", sa.Integer, nullable=False),
        sa.Column("agent_key", sa.BigInteger),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("skip_reason", Name, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_key", "target_index"),
    )


def _create_executions() -> None:
    op.create_table(
        "executions",
        sa.Column("key", Key),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("run_key", sa.BigInteger, nullable=False),
        sa.Column("job_key", sa.BigInteger, nullable=False),
        sa.Column("target_index", sa.Integer, nullable=False),
        sa.Column("step_id", Name, nullable=False),
        sa.Column("item_index", sa.Integer, nullable=False),
        sa.Column("attempt_number", sa.Integer, nullable=False),
        sa.Column("retry_of", sa.LargeBinary),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("state_reason", Name, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("phase", sa.SmallInteger, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("route", sa.BigInteger, nullable=False),
        sa.Column("agent_key", sa.BigInteger),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("queue_deadline_at", sa.BigInteger),
        sa.Column("assigned_at", sa.BigInteger),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("cancel_requested_at", sa.BigInteger),
        sa.Column("cancelled_by", Name, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("signal", sa.Integer, nullable=False),
        sa.Column("stdout_bytes", sa.BigInteger, nullable=False),
        sa.Column("stderr_bytes", sa.BigInteger, nullable=False),
        sa.Column("outputs", sa.LargeBinary),
        sa.Column("dispatch", sa.LargeBinary),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("id"),
    )
    op.create_index(
        "executions_attempt",
        "executions",
        ["run_key", "target_index", "step_id", "item_index", "attempt_number"],
        unique=True,
    )
    op.create_index(
        "executions_deadline",
        "executions",
        ["queue_deadline_at"],
        **_only("phase IN (1, 2)"),
    )
    op.create_index("executions_due", "executions", ["due_at"], **_only("phase = 3"))
    op.create_index("executions_held", "executions", ["agent_key"], **_only("phase IN (4, 5)"))
    op.create_index("executions_job", "executions", ["job_key", "key"])
    op.create_index("executions_unhappy", "executions", ["state", "key"], **_only("state > 4"))
    op.create_index(
        "executions_ready",
        "executions",
        ["route", sa.text("priority DESC"), "key"],
        **_only("phase = 1"),
    )


def _create_inline_output() -> None:
    op.create_table(
        "inline_output",
        sa.Column("execution_key", Key, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("execution_key"),
    )


def _create_evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("key", Key),
        sa.Column("execution_id", sa.LargeBinary, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("report", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("evidence_execution", "evidence", ["execution_id"])


def _create_events() -> None:
    # By day on PostgreSQL, so that retention drops whole days; a partitioned table's key must
    # hold what it is partitioned by.
    partitioned = _on_postgresql()
    op.create_table(
        "events",
        sa.Column("seq", Key, autoincrement=True),
        sa.Column("kind", Name, nullable=False),
        sa.Column("severity", sa.SmallInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("job_id", sa.LargeBinary),
        sa.Column("job_name", Name, nullable=False),
        sa.Column("group_name", Name, nullable=False),
        sa.Column("run_id", sa.LargeBinary),
        sa.Column("execution_id", sa.LargeBinary),
        sa.Column("agent_id", sa.LargeBinary),
        sa.Column("payload", sa.LargeBinary),
        sa.PrimaryKeyConstraint(*(("seq", "at") if partitioned else ("seq",))),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("events_at", "events", ["at"])
    if partitioned:
        # Sequences commit out of order: followers go by transaction, then by number.
        op.execute("ALTER TABLE events ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()")
        op.execute("CREATE INDEX events_order ON events (xid, seq)")
        op.execute("CREATE TABLE events_default PARTITION OF events DEFAULT")


def _only(condition: str) -> dict[str, Any]:
    """The arguments of an index over some rows."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _insert_default_group() -> None:
    now = (
        "CAST(extract(epoch FROM now()) * 1000000 AS bigint)"
        if _on_postgresql()
        else "CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
    )
    op.execute(f"INSERT INTO groups (name, created_at) VALUES ('Default', {now})")


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
