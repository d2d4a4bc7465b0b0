"""The schema, once, for both stores.

Integer keys inside, 16-byte ids (UUIDv7) for the world; instants are BIGINT
microseconds UTC; enums are the contract's numbers; a job's definition is its
proto message as bytes beside the columns that SQL filters on, so a new task
type needs no migration. Columns that later features need (step, item,
pipeline, parent, cause, depth, version, principal) are here from the first
migration. Migrations are the truth of a database; a test keeps them equal to
this module.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

metadata = MetaData()

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

groups = Table(
    "groups",
    metadata,
    Column("key", Key, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
)

# Renames whose runs and events are still being moved over; until then the old name is taken.
group_renames = Table(
    "group_renames",
    metadata,
    Column("old_name", Name, primary_key=True),
    Column("new_name", Name, nullable=False, unique=True),
    Column("started_at", Instant, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key", Key, primary_key=True),
    Column("id", Id, nullable=False, unique=True),
    Column("name", Name, nullable=False),
    Column("role", SmallInteger, nullable=False),
    Column("prefix", Name, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("allowed_groups", Text),
    Column("allowed_networks", Text),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("last_used_at", Instant),
    Column("revoked_at", Instant),
    Index(
        "api_keys_name",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("key", Key, primary_key=True),
    Column("id", Id, nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False),
    Column("uses_left", Integer, nullable=False),
    Column("tags", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("created_by", Name, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("allowed_groups", Text, nullable=False, server_default="[]"),
)

agents = Table(
    "agents",
    metadata,
    Column("key", Key, primary_key=True),
    Column("id", Id, nullable=False, unique=True),
    Column("name", Name, nullable=False),
    Column("credential_hash", LargeBinary, unique=True),
    Column("registered_by", Name, nullable=False),
    Column("agent_type", SmallInteger, nullable=False),
    Column("built_in", Boolean, nullable=False),
    # JSON: a list of words, and an object of text.
    Column("tags", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("task_types", Text, nullable=False),
    # kronforce.v1.AgentFacts.
    Column("facts", LargeBinary, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("draining", Boolean, nullable=False),
    Column("boot_id", Name, nullable=False),
    Column("session_epoch", BigInteger, nullable=False),
    Column("controller", Name, nullable=False),
    Column("clock_skew_ms", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_seen_at", Instant),
    # Null while a session is up.
    Column("disconnected_at", Instant),
    Column("deleted_at", Instant),
    # JSON: a list of names; empty: all.
    Column("allowed_groups", Text, nullable=False, server_default="[]"),
    Index(
        "agents_name",
        "name",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
)

jobs = Table(
    "jobs",
    metadata,
    Column("key", Key, primary_key=True),
    Column("id", Id, nullable=False, unique=True),
    Column("name", Name, nullable=False),
    Column("name_lower", Name, nullable=False),
    Column("group_name", Name, nullable=False),
    # Words wrapped in \x1f, so that a filter is one LIKE.
    Column("tags", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    # kronforce.v1.Job: the definition alone, no output-only field.
    Column("spec", LargeBinary, nullable=False),
    Column("version", BigInteger, nullable=False),
    # Rises with every change that matters to a trigger or a schedule; the etag is made of it.
    Column("revision", BigInteger, nullable=False),
    # Whether the author of this version may run processes as the controller's user.
    Column("trusted", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    Column("paused_until", Instant),
    # When the schedule fires next (jitter included) and the instant that the schedule names.
    Column("next_fire_at", Instant),
    Column("next_nominal_at", Instant),
    Index(
        "jobs_name",
        "name",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index(
        "jobs_next_fire",
        "next_fire_at",
        sqlite_where=text("next_fire_at IS NOT NULL"),
        postgresql_where=text("next_fire_at IS NOT NULL"),
    ),
    Index("jobs_group", "group_name", "name"),
)

job_versions = Table(
    "job_versions",
    metadata,
    Column("job_key", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    Column("actor", Name, nullable=False),
    Column("trusted", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("job_key", "version"),
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

# The ledger: a row per fired instant (run_key set), a range row where none was made (reason set).
fires = Table(
    "fires",
    metadata,
    Column("job_key", BigInteger, nullable=False),
    Column("nominal_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("reason", Name, nullable=False),
    Column("run_key", BigInteger),
    Column("run_id", Id),
    Column("caught_up", Boolean, nullable=False),
    Column("fired_at", Instant, nullable=False),
    PrimaryKeyConstraint("job_key", "nominal_at"),
)

# A job's concurrency, one row per (job, key); counts runs.
slots = Table(
    "slots",
    metadata,
    Column("job_key", BigInteger, nullable=False),
    Column("slot_key", Name, nullable=False),
    Column("active", BigInteger, nullable=False),
    Column("waiting", BigInteger, nullable=False),
    Column("scheduled_waiting", BigInteger, nullable=False),
    PrimaryKeyConstraint("job_key", "slot_key"),
)

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

events = Table(
    "events",
    metadata,
    Column("seq", Key, primary_key=True),
    Column("kind", Name, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("message", Text, nullable=False),
    Column("actor", Name, nullable=False),
    Column("job_id", Id),
    Column("job_name", Name, nullable=False),
    Column("group_name", Name, nullable=False),
    Column("run_id", Id),
    Column("execution_id", Id),
    Column("agent_id", Id),
    # google.protobuf.Struct; null: none.
    Column("payload", LargeBinary),
    Index("events_at", "at"),
)

variables = Table(
    "variables",
    metadata,
    Column("key", Key, primary_key=True),
    Column("id", Id, nullable=False, unique=True),
    Column("name", Name, nullable=False, unique=True),
    Column("secret", Boolean, nullable=False),
    # UTF-8; of a secret what security/ made of it, its key's id in front.
    Column("value", LargeBinary, nullable=False),
    Column("description", Text, nullable=False),
    # JSON: a list of names.
    Column("allowed_groups", Text, nullable=False),
    Column("expires_at", Instant),
    # How many of its expiry events were told of.
    Column("expiry_told", SmallInteger, nullable=False),
    # Of a secret: the key that its value is written under.
    Column("secret_key", Name),
    # Grows with each change that a caller makes; its etag.
    Column("version", BigInteger, nullable=False),
    # Of the counter `variable_revision` at its last change, by which copies in memory follow.
    Column("revision", BigInteger, nullable=False),
    Column("updated_by", Name, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Index(
        "variables_expiry",
        "expires_at",
        sqlite_where=text("expires_at IS NOT NULL"),
        postgresql_where=text("expires_at IS NOT NULL"),
    ),
)

# Which jobs name which variables, in their current version.
job_variables = Table(
    "job_variables",
    metadata,
    Column("name", Name, nullable=False),
    Column("job_key", BigInteger, nullable=False),
    PrimaryKeyConstraint("name", "job_key"),
    Index("job_variables_job", "job_key"),
)

# The keys under which secrets are stored, each wrapped by the master key, which is not here.
secret_keys = Table(
    "secret_keys",
    metadata,
    Column("id", Name, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    # A known text under this key: a wrong master key shows at start.
    Column("canary", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    # Null: new secrets are written under it.
    Column("retired_at", Instant),
)

# What principals did; a row is never changed. Each hash covers the row and the hash before it.
audit = Table(
    "audit",
    metadata,
    # chain_id * 2^40 + the place in the chain.
    Column("key", Key, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("actor", Name, nullable=False),
    Column("actor_id", Name, nullable=False),
    Column("operation", Name, nullable=False),
    Column("resource_type", Name, nullable=False),
    Column("resource_id", Name, nullable=False),
    Column("resource_name", Name, nullable=False),
    Column("group_name", Name, nullable=False),
    Column("refused", Boolean, nullable=False),
    Column("peer", Name, nullable=False),
    Column("surface", Name, nullable=False),
    # Canonical JSON of before, after and details, redacted; empty: none of them.
    Column("detail", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index("audit_at", "at"),
)

# Where each chain begins and where it ends, each signed by itself: retention moves the first,
# every batch of its controller the last.
audit_chains = Table(
    "audit_chains",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    # Host and life.
    Column("controller", Name, nullable=False),
    Column("started_at", Instant, nullable=False),
    # The first row that is still there, and the hash before it.
    Column("first_seq", BigInteger, nullable=False),
    Column("first_hash", LargeBinary, nullable=False),
    Column("first_mac", LargeBinary, nullable=False),
    # The last row that was written, and its hash.
    Column("last_seq", BigInteger, nullable=False),
    Column("last_hash", LargeBinary, nullable=False),
    Column("last_mac", LargeBinary, nullable=False),
)

# Which chains there are, without a gap, signed; one row.
audit_book = Table(
    "audit_book",
    metadata,
    Column("key", SmallInteger, primary_key=True, autoincrement=False),
    Column("first_chain", BigInteger, nullable=False),
    Column("last_chain", BigInteger, nullable=False),
    # Entries of the chains before the first, which retention has cut.
    Column("cut", BigInteger, nullable=False),
    # When it was first found changed by somebody else; it is never whole again.
    Column("broken_at", Instant),
    Column("mac", LargeBinary, nullable=False),
)

# Streamed output. On SQLite these two live in a file of their own, written and committed before
# the finish that refers to them; on PostgreSQL in the same database.
output_metadata = MetaData()

output_chunks = Table(
    "output_chunks",
    output_metadata,
    Column("key", Key, primary_key=True),
    Column("execution_key", BigInteger, nullable=False),
    Column("stream", SmallInteger, nullable=False),
    # Stream offset of the first byte, and bytes covered (data, or the gap when data is null).
    Column("start", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    # The last agent sequence in this row; rows of an execution are read in this order.
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
