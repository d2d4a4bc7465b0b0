"""Events and streamed output by day, on PostgreSQL; on SQLite there is nothing to do.

Days are made ahead. A row for a day that was not made lands in the DEFAULT
partition and is as good there; only that day cannot be dropped as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from kronforce.clock import from_us
from kronforce.store.database import Tx
from kronforce.store.retention import note_events_gone

DAY_US = 86_400 * 1_000_000
DAYS_AHEAD = 7

# Dropping a day waits for whoever reads; better later than holding up every write behind it.
LOCK_LIMIT_MS = 2_000

_TABLES = ("events", "output_chunks")


def ensure_partitions(tx: Tx, now: int, days_ahead: int = DAYS_AHEAD) -> int:
    """Make today's partitions and those of the days ahead; how many were missing."""
    if tx.sqlite:
        return 0
    made = 0
    for table in _TABLES:
        known = _partitions(tx, table)
        for start in _days(now, days_ahead):
            if _name(table, start) not in known and not _in_default(tx, table, start):
                _make(tx, table, start)
                made += 1
    return made


def drop_partitions(tx: Tx, cutoff: int) -> int:
    """Drop the days before the cutoff: of events as they are, of output once it is deleted.

    How many were dropped; 0 also where somebody reads them for long: try again later.
    """
    if tx.sqlite:
        return 0
    try:
        with tx.conn.begin_nested():
            return _drop(tx, cutoff)
    except sa.exc.OperationalError:
        return 0


def _drop(tx: Tx, cutoff: int) -> int:
    tx.conn.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_LIMIT_MS}")
    dropped = 0
    for table in _TABLES:
        past = [name for name in _partitions(tx, table) if name < _name(table, cutoff)]
        for name in sorted(past):
            dropped += _drop_events(tx, name) if table == "events" else _drop_if_empty(tx, name)
    # What shares this transaction waits as long as it always does.
    tx.conn.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")
    return dropped


def _days(now: int, days_ahead: int) -> Iterator[int]:
    today = now - now % DAY_US
    return iter(range(today, today + (days_ahead + 1) * DAY_US, DAY_US))


def _name(table: str, start: int) -> str:
    return f"{table}_{from_us(start):%Y%m%d}"


def _partitions(tx: Tx, table: str) -> set[str]:
    query = sa.text(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = CAST(:name AS regclass) AND c.relname <> :default"
    )
    return set(tx.conn.scalars(query, {"name": table, "default": f"{table}_default"}))


def _in_default(tx: Tx, table: str, start: int) -> bool:
    # PostgreSQL refuses a partition whose rows the DEFAULT one already holds.
    default = sa.table(f"{table}_default", sa.column("at", sa.BigInteger))
    some = sa.select(sa.literal(1)).select_from(default)
    some = some.where(default.c.at >= start, default.c.at < start + DAY_US)
    return tx.conn.scalar(some.limit(1)) is not None


def _make(tx: Tx, table: str, start: int) -> None:
    tx.conn.exec_driver_sql(
        f"CREATE TABLE {_name(table, start)} PARTITION OF {table} "
        f"FOR VALUES FROM ({start}) TO ({start + DAY_US})"
    )


def _drop_events(tx: Tx, name: str) -> int:
    place = tx.conn.exec_driver_sql(
        f"SELECT CAST(CAST(xid AS text) AS bigint), seq FROM {name} "
        "ORDER BY xid DESC, seq DESC LIMIT 1"
    ).one_or_none()
    if place is not None:
        note_events_gone(tx, (place[0], place[1]))
    tx.conn.exec_driver_sql(f"DROP TABLE {name}")
    return 1


def _drop_if_empty(tx: Tx, name: str) -> int:
    rows = sa.select(sa.literal(1)).select_from(sa.table(name)).limit(1)
    if tx.conn.scalar(rows) is not None:
        return 0
    tx.conn.exec_driver_sql(f"DROP TABLE {name}")
    return 1
