"""The ledger of fires: what became of every instant that a schedule named.

An instant that fired has a row with its run; instants that made none share a
range row with the reason, which neighbours of the same reason extend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.store import dialect
from kronforce.store.database import Tx
from kronforce.store.keyset import fetch_page
from kronforce.store.paging import Page, PageRequest
from kronforce.store.tables import fires, runs
from kronforce.store.visibility import in_scope

# Rows in one lookup: three parameters each, far below what either store takes.
_LOOKUP = 500

_INSERT = dialect.insert(
    fires, "job_key", "nominal_at", "until", "count", "reason", "caught_up", "fired_at",
    unless_exists=True,
)  # fmt: skip
_EXTEND = dialect.update(
    fires,
    ("job_key", "nominal_at", "until", "count", "fired_at"),
    set_="until = :until, count = t.count + :count, fired_at = :fired_at",
    where="t.job_key = :job_key AND t.nominal_at = :nominal_at",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FireRow:
    """An instant that fired (`run_id` is set), or a range of `count` that did not.

    `run_id` is empty where the caller may not see the run.
    """

    job_key: int
    nominal_at: int
    until: int
    count: int
    reason: str
    run_key: int | None
    run_id: bytes | None
    caught_up: bool
    fired_at: int


class Skip(NamedTuple):
    """`instants` named instants from the first to the last, which make no run.

    `apart`: instants before it fire, also where their rows are not written yet, so that no
    earlier range may be extended over them.
    """

    job_key: int
    first: int
    last: int
    instants: int
    reason: str
    now: int
    apart: bool = False


def list_fires(
    tx: Tx,
    scope: Scope,
    job_key: int,
    *,
    since: int | None = None,
    until: int | None = None,
    page: PageRequest,
) -> Page[FireRow]:
    """A job's ledger, newest first, without what ended before `since` or began after `until`.

    An instant from before the job was moved fired a run of another group: it is not named.
    """
    query = sa.select(fires).where(fires.c.job_key == job_key)
    if since is not None:
        query = query.where(fires.c.until >= since)
    if until is not None:
        query = query.where(fires.c.nominal_at <= until)
    found = fetch_page(
        tx,
        query,
        order=(fires.c.nominal_at,),
        newest_first=True,
        page=page,
        make=_fire,
        key=lambda row: (row.nominal_at,),
    )
    if scope.groups is None:
        return found
    run_keys = [row.run_key for row in found.items if row.run_key is not None]
    visible = sa.select(runs.c.key).where(
        runs.c.key.in_(run_keys), in_scope(runs.c.group_name, scope)
    )
    seen = set(tx.conn.scalars(visible))
    return replace(found, items=[_seen(row, seen) for row in found.items])


def _seen(row: FireRow, run_keys: Collection[int]) -> FireRow:
    hidden = row.run_key is not None and row.run_key not in run_keys
    return replace(row, run_id=b"") if hidden else row


def accounted_until(tx: Tx, job_keys: Sequence[int]) -> dict[int, int]:
    """The last instant in each job's ledger; jobs without one are left out."""
    newest = (
        sa.select(fires.c.job_key, sa.func.max(fires.c.nominal_at).label("nominal_at"))
        .where(fires.c.job_key.in_(job_keys))
        .group_by(fires.c.job_key)
        .subquery()
    )
    query = sa.select(fires.c.job_key, fires.c.until).join(
        newest,
        (fires.c.job_key == newest.c.job_key) & (fires.c.nominal_at == newest.c.nominal_at),
    )
    return {row.job_key: row.until for row in tx.conn.execute(query)}


def record_skips(tx: Tx, skips: Iterable[tuple[int, int, int, int, str, int] | Skip]) -> None:
    """Note skipped instants, each a `Skip`; what is noted already is not counted again."""
    waiting = sorted(Skip(*skip) for skip in skips)
    while waiting:
        # One range per job at a time: the next one of that job may extend it.
        firsts = {skip.job_key: skip for skip in reversed(waiting)}
        _record(tx, list(firsts.values()))
        waiting = [skip for skip in waiting if firsts[skip.job_key] is not skip]


def _record(tx: Tx, skips: Sequence[Skip]) -> None:
    extended, new = [], []
    before = _rows_before(tx, skips)
    for skip in skips:
        row = before.get(skip.job_key)
        if row is None or row.run_key is not None or _differs(row, skip):
            new.append(
                (skip.job_key, skip.first, skip.last, skip.instants, skip.reason, False, skip.now)
            )
        elif row.until < skip.last:
            extended.append((skip.job_key, row.nominal_at, skip.last, skip.instants, skip.now))
    tx.run(_EXTEND, extended)
    tx.run(_INSERT, new)


def _differs(row: FireRow, skip: Skip) -> bool:
    return row.reason != skip.reason or (skip.apart and row.nominal_at != skip.first)


def _rows_before(tx: Tx, skips: Sequence[Skip]) -> dict[int, FireRow]:
    found: dict[int, FireRow] = {}
    for start in range(0, len(skips), _LOOKUP):
        rows = tx.conn.execute(_newest_until(skips[start : start + _LOOKUP]))
        found.update((row.job_key, _fire(row)) for row in rows)
    return found


def _newest_until(skips: Sequence[Skip]) -> sa.Select[Any]:
    places = (
        sa.values(
            sa.column("job_key", sa.BigInteger), sa.column("first", sa.BigInteger), name="place"
        )
        .data([(skip.job_key, skip.first) for skip in skips])
        .cte("place")
    )
    newest = (
        sa.select(sa.func.max(fires.c.nominal_at))
        .where(fires.c.job_key == places.c.job_key, fires.c.nominal_at <= places.c.first)
        .correlate(places)
        .scalar_subquery()
    )
    return sa.select(fires).join(
        places, (fires.c.job_key == places.c.job_key) & (fires.c.nominal_at == newest)
    )


def _fire(row: sa.Row[Any]) -> FireRow:
    return FireRow(**row._asdict())
