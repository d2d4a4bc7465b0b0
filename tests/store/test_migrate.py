"""Migrations on both stores: what they make, what they refuse, what they keep."""

import resource
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.postgresql import base as postgresql

from kronforce.store import tables
from kronforce.store.commit_order import Xid8
from kronforce.store.controller_lock import ControllerRunningError, take_controller_lock
from kronforce.store.database import open_database, reading, writing
from kronforce.store.migrate import SchemaError, migrate
from kronforce.store.partitions import DAY_US, drop_partitions, ensure_partitions
from kronforce.store.revisions import FOLDER, MAIN, OUTPUT, is_current, knows, schema_states
from tests.store.only_on import ON_POSTGRESQL, ON_SQLITE

# Long ago, so that the days which the migration made by the real clock lie ahead.
NOW = 1_000_000_000 * 1_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request, tmp_path):
    url = (
        str(tmp_path / "new.db")
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_database_url")
    )
    database = open_database(url)
    yield database
    database.close()


def test_an_empty_database_is_made_at_start_with_the_default_group(empty):
    migrate(empty)

    assert is_current(empty)
    with writing(empty.main) as tx:
        assert tx.conn.scalars(sa.select(tables.groups.c.name)).all() == ["Default"]


def test_migrating_twice_changes_nothing(empty):
    migrate(empty)
    migrate(empty)

    assert is_current(empty)


@pytest.mark.parametrize("history", [MAIN, OUTPUT], ids=lambda history: history.part)
def test_a_revision_is_the_number_in_its_files_name(database, history):
    """So that a start need not load Alembic to know what is there."""
    versions = str(FOLDER / history.part)
    scripts = list(ScriptDirectory(FOLDER, version_locations=[versions]).walk_revisions())
    (state,) = (each for each in schema_states(database) if each.part == history.part)

    assert state.newest == scripts[0].revision
    assert all(knows(history.part, each.revision) for each in scripts)
    assert all(Path(each.path).name.startswith(f"m{each.revision}_") for each in scripts)


def test_who_is_current_does_not_load_alembic(database, store_url):
    script = (
        "import sys, kronforce.app\n"
        "from kronforce.store.database import open_database\n"
        "kronforce.app.migrate(open_database(sys.argv[1]))\n"
        "print('alembic' in sys.modules)"
    )
    command = [sys.executable, "-c", script, store_url]
    loaded = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert loaded == "False\n"


@pytest.mark.parametrize("part", ["main", "output"])
def test_the_migrations_make_what_the_tables_say(database, part, monkeypatch):
    monkeypatch.setitem(postgresql.ischema_names, "xid8", Xid8)
    engine = getattr(database, part)
    metadata = tables.metadata if part == "main" else tables.output_metadata
    with writing(engine) as tx:
        differences = [
            difference
            for difference in compare_metadata(_context(tx, metadata), metadata)
            if not _is_of_commit_order(difference) and not _is_index_of_expression(difference)
        ]
        keys = {name: _primary_key(tx, name) for name in metadata.tables}

    assert differences == []
    for name, table in metadata.tables.items():
        partitioned = not database.sqlite and name in ("events", "output_chunks")
        wanted = [column.name for column in table.primary_key] + (["at"] if partitioned else [])
        assert keys[name] == wanted


def test_the_indexes_are_those_of_the_tables_word_for_word(database):
    for engine, metadata in (
        (database.main, tables.metadata),
        (database.output, tables.output_metadata),
    ):
        indexes = [index for table in metadata.tables.values() for index in table.indexes]
        with writing(engine) as tx:
            made = {index.name: _definition(tx, index.name) for index in indexes}
            again = {index.name: _made_again(tx, index) for index in indexes}
        assert made == again


def test_the_schema_of_a_newer_version_is_refused_with_the_way_out(database):
    with writing(database.main) as tx:
        tx.conn.exec_driver_sql("UPDATE schema_version SET version_num = '9999'")

    with pytest.raises(SchemaError, match="newer version of Kronforce"):
        migrate(database, force=True)


