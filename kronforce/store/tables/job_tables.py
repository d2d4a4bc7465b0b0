"""Jobs, their versions, their limits, and the ledger of their schedules."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)

from kronforce.store.tables.base import Id, Instant, Key, Name, metadata

# Whether a definition holds the tag of `max_run_history`, or something that looks like it.
MAY_LIMIT_HISTORY = {
    "sqlite": "instr(spec, X'B804') > 0",
    "postgresql": "position('\\xb804'::bytea in spec) > 0",
}

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
    # `key=value`, wrapped alike.
    Column("labels", Text, nullable=False, server_default=""),
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
    # What retention asks for every minute; few are in these.
    Index(
        "jobs_deleted",
        "deleted_at",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
    Index(
        "jobs_history",
        "key",
        sqlite_where=text(MAY_LIMIT_HISTORY["sqlite"]),
        postgresql_where=text(MAY_LIMIT_HISTORY["postgresql"]),
    ),
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
    # Those without a run go by their age, the others with their run.
    Index(
        "fires_skipped",
        "until",
        sqlite_where=text("run_key IS NULL"),
        postgresql_where=text("run_key IS NULL"),
    ),
)
