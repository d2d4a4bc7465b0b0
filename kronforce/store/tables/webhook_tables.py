"""Webhooks in: the URL that fires a job."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, SmallInteger, Table

from kronforce.store.tables.base import Id, Instant, Name, metadata

# One per job; gone when it is disabled or its job is deleted.
webhooks = Table(
    "webhooks",
    metadata,
    Column("job_key", BigInteger, primary_key=True, autoincrement=False),
    # Of this enabling: what the audit log calls the actor of its runs.
    Column("id", Id, nullable=False, unique=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("token_prefix", Name, nullable=False),
    # Sealed by security/; null: deliveries are not signed.
    Column("secret", LargeBinary),
    # The key that the secret is written under.
    Column("secret_key", Name),
    # kronforce.v1.WebhookBody
    Column("body_as", SmallInteger, nullable=False),
    Column("created_by", Name, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("rotated_at", Instant),
)
