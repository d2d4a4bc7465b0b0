"""Jobs: definitions, their versions, and when they fire next.

A change makes a version (kept whole in `job_versions`, which runs refer to)
and raises `revision`, by which stale copies are recognised. A deleted job's
row stays, without its name's claim and its schedule, as long as runs need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from kronforce.core import ids
from kronforce.core.access import Scope
from kronforce.errors import Aborted, AlreadyExists, JobNotFound
from kronforce.store import dialect
from kronforce.store.database import Tx
from kronforce.store.groups import ensure_group
from kronforce.store.paging import Page, PageRequest
from kronforce.store.prepared import (
    Prepared,
    is_like,
    keys_parameter,
    keys_value,
    like,
    scope_parameter,
    scope_value,
)
from kronforce.store.prepared_pages import PreparedPages
from kronforce.store.tables import job_versions, jobs, runs
from kronforce.store.visibility import in_scope

# Stands around each tag and label in their columns, so that one is found whole.
_TAG_MARK = "\x1f"


class JobRow(NamedTuple):
    """A job; `spec` is its definition as a serialised `kronforce.v1.Job`."""

    key: int
    id: bytes
    name: str
    group_name: str
    tags: tuple[str, ...]
    status: int
    spec: bytes
    version: int
    revision: int
    trusted: bool
    created_at: int
    updated_at: int
    deleted_at: int | None
    paused_until: int | None
    next_fire_at: int | None
    next_nominal_at: int | None


class LastRunRow(NamedTuple):
    """A job's newest run, in short."""

    job_key: int
    id: bytes
    state: int
    state_reason: str
    trigger: int
    created_at: int
    started_at: int | None
    finished_at: int | None


_COLUMNS = [jobs.c[name] for name in JobRow._fields]
_TAGS, _TRUSTED = JobRow._fields.index("tags"), JobRow._fields.index("trusted")


def find_job(tx: Tx, scope: Scope, ref: str) -> JobRow | None:
    """The job of this id or exact name, unless it is deleted."""
    raw = ids.from_text(ref)
    groups = scope_value(scope)
    if raw is not None:
        found = _BY_ID.run(tx, id=raw, groups=groups)
    else:
        found = _BY_NAME.run(tx, name=ref, groups=groups)
    return _job(found[0]) if found else None


def find_job_with_last_run(
    tx: Tx, scope: Scope, ref: str
) -> tuple[JobRow, LastRunRow | None] | None:
    """The same with its newest run, unless that one is of a group out of scope."""
    raw = ids.from_text(ref)
    groups = scope_value(scope)
    if raw is not None:
        found = _BY_ID_WITH_RUN.run(tx, id=raw, groups=groups)
    else:
        found = _BY_NAME_WITH_RUN.run(tx, name=ref, groups=groups)
    if not found:
        return None
    row, last = found[0][: len(_COLUMNS)], found[0][len(_COLUMNS) :]
    return _job(row), None if last[0] is None else LastRunRow._make(last)


def _one(column: sa.Column[Any]) -> Prepared:
    return Prepared(lambda sqlite: _visible(sa.select(*_COLUMNS), column, sqlite))


def _one_with_run(column: sa.Column[Any]) -> Prepared:
    newest = sa.select(sa.func.max(runs.c.key)).where(runs.c.job_key == jobs.c.key)

    def build(sqlite: bool) -> sa.Select[Any]:
        in_scope = scope_parameter(runs.c.group_name, sqlite=sqlite)
        last = (runs.c.key == newest.correlate(jobs).scalar_subquery()) & in_scope
        columns = [runs.c[name] for name in LastRunRow._fields]
        query = sa.select(*_COLUMNS, *columns).outerjoin_from(jobs, runs, last)
        return _visible(query, column, sqlite)

    return Prepared(build)


def _visible(query: sa.Select[Any], column: sa.Column[Any], sqlite: bool) -> sa.Select[Any]:
    query = query.where(column == sa.bindparam(column.name), jobs.c.deleted_at.is_(None))
    return query.where(scope_parameter(jobs.c.group_name, sqlite=sqlite))


