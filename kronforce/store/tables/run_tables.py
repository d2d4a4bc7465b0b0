"""Runs, their targets, their executions, and what came with a result."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from kronforce.store.tables.base import Id, Instant, Key, Name, metadata

runs = Table(
    "runs",
    metadata,
    Column("key", Key, primary_key=True),
    Column("id", Id, nullable=False, unique=True),
    Column("job_key", BigInteger, nullable=False),
    Column("job_id", Id, nullable=False),
    Column("job_name", Name, nullable=False),
    Column("group_name", Name, nullable=False),
    Column("job_version", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("state_reason", Name, nullable=False),
    Column("trigger", SmallInteger, nullable=False),
    Column("principal_key", BigInteger, nullable=False),
    Column("principal", Name, nullable=False),
    Column("client_id", Name, nullable=False),
    # google.protobuf.Struct; null: none.
    Column("params", LargeBinary),
    Column("nominal_at", Instant),
    Column("priority", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("revision", BigInteger, nullable=False),
    Column("target_count", Integer, nullable=False),
    Column("open_targets", Integer, nullable=False),
    # Rank of the worst outcome so far; see core/lifecycle.
    Column("worst", SmallInteger, nullable=False),
    Column("admission", SmallInteger, nullable=False),
    Column("slot_key", Name, nullable=False),
    Column("cancelled_by", Name, nullable=False),
    Column("outputs", LargeBinary),
    Column("pipeline_run_id", Id),
    Column("parent_run_id", Id),
    Column("step_id", Name, nullable=False),
    Column("cause_event", Name, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("rerun_of", Id),
    # What its cancellation is, as a reason word, and what was said with it.
    Column("cancel_reason", Name),
    Column("cancel_message", Text),
    # Ends `timed_out` when it is open then: `run_timeout_secs` from its first start.
    Column("deadline_at", Instant),
    Index("runs_job", "job_key", "key"),
    Index("runs_group", "group_name", "key"),
    # For lists of what went wrong; a run that succeeds never enters it.
    Index(
        "runs_unhappy",
        "state",
        "key",
        sqlite_where=text("state > 4"),
        postgresql_where=text("state > 4"),
    ),
    Index(
        "runs_waiting",
        "job_key",
        "slot_key",
        text("priority DESC"),
        "key",
        sqlite_where=text("admission = 2"),
        postgresql_where=text("admission = 2"),
    ),
    Index(
        "runs_finished",
        "finished_at",
        sqlite_where=text("finished_at IS NOT NULL"),
        postgresql_where=text("finished_at IS NOT NULL"),
    ),
    Index(
        "runs_deadline",
        "deadline_at",
        sqlite_where=text("deadline_at IS NOT NULL AND finished_at IS NULL"),
        postgresql_where=text("deadline_at IS NOT NULL AND finished_at IS NULL"),
    ),
)

run_targets = Table(
    "run_targets",
    metadata,
    Column("run_key", BigInteger, nullable=False),
    Column("target_index", Integer, nullable=False),
    Column("agent_key", BigInteger),
    Column("state", SmallInteger, nullable=False),
    Column("skip_reason", Name, nullable=False),
    Column("attempts", Integer, nullable=False),
    PrimaryKeyConstraint("run_key", "target_index"),
)

executions = Table(
    "executions",
    metadata,
    Column("key", Key, primary_key=True),
    Column("id", Id, nullable=False, unique=True),
    Column("run_key", BigInteger, nullable=False),
    Column("job_key", BigInteger, nullable=False),
    Column("target_index", Integer, nullable=False),
    Column("step_id", Name, nullable=False),
    Column("item_index", Integer, nullable=False),
    Column("attempt_number", Integer, nullable=False),
    Column("retry_of", Id),
    Column("state", SmallInteger, nullable=False),
    Column("state_reason", Name, nullable=False),
    Column("message", Text, nullable=False),
    Column("phase", SmallInteger, nullable=False),
    Column("priority", Integer, nullable=False),
    # What an agent must have to take it: core/targets.route_key.
    Column("route", BigInteger, nullable=False),
    Column("agent_key", BigInteger),
    Column("fence", BigInteger, nullable=False),
    # Lost attempts of this target before this one.
    Column("losses", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant),
    # Ends `expired` when it has not been assigned by then.
    Column("queue_deadline_at", Instant),
    Column("assigned_at", Instant),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("cancel_requested_at", Instant),
    Column("cancelled_by", Name, nullable=False),
    Column("exit_code", Integer),
    Column("signal", Integer, nullable=False),
    Column("stdout_bytes", BigInteger, nullable=False),
    Column("stderr_bytes", BigInteger, nullable=False),
    # google.protobuf.Struct and kronforce.v1.Dispatch; null: none.
    Column("outputs", LargeBinary),
    Column("dispatch", LargeBinary),
    # What was asked for with `cancel_requested_at`, as in `runs`.
    Column("cancel_reason", Name),
    Column("cancel_message", Text),
    Index(
        "executions_attempt",
        "run_key",
        "target_index",
        "step_id",
        "item_index",
        "attempt_number",
        unique=True,
    ),
    Index("executions_job", "job_key", "key"),
    Index(
        "executions_unhappy",
        "state",
        "key",
        sqlite_where=text("state > 4"),
        postgresql_where=text("state > 4"),
    ),
    Index(
        "executions_ready",
        "route",
        text("priority DESC"),
        "key",
        sqlite_where=text("phase = 1"),
        postgresql_where=text("phase = 1"),
    ),
    Index(
        "executions_due",
        "due_at",
        sqlite_where=text("phase = 3"),
        postgresql_where=text("phase = 3"),
    ),
    Index(
        "executions_deadline",
        "queue_deadline_at",
        sqlite_where=text("phase IN (1, 2)"),
        postgresql_where=text("phase IN (1, 2)"),
    ),
    Index(
        "executions_held",
        "agent_key",
        sqlite_where=text("phase IN (4, 5)"),
        postgresql_where=text("phase IN (4, 5)"),
    ),
)

# Output that came with a result: kronforce.v1.ExecutionOutput, stored with the finish.
inline_output = Table(
    "inline_output",
    metadata,
    Column("execution_key", Key, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

# Reports under a stale fence; at most 8 per execution.
evidence = Table(
    "evidence",
    metadata,
    Column("key", Key, primary_key=True),
    Column("execution_id", Id, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("report", LargeBinary, nullable=False),
    Index("evidence_execution", "execution_id"),
)

# The dedupe of request ids: what a principal asked for, and what it got.
requests = Table(
    "requests",
    metadata,
    Column("principal_key", BigInteger, nullable=False),
    Column("request_id", Name, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    # The id of what was made: a run's or a job's.
    Column("resource_id", Id, nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("principal_key", "request_id"),
    Index("requests_age", "created_at"),
)
