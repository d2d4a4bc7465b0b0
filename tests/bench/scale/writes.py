"""How often a database was written.

SQLite: the commits that its write-ahead log holds. PostgreSQL: the transactions that got a number.

Each transaction that changed something ends with a frame that carries the size of the database.
Transactions that changed nothing write nothing, and are not counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

HEADER = 32
FRAME_HEADER = 24


class Restarted(Exception):
    """The log was begun anew meanwhile, after a checkpoint: what was in it cannot be counted."""


def commits(database: Path, since: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """(commits in the log, its salt); raises Restarted if the salt is not that of `since`."""
    log = database.with_name(database.name + "-wal")
    content = log.read_bytes() if log.exists() else b""
    if len(content) < HEADER:
        return 0, since[1]
    (size,) = struct.unpack_from(">I", content, 8)
    (salt,) = struct.unpack_from(">Q", content, 16)
    if since[1] and salt != since[1]:
        raise Restarted
    count = 0
    for at in range(HEADER, len(content) - FRAME_HEADER - size + 1, FRAME_HEADER + size):
        _, committed, of = struct.unpack_from(">IIQ", content, at)
        if of != salt:
            break
        count += committed > 0
    return count, salt


def transactions(url: str) -> int:
    """The number that PostgreSQL's next writing transaction gets; of the whole server."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def no_autovacuum(url: str) -> Iterator[None]:
    """Keep a PostgreSQL from housekeeping of its own: those transactions get numbers too.

    After a hundred thousand jobs were put in at once it vacuums and analyses for minutes.
    """
    if not url:
        yield
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET autovacuum")
            connection.execute("SELECT pg_reload_conf()")


class Count:
    """Of the writes since it was made."""

    def __init__(self, database: Path, url: str) -> None:
        self._database = database
        self._url = url
        self._begin = transactions(url) if url else 0
        self._log = commits(database) if not url else (0, 0)

    def so_far(self) -> int:
        """Raises Restarted where a checkpoint came between."""
        if self._url:
            return transactions(self._url) - self._begin
        return commits(self._database, self._log)[0] - self._log[0]
