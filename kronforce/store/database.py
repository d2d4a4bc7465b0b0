"""Opening a store and running functions over it.

A `Database` is one SQLite file (with a second one for output beside it) or one
PostgreSQL database. `read` runs a function over a connection of its own in a
reader thread; writes go through the committers (`writer.py`), each of which
owns one connection and one thread. Functions get a `Tx`: a SQLAlchemy Core
connection, and the driver's cursor for batched statements. Rows never leave
this room.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import sqlalchemy as sa

from kronforce.errors import Unavailable
from kronforce.store import dialect, faults
from kronforce.store.dialect import Cursor, Lookup, Row, Statement
from kronforce.store.readers import Readers

P = ParamSpec("P")
T = TypeVar("T")

# Reads at a time: enough to hide disk waits, few enough to leave the cores to the hot path.
READERS = 4

# How long a statement may wait for another process's lock (a backup, a second controller).
BUSY_MS = 10_000

# For libpq, where the URL does not say otherwise. A server whose host went away without a word is
# given up within half a minute and asked anew, not after TCP's quarter of an hour.
_POSTGRESQL: dict[str, str | int] = {
    "application_name": "kronforce",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}

# What one pinned plan costs is known; what the planner might choose on a stale estimate is not.
_PINNED_PLANS = (
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; "
    "SET jit = off; SET plan_cache_mode = force_generic_plan"
)


class Tx:
    """One transaction: `conn` for Core statements, `run` for batched ones.

    `noted` gathers what the audit log gets with it (`audit.note`); the main committer writes it.
    """

    __slots__ = ("conn", "cursor", "noted", "sqlite")

    def __init__(self, conn: sa.Connection) -> None:
        self.conn = conn
        self.sqlite = conn.dialect.name == "sqlite"
        self.cursor = cast(Cursor, conn.connection.cursor())
        self.noted: list[Any] = []

    def look_up(self, lookup: Lookup, keys: Collection[int]) -> list[Any]:
        """Rows by integer keys."""
        return lookup.run(self.cursor, keys, sqlite=self.sqlite)

    def run(self, statement: Statement, rows: Sequence[Row]) -> int:
        """Run a batched statement; the number of rows that it inserted or changed."""
        return statement.run(self.cursor, rows, sqlite=self.sqlite)

    def insert_unless_taken(self, table: sa.Table, values: Mapping[str, Any]) -> int | None:
        """Insert one row and give its `key`; None if a unique column's value is taken.

        `values` are plain: nothing converts them for their columns.
        """
        return dialect.insert_unless_taken(self.cursor, table, values, sqlite=self.sqlite)

    @contextmanager
    def undone_by(self, error: type[Exception]) -> Iterator[None]:
        """What is written inside is taken back where it raises this; what was noted, too."""
        # As text: SQLAlchemy's savepoints cost as much as the whole of a small change.
        self.cursor.execute("SAVEPOINT part")
        noted = len(self.noted)
        try:
            yield
        except error:
            self.cursor.execute("ROLLBACK TO SAVEPOINT part")
            self.cursor.execute("RELEASE SAVEPOINT part")
            del self.noted[noted:]
            raise
        self.cursor.execute("RELEASE SAVEPOINT part")


class Database:
    """The engines behind the store. Open with `open_database`, close once."""

    def __init__(self, main: sa.Engine, output: sa.Engine, *, location: str) -> None:
        self.main = main
        self.output = output
        # For people: a path, or a URL without credentials.
        self.location = location
        self._readers = Readers(READERS)

    @property
    def sqlite(self) -> bool:
        """Whether this is the embedded store."""
        return self.main.dialect.name == "sqlite"

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs) -> T:
        """Run `fn(tx, …)` in a read transaction of its own, in a reader thread."""
        return await self._in_thread(self.main, partial(reading, self.main), fn, *args, **kw)

    async def read_once(
        self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs
    ) -> T:
        """The same for a function that asks one question, which needs no transaction around it.

        On SQLite each statement is some turns of the GIL, which a busy loop makes dear.
        """
        once = partial(reading, self.main, begin=False)
        return await self._in_thread(self.main, once, fn, *args, **kw)

    async def read_output(
        self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs
    ) -> T:
        """The same over streamed output."""
        transaction = partial(reading, self.output)
        return await self._in_thread(self.output, transaction, fn, *args, **kw)

    async def _in_thread(
        self,
        engine: sa.Engine,
        transaction: Callable[[], AbstractContextManager[Tx]],
        fn: Callable[Concatenate[Tx, P], T],
        *args: P.args,
        **kw: P.kwargs,
    ) -> T:
        def call() -> T:
            try:
                with transaction() as tx:
                    return fn(tx, *args, **kw)
            except Exception as error:
                if (told := faults.for_callers(error, engine)) is not None:
                    raise told from error
                # A file always answers: there the same names mean a fault of ours.
                if not self.sqlite and faults.is_lost(error):
                    raise Unavailable("the store does not answer: try again") from error
                raise

        return await self._readers.ask(call)

    def close(self) -> None:
        """Close every connection. No read may be under way."""
        self._readers.close()
        self.main.dispose()
        if self.output is not self.main:
            self.output.dispose()


@contextmanager
def reading(engine: sa.Engine, *, begin: bool = True) -> Iterator[Tx]:
    """A read transaction, rolled back at its end; without `begin`, one for each statement."""
    with engine.connect() as conn:
        if begin and conn.dialect.name == "sqlite":
            conn.exec_driver_sql("BEGIN")
        yield Tx(conn)


@contextmanager
def writing(engine: sa.Engine) -> Iterator[Tx]:
    """A write transaction outside the committers: start-up, migration, tests."""
    with engine.connect() as conn, conn.begin():
        if conn.dialect.name == "sqlite":
            # The write lock at once, so that the transaction cannot fail half way for want of it.
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        tx = Tx(conn)
        yield tx
        assert not tx.noted, "what principals do goes through the main committer, which audits it"


def open_database(url: str) -> Database:
    """Open `postgresql://…`, or the SQLite file at a path; its output file stands beside it."""
    if url.startswith(("postgresql://", "postgres://")):
        return _open_postgresql(url)
    path = Path(url)
    return Database(_sqlite_engine(path), _sqlite_engine(output_file(path)), location=str(path))


def output_file(main: Path) -> Path:
    """Where streamed output is kept beside a SQLite main file."""
    return main.with_name(main.stem + "-output" + (main.suffix or ".db"))


def _sqlite_engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}",
        pool_size=READERS + 2,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": BUSY_MS / 1000},
    )
    sa.event.listen(engine, "connect", _on_sqlite_connect)
    return engine


def _on_sqlite_connect(connection: sqlite3.Connection, _record: Any) -> None:
    # We begin transactions ourselves: a read by its first SELECT, a write by BEGIN IMMEDIATE.
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        # The promise is durability across a power cut, and group commit makes it cheap.
        "synchronous = FULL",
        f"busy_timeout = {BUSY_MS}",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        # What is deleted is overwritten where that costs no further page; Debian's default of
        # overwriting all of it made retention write twice as much.
        "secure_delete = FAST",
        # 16 MiB a connection; reads of output must not fill memory.
        "cache_size = -16384",
        # 16 MiB: a checkpoint seldom enough not to show, often enough to bound the file.
        "wal_autocheckpoint = 4096",
        "journal_size_limit = 67108864",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _open_postgresql(url: str) -> Database:
    dsn = "postgresql+psycopg://" + url.split("://", 1)[1]
    engine = sa.create_engine(
        dsn,
        pool_size=READERS + 4,
        max_overflow=2,
        pool_pre_ping=True,
        connect_args={
            name: value for name, value in _POSTGRESQL.items() if name not in sa.make_url(dsn).query
        },
    )
    return Database(engine, engine, location=engine.url.render_as_string(hide_password=True))


def pin_plans(conn: sa.Connection) -> None:
    """On the hot PostgreSQL sessions: index plans, always, without planning twice."""
    conn.exec_driver_sql(_PINNED_PLANS)
