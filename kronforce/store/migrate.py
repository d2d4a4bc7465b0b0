"""Bringing a database to this version's schema, and being its only controller.

SQLite files are migrated at start, after a copy beside them. A PostgreSQL
database is made at start when it is empty; changing one that holds data is an
operator's decision (`kronforce db migrate`). A schema that this version does
not know is never touched. What a migration does is one transaction.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from kronforce.store import tables
from kronforce.store.database import Database, Tx, reading, writing
from kronforce.store.faults import driver_error
from kronforce.store.partitions import ensure_partitions

_FOLDER = Path(__file__).parent / "migrations"

# The first that has 64-bit transaction ids, by which events are followed.
_POSTGRESQL_OLDEST = 13

# Any number that nothing else in the database uses for its own locks.
_MIGRATION_LOCK = 0x6B72_6F6E_0001
_CONTROLLER_LOCK = 0x6B72_6F6E_0002

# A killed controller's connection may take a moment to be noticed.
CONTROLLER_LOCK_WAIT_MS = 5_000
# SQLSTATE of a lock that was waited for in vain.
_LOCK_NOT_AVAILABLE = "55P03"


class SchemaError(Exception):
    """The database cannot be used as it is; the message says what to do."""


class ControllerRunningError(Exception):
    """Another controller uses this database."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _History:
    folder: str
    version_table: str
    metadata: sa.MetaData


_MAIN = _History(folder="main", version_table="schema_version", metadata=tables.metadata)
_OUTPUT = _History(
    folder="output", version_table="output_schema_version", metadata=tables.output_metadata
)

# In place of a revision while a restore fills a PostgreSQL database.
RESTORING = "restoring"
# As Alembic makes it.
_VERSION = sa.Table(
    _MAIN.version_table,
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name=f"{_MAIN.version_table}_pkc"),
)


def migrate(database: Database, *, force: bool = False, keep: bool = True) -> None:
    """Make the schema what this version needs.

    Raises SchemaError where that is not possible, or, on PostgreSQL without
    `force`, where a database that holds data would have to change. Without
    `keep` a SQLite file is not copied before.
    """
    for engine, history in ((database.main, _MAIN), (database.output, _OUTPUT)):
        _migrate(engine, history, allowed=force or database.sqlite, keep=keep)
    if not database.sqlite:
        with writing(database.main) as tx:
            ensure_partitions(tx, _server_now(tx))


def migrate_output(database: Database) -> None:
    """The same for streamed output alone, by an operator's word."""
    _migrate(database.output, _OUTPUT, allowed=True, keep=True)


def is_current(database: Database) -> bool:
    """Whether nothing is to be migrated."""
    pairs = ((database.main, _MAIN), (database.output, _OUTPUT))
    return all(_current(engine, history) == _newest(history) for engine, history in pairs)


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaState:
    """How one of the two histories stands; `current` is None in a database without tables."""

    part: str
    current: str | None
    newest: str
    known: bool

    @property
    def restoring(self) -> bool:
        """Whether a restore was begun and not finished."""
        return self.current == RESTORING

    @property
    def pending(self) -> bool:
        """Whether this version would migrate it."""
        return self.known and self.current != self.newest


def schema_states(database: Database) -> list[SchemaState]:
    """Where both histories stand; nothing is changed."""
    found = []
    for engine, history in ((database.main, _MAIN), (database.output, _OUTPUT)):
        current = _current(engine, history)
        found.append(
            SchemaState(
                part=history.folder,
                current=current,
                newest=_newest(history),
                known=current is None or _is_known(history, current),
            )
        )
    return found


def knows(part: str, revision: str) -> bool:
    """Whether this version can take this history (`main` or `output`) from there to its own."""
    return any(h.folder == part and _is_known(h, revision) for h in (_MAIN, _OUTPUT))


def adopt_main(tx: Tx, revision: str) -> None:
    """Take main tables that came from elsewhere from their revision to this version's.

    In the caller's transaction: until its commit no controller starts on them.
    """
    tx.conn.exec_driver_sql(f"DELETE FROM {_MAIN.version_table}")
    tx.conn.execute(sa.insert(_VERSION).values(version_num=revision))
    _upgrade(tx, _MAIN)


def mark_restoring(tx: Tx) -> None:
    """Keep every controller out until `adopt_main`; the main version table must not be there."""
    tx.conn.execute(sa.schema.CreateTable(_VERSION))
    tx.conn.execute(sa.insert(_VERSION).values(version_num=RESTORING))


def _server_now(tx: Tx) -> int:
    """The server's clock: whoever migrates has none, and a day more or less is no harm."""
    seconds = sa.extract("epoch", sa.func.now())
    return int(tx.conn.execute(sa.select(sa.cast(seconds, sa.BigInteger))).scalar_one()) * 1_000_000


def _migrate(engine: sa.Engine, history: _History, *, allowed: bool, keep: bool) -> None:
    current, newest = _current(engine, history), _newest(history)
    if current == newest:
        return
    _check(engine, history, current, newest, allowed)
    if keep and current is not None and engine.dialect.name == "sqlite":
        _copy(engine, current)
    with writing(engine) as tx:
        if not tx.sqlite:
            tx.conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        _upgrade(tx, history)


