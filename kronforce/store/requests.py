"""Request ids: the same request twice is one request.

Unique per principal over all ways to create and trigger. The hash is over the
request's content, so that an id that is used for something else is refused.
"""

from __future__ import annotations

import sqlalchemy as sa

from kronforce.errors import RequestIdReused
from kronforce.store import dialect
from kronforce.store.database import Tx
from kronforce.store.tables import requests


def claim_request(
    tx: Tx,
    *,
    principal_key: int,
    request_id: str,
    hash: bytes,  # noqa: A002 - the column's name
    resource_id: bytes,
    now: int,
) -> bytes | None:
    """None: the id is this caller's now, for `resource_id`. Otherwise what it was used for.

    Raises RequestIdReused if that was another content. Waits where another
    transaction has just claimed it, until that one has ended.
    """
    insert = dialect.insert_into(requests, sqlite=tx.sqlite).values(
        principal_key=principal_key,
        request_id=request_id,
        hash=hash,
        resource_id=resource_id,
        created_at=now,
    )
    claimed = insert.on_conflict_do_nothing().returning(requests.c.created_at)
    if tx.conn.execute(claimed).first() is not None:
        return None
    return _existing(tx, principal_key, request_id, hash)


def _existing(tx: Tx, principal_key: int, request_id: str, content: bytes) -> bytes:
    query = sa.select(requests.c.hash, requests.c.resource_id).where(
        requests.c.principal_key == principal_key, requests.c.request_id == request_id
    )
    row = tx.conn.execute(query).one()
    if row.hash != content:
        raise RequestIdReused(
            f"request_id {request_id!r} was used before with other content; take a new one",
            request_id=request_id,
        )
    resource: bytes = row.resource_id
    return resource
