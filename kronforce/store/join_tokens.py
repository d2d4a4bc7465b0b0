"""Join tokens: what an agent enrols with. Kept as a hash; used a limited number of times."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kronforce.store.database import Tx
from kronforce.store.tables import join_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinTokenRow:
    """A token, with the tags and labels that it gives to whoever enrols with it."""

    key: int
    id: bytes
    hash: bytes
    uses_left: int
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    created_by: str
    created_at: int
    expires_at: int
    allowed_groups: tuple[str, ...]


def insert_join_token(
    tx: Tx,
    *,
    id: bytes,  # noqa: A002 - the column's name
    hash: bytes,  # noqa: A002 - the column's name
    uses: int,
    tags: Sequence[str],
    labels: Mapping[str, str],
    created_by: str,
    created_at: int,
    expires_at: int,
    allowed_groups: Sequence[str] = (),
) -> JoinTokenRow:
    """Keep a new token."""
    statement = sa.insert(join_tokens).values(
        id=id,
        hash=hash,
        uses_left=uses,
        tags=json.dumps(list(tags)),
        labels=json.dumps(dict(labels), sort_keys=True),
        created_by=created_by,
        created_at=created_at,
        expires_at=expires_at,
        allowed_groups=json.dumps(list(allowed_groups)),
    )
    return _token(tx.conn.execute(statement.returning(*join_tokens.c)).one())


def find_join_token(tx: Tx, id: bytes) -> JoinTokenRow | None:  # noqa: A002 - the column's name
    """The token of this id, also one that is used up or expired."""
    query = sa.select(join_tokens).where(join_tokens.c.id == id)
    row = tx.conn.execute(query).one_or_none()
    return None if row is None else _token(row)


def use_token(tx: Tx, id: bytes, now: int) -> JoinTokenRow | None:  # noqa: A002 - as above
    """Take one use of the token; None if none is left or it has expired."""
    update = (
        sa.update(join_tokens)
        .where(
            join_tokens.c.id == id,
            join_tokens.c.uses_left > 0,
            join_tokens.c.expires_at > now,
        )
        .values(uses_left=join_tokens.c.uses_left - 1)
        .returning(*join_tokens.c)
    )
    row = tx.conn.execute(update).one_or_none()
    return None if row is None else _token(row)


def _token(row: sa.Row[Any]) -> JoinTokenRow:
    values = row._asdict()
    values["tags"] = tuple(json.loads(values["tags"]))
    values["labels"] = json.loads(values["labels"])
    values["allowed_groups"] = tuple(json.loads(values["allowed_groups"]))
    return JoinTokenRow(**values)
