"""Reading the statistics: sums of buckets, never of runs or executions.

Whoever asks names every bucket of a span by its beginning, so that each is one
descent into the table, however much it holds. What batches added and nobody
has folded in yet (`stats_folding.py`) is not here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.core.lifecycle import State
from kronforce.core.size_classes import SizeCount
from kronforce.core.stat_windows import DAY, Window
from kronforce.store.database import Tx
from kronforce.store.keyset import fetch_page
from kronforce.store.paging import COUNT_LIMIT, Page, PageRequest
from kronforce.store.tables import Subject, agents, jobs, past_jobs, stats
from kronforce.store.visibility import in_scope, usable_in

# What went wrong; what somebody or some rule wanted so is neither good nor bad.
FAILURES = (State.FAILED, State.TIMED_OUT, State.LOST)

_SUMS = ("executions", "runs", "started", "busy_us", "waits", "wait_us")


@dataclass(kw_only=True, slots=True)
class Sums:
    """What some buckets come to: by state, and over all of them."""

    runs: dict[int, int] = field(default_factory=dict)
    executions: dict[int, int] = field(default_factory=dict)
    started: int = 0
    busy_us: int = 0
    longest_us: int = 0
    waits: int = 0
    wait_us: int = 0

    def add(self, row: Any) -> None:
        """Add a row that has a state and every sum."""
        for counts, more in ((self.runs, row.runs), (self.executions, row.executions)):
            counts[row.state] = counts.get(row.state, 0) + int(more)
        self.started += int(row.started)
        self.busy_us += int(row.busy_us)
        self.longest_us = max(self.longest_us, int(row.longest_us))
        self.waits += int(row.waits)
        self.wait_us += int(row.wait_us)

    def merge(self, other: Sums) -> None:
        """Add other sums."""
        for counts, more in ((self.runs, other.runs), (self.executions, other.executions)):
            for state, count in more.items():
                counts[state] = counts.get(state, 0) + count
        self.started += other.started
        self.busy_us += other.busy_us
        self.longest_us = max(self.longest_us, other.longest_us)
        self.waits += other.waits
        self.wait_us += other.wait_us


@dataclass(frozen=True, kw_only=True, slots=True)
class StatFilter:
    """Whose numbers: of one job, or of one group; None: of all."""

    job_key: int | None = None
    group: str | None = None


EVERYONE = StatFilter()


@dataclass(frozen=True, kw_only=True, slots=True)
class JobNumbers:
    """A job in a list; `metric` is the number that the list is ordered by."""

    key: int
    metric: int
    id: bytes
    name: str
    deleted: bool
    sums: Sums
    sizes: list[SizeCount]


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentNumbers:
    """An agent in a list."""

    key: int
    metric: int
    id: bytes
    name: str
    slots: int
    deleted: bool
    sums: Sums


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupNumbers:
    """A group in a list."""

    name: str
    metric: int
    sums: Sums


def timeline(
    tx: Tx, scope: Scope, window: Window, filters: StatFilter = EVERYONE
) -> dict[int, Sums]:
    """By the beginning of each bucket in which anything ended."""
    s = stats.c
    query = (
        sa.select(s.at, s.state, *_summed())
        .where(*_of(window, filters), in_scope(s.group_name, scope))
        .group_by(s.at, s.state)
    )
    found: dict[int, Sums] = {}
    for row in tx.conn.execute(query):
        found.setdefault(row.at, Sums()).add(row)
    return found


def first_day(tx: Tx) -> int | None:
    """When the oldest day begins that has numbers, anybody's."""
    found = tx.conn.scalar(
        sa.select(stats.c.at).where(stats.c.level == DAY).order_by(stats.c.at).limit(1)
    )
    return None if found is None else int(found)


# What jobs are listed by: the number of the contract's `JobStatsOrder`.
ORDERS: Mapping[int, sa.ColumnElement[int]] = {
    1: sa.func.sum(stats.c.runs),
    2: sa.func.sum(sa.case((stats.c.state.in_(FAILURES), stats.c.runs), else_=0)),
    # Whole microseconds on both stores, and NULL of none.
    3: sa.cast(sa.func.sum(stats.c.busy_us), sa.BigInteger).op("/", return_type=sa.BigInteger())(
        sa.func.nullif(sa.cast(sa.func.sum(stats.c.started), sa.BigInteger), 0)
    ),
    4: sa.func.max(stats.c.longest_us),
    5: sa.func.sum(stats.c.busy_us),
}


def list_jobs(
    tx: Tx, scope: Scope, window: Window, *, order: int, page: PageRequest,
    filters: StatFilter = EVERYONE,
) -> Page[JobNumbers]:  # fmt: skip
    """Jobs by what they did; those of which the number is 0 are left out."""
    where = (*_of(window, filters, Subject.JOB), in_scope(stats.c.group_name, scope))
    found = _page(tx, stats.c.ref, ORDERS[order], where, page)
    keys = [key for key, _ in found.items]
    sums = _sums_of(tx, stats.c.ref, where, keys)
    sizes = _sizes_of(tx, where, keys)
    names = _job_names(tx, keys)
    rows = [
        JobNumbers(
            key=key, metric=metric, id=names[key][0], name=names[key][1], deleted=names[key][2],
            sums=sums[key], sizes=sizes.get(key, []),
        )
        for key, metric in found.items
        if key in names
    ]  # fmt: skip
    return _with(found, rows)


