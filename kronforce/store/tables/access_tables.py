"""Who may: groups and keys."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)

from kronforce.store.tables.base import Id, Instant, Key, Name, metadata

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
    # The only kronforce.v1.Surface that it opens; 0: any.
    Column("surface", SmallInteger, nullable=False, server_default="0"),
    Index(
        "api_keys_name",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
)
