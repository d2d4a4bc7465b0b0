"""Variables: values under names, with who may use them and until when.

A secret's value is what `security/envelope.py` made of it; this room never sees
it open. Every change raises the counter `variable_revision`, by which copies in
memory notice it; whoever raises it is alone with these rows until the commit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kronforce.core import ids
from kronforce.core.access import Scope
from kronforce.store import counters, dialect
from kronforce.store.database import Tx
from kronforce.store.keyset import fetch_page
from kronforce.store.paging import Page, PageRequest
from kronforce.store.prepared import LIKE_MAX
from kronforce.store.tables import job_variables, jobs, variables
from kronforce.store.visibility import in_scope, usable_in

REVISION = "variable_revision"


@dataclass(frozen=True, kw_only=True, slots=True)
class VariableRow:
    """A variable; a secret's `value` is sealed."""

    key: int
    id: bytes
    name: str
    secret: bool
    value: bytes
    description: str
    allowed_groups: tuple[str, ...]
    expires_at: int | None
    expiry_told: int
    secret_key: str | None
    version: int
    revision: int
    updated_by: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What became of them since a revision: rows that are new or different, and who is left."""

    revision: int
    rows: list[VariableRow]
    keys: frozenset[int]


def raise_revision(tx: Tx) -> int:
    """The number of a change, taken before anything else of it: it locks."""
    return counters.raise_by(tx, REVISION)


def revision(tx: Tx) -> int:
    """The number of the last change."""
    return counters.value_of(tx, REVISION)


def totals(tx: Tx) -> tuple[int, int]:
    """How many there are, and the bytes of their values."""
    size = sa.func.coalesce(sa.func.sum(sa.func.length(variables.c.value)), 0)
    row = tx.conn.execute(sa.select(sa.func.count(), size)).one()
    return int(row[0]), int(row[1])


def find_variable(tx: Tx, scope: Scope, ref: str) -> VariableRow | None:
    """The one of this id or exact name, if the scope may see it."""
    raw = ids.from_text(ref)
    named = variables.c.name == ref if raw is None else variables.c.id == raw
    row = tx.conn.execute(sa.select(variables).where(named, _visible(tx, scope))).one_or_none()
    return None if row is None else _variable(row)


def find_variables(tx: Tx, scope: Scope, names: Sequence[str]) -> dict[str, VariableRow]:
    """Those of these names that the scope may see, by name."""
    query = sa.select(variables).where(variables.c.name.in_(sorted(names)), _visible(tx, scope))
    return {row.name: _variable(row) for row in tx.conn.execute(query)}


def list_variables(
    tx: Tx, scope: Scope, *, search: str | None = None, page: PageRequest
) -> Page[VariableRow]:
    """Those that the scope may see, by name; `search` is any part of it, in any case."""
    query = sa.select(variables).where(_visible(tx, scope))
    if search:
        part = search[:LIKE_MAX].lower()
        found = sa.func.lower(variables.c.name).contains(part, autoescape=True)
        query = query.where(found)
    return fetch_page(
        tx,
        query,
        order=(variables.c.name,),
        newest_first=False,
        page=page,
        make=_variable,
        key=lambda row: (row.name,),
    )


def insert_variable(
    tx: Tx,
    *,
    id: bytes,  # noqa: A002 - the column's name
    name: str,
    secret: bool,
    value: bytes,
    secret_key: str | None,
    description: str,
    allowed_groups: Sequence[str],
    expires_at: int | None,
    expiry_told: int,
    revision: int,
    actor: str,
    now: int,
) -> VariableRow | None:
    """Keep a new one; None if its name is taken."""
    values = {
        "id": id,
        "name": name,
        "secret": secret,
        "value": value,
        "secret_key": secret_key,
        "description": description,
        "allowed_groups": _words(allowed_groups),
        "expires_at": expires_at,
        "expiry_told": expiry_told,
        "version": 1,
        "revision": revision,
        "updated_by": actor,
        "created_at": now,
        "updated_at": now,
    }
    key = tx.insert_unless_taken(variables, values)
    return None if key is None else _one(tx, key)


def update_variable(
    tx: Tx,
    *,
    key: int,
    secret: bool,
    value: bytes,
    secret_key: str | None,
    description: str,
    allowed_groups: Sequence[str],
    expires_at: int | None,
    expiry_told: int,
    revision: int,
    actor: str,
    now: int,
) -> VariableRow:
    """Change one that a query of this transaction gave."""
    update = sa.update(variables).where(variables.c.key == key)
    tx.conn.execute(
        update.values(
            secret=secret,
            value=value,
            secret_key=secret_key,
            description=description,
            allowed_groups=_words(allowed_groups),
            expires_at=expires_at,
            expiry_told=expiry_told,
            version=variables.c.version + 1,
            revision=revision,
            updated_by=actor,
            updated_at=now,
        )
    )
    return _one(tx, key)


def delete_variable(tx: Tx, key: int) -> None:
    """Delete one that a query of this transaction gave."""
    tx.conn.execute(sa.delete(variables).where(variables.c.key == key))


def changes_since(tx: Tx, seen: int) -> Changes:
    """What a copy in memory has to take over; 0 for everything."""
    # The number first: what is committed between the two reads is read again next time.
    now = revision(tx)
    rows = tx.conn.execute(sa.select(variables).where(variables.c.revision > seen))
    found = [_variable(row) for row in rows]
    keys = frozenset(tx.conn.scalars(sa.select(variables.c.key)))
    return Changes(revision=now, rows=found, keys=keys)


def group_renamed(tx: Tx, name: str, revision: int) -> None:
    """Copies in memory take over those that list a group by its new name."""
    listed = sa.func.replace(variables.c.allowed_groups, json.dumps(name, ensure_ascii=False), "")
    update = sa.update(variables).where(listed != variables.c.allowed_groups)
    tx.conn.execute(update.values(revision=revision))


# Expiry.


def expiring(tx: Tx, due: Sequence[int], limit: int) -> list[VariableRow]:
    """Those of which a stage is to be told: `due[n]` is how far ahead the one after `n` looks."""
    stages = (
        (variables.c.expiry_told == told) & (variables.c.expires_at <= until)
        for told, until in enumerate(due)
    )
    query = (
        sa.select(variables)
        .where(variables.c.expires_at.is_not(None), sa.or_(*stages))
        .order_by(variables.c.expires_at)
        .limit(limit)
    )
    return [_variable(row) for row in tx.conn.execute(query)]


def set_told(tx: Tx, key: int, *, expires_at: int, before: int, told: int) -> bool:
    """Note how many stages were told; False if somebody else did, or changed the expiry."""
    update = sa.update(variables).where(
        variables.c.key == key,
        variables.c.expires_at == expires_at,
        variables.c.expiry_told == before,
    )
    return tx.conn.execute(update.values(expiry_told=told)).rowcount == 1


# Rotation.


def under_other_keys(tx: Tx, current: str, limit: int) -> list[VariableRow]:
    """Secrets that are not written under the current key, some of them."""
    query = sa.select(variables).where(variables.c.secret, variables.c.secret_key != current)
    return [_variable(row) for row in tx.conn.execute(query.order_by(variables.c.key).limit(limit))]


def rewrite(tx: Tx, key: int, *, value: bytes, secret_key: str, revision: int) -> None:
    """The same value under another key: nothing that a caller sees changes."""
    update = sa.update(variables).where(variables.c.key == key)
    tx.conn.execute(update.values(value=value, secret_key=secret_key, revision=revision))


# Which jobs name them.


def name_in_job(tx: Tx, job_key: int, names: Sequence[str]) -> None:
    """Note which variables a job's current version names."""
    tx.run(_NAMES_NO_MORE, [(job_key,)])
    tx.run(_NAMES, [(name, job_key) for name in sorted(set(names))])