def test_tables_of_other_software_are_left_alone(empty):
    with writing(empty.main) as tx:
        tx.conn.exec_driver_sql("CREATE TABLE jobs (what TEXT)")

    with pytest.raises(SchemaError, match="other software"):
        migrate(empty)


@ON_SQLITE
def test_sqlite_keeps_a_copy_before_it_migrates(database, store_url, older_schema):
    migrate(database)

    assert is_current(database)
    kept = Path(store_url + ".before-upgrade-from-0000")
    assert kept.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(kept) as copy:
        assert copy.execute("SELECT version_num FROM schema_version").fetchone() == ("0000",)
    copy.close()


@ON_SQLITE
def test_sqlite_is_not_migrated_without_its_copy(database, older_schema):
    with writing(database.main) as tx:
        # More than the copy may take below.
        tx.conn.exec_driver_sql("CREATE TABLE filler AS SELECT zeroblob(1000000) AS x")
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
    try:
        with pytest.raises(SchemaError, match="make room"):
            migrate(database)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

    assert not is_current(database)


@ON_POSTGRESQL
def test_postgresql_is_migrated_by_command_only(database, older_schema):
    with pytest.raises(SchemaError, match="kronforce db migrate"):
        migrate(database)

    migrate(database, force=True)
    assert is_current(database)


def test_one_controller_at_a_time_uses_a_postgresql_database(database, other, monkeypatch):
    if database.sqlite:
        assert take_controller_lock(database.main) is None
        return
    monkeypatch.setattr("kronforce.store.controller_lock.WAIT_MS", 50)
    held = take_controller_lock(database.main)
    assert held is not None

    with pytest.raises(ControllerRunningError, match="stop it first"):
        take_controller_lock(other.main)

    assert held.is_held()
    held.release()
    second = take_controller_lock(other.main)
    assert second is not None
    second.release()


@ON_POSTGRESQL
def test_a_controller_knows_that_it_lost_its_lock(database, other):
    held = take_controller_lock(database.main)
    assert held is not None
    with writing(other.main) as tx:
        tx.conn.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )

    assert not held.is_held()
    held.release()


@ON_POSTGRESQL
def test_a_wait_for_the_lock_that_is_cut_off_is_no_other_controller(database, other):
    """Whoever took it for one would stop itself."""
    held = take_controller_lock(database.main)
    assert held is not None
    with ThreadPoolExecutor() as pool:
        waits = pool.submit(take_controller_lock, other.main)
        while not _ended_waiting(database):
            assert not waits.done()
        with pytest.raises(sa.exc.OperationalError, match="administrator command"):
            waits.result()
    held.release()


def _ended_waiting(database):
    """Cut off whoever waits for an advisory lock; whether anybody did."""
    with writing(database.main) as tx:
        return tx.conn.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND NOT granted"
        ).all()


def test_days_are_made_ahead_once(tx):
    made = ensure_partitions(tx, NOW)

    assert made == (0 if tx.sqlite else 16)
    assert ensure_partitions(tx, NOW) == 0
    assert ensure_partitions(tx, NOW + DAY_US) == (0 if tx.sqlite else 2)


@ON_POSTGRESQL
def test_a_database_begins_with_the_days_ahead(tx):
    children = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass"

    # The DEFAULT one, today and seven days.
    assert tx.conn.exec_driver_sql(children).scalar() == 9


def test_a_day_whose_rows_came_first_stays_in_the_default_partition(tx):
    _insert_event(tx, NOW)

    assert ensure_partitions(tx, NOW) == (0 if tx.sqlite else 15)
    assert tx.conn.scalar(sa.select(sa.func.count()).select_from(tables.events)) == 1


