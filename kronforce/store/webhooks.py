"""Webhooks: which job a token fires, and what its deliveries must be.

A token is kept as its hash, a secret as what `security/envelope.py` made of it;
this room never sees either open. A webhook goes by its job, which a scope
filters; `find_by_token` has none, because whoever has the token is known by it.
Whoever writes a secret has raised `variable_revision` first (`secret_keys.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.store import dialect
from kronforce.store.database import Tx
from kronforce.store.keyset import fetch_page
from kronforce.store.paging import Page, PageRequest
from kronforce.store.tables import jobs, webhooks
from kronforce.store.visibility import in_scope


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookRow:
    """A webhook with the job that it fires."""

    job_key: int
    id: bytes
    token_hash: bytes
    token_prefix: str
    secret: bytes | None
    secret_key: str | None
    body_as: int
    created_by: str
    created_at: int
    rotated_at: int | None
    job_id: bytes
    job_name: str
    group_name: str


def find_by_token(tx: Tx, token_hash: bytes) -> WebhookRow | None:
    """The one with this token, unless its job is deleted."""
    return _first(tx, _live().where(webhooks.c.token_hash == token_hash))


def find_of_job(tx: Tx, scope: Scope, job_key: int) -> WebhookRow | None:
    """A job's, if the scope may see the job."""
    visible = in_scope(jobs.c.group_name, scope)
    return _first(tx, _live().where(webhooks.c.job_key == job_key, visible))


def list_webhooks(tx: Tx, scope: Scope, *, page: PageRequest) -> Page[WebhookRow]:
    """Those of the jobs that the scope may see, by the job's name."""
    return fetch_page(
        tx,
        _live().where(in_scope(jobs.c.group_name, scope)),
        order=(jobs.c.name,),
        newest_first=False,
        page=page,
        make=_row,
        key=lambda row: (row.job_name,),
    )


def insert_webhook(
    tx: Tx,
    *,
    job_key: int,
    id: bytes,  # noqa: A002 - the column's name
    token_hash: bytes,
    token_prefix: str,
    secret: bytes | None,
    secret_key: str | None,
    body_as: int,
    actor: str,
    now: int,
) -> bool:
    """Keep a new one; False if the job has one."""
    insert = dialect.insert_into(webhooks, sqlite=tx.sqlite).values(
        job_key=job_key,
        id=id,
        token_hash=token_hash,
        token_prefix=token_prefix,
        secret=secret,
        secret_key=secret_key,
        body_as=body_as,
        created_by=actor,
        created_at=now,
    )
    inserted = insert.on_conflict_do_nothing(index_elements=["job_key"])
    return tx.conn.execute(inserted.returning(webhooks.c.job_key)).first() is not None


def replace_token(
    tx: Tx,
    job_key: int,
    *,
    token_hash: bytes,
    token_prefix: str,
    secret: bytes | None,
    secret_key: str | None,
    now: int,
) -> None:
    """Give one that a query of this transaction gave another token and secret."""
    update = sa.update(webhooks).where(webhooks.c.job_key == job_key)
    tx.conn.execute(
        update.values(
            token_hash=token_hash,
            token_prefix=token_prefix,
            secret=secret,
            secret_key=secret_key,
            rotated_at=now,
        )
    )


def delete_of_job(tx: Tx, job_key: int) -> None:
    """The job has none any more."""
    tx.conn.execute(sa.delete(webhooks).where(webhooks.c.job_key == job_key))


# Rotation of the key that secrets are written under.


def under_other_keys(tx: Tx, current: str, limit: int) -> list[WebhookRow]:
    """Those whose secret is not written under the current key, some of them."""
    query = _all().where(webhooks.c.secret_key != current)
    return list(_rows(tx, query.order_by(webhooks.c.job_key).limit(limit)))


def rewrite(tx: Tx, job_key: int, *, secret: bytes, secret_key: str) -> None:
    """The same secret under another key."""
    update = sa.update(webhooks).where(webhooks.c.job_key == job_key)
    tx.conn.execute(update.values(secret=secret, secret_key=secret_key))


def _all() -> sa.Select[Any]:
    of_job = (jobs.c.id.label("job_id"), jobs.c.name.label("job_name"), jobs.c.group_name)
    return sa.select(webhooks, *of_job).join(jobs, jobs.c.key == webhooks.c.job_key)


def _live() -> sa.Select[Any]:
    return _all().where(jobs.c.deleted_at.is_(None))


def _first(tx: Tx, query: sa.Select[Any]) -> WebhookRow | None:
    return next(iter(_rows(tx, query)), None)


def _rows(tx: Tx, query: sa.Select[Any]) -> Iterable[WebhookRow]:
    return map(_row, tx.conn.execute(query).all())


def _row(row: sa.Row[Any]) -> WebhookRow:
    return WebhookRow(**row._asdict())
