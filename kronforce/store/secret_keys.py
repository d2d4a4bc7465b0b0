"""The data keys under which secrets are kept, wrapped; one is current, retired ones go.

A key is retired when another takes its place and deleted when no row needs it.
Whoever writes a secret, makes a key or deletes one raises `variable_revision`
first and is alone with these rows until the commit: nothing is ever written
under a key that goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from kronforce.core import ids
from kronforce.store.database import Tx
from kronforce.store.tables import secret_keys, variables, webhooks


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretKeyRow:
    """A data key; what is in `wrapped` only the master key opens."""

    id: bytes
    wrapped: bytes
    canary: bytes
    created_at: int
    retired_at: int | None


def all_keys(tx: Tx) -> list[SecretKeyRow]:
    """Every key, the current one last."""
    query = sa.select(secret_keys).order_by(
        secret_keys.c.retired_at.is_(None), secret_keys.c.created_at, secret_keys.c.id
    )
    return [_key(row) for row in tx.conn.execute(query)]


def current_key(tx: Tx) -> SecretKeyRow | None:
    """The key that new secrets are written under."""
    query = sa.select(secret_keys).where(secret_keys.c.retired_at.is_(None))
    row = tx.conn.execute(query).one_or_none()
    return None if row is None else _key(row)


def insert_key(tx: Tx, *, id: bytes, wrapped: bytes, canary: bytes, now: int) -> SecretKeyRow:  # noqa: A002 - the column's name
    """Make this the current key; the one before it is retired."""
    retire = sa.update(secret_keys).where(secret_keys.c.retired_at.is_(None))
    tx.conn.execute(retire.values(retired_at=now))
    values = {"id": ids.to_text(id), "wrapped": wrapped, "canary": canary, "created_at": now}
    tx.conn.execute(sa.insert(secret_keys).values(**values))
    return SecretKeyRow(id=id, wrapped=wrapped, canary=canary, created_at=now, retired_at=None)


def delete_unused(tx: Tx) -> int:
    """Delete retired keys that no secret is written under; how many."""
    retired = secret_keys.c.retired_at.is_not(None)
    unused = (
        secret_keys.c.id.not_in(sa.select(column).where(column.is_not(None)))
        for column in (variables.c.secret_key, webhooks.c.secret_key)
    )
    delete = sa.delete(secret_keys).where(retired, *unused)
    return tx.conn.execute(delete).rowcount


def _key(row: sa.Row[tuple[object, ...]]) -> SecretKeyRow:
    values = row._asdict()
    raw = ids.from_text(values["id"])
    assert raw is not None
    return SecretKeyRow(**values | {"id": raw})