_NAMES_NO_MORE = dialect.delete(job_variables, ("job_key",), where="t.job_key = :job_key")
_NAMES = dialect.insert(job_variables, "name", "job_key")


def jobs_naming(tx: Tx, scope: Scope, name: str, limit: int) -> list[str | None]:
    """Names of jobs that name it, at most `limit`; None for one that the scope may not see."""
    seen = sa.case((in_scope(jobs.c.group_name, scope), jobs.c.name), else_=None)
    query = (
        sa.select(seen)
        .join(job_variables, job_variables.c.job_key == jobs.c.key)
        .where(job_variables.c.name == name, jobs.c.deleted_at.is_(None))
        .order_by(seen.is_(None), jobs.c.name)
        .limit(limit)
    )
    return list(tx.conn.scalars(query))


def limited_in_group(tx: Tx, group: str) -> dict[str, tuple[str, ...]]:
    """The variables for some groups only that jobs of this group name: whose they are."""
    query = (
        _naming_in(group)
        .with_only_columns(variables.c.name, variables.c.allowed_groups)
        .where(variables.c.allowed_groups != "[]")
        .distinct()
    )
    return {row.name: tuple(json.loads(row.allowed_groups)) for row in tx.conn.execute(query)}


def naming_in_group(tx: Tx, group: str, names: Sequence[str], limit: int) -> list[tuple[str, str]]:
    """(job, variable): jobs of this group that name one of these, some of them."""
    query = (
        _naming_in(group)
        .with_only_columns(jobs.c.name.label("job"), variables.c.name)
        .where(variables.c.name.in_(sorted(names)))
        .order_by(jobs.c.name, variables.c.name)
        .limit(limit)
    )
    return [(row.job, row.name) for row in tx.conn.execute(query)]


def _naming_in(group: str) -> sa.Select[Any]:
    return (
        sa.select(variables)
        .join(job_variables, job_variables.c.name == variables.c.name)
        .join(jobs, jobs.c.key == job_variables.c.job_key)
        .where(jobs.c.group_name == group, jobs.c.deleted_at.is_(None))
    )


def _visible(tx: Tx, scope: Scope) -> sa.ColumnElement[bool]:
    """A key that is limited to groups sees what its groups' jobs may use."""
    if scope.agent_id is not None:
        return sa.false()
    usable = usable_in(tx, variables.c.allowed_groups, scope)
    if scope.groups is None:
        return usable
    admins_alone = variables.c.secret & (variables.c.allowed_groups == "[]")
    return usable & ~admins_alone


def _one(tx: Tx, key: int) -> VariableRow:
    return _variable(tx.conn.execute(sa.select(variables).where(variables.c.key == key)).one())


def _variable(row: sa.Row[Any]) -> VariableRow:
    values = row._asdict()
    values["allowed_groups"] = tuple(json.loads(values["allowed_groups"]))
    return VariableRow(**values)


def _words(words: Sequence[str]) -> str:
    return json.dumps(sorted(set(words)), ensure_ascii=False)
