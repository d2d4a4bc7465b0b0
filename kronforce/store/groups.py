"""Groups: what access is scoped by. `Default` is made by the first migration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.errors import AlreadyExists
from kronforce.store import dialect
from kronforce.store.database import Tx
from kronforce.store.tables import groups, jobs
from kronforce.store.visibility import in_scope

# More groups than people can tell apart; the list has no pages.
GROUPS_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRow:
    """A group, with how many jobs are in it now."""

    key: int
    name: str
    created_at: int
    job_count: int


def ensure_group(tx: Tx, name: str, now: int) -> None:
    """Make the group unless it exists."""
    dialect.insert_unless_taken(tx.conn, groups, {"name": name, "created_at": now})


def insert_group(tx: Tx, name: str, now: int) -> GroupRow:
    """Make an empty group. Raises AlreadyExists."""
    key = dialect.insert_unless_taken(tx.conn, groups, {"name": name, "created_at": now})
    if key is None:
        raise AlreadyExists(f"the group {name!r} exists already", name=name)
    return GroupRow(key=key, name=name, created_at=now, job_count=0)


def list_groups(tx: Tx, scope: Scope) -> list[GroupRow]:
    """Every group in scope, by name."""
    query = _counted().where(in_scope(groups.c.name, scope)).order_by(groups.c.name)
    return [GroupRow(**row._asdict()) for row in tx.conn.execute(query.limit(GROUPS_LIMIT))]


def _counted() -> sa.Select[Any]:
    job_count = (
        sa.select(sa.func.count())
        .select_from(jobs)
        .where(jobs.c.group_name == groups.c.name, jobs.c.deleted_at.is_(None))
        .scalar_subquery()
    )
    return sa.select(groups, job_count.label("job_count"))
