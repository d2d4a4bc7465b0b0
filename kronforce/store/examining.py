"""What an examination of the host asks of a database; nothing is changed.

Works next to a controller that runs: SQLite's check is one reader more, which
a limit ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from kronforce.store.copying import DamagedError
from kronforce.store.database import BUSY_MS, Tx
from kronforce.store.events import newest_event_at
from kronforce.store.status import store_bytes
from kronforce.store.tables import audit_book

__all__ = ["Facts", "check", "facts", "is_audited", "newest_event_at"]

# SQLite's own steps between two looks at the clock: some milliseconds.
STEPS = 100_000
_PRESENT = sa.text(
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now,"
    " pg_snapshot_xmax(s)::text::bigint - pg_snapshot_xmin(s)::text::bigint AS open"
    " FROM pg_current_snapshot() AS s"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Of whom the database is and how big; `server_now` of another machine's clock, in µs.

    `open_since`: so many transactions have begun since the oldest that is open.
    """

    server: str
    size: int
    server_now: int | None = None
    open_since: int = 0


def facts(tx: Tx) -> Facts:
    """`SQLite 3.40.1` or `PostgreSQL 15.3`, and what only a server has."""
    if tx.sqlite:
        return Facts(server=f"SQLite {sqlite3.sqlite_version}", size=store_bytes(tx))
    version = str(tx.conn.exec_driver_sql("SHOW server_version").scalar_one()).split(" ")[0]
    present = tx.conn.execute(_PRESENT).one()
    return Facts(
        server=f"PostgreSQL {version}",
        size=store_bytes(tx),
        server_now=int(present.now),
        open_since=int(present.open),
    )


def is_audited(tx: Tx) -> bool:
    """Whether anything was signed yet."""
    return tx.conn.scalar(sa.select(audit_book).limit(1)) is not None


def check(
    path: Path,
    *,
    limit_secs: float | None,
    monotonic: Callable[[], float],
    still: Callable[[], None],
) -> bool:
    """SQLite's quick check; without a limit its whole one. Raises DamagedError.

    False: the limit came first, and nothing was found until then. Meanwhile `still` is called
    many times a second.
    """
    pragma = "integrity_check(1)" if limit_secs is None else "quick_check(1)"
    deadline = None if limit_secs is None else monotonic() + limit_secs

    def is_over() -> bool:
        still()
        return deadline is not None and monotonic() > deadline

    # Not read-only: such a connection cannot take its log away when it is the last.
    uri = f"{path.resolve().as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_MS / 1000)) as file:
            file.set_progress_handler(is_over, STEPS)
            found = file.execute(f"PRAGMA {pragma}").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            return False
        raise DamagedError(str(error)) from error
    if found != "ok":
        raise DamagedError(str(found).splitlines()[-1])
    return True