_BY_ID, _BY_NAME = _one(jobs.c.id), _one(jobs.c.name)
_BY_ID_WITH_RUN, _BY_NAME_WITH_RUN = _one_with_run(jobs.c.id), _one_with_run(jobs.c.name)


def find_jobs(tx: Tx, scope: Scope, refs: Sequence[str]) -> dict[str, JobRow]:
    """The jobs of these ids and names, by the reference as it was given."""
    by_id = {ref: raw for ref in refs if (raw := ids.from_text(ref)) is not None}
    names = [ref for ref in refs if ref not in by_id]
    rows: list[JobRow] = []
    # Two questions, as neither store takes two indexes for one with OR: it would read every job.
    if by_id:
        rows += _jobs(tx, _live(scope).where(jobs.c.id.in_(list(by_id.values()))))
    if names:
        rows += _jobs(tx, _live(scope).where(jobs.c.name.in_(names)))
    known: dict[str | bytes, JobRow] = {row.id: row for row in rows}
    known.update((row.name, row) for row in rows)
    found = ((ref, known.get(by_id.get(ref, ref))) for ref in refs)
    return {ref: row for ref, row in found if row is not None}


def jobs_by_keys(tx: Tx, keys: Iterable[int]) -> list[JobRow]:
    """The jobs of these keys, deleted ones too."""
    return _jobs(tx, sa.select(*_COLUMNS).where(jobs.c.key.in_(list(keys))))


def list_jobs(
    tx: Tx,
    scope: Scope,
    *,
    group: str | None = None,
    status: int | None = None,
    search: str | None = None,
    tag: str | None = None,
    label: str | None = None,
    page: PageRequest,
) -> Page[JobRow]:
    """Jobs by name; `search` is any part of a name, in any case, `label` a key or `key=value`."""
    given = {
        "group_name": group or None,
        "status": status or None,
        "like": like(search) if search else None,
        "tag": f"{_TAG_MARK}{tag}{_TAG_MARK}" if tag else None,
        "label": _label_mark(label) if label else None,
        "groups": scope_value(scope),
    }
    filters = {name: value for name, value in given.items() if value is not None}
    return _LIST.fetch(tx, filters, page, make=_job, key=lambda row: (row.name,))


def _listed(sqlite: bool, names: frozenset[str], _: object) -> sa.Select[Any]:
    query = sa.select(*_COLUMNS).where(jobs.c.deleted_at.is_(None))
    for column in (jobs.c.group_name, jobs.c.status):
        if column.name in names:
            query = query.where(column == sa.bindparam(column.name, type_=column.type))
    if "like" in names:
        query = query.where(is_like(jobs.c.name_lower, "like"))
    for name, column in (("tag", jobs.c.tags), ("label", jobs.c.labels)):
        if name in names:
            query = query.where(_holds(column, sa.bindparam(name, type_=sa.Text)))
    if "groups" in names:
        query = query.where(scope_parameter(jobs.c.group_name, sqlite=sqlite))
    return query


_LIST = PreparedPages(_listed, order=(jobs.c.name,), newest_first=False)


def _label_mark(label: str) -> str:
    return f"{_TAG_MARK}{label}{_TAG_MARK if '=' in label else '='}"


def last_runs(tx: Tx, job_keys: Iterable[int], scope: Scope | None = None) -> dict[int, LastRunRow]:
    """The newest run of each job that has one, by job key.

    With a scope, unless it is of another group: the job was moved since.
    """
    found = _LAST_RUNS.run(
        tx, keys=keys_value(tx, job_keys), groups=None if scope is None else scope_value(scope)
    )
    return {row.job_key: row for row in map(LastRunRow._make, found)}


def _last_runs(sqlite: bool) -> sa.Select[Any]:
    asked = keys_parameter("keys", sqlite=sqlite)
    newest = sa.select(sa.func.max(runs.c.key)).where(runs.c.job_key == asked.c.value)
    keys = sa.select(newest.correlate(asked).scalar_subquery().label("key")).select_from(asked)
    found = keys.subquery()
    columns = [runs.c[name] for name in LastRunRow._fields]
    query = sa.select(*columns).join(found, runs.c.key == found.c.key)
    return query.where(scope_parameter(runs.c.group_name, sqlite=sqlite))


