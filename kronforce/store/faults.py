"""What a failed statement means: a store that is away, a disk that is full, a file that is damaged.

The drivers say it in names and numbers of their own; callers are told in ours. A full disk and a
damaged file keep their connection: another one would find the same, and could not be opened
where there is no room. A file that was found damaged is noted beside it (`SUSPECT`), so that the
next start examines all of it instead of serving what is left.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from kronforce.errors import StoreDamaged, StoreFull, Unavailable

# Beside a SQLite file that was found damaged while it was served.
SUSPECT = ".suspect"

_AWAY = frozenset({"OperationalError", "InterfaceError"})
# Class 53 of SQL: the disk of the server's is full.
_PG_DISK_FULL = "53100"
# An extended code's low byte is its family.
_FAMILY = 0xFF
_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def driver_error(error: Exception) -> BaseException:
    """What the driver said, whoever told it on."""
    return getattr(error, "orig", None) or error


def is_full(error: Exception) -> bool:
    """Whether there was no room to write."""
    found = driver_error(error)
    number = getattr(found, "sqlite_errorcode", None)
    return number in _NO_ROOM or getattr(found, "sqlstate", None) == _PG_DISK_FULL


def is_damaged(error: Exception) -> bool:
    """Whether SQLite read what it cannot have written."""
    number = getattr(driver_error(error), "sqlite_errorcode", 0) or 0
    return number & _FAMILY in _DAMAGED


def is_lost(error: Exception) -> bool:
    """Whether the store does not answer, as both drivers and Core say it: by these names."""
    if is_full(error) or is_damaged(error):
        return False
    return any(base.__name__ in _AWAY for base in type(driver_error(error)).__mro__)


def for_callers(error: Exception, engine: sa.Engine) -> Unavailable | None:
    """A full disk or a damaged file in words that teach; None for anything else."""
    if is_full(error):
        return StoreFull(
            f"the disk of the database ({_where(engine)}) is full: nothing was written; free some"
            " space there, then repeat it; nothing needs a restart"
        )
    if is_damaged(error):
        _note(engine)
        return StoreDamaged(
            f"the database {_where(engine)} is damaged ({driver_error(error)}): nothing was"
            " written; stop the controller, keep a copy of the files, then"
            " kronforce restore FILE --force"
        )
    return None


def suspect(path: Path) -> Path:
    """Where it is noted that this file was found damaged."""
    return path.with_name(path.name + SUSPECT)


def _where(engine: sa.Engine) -> str:
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    return engine.url.render_as_string(hide_password=True)


def _note(engine: sa.Engine) -> None:
    # The disk that damaged the one may not take the other: then doctor is asked.
    with contextlib.suppress(OSError):
        suspect(Path(str(engine.url.database))).touch(mode=0o600)