def _upgrade(tx: Tx, history: _History) -> None:
    config = _config(history)
    config.attributes["connection"] = tx.conn
    command.upgrade(config, "head")


def _check(
    engine: sa.Engine, history: _History, current: str | None, newest: str, allowed: bool
) -> None:
    with reading(engine) as tx:
        _check_server(tx)
        if current is None:
            _check_empty(tx, history)
        elif current == RESTORING:
            raise SchemaError(
                f"a restore into {_where(engine)} was not finished: repeat it with"
                " kronforce restore FILE --force"
            )
        elif not _is_known(history, current):
            raise SchemaError(
                f"{_where(engine)} was last used by a newer version of Kronforce (its schema is "
                f"{current}, this version knows up to {newest}); start that version, or restore "
                "the copy that was made before the upgrade"
            )
        elif not allowed:
            raise SchemaError(
                f"{_where(engine)} has schema {current} and this version needs {newest}; make a "
                "backup, then run: kronforce db migrate"
            )


def _check_server(tx: Tx) -> None:
    if tx.sqlite:
        return
    version = int(tx.conn.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
    if version < _POSTGRESQL_OLDEST:
        raise SchemaError(
            f"this server is PostgreSQL {version}; Kronforce needs {_POSTGRESQL_OLDEST} or newer"
        )


def _check_empty(tx: Tx, history: _History) -> None:
    taken = sorted(set(sa.inspect(tx.conn).get_table_names()) & set(history.metadata.tables))
    if taken:
        raise SchemaError(
            f"{_where(tx.conn.engine)} holds tables of other software ({', '.join(taken)}); "
            "name another file or database"
        )


def _current(engine: sa.Engine, history: _History) -> str | None:
    with reading(engine) as tx:
        options = {"version_table": history.version_table}
        return MigrationContext.configure(tx.conn, opts=options).get_current_revision()


def _newest(history: _History) -> str:
    head = ScriptDirectory.from_config(_config(history)).get_current_head()
    assert head is not None
    return head


def _is_known(history: _History, revision: str) -> bool:
    try:
        return ScriptDirectory.from_config(_config(history)).get_revision(revision) is not None
    except CommandError:
        return False


def _config(history: _History) -> Config:
    config = Config()
    # Config reads % as the beginning of a reference.
    folder = str(_FOLDER).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("version_locations", f"{folder}/{history.folder}")
    config.set_main_option("path_separator", "newline")
    config.attributes["version_table"] = history.version_table
    return config


def _copy(engine: sa.Engine, revision: str) -> None:
    """Keep the file as it was, as `NAME.before-upgrade-from-REVISION` beside it."""
    path = Path(str(engine.url.database))
    kept = path.with_name(f"{path.name}.before-upgrade-from-{revision}")
    partial = kept.with_name(kept.name + ".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(partial),))
    except sa.exc.OperationalError as error:
        partial.unlink(missing_ok=True)
        raise SchemaError(
            f"{path} must be migrated, and the copy that is kept of it before could not be "
            f"written to {kept.parent} ({error.orig}); make room there and start again"
        ) from error
    # What is migrated now cannot be had back but from it.
    with partial.open("rb") as copy:
        os.fsync(copy.fileno())
    partial.replace(kept)
    _sync(kept.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _where(engine: sa.Engine) -> str:
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    return engine.url.render_as_string(hide_password=True)


class ControllerLock:
    """Says that this process is the database's one controller, as long as it is held."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def is_held(self) -> bool:
        """Whether the server still knows our connection; False: stop at once."""
        try:
            self._connection.exec_driver_sql("SELECT 1")
        except sa.exc.DBAPIError:
            return False
        return True

    def release(self) -> None:
        """Let another controller start."""
        self._connection.close()


def take_controller_lock(engine: sa.Engine) -> ControllerLock | None:
    """Become the only controller on a PostgreSQL database.

    Raises ControllerRunningError if there is one, SQLAlchemyError if the database does not say.

    None on SQLite, where a lock file beside the database does this.
    """
    if engine.dialect.name == "sqlite":
        return None
    connection = engine.execution_options(isolation_level="AUTOCOMMIT").connect()
    # Out of the pool: the lock is the connection's, which must stay open and ours.
    connection.detach()
    try:
        connection.exec_driver_sql(f"SET lock_timeout = {CONTROLLER_LOCK_WAIT_MS}")
        connection.execute(sa.select(sa.func.pg_advisory_lock(_CONTROLLER_LOCK)))
        connection.exec_driver_sql("SET lock_timeout = 0")
    except sa.exc.SQLAlchemyError as error:
        connection.close()
        if getattr(driver_error(error), "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            # Cut while it waited, or the server went: that says nothing of another controller.
            raise
        raise ControllerRunningError(
            f"another controller uses {_where(engine)}; stop it first"
        ) from error
    return ControllerLock(connection)