_LAST_RUNS = Prepared(_last_runs)


def insert_job(
    tx: Tx,
    *,
    id: bytes,  # noqa: A002 - the column's name
    name: str,
    group_name: str,
    tags: Sequence[str],
    labels: Mapping[str, str],
    status: int,
    spec: bytes,
    trusted: bool,
    actor: str,
    now: int,
    paused_until: int | None,
    next_fire_at: int | None,
    next_nominal_at: int | None,
) -> JobRow:
    """Keep a new job as version 1; makes its group. Raises AlreadyExists if the name is taken."""
    values: dict[str, Any] = {
        "id": id,
        "name": name,
        "name_lower": name.lower(),
        "group_name": group_name,
        "tags": _wrap(tags),
        "labels": wrap_labels(labels),
        "status": status,
        "spec": spec,
        "version": 1,
        "revision": 1,
        "trusted": trusted,
        "created_at": now,
        "updated_at": now,
        "paused_until": paused_until,
        "next_fire_at": next_fire_at,
        "next_nominal_at": next_nominal_at,
    }
    key = tx.insert_unless_taken(jobs, values)
    if key is None:
        raise _name_taken(name)
    ensure_group(tx, group_name, now)
    shown = {name: value for name, value in values.items() if name in JobRow._fields}
    row = JobRow(**{**shown, "key": key, "tags": tuple(tags), "deleted_at": None})
    _insert_version(tx, row, actor)
    return row


def update_job(
    tx: Tx,
    *,
    key: int,
    expected_revision: int | None,
    name: str,
    group_name: str,
    tags: Sequence[str],
    labels: Mapping[str, str],
    status: int,
    spec: bytes,
    trusted: bool,
    actor: str,
    now: int,
    paused_until: int | None,
    next_fire_at: int | None,
    next_nominal_at: int | None,
) -> JobRow:
    """Make the next version of a job.

    Raises Aborted if `expected_revision` is given and is not the current one,
    AlreadyExists if another job has the name, JobNotFound if it is deleted.
    """
    _check_name(tx, key, name)
    update = (
        _update_live(key, expected_revision)
        .values(
            name=name,
            name_lower=name.lower(),
            group_name=group_name,
            tags=_wrap(tags),
            labels=wrap_labels(labels),
            status=status,
            spec=spec,
            trusted=trusted,
            version=jobs.c.version + 1,
            revision=jobs.c.revision + 1,
            updated_at=now,
            paused_until=paused_until,
            next_fire_at=next_fire_at,
            next_nominal_at=next_nominal_at,
        )
        .returning(*_COLUMNS)
    )
    row = _changed(tx, update, key)
    ensure_group(tx, group_name, now)
    _insert_version(tx, row, actor)
    return row


def set_timing(
    tx: Tx,
    *,
    key: int,
    status: int,
    paused_until: int | None,
    next_fire_at: int | None,
    next_nominal_at: int | None,
    now: int,
    bump: bool,
    expected_revision: int | None = None,
) -> JobRow:
    """Say when a job fires next. `bump` where a caller changed it: its etag changes too."""
    values: dict[str, Any] = {
        "status": status,
        "paused_until": paused_until,
        "next_fire_at": next_fire_at,
        "next_nominal_at": next_nominal_at,
    }
    if bump:
        values |= {"revision": jobs.c.revision + 1, "updated_at": now}
    update = _update_live(key, expected_revision).values(**values).returning(*_COLUMNS)
    return _changed(tx, update, key)


def mark_deleted(tx: Tx, key: int, now: int, *, expected_revision: int | None = None) -> JobRow:
    """Delete the job: it is found no more, fires no more, and its name is free."""
    update = _update_live(key, expected_revision).values(
        deleted_at=now,
        revision=jobs.c.revision + 1,
        next_fire_at=None,
        next_nominal_at=None,
    )
    return _changed(tx, update.returning(*_COLUMNS), key)


