"""API keys: a hash, a role and limits; never a secret.

Every change raises the counter `key_revision`, which transactions read: a key
that was revoked anywhere is refused everywhere with the next one. The last
admin key cannot be revoked, or nobody could ever make another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kronforce.core import ids
from kronforce.errors import AlreadyExists, InUse
from kronforce.store import counters, dialect
from kronforce.store.database import Tx
from kronforce.store.keyset import fetch_page
from kronforce.store.paging import Page, PageRequest
from kronforce.store.tables import api_keys
from kronforce.v1.api_key_pb2 import ROLE_ADMIN

_TOUCH = dialect.update(
    api_keys, ("key", "last_used_at"), set_="last_used_at = :last_used_at", where="t.key = :key"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRow:
    """A key as it is kept; empty limits mean any."""

    key: int
    id: bytes
    name: str
    role: int
    prefix: str
    hash: bytes
    allowed_groups: tuple[str, ...]
    allowed_networks: tuple[str, ...]
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None
    # The only Surface that it opens; 0: any.
    surface: int


def insert_key(
    tx: Tx,
    *,
    id: bytes,  # noqa: A002 - the column's name
    name: str,
    role: int,
    prefix: str,
    hash: bytes,  # noqa: A002 - the column's name
    allowed_groups: Sequence[str],
    allowed_networks: Sequence[str],
    created_at: int,
    expires_at: int | None,
    surface: int = 0,
) -> KeyRow:
    """Keep a new key. Raises AlreadyExists if one that is not revoked has the name."""
    values = {
        "id": id,
        "name": name,
        "role": role,
        "prefix": prefix,
        "hash": hash,
        "allowed_groups": _words(allowed_groups),
        "allowed_networks": _words(allowed_networks),
        "created_at": created_at,
        "expires_at": expires_at,
        "surface": surface,
    }
    key = tx.insert_unless_taken(api_keys, values)
    if key is None:
        raise AlreadyExists(f"a key named {name!r} exists; choose another name", name=name)
    counters.raise_by(tx, counters.KEY_REVISION)
    return _one(tx, api_keys.c.key == key)


def get_key_by_hash(tx: Tx, hash: bytes) -> KeyRow | None:  # noqa: A002 - the column's name
    """The key with this hash unless it is revoked; whether it has expired is the clock's to say."""
    row = tx.conn.execute(_live().where(api_keys.c.hash == hash)).one_or_none()
    return None if row is None else _key(row)


def get_keys_by_hash(tx: Tx, hashes: Sequence[bytes]) -> list[KeyRow]:
    """Those of these hashes that are keys, and not revoked."""
    return [_key(row) for row in tx.conn.execute(_live().where(api_keys.c.hash.in_(hashes)))]


def find_key(tx: Tx, ref: str) -> KeyRow | None:
    """The key of this id, or the one not revoked of this exact name."""
    row = tx.conn.execute(_all().where(_named(ref))).one_or_none()
    return None if row is None else _key(row)


def list_keys(tx: Tx, page: PageRequest) -> Page[KeyRow]:
    """Newest first, revoked ones last."""
    revoked = sa.case((api_keys.c.revoked_at.is_(None), 0), else_=1)
    return fetch_page(
        tx,
        _all(),
        order=(revoked, -api_keys.c.key),
        newest_first=False,
        page=page,
        make=_key,
        key=lambda row: (int(row.revoked_at is not None), -row.key),
    )


def revoke_key(tx: Tx, ref: str, now: int) -> KeyRow | None:
    """Revoke for good; None if there is no such key. A second time changes nothing.

    Raises InUse for the last admin key.
    """
    # First, because it locks: of two revocations at once the second counts after the first.
    counters.raise_by(tx, counters.KEY_REVISION)
    found = find_key(tx, ref)
    if found is None or found.revoked_at is not None:
        return found
    if found.role == ROLE_ADMIN and count_admins(tx, now) <= _is_valid(found, now):
        raise InUse("this is the last admin key; make another one first", key=found.name)
    tx.conn.execute(sa.update(api_keys).where(api_keys.c.key == found.key).values(revoked_at=now))
    return _one(tx, api_keys.c.key == found.key)


def key_revision(tx: Tx) -> int:
    """Rises with every key made or revoked."""
    return counters.value_of(tx, counters.KEY_REVISION)


def touch_keys(tx: Tx, pairs: Sequence[tuple[int, int]]) -> None:
    """Note the last use of each key: pairs of key and instant, each key once."""
    tx.run(_TOUCH, pairs)


def count_admins(tx: Tx, now: int = 0) -> int:
    """Admin keys that still work at this instant; without one, those not revoked."""
    query = (
        sa.select(sa.func.count())
        .select_from(api_keys)
        .where(
            api_keys.c.role == ROLE_ADMIN,
            api_keys.c.revoked_at.is_(None),
            api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > now),
        )
    )
    return int(tx.conn.scalar(query) or 0)


def living_admins(tx: Tx) -> list[KeyRow]:
    """Admin keys that are not revoked, oldest first."""
    query = _live().where(api_keys.c.role == ROLE_ADMIN).order_by(api_keys.c.key)
    return [_key(row) for row in tx.conn.execute(query)]


def _is_valid(row: KeyRow, now: int) -> bool:
    return row.expires_at is None or row.expires_at > now


def _named(ref: str) -> sa.ColumnElement[bool]:
    raw = ids.from_text(ref)
    if raw is not None:
        return api_keys.c.id == raw
    return (api_keys.c.name == ref) & api_keys.c.revoked_at.is_(None)


def _all() -> sa.Select[Any]:
    return sa.select(api_keys)


def _live() -> sa.Select[Any]:
    return _all().where(api_keys.c.revoked_at.is_(None))


def _one(tx: Tx, condition: sa.ColumnElement[bool]) -> KeyRow:
    return _key(tx.conn.execute(_all().where(condition)).one())


def _key(row: sa.Row[Any]) -> KeyRow:
    values = row._asdict()
    for name in ("allowed_groups", "allowed_networks"):
        values[name] = tuple(json.loads(values[name] or "[]"))
    return KeyRow(**values)


def _words(words: Sequence[str]) -> str | None:
    return json.dumps(sorted(words)) if words else None
