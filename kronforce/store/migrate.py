"""Bringing a database to this version's schema.

SQLite files are migrated at start, after a copy beside them. A PostgreSQL
database is made at start when it is empty; changing one that holds data is an
operator's decision (`kronforce db migrate`). A schema that this version does
not know is never touched. What a migration does is one transaction.
"""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from kronforce.store import revisions
from kronforce.store.database import Database, Tx, reading, writing
from kronforce.store.partitions import ensure_partitions
from kronforce.store.revisions import MAIN, OUTPUT, RESTORING, History, SchemaState, histories

# The first that has 64-bit transaction ids, by which events are followed.
_POSTGRESQL_OLDEST = 13

# Any number that nothing else in the database uses for its own locks.
_MIGRATION_LOCK = 0x6B72_6F6E_0001


class SchemaError(Exception):
    """The database cannot be used as it is; the message says what to do."""


# As Alembic makes it.
_VERSION = sa.Table(
    MAIN.version_table,
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name=f"{MAIN.version_table}_pkc"),
)


def migrate(database: Database, *, force: bool = False, keep: bool = True) -> None:
    """Make the schema what this version needs.

    Raises SchemaError where that is not possible, or, on PostgreSQL without
    `force`, where a database that holds data would have to change. Without
    `keep` a SQLite file is not copied before.
    """
    for engine, history in histories(database):
        _migrate(engine, history, allowed=force or database.sqlite, keep=keep)
    if not database.sqlite:
        with writing(database.main) as tx:
            ensure_partitions(tx, _server_now(tx))


def migrate_output(database: Database) -> None:
    """The same for streamed output alone, by an operator's word."""
    _migrate(database.output, OUTPUT, allowed=True, keep=True)


def adopt_main(tx: Tx, revision: str) -> None:
    """Take main tables that came from elsewhere from their revision to this version's.

    In the caller's transaction: until its commit no controller starts on them.
    """
    tx.conn.exec_driver_sql(f"DELETE FROM {MAIN.version_table}")
    tx.conn.execute(sa.insert(_VERSION).values(version_num=revision))
    _upgrade(tx, MAIN)


def mark_restoring(tx: Tx) -> None:
    """Keep every controller out until `adopt_main`; the main version table must not be there."""
    tx.conn.execute(sa.schema.CreateTable(_VERSION))
    tx.conn.execute(sa.insert(_VERSION).values(version_num=RESTORING))


def _server_now(tx: Tx) -> int:
    """The server's clock: whoever migrates has none, and a day more or less is no harm."""
    seconds = sa.extract("epoch", sa.func.now())
    return int(tx.conn.execute(sa.select(sa.cast(seconds, sa.BigInteger))).scalar_one()) * 1_000_000


def _migrate(engine: sa.Engine, history: History, *, allowed: bool, keep: bool) -> None:
    state = revisions.state(engine, history)
    if state.current == state.newest:
        return
    _check(engine, history, state, allowed)
    if keep and state.current is not None and engine.dialect.name == "sqlite":
        _copy(engine, state.current)
    with writing(engine) as tx:
        if not tx.sqlite:
            tx.conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        _upgrade(tx, history)


def _upgrade(tx: Tx, history: History, to: str = "head") -> None:
    # Only who has something to migrate waits until it is loaded.
    from alembic import command  # noqa: PLC0415 - as said
    from alembic.config import Config  # noqa: PLC0415 - as said

    config = Config()
    # Config reads % as the beginning of a reference.
    folder = str(revisions.FOLDER).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("version_locations", f"{folder}/{history.part}")
    config.set_main_option("path_separator", "newline")
    config.attributes["version_table"] = history.version_table
    config.attributes["connection"] = tx.conn
    command.upgrade(config, to)


def _check(engine: sa.Engine, history: History, state: SchemaState, allowed: bool) -> None:
    with reading(engine) as tx:
        _check_server(tx)
        if state.current is None:
            _check_empty(tx, history)
        elif state.restoring:
            raise SchemaError(
                f"a restore into {_where(engine)} was not finished: repeat it with"
                " kronforce restore FILE --force"
            )
        elif not state.known:
            raise SchemaError(
                f"{_where(engine)} was last used by a newer version of Kronforce (its schema is "
                f"{state.current}, this version knows up to {state.newest}); start that version, or"
                " restore the copy that was made before the upgrade"
            )
        elif not allowed:
            raise SchemaError(
                f"{_where(engine)} has schema {state.current} and this version needs"
                f" {state.newest}; make a backup, then run: kronforce db migrate"
            )


def _check_server(tx: Tx) -> None:
    if tx.sqlite:
        return
    version = int(tx.conn.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
    if version < _POSTGRESQL_OLDEST:
        raise SchemaError(
            f"this server is PostgreSQL {version}; Kronforce needs {_POSTGRESQL_OLDEST} or newer"
        )


def _check_empty(tx: Tx, history: History) -> None:
    taken = sorted(set(sa.inspect(tx.conn).get_table_names()) & set(history.metadata.tables))
    if taken:
        raise SchemaError(
            f"{_where(tx.conn.engine)} holds tables of other software ({', '.join(taken)}); "
            "name another file or database"
        )


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
