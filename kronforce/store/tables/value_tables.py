"""Variables, and the keys under which secrets are kept."""

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
