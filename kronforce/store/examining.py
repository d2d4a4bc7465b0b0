"""What an examination of the host asks of a database; nothing is changed.

Works next to a controller that runs: SQLite's check is one reader more, and
its own limit ends it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from kronforce.store.database import BUSY_MS, Tx
from kronforce.store.events import newest_event_at
from kronforce.store.status import store_bytes

# SQLite's own steps between two looks at the clock: some milliseconds.
STEPS = 100_000


class DamagedError(Exception):
    """SQLite says that a file is not whole; the message is its own first finding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Of whom the database is, and how big."""

    server: str
    size: int


def facts(tx: Tx) -> Facts:
    """`SQLite 3.40.1` or `PostgreSQL 15.3`."""
    if tx.sqlite:
        return Facts(server=f"SQLite {sqlite3.sqlite_version}", size=store_bytes(tx))
    version = str(tx.conn.exec_driver_sql("SHOW server_version").scalar_one()).split(" ")[0]
    return Facts(server=f"PostgreSQL {version}", size=store_bytes(tx))


def newest_instant(tx: Tx) -> int | None:
    """The latest that the database knows: its newest event, or what its server has for now."""
    known = [] if tx.sqlite else [_server_now(tx)]
    newest = newest_event_at(tx)
    return max([*known, *([] if newest is None else [newest])], default=None)


def _server_now(tx: Tx) -> int:
    return int(tx.conn.execute(sa.text(_SERVER_NOW)).scalar_one())


_SERVER_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def files(db: str) -> list[Path]:
    """Both SQLite files, where they are there."""
    main = Path(db)
    output = main.with_name(main.stem + "-output" + (main.suffix or ".db"))
    return [path for path in (main, output) if path.exists()]


def check(path: Path, *, limit_secs: float | None, monotonic: Callable[[], float]) -> bool:
    """SQLite's quick check; without a limit its whole one. Raises DamagedError.

    False: the limit came first, and nothing was found until then.
    """
    pragma = "quick_check(1)" if limit_secs is not None else "integrity_check(1)"
    deadline = None if limit_secs is None else monotonic() + limit_secs
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_MS / 1000)) as file:
            file.set_progress_handler(
                lambda: deadline is not None and monotonic() > deadline, STEPS
            )
            found = file.execute(f"PRAGMA {pragma}").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return False
        raise DamagedError(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise DamagedError(str(error)) from error
    if found != "ok":
        raise DamagedError(str(found).splitlines()[-1])
    return True
