"""Agents and the tokens by which they join."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)

from kronforce.store.tables.base import Id, Instant, Key, Name, metadata

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
    # What a custom agent can be asked for: kronforce.v1.SetAgentTaskTypesResponse.
    Column("definitions", LargeBinary),
    Index(
        "agents_name",
        "name",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
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
