"""From the schema of the first version to this one's, with rows in it, on both stores."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from kronforce.clock import SystemClock
from kronforce.config import Config
from kronforce.core.access import Role, Scope
from kronforce.host import archive, postgresql_tools, restore, schema
from kronforce.host.archive import Manifest, part_of
from kronforce.host.backup import DUMP, MAIN, OUTPUT
from kronforce.host.opening import HostError, alone
from kronforce.store import agents, executions, jobs, own_tables, runs
from kronforce.store.copying import copy_files
from kronforce.store.database import open_database, output_file, reading, writing
from kronforce.store.migrate import SchemaError, migrate
from kronforce.store.paging import PageRequest
from tests.store import first_version
from tests.store.first_version import EXECUTION, RUN

ADMIN = Scope(principal_id="x", role=Role.ADMIN)


@pytest.fixture(params=["sqlite", "postgresql"])
def old_url(request, tmp_path) -> str:
    """Give a database as the first version left it, with a run under way."""
    url = (
        str(tmp_path / "kronforce.db")
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_database_url")
    )
    first_version.make(url)
    return url


@pytest.fixture
def config(old_url, tmp_path) -> Config:
    return Config(data_dir=tmp_path / "data", db=old_url)


def assert_everything_is_there(url: str) -> None:
    database = open_database(url)
    with reading(database.main) as tx:
        assert jobs.find_job(tx, ADMIN, "old").name == "old"
        found = jobs.list_jobs(tx, ADMIN, label="team=web", page=PageRequest(size=10))
        assert [job.name for job in found.items] == ["old"]
        assert runs.find_run(tx, ADMIN, RUN).state == 3
        assert executions.find_execution(tx, ADMIN, EXECUTION).fence == 41
        assert agents.get_agent(tx, 2).session_epoch == 7
    database.close()


def test_the_command_migrates_and_everything_is_still_there(config, old_url):
    assert [each.current for each in schema.current(config)] == ["0001", "0001"]
    assert schema.current(config)[0].pending

    before = schema.upgrade(config)

    assert before[0].current == "0001"
    assert not any(each.pending for each in schema.current(config))
    assert_everything_is_there(old_url)


@pytest.mark.parametrize("old_url", ["sqlite"], indirect=True)
def test_a_start_migrates_a_file_and_keeps_what_the_old_version_can_read(config, old_url):
    database = open_database(old_url)
    migrate(database)
    database.close()

    assert_everything_is_there(old_url)
    kept = sqlite3.connect(Path(old_url + ".before-upgrade-from-0001"))
    assert kept.execute("SELECT version_num FROM schema_version").fetchone() == ("0001",)
    assert kept.execute("SELECT fence FROM executions").fetchone() == (41,)
    kept.close()


@pytest.mark.parametrize("old_url", ["postgresql"], indirect=True)
def test_a_start_leaves_a_server_alone_and_names_the_command(config, old_url):
    database = open_database(old_url)
    with pytest.raises(SchemaError, match="make a backup, then run: kronforce db migrate"):
        migrate(database)
    database.close()

    assert schema.current(config)[0].current == "0001"


@pytest.mark.parametrize("held", ["folder", "database"])
def test_nothing_is_migrated_under_a_controller_that_runs(config, old_url, held, monkeypatch):
    monkeypatch.setattr("kronforce.store.controller_lock.WAIT_MS", 50)
    other = config if held == "folder" else Config(data_dir=config.data_dir / "b", db=old_url)
    with alone(other), pytest.raises(HostError, match="controller"):
        schema.upgrade(config)

    assert schema.current(config)[0].current == "0001"


def test_a_backup_of_the_first_version_is_brought_to_this_versions_schema(
    config, old_url, tmp_path
):
    source = backup_of_then(config, tmp_path)

    done = restore.restore(config, source, SystemClock(), lambda *_: None, force=True)

    assert not any(each.pending for each in schema.current(config))
    assert done.fence > 1 << 32
    database = open_database(old_url)
    with reading(database.main) as tx:
        assert jobs.find_job(tx, ADMIN, "old").name == "old"
        assert executions.find_execution(tx, ADMIN, EXECUTION).fence == 41
        assert agents.get_agent(tx, 2).session_epoch > 7
    database.close()


def backup_of_then(config: Config, tmp_path: Path) -> Path:
    """Make the archive that a first version with this command would have written."""
    folder = tmp_path / "parts"
    folder.mkdir()
    database = open_database(config.db)
    if config.sqlite:
        main, output = folder / MAIN, folder / OUTPUT
        copy_files(
            [(Path(config.db), main), (output_file(Path(config.db)), output)], lambda *_: None
        )
        parts = (part_of(main, "main"), part_of(output, "output"))
    else:
        with reading(database.main) as tx:
            found = [name for name in own_tables.own_tables(tx) if name != own_tables.MAIN_VERSION]
        postgresql_tools.dump(config.db, "public", found, folder / DUMP)
        parts = (part_of(folder / DUMP, "dump"),)
    database.close()
    manifest = Manifest(
        format=1, version="0.0.1", created_at="2026-01-01", parts=parts,
        store="sqlite" if config.sqlite else "postgresql",
        schema={"main": "0001", "output": "0001"}, namespace="" if config.sqlite else "public",
    )  # fmt: skip
    files = [folder / part.name for part in parts]
    archive.write(tmp_path / "then.tar", manifest, files, folder, lambda *_: None)
    return tmp_path / "then.tar"


@pytest.mark.parametrize("old_url", ["postgresql"], indirect=True)
def test_every_table_of_every_version_is_known_as_ours(old_url):
    database = open_database(old_url)
    for force in (False, True):
        if force:
            migrate(database, force=True)
        with reading(database.main) as tx:
            there = tx.conn.scalars(sa.text(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
            ))  # fmt: skip
            assert own_tables.own_tables(tx) == sorted(there)
    database.close()


def test_a_newer_schema_is_shown_and_left_alone(config, old_url):
    database = open_database(old_url)
    with writing(database.main) as tx:
        tx.conn.exec_driver_sql("UPDATE schema_version SET version_num = '9999'")
    database.close()

    state = schema.current(config)[0]
    assert (state.known, state.pending) == (False, False)
    with pytest.raises(HostError, match="newer version of Kronforce"):
        schema.upgrade(config)