def test_past_days_are_dropped_but_not_those_that_hold_output(tx, database):
    ensure_partitions(tx, NOW, days_ahead=1)
    _insert_event(tx, NOW)
    if not tx.sqlite:
        tx.conn.execute(
            sa.insert(tables.output_chunks).values(
                execution_key=1, stream=1, start=0, length=1, sequence=1, at=NOW, data=b"x"
            )
        )

    dropped = drop_partitions(tx, NOW + 2 * DAY_US)

    # Two days of events, and of output the one without rows.
    assert dropped == (0 if tx.sqlite else 3)
    left = tx.conn.scalar(sa.select(sa.func.count()).select_from(tables.events))
    assert left == (1 if tx.sqlite else 0)


@ON_POSTGRESQL
def test_a_day_that_somebody_reads_is_dropped_another_time(database, other, monkeypatch):
    monkeypatch.setattr("kronforce.store.partitions.LOCK_LIMIT_MS", 50)
    with writing(database.main) as tx:
        ensure_partitions(tx, NOW, days_ahead=0)

    with reading(other.main) as reader:
        reader.conn.execute(sa.select(tables.events)).all()
        with writing(database.main) as tx:
            assert drop_partitions(tx, NOW + DAY_US) == 0
            _insert_event(tx, NOW)

    with writing(database.main) as tx:
        assert drop_partitions(tx, NOW + DAY_US) == 2


@pytest.fixture
def older_schema(database, tmp_path, monkeypatch):
    """Make the database look as if a version before the first had made it."""
    source = Path(__file__).parents[2] / "kronforce/store/migrations"
    folder = tmp_path / "migrations"
    for part in ("main", "output"):
        (folder / part).mkdir(parents=True)
        (folder / part / "m0000_older.py").write_text(
            "revision, down_revision = '0000', None\n\ndef upgrade():\n    pass\n"
        )
        (folder / part / "m0001_newer.py").write_text(
            "from alembic import op\n\nrevision, down_revision = '0001', '0000'\n\n"
            f"def upgrade():\n    op.execute('CREATE TABLE added_{part} (key INTEGER)')\n"
        )
    (folder / "env.py").write_text((source / "env.py").read_text())
    monkeypatch.setattr("kronforce.store.revisions.FOLDER", folder)
    with writing(database.main) as tx:
        tx.conn.exec_driver_sql("UPDATE schema_version SET version_num = '0000'")


def _context(tx, metadata):
    def ours(_thing, name, kind, _reflected, _compared):
        return kind != "table" or name in metadata.tables

    return MigrationContext.configure(
        tx.conn, opts={"compare_type": True, "include_object": ours, "target_metadata": metadata}
    )


def _is_of_commit_order(difference):
    """Whether it is the column, or its index, that only PostgreSQL has."""
    kind, *rest = difference
    if kind == "remove_column":
        return rest[1:] and rest[1] == "events" and rest[2].name == "xid"
    return kind == "remove_index" and rest[0].name == "events_order"


def _is_index_of_expression(difference):
    # Alembic cannot compare these; the test of definitions does.
    kind, *rest = difference
    return kind.endswith("_index") and rest[0].name in ("executions_ready", "runs_waiting")


def _primary_key(tx, name):
    return sa.inspect(tx.conn).get_pk_constraint(name)["constrained_columns"]


def _definition(tx, name):
    query = (
        "SELECT sql FROM sqlite_master WHERE name = :name"
        if tx.sqlite
        else "SELECT indexdef FROM pg_indexes WHERE indexname = :name"
    )
    return tx.conn.scalar(sa.text(query), {"name": name}).replace("\n", " ")


def _made_again(tx, index):
    index.drop(tx.conn)
    index.create(tx.conn)
    return _definition(tx, index.name)


def _insert_event(tx, at):
    tx.conn.execute(
        sa.insert(tables.events).values(
            kind="job.created", severity=1, at=at, message="m", actor="a", job_name="",
            group_name="",
        )
    )  # fmt: skip
