"""Putting what batches have added into the buckets that it belongs to, many batches at a time.

One transaction takes rows out of `stats_added` and adds them to `stats`, in
SQL alone: whatever happens, each of them counts once. Minutes and hours that
are not kept any more are not made again for what is told late.
"""

from __future__ import annotations

import sqlalchemy as sa

from kronforce.core.stat_windows import LENGTH_US, kept_from
from kronforce.store import counters
from kronforce.store.database import Tx
from kronforce.store.prepared import Prepared
from kronforce.store.tables import Level, Subject, past_jobs, stats, stats_added

# Rows that one transaction removes at most.
DELETE_BATCH = 2_000

# Rows taken by one transaction at most; the caller takes less while that takes too long.
FOLD_BATCH = 5_000

# Its row is locked by whoever folds: two controllers would take each other's buckets in any order.
FOLDS = "stats_folds"

_KEYS = "level, at, subject, ref, group_name, state, size"
_SUMS = "executions, runs, started, busy_us, longest_us, waits, wait_us"


def _bucket(level: int, subject: int) -> str:
    """The sums of one kind of bucket over `ends`."""
    ref = {Subject.GROUP: "0", Subject.JOB: "job_key", Subject.AGENT: "agent_key"}[subject]
    size = "size" if subject == Subject.JOB and level != Level.MINUTE else "0"
    runs = "0" if subject == Subject.AGENT else "sum(runs)"
    theirs = " AND agent_key IS NOT NULL" if subject == Subject.AGENT else ""
    return (
        f"SELECT {level}, at - at % {LENGTH_US[level]}, {subject}, {ref}, group_name, state, "
        f"{size}, sum(executions), {runs}, sum(started), sum(busy_us), max(longest_us), "
        f"sum(waits), sum(wait_us) FROM ends WHERE at >= :from_{level}{theirs} "
        "GROUP BY 2, 4, 5, 6, 7"
    )


_BUCKETS = " UNION ALL ".join(
    _bucket(level, subject)
    for level in LENGTH_US
    for subject in (Subject.GROUP, Subject.JOB, Subject.AGENT)
    if not (level == Level.MINUTE and subject == Subject.AGENT)
)
_ADD = ", ".join(
    f"{name} = stats.{name} + excluded.{name}" for name in _SUMS.split(", ") if name != "longest_us"
) + (
    ", longest_us = CASE WHEN excluded.longest_us > stats.longest_us "
    "THEN excluded.longest_us ELSE stats.longest_us END"
)
_INTO = (
    f"INSERT INTO stats ({_KEYS}, {_SUMS}) {_BUCKETS} ON CONFLICT ({_KEYS}) DO UPDATE SET {_ADD}"
)

# One writer: what is there up to a key does not change in between.
_SQLITE_LAST = sa.text(
    "SELECT max(key) FROM (SELECT key FROM stats_added ORDER BY key LIMIT :limit)"
)
_SQLITE = sa.text(f"WITH ends AS (SELECT * FROM stats_added WHERE key <= :last) {_INTO}")
_SQLITE_TAKEN = sa.text("DELETE FROM stats_added WHERE key <= :last")

# Keys are given out before they are committed: only what this very statement deletes is added.
_POSTGRESQL = sa.text(
    "WITH taken AS (SELECT key FROM stats_added ORDER BY key LIMIT :limit), "
    "ends AS (DELETE FROM stats_added WHERE key IN (SELECT key FROM taken) RETURNING *), "
    f"added AS ({_INTO}) SELECT count(*) FROM ends"
)


# The old name's numbers of one bucket become the new one's, which may have some already.
_RENAME = sa.text(
    f"INSERT INTO stats ({_KEYS}, {_SUMS}) "
    f"SELECT {_KEYS.replace('group_name', ':new_name')}, {_SUMS} FROM stats "
    f"WHERE level = :level AND at = :at AND group_name = :old_name "
    f"ON CONFLICT ({_KEYS}) DO UPDATE SET {_ADD}"
)


_ADDED = Prepared(lambda sqlite: sa.select(stats_added.c.key).limit(1))


def has_added(tx: Tx) -> bool:
    """Whether anything waits to be put into its buckets."""
    return bool(_ADDED.run(tx))


def fold(tx: Tx, now: int, limit: int = FOLD_BATCH) -> int:
    """Move rows, the oldest first, into their buckets; how many, 0 when there are none left."""
    since = {f"from_{level}": kept_from(level, now) for level in LENGTH_US}
    if not tx.sqlite:
        counters.raise_by(tx, FOLDS)
        return int(tx.conn.execute(_POSTGRESQL, {**since, "limit": limit}).scalar_one())
    last = tx.conn.execute(_SQLITE_LAST, {"limit": limit}).scalar_one()
    if last is None:
        return 0
    tx.conn.execute(_SQLITE, {**since, "last": last})
    return tx.conn.execute(_SQLITE_TAKEN, {"last": last}).rowcount


def delete_buckets(tx: Tx, cutoff: int, limit: int = DELETE_BATCH, *, level: int) -> int:
    """Remove some of the buckets of a level that begin before the cutoff; how many rows went."""
    key = sa.tuple_(*stats.primary_key)
    old = (
        sa.select(*stats.primary_key)
        .where(stats.c.level == level, stats.c.at < cutoff)
        .order_by(*stats.primary_key)
        .limit(limit)
    )
    return tx.conn.execute(sa.delete(stats).where(key.in_(old))).rowcount


def delete_past_jobs(tx: Tx, cutoff: int, limit: int = DELETE_BATCH) -> int:
    """Forget the names of jobs that were gone before the cutoff."""
    old = sa.select(past_jobs.c.key).where(past_jobs.c.gone_at < cutoff).limit(limit)
    return tx.conn.execute(sa.delete(past_jobs).where(past_jobs.c.key.in_(old))).rowcount


def buckets_of(tx: Tx, group_name: str, now: int) -> list[tuple[int, int]]:
    """(level, beginning) of every bucket in which a group has numbers."""
    found = []
    s = stats.c
    for level in LENGTH_US:
        starts = list(range(kept_from(level, now), now + 1, LENGTH_US[level]))
        query = sa.select(s.at).where(
            s.level == level,
            s.at.in_(starts),
            s.subject == Subject.GROUP,
            s.ref == 0,
            s.group_name == group_name,
        )
        found += [(level, at) for at in tx.conn.scalars(query.distinct())]
    return found


def rename_in_bucket(tx: Tx, bucket: tuple[int, int], old_name: str, new_name: str) -> None:
    """Give the numbers of one bucket that are of a renamed group its new name."""
    level, at = bucket
    names = {"level": level, "at": at, "old_name": old_name, "new_name": new_name}
    tx.conn.execute(_RENAME, names)
    s = stats.c
    gone = sa.delete(stats).where(s.level == level, s.at == at, s.group_name == old_name)
    tx.conn.execute(gone)
