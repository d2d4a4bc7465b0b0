"""What happened, for followers, and what principals did, for good."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
)

from kronforce.store.tables.base import Id, Instant, Key, Name, metadata

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