def due_jobs(tx: Tx, until: int, limit: int, after: tuple[int, int] = (0, 0)) -> list[JobRow]:
    """Jobs that fire at or before `until`, earliest first, from behind (instant, key) on."""
    at, key = jobs.c.next_fire_at, jobs.c.key
    query = sa.select(*_COLUMNS).where(
        at.is_not(None), at >= after[0], at <= until, (at > after[0]) | (key > after[1])
    )
    return _jobs(tx, query.order_by(at, key).limit(limit))


def planned_jobs(tx: Tx, after_key: int, limit: int) -> list[JobRow]:
    """Jobs that have a next fire, by key, from behind one on."""
    query = sa.select(*_COLUMNS).where(
        jobs.c.key > after_key, jobs.c.next_fire_at.is_not(None), jobs.c.deleted_at.is_(None)
    )
    return _jobs(tx, query.order_by(jobs.c.key).limit(limit))


def job_spec(tx: Tx, job_key: int, version: int) -> tuple[bytes, bool]:
    """The definition of one version, and whether its author was trusted."""
    query = sa.select(job_versions.c.spec, job_versions.c.trusted).where(
        job_versions.c.job_key == job_key, job_versions.c.version == version
    )
    row = tx.conn.execute(query).one()
    return row.spec, row.trusted


def _live(scope: Scope) -> sa.Select[Any]:
    visible = in_scope(jobs.c.group_name, scope)
    return sa.select(*_COLUMNS).where(jobs.c.deleted_at.is_(None), visible)


def _jobs(tx: Tx, query: sa.Select[Any]) -> list[JobRow]:
    return [_job(row) for row in tx.conn.execute(query).all()]


def _job(row: Iterable[Any]) -> JobRow:
    values = list(row)
    values[_TRUSTED] = bool(values[_TRUSTED])
    tags = values[_TAGS]
    values[_TAGS] = tuple(tags.strip(_TAG_MARK).split(_TAG_MARK)) if tags else ()
    return JobRow._make(values)


def _update_live(key: int, expected_revision: int | None) -> sa.Update:
    update = sa.update(jobs).where(jobs.c.key == key, jobs.c.deleted_at.is_(None))
    if expected_revision is not None:
        update = update.where(jobs.c.revision == expected_revision)
    return update


def _changed(tx: Tx, update: Any, key: int) -> JobRow:
    row = tx.conn.execute(update).one_or_none()
    if row is not None:
        return _job(row)
    live = sa.select(jobs.c.revision).where(jobs.c.key == key, jobs.c.deleted_at.is_(None))
    if tx.conn.scalar(live) is None:
        raise JobNotFound("the job was deleted meanwhile")
    raise Aborted("the job was changed meanwhile; read it again, then retry with its new etag")


def _check_name(tx: Tx, key: int, name: str) -> None:
    other = sa.select(jobs.c.key).where(
        jobs.c.name == name, jobs.c.deleted_at.is_(None), jobs.c.key != key
    )
    if tx.conn.scalar(other) is not None:
        raise _name_taken(name)


def _name_taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"a job named {name!r} exists; choose another name", name=name)


_INSERT_VERSION = dialect.insert(
    job_versions, "job_key", "version", "spec", "actor", "trusted", "created_at"
)


def _insert_version(tx: Tx, row: JobRow, actor: str) -> None:
    values = (row.key, row.version, row.spec, actor, row.trusted, row.updated_at)
    tx.run(_INSERT_VERSION, [values])


def wrap_labels(labels: Mapping[str, str]) -> str:
    """The column's text."""
    return _wrap([f"{key}={value}" for key, value in sorted(labels.items())])


def _holds(column: sa.ColumnElement[str], text: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    # LIKE takes no notice of case on SQLite; replace does, on both.
    return sa.func.replace(column, text, "") != column


def _wrap(tags: Sequence[str]) -> str:
    return _TAG_MARK + _TAG_MARK.join(tags) + _TAG_MARK if tags else ""