def list_agents(tx: Tx, scope: Scope, window: Window, page: PageRequest) -> Page[AgentNumbers]:
    """Agents that the scope may see, by how long what ended on them took together."""
    visible = sa.select(agents.c.key).where(usable_in(tx, agents.c.allowed_groups, scope))
    where = (
        *_of(window, EVERYONE, Subject.AGENT),
        in_scope(stats.c.group_name, scope),
        stats.c.ref.in_(visible),
    )
    found = _page(tx, stats.c.ref, sa.func.sum(stats.c.busy_us) + 1, where, page)
    keys = [key for key, _ in found.items]
    sums = _sums_of(tx, stats.c.ref, where, keys)
    query = sa.select(agents).where(agents.c.key.in_(keys))
    known = {row.key: row for row in tx.conn.execute(query)}
    rows = [
        AgentNumbers(
            key=key, metric=metric, id=bytes(known[key].id), name=known[key].name,
            slots=known[key].slots, deleted=known[key].deleted_at is not None, sums=sums[key],
        )
        for key, metric in found.items
    ]  # fmt: skip
    return _with(found, rows)


def list_groups(tx: Tx, scope: Scope, window: Window, page: PageRequest) -> Page[GroupNumbers]:
    """Groups by how long what ran in them took together."""
    where = (*_of(window, EVERYONE), in_scope(stats.c.group_name, scope))
    found = _page(tx, stats.c.group_name, sa.func.sum(stats.c.busy_us) + 1, where, page)
    sums = _sums_of(tx, stats.c.group_name, where, [name for name, _ in found.items])
    rows = [GroupNumbers(name=name, metric=n, sums=sums[name]) for name, n in found.items]
    return _with(found, rows)


def _of(
    window: Window, filters: StatFilter, subject: int | None = None
) -> tuple[sa.ColumnElement[bool], ...]:
    """The rows of a window: of one job, or of each of a subject."""
    s = stats.c
    if subject is None:
        subject = Subject.GROUP if filters.job_key is None else Subject.JOB
    conditions = [s.level == window.level, s.at.in_(window.starts), s.subject == subject]
    if subject == Subject.GROUP:
        conditions.append(s.ref == 0)
    elif filters.job_key is not None:
        conditions.append(s.ref == filters.job_key)
    if filters.group is not None:
        conditions.append(s.group_name == filters.group)
    return tuple(conditions)


def _summed() -> list[sa.ColumnElement[Any]]:
    sums = [sa.func.sum(stats.c[name]).label(name) for name in _SUMS]
    return [*sums, sa.func.max(stats.c.longest_us).label("longest_us")]


def _page(
    tx: Tx, by: sa.Column[Any], metric: sa.ColumnElement[int],
    where: Iterable[sa.ColumnElement[bool]], page: PageRequest,
) -> Page[tuple[Any, int]]:  # fmt: skip
    """(whose, number) by the number, the greatest first."""
    number = sa.cast(metric, sa.BigInteger).label("metric")
    each = sa.select(by.label("whose"), number).where(*where).group_by(by).subquery()
    query = sa.select(each.c.whose, each.c.metric).where(each.c.metric > 0)
    return fetch_page(
        tx,
        query,
        order=(each.c.metric, each.c.whose),
        newest_first=True,
        page=page,
        make=lambda row: (row.whose, int(row.metric)),
        key=lambda item: (item[1], item[0]),
    )


def _sums_of(
    tx: Tx, by: sa.Column[Any], where: Iterable[sa.ColumnElement[bool]], keys: Collection[Any]
) -> dict[Any, Sums]:
    query = (
        sa.select(by.label("whose"), stats.c.state, *_summed())
        .where(*where, by.in_(keys))
        .group_by(by, stats.c.state)
    )
    found: dict[Any, Sums] = {}
    for row in tx.conn.execute(query):
        found.setdefault(row.whose, Sums()).add(row)
    return found


def _sizes_of(
    tx: Tx, where: Iterable[sa.ColumnElement[bool]], keys: Collection[int]
) -> dict[int, list[SizeCount]]:
    s = stats.c
    started = sa.func.sum(s.started).label("started")
    query = (
        sa.select(s.ref, s.size, started, sa.func.max(s.longest_us).label("longest_us"))
        .where(*where, s.ref.in_(keys), s.started > 0)
        .group_by(s.ref, s.size)
    )
    found: dict[int, list[SizeCount]] = {}
    for row in tx.conn.execute(query):
        count = SizeCount(size=row.size, count=int(row.started), longest_us=row.longest_us)
        found.setdefault(row.ref, []).append(count)
    return found


def _job_names(tx: Tx, keys: Collection[int]) -> dict[int, tuple[bytes, str, bool]]:
    """(id, name, whether it is deleted), also of jobs that are gone."""
    past = sa.select(past_jobs.c.key, past_jobs.c.id, past_jobs.c.name)
    found = {
        row.key: (bytes(row.id), row.name, True)
        for row in tx.conn.execute(past.where(past_jobs.c.key.in_(keys)))
    }
    known = sa.select(jobs.c.key, jobs.c.id, jobs.c.name, jobs.c.deleted_at)
    for row in tx.conn.execute(known.where(jobs.c.key.in_(keys))):
        found[row.key] = (bytes(row.id), row.name, row.deleted_at is not None)
    return found


def _with(found: Page[tuple[Any, int]], rows: list[Any]) -> Page[Any]:
    return Page(
        items=rows,
        next_after=found.next_after,
        total=found.total,
        total_exact=found.total_exact,
    )


def jobs_in_scope(tx: Tx, scope: Scope) -> list[tuple[int, int]]:
    """(key, status) of jobs, `COUNT_LIMIT` and one more at most."""
    query = (
        sa.select(jobs.c.key, jobs.c.status)
        .where(jobs.c.deleted_at.is_(None), in_scope(jobs.c.group_name, scope))
        .limit(COUNT_LIMIT + 1)
    )
    return [(row.key, row.status) for row in tx.conn.execute(query)]
