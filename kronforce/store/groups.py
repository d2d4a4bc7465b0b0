"""Groups: what access is scoped by. `Default` is made by the first migration.

A name is all that a job, a run, an event, a key or an agent holds of its group.
Renaming changes what governs (jobs, keys, agents, join tokens, variables) in
one transaction; runs and events follow in bounded batches. Until the last of
them has (`group_renames`), nobody may take the old name, and keys of the group
see both. Deleting leaves runs and events with the name of their time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.core.names import DEFAULT_GROUP
from kronforce.errors import AlreadyExists, InUse
from kronforce.store import counters
from kronforce.store import variables as variable_store
from kronforce.store.database import Tx
from kronforce.store.prepared import Prepared
from kronforce.store.tables import (
    agents,
    api_keys,
    events,
    group_renames,
    groups,
    jobs,
    join_tokens,
    runs,
    variables,
)
from kronforce.store.variables import raise_revision
from kronforce.store.visibility import in_scope

# More groups than people can tell apart; the list has no pages.
GROUPS_LIMIT = 10_000

# Runs moved in one transaction, and events looked through: a few tens of milliseconds each.
RUNS_AT_ONCE = 2_000
EVENTS_AT_ONCE = 10_000

# Everything that says which groups may use it, as a JSON list of names.
_LISTS = (api_keys, agents, join_tokens, variables)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupRow:
    """A group, with how many jobs are in it now."""

    key: int
    name: str
    created_at: int
    job_count: int


def ensure_group(tx: Tx, name: str, now: int) -> None:
    """Make the group unless it exists. Raises AlreadyExists for a name that is being given up."""
    if _THERE.run(tx, name=name):
        return
    values = {"name": name, "created_at": now}
    if tx.insert_unless_taken(groups, values) is not None:
        _check_free(tx, name)


_THERE = Prepared(lambda _: sa.select(groups.c.key).where(groups.c.name == sa.bindparam("name")))


def insert_group(tx: Tx, name: str, now: int) -> GroupRow:
    """Make an empty group. Raises AlreadyExists."""
    key = tx.insert_unless_taken(groups, {"name": name, "created_at": now})
    if key is None:
        raise _taken(name)
    _check_free(tx, name)
    return GroupRow(key=key, name=name, created_at=now, job_count=0)


def list_groups(tx: Tx, scope: Scope) -> list[GroupRow]:
    """Every group in scope, by name."""
    query = _counted().where(in_scope(groups.c.name, scope)).order_by(groups.c.name)
    return [GroupRow(**row._asdict()) for row in tx.conn.execute(query.limit(GROUPS_LIMIT))]


def find_group(tx: Tx, scope: Scope, name: str) -> GroupRow | None:
    """The group of this exact name."""
    query = _counted().where(groups.c.name == name, in_scope(groups.c.name, scope))
    row = tx.conn.execute(query).one_or_none()
    return None if row is None else GroupRow(**row._asdict())


def rename_group(tx: Tx, group: GroupRow, new_name: str, now: int) -> None:
    """Give a group, its jobs and whatever lists it another name; history is to follow.

    Raises AlreadyExists if the name is taken, InUse while an earlier rename is not through.
    """
    # First, because it locks what it counts: the variables that list the group.
    revision = variable_store.raise_revision(tx)
    _check_settled(tx, group.name)
    other = sa.select(groups.c.key).where(groups.c.name == new_name)
    if tx.conn.scalar(other) is not None:
        raise _taken(new_name)
    _check_free(tx, new_name)
    tx.conn.execute(sa.update(groups).where(groups.c.key == group.key).values(name=new_name))
    _move_all(tx, group.name, new_name, now)
    for table in _LISTS:
        _rename_in_lists(tx, table, group.name, new_name)
    variable_store.group_renamed(tx, new_name, revision)
    tx.conn.execute(
        sa.insert(group_renames).values(old_name=group.name, new_name=new_name, started_at=now)
    )
    # Whoever remembers a key of this group reads it again.
    counters.raise_by(tx, counters.KEY_REVISION)


def delete_group(tx: Tx, group: GroupRow, now: int) -> int:
    """Delete a group; how many jobs moved to `Default`. Raises InUse as renaming does."""
    _check_settled(tx, group.name)
    moved = _move_all(tx, group.name, DEFAULT_GROUP, now)
    tx.conn.execute(sa.delete(groups).where(groups.c.key == group.key))
    return moved


def move_jobs(tx: Tx, job_keys: Sequence[int], group_name: str, now: int) -> None:
    """Put these jobs, a bounded number, into a group that exists."""
    tx.conn.execute(
        sa.update(jobs)
        .where(jobs.c.key.in_(job_keys))
        .values(group_name=group_name, revision=jobs.c.revision + 1, updated_at=now)
    )


def pending_renames(tx: Tx) -> dict[str, str]:
    """Renames whose history is still being moved: old name to new."""
    return {row.old_name: row.new_name for row in tx.conn.execute(sa.select(group_renames))}


def move_runs(tx: Tx, old_name: str, new_name: str) -> int:
    """Give some runs of a renamed group its new name; 0 when there are none left."""
    some = (
        sa.select(runs.c.key)
        .where(runs.c.group_name == old_name)
        .order_by(runs.c.key)
        .limit(RUNS_AT_ONCE)
    )
    update = sa.update(runs).where(runs.c.key.in_(some)).values(group_name=new_name)
    return tx.conn.execute(update).rowcount


def last_event(tx: Tx) -> int:
    """The number of the newest event."""
    return int(tx.conn.scalar(sa.select(sa.func.max(events.c.seq))) or 0)


def first_event(tx: Tx) -> int:
    """The number of the oldest event that is kept."""
    return int(tx.conn.scalar(sa.select(sa.func.min(events.c.seq))) or 0)


def move_events(tx: Tx, old_name: str, new_name: str, start: int) -> None:
    """Give those of the next `EVENTS_AT_ONCE` events that are of a renamed group its new name."""
    tx.conn.execute(
        sa.update(events)
        .where(
            events.c.seq >= start,
            events.c.seq < start + EVENTS_AT_ONCE,
            events.c.group_name == old_name,
        )
        .values(group_name=new_name)
    )


def end_rename(tx: Tx, old_name: str) -> None:
    """All history has moved: the old name is free, and keys of the group see the new one alone."""
    tx.conn.execute(sa.delete(group_renames).where(group_renames.c.old_name == old_name))
    counters.raise_by(tx, counters.KEY_REVISION)


def _move_all(tx: Tx, old_name: str, new_name: str, now: int) -> int:
    """One statement over an index, however many jobs there are; their etags change."""
    values = {"group_name": new_name, "revision": jobs.c.revision + 1, "updated_at": now}
    named = jobs.c.group_name == old_name
    gone = sa.update(jobs).where(named, jobs.c.deleted_at.is_not(None))
    tx.conn.execute(gone.values(group_name=new_name))
    live = sa.update(jobs).where(named, jobs.c.deleted_at.is_(None))
    return tx.conn.execute(live.values(values)).rowcount


def _rename_in_lists(tx: Tx, table: sa.Table, old_name: str, new_name: str) -> None:
    # A group's name has nothing that JSON escapes: it is found whole between its quotes.
    without = sa.func.replace(table.c.allowed_groups, json.dumps(old_name), "")
    query = sa.select(table.c.key, table.c.allowed_groups).where(without != table.c.allowed_groups)
    for key, listed in tx.conn.execute(query).all():
        names = {new_name if name == old_name else name for name in json.loads(listed)}
        values: dict[str, Any] = {"allowed_groups": json.dumps(sorted(names))}
        if table is agents:
            values["revision"] = agents.c.revision + 1
        elif table is variables:
            # Other controllers' copies in memory notice a change by this number.
            values["revision"] = raise_revision(tx)
            values["version"] = variables.c.version + 1
        tx.conn.execute(sa.update(table).where(table.c.key == key).values(values))


def _check_settled(tx: Tx, name: str) -> None:
    if name in pending_renames(tx).values():
        raise InUse(
            f"the runs and events of {name!r} still follow its last rename; try again in a moment",
            group=name,
        )


def _check_free(tx: Tx, name: str) -> None:
    if name in pending_renames(tx):
        raise AlreadyExists(
            f"{name!r} was renamed just now, and its runs and events still follow; take another "
            "name, or try again in a moment",
            name=name,
        )


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"the group {name!r} exists already", name=name)


def _counted() -> sa.Select[Any]:
    job_count = (
        sa.select(sa.func.count())
        .select_from(jobs)
        .where(jobs.c.group_name == groups.c.name, jobs.c.deleted_at.is_(None))
        .scalar_subquery()
    )
    return sa.select(groups, job_count.label("job_count"))
