"""The order in which events were committed, on both stores.

SQLite has one writer, so `seq` is that order. PostgreSQL's sequences commit
out of order: there a position is (transaction id, seq), and only what lies
below the oldest transaction that is still open may be read, because nothing
can appear there any more. A position is a pair of integers on both stores,
(0, seq) on SQLite. This is the other place, beside `dialect.py`, that knows
which store it talks to.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import UserDefinedType

from kronforce.store.database import Tx
from kronforce.store.tables import counters, events

Position = tuple[int, int]

START: Position = (0, 0)

# The counter that is added to this server's transaction ids; there once a backup was restored.
BASE = "events_xid_base"

# Beyond every seq: "all of that transaction".
_LAST_SEQ = 2**63 - 1


class Xid8(UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction id, as text on our side."""

    cache_ok = True

    def get_col_spec(self, **_kw: Any) -> str:
        return "xid8"


# Only in PostgreSQL's table (see the migration), filled by its default.
_XID: sa.ColumnElement[str] = sa.literal_column("events.xid", Xid8())


def position_column(tx: Tx) -> sa.ColumnElement[int]:
    """The first half of a row's position, as an integer."""
    if tx.sqlite:
        return sa.literal(0)
    return sa.cast(sa.cast(_XID, sa.Text), sa.BigInteger)


def columns_in_order(tx: Tx) -> tuple[sa.ColumnElement[Any], ...]:
    """What to order by."""
    return (events.c.seq,) if tx.sqlite else (_XID, events.c.seq)


def after(tx: Tx, position: Position) -> sa.ColumnElement[bool]:
    """Whether a row comes after this position."""
    if tx.sqlite:
        return events.c.seq > position[1]
    return _place() > _literal(position)


def up_to(tx: Tx, position: Position) -> sa.ColumnElement[bool]:
    """Whether a row comes no later than this position."""
    if tx.sqlite:
        return events.c.seq <= position[1]
    return _place() <= _literal(position)


def horizon(tx: Tx) -> Position:
    """The position up to which everything is committed and nothing can appear any more."""
    if tx.sqlite:
        return 0, int(tx.conn.scalar(sa.select(sa.func.max(events.c.seq))) or 0)
    oldest_open = sa.func.pg_snapshot_xmin(sa.func.pg_current_snapshot(), type_=Xid8())
    base = sa.select(counters.c.value).where(counters.c.name == BASE).scalar_subquery()
    row = tx.conn.execute(sa.select(sa.cast(oldest_open, sa.Text), base)).one()
    return int(row[0]) + int(row[1] or 0) - 1, _LAST_SEQ


def newest_transaction(tx: Tx) -> int:
    """The first half of the newest event's position; 0 where there is none."""
    return int(tx.conn.scalar(sa.select(sa.func.max(position_column(tx))).select_from(events)) or 0)


def begin_after(tx: Tx, place: int) -> None:
    """Let positions of this server's transactions, from this one on, come after `place`.

    A restored database may lie on a server that has counted fewer transactions than its events
    name, or as many as a history has that is forgotten: what is added keeps them in order.
    """
    own = int(tx.conn.scalar(sa.text("SELECT CAST(pg_current_xact_id() AS text)")) or 0)
    base = max(0, place + 1 - own)
    row = postgresql.insert(counters).values(name=BASE, value=base)
    tx.conn.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": base}))
    tx.conn.exec_driver_sql(
        "ALTER TABLE events ALTER COLUMN xid SET DEFAULT CAST(CAST("
        f"CAST(CAST(pg_current_xact_id() AS text) AS bigint) + {base} AS text) AS xid8)"
    )


def _place() -> sa.Tuple:
    return sa.tuple_(_XID, events.c.seq)


def _literal(position: Position) -> sa.Tuple:
    xid = sa.cast(sa.literal(str(position[0]), sa.Text), Xid8())
    return sa.tuple_(xid, sa.literal(position[1], sa.BigInteger))
