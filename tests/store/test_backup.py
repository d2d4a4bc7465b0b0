"""Backup and restore of whole data folders, on both stores."""

import dataclasses
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from kronforce import data_dir
from kronforce.audit_key import audit_key
from kronforce.clock import SystemClock
from kronforce.config import CannotStart, Config
from kronforce.core.access import Role, Scope
from kronforce.host import admin_key, archive, backup, restore, schema
from kronforce.host.backup import Wanted
from kronforce.host.opening import HostError, alone
from kronforce.security.envelope import Keyring, new_master_key, parse_master_key
from kronforce.store import audit, events, jobs, own_tables, secret_keys, tables
from kronforce.store.audit_chain import Signer
from kronforce.store.database import open_database, reading, writing
from kronforce.store.hot.apply import FENCE, take_counter
from kronforce.store.migrate import SchemaError, mark_restoring, migrate
from kronforce.store.paging import PageRequest
from tests.store.rows import make_job
from tests.store.settling import settle
from tests.store.test_audit_verify import verify

CLOCK = SystemClock()
ADMIN = Scope(principal_id="x", role=Role.ADMIN)
KEYS = ("admin.key", "audit.key", "secrets.key")
ON_SQLITE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


def quiet(*_: object) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
def config(store_url, tmp_path) -> Config:
    """Give a data folder with all its keys, one job and one line of output."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    config = Config(data_dir=folder, db=store_url)
    audit_key(config)
    master = new_master_key()
    (folder / "secrets.key").write_text(master)
    admin_key.reset(config, CLOCK, revoke_others=False)
    database = open_database(store_url)
    with writing(database.main) as tx:
        make_job(tx, "kept")
        take_counter(tx, FENCE, 7)
    with writing(database.output) as tx:
        values = {"stream": 1, "start": 0, "length": 1, "sequence": 1, "at": 1, "data": b"x"}
        tx.conn.execute(sa.insert(tables.output_chunks).values(execution_key=1, **values))
    database.close()
    return config


@pytest.fixture
def elsewhere(config, tmp_path, request) -> Config:
    """Give another folder and another database, of which nothing is there yet."""
    folder = tmp_path / "elsewhere"
    if config.sqlite:
        return Config(data_dir=folder, db=str(folder / "kronforce.db"))
    return Config(data_dir=folder, db=request.getfixturevalue("postgres_database_url"))


def add_secret(config: Config) -> None:
    master = parse_master_key((config.data_dir / "secrets.key").read_text())
    key_id = bytes(range(16))
    wrapped, canary = Keyring(master).new_key(key_id)
    database = open_database(config.db)
    with writing(database.main) as tx:
        secret_keys.insert_key(tx, id=key_id, wrapped=wrapped, canary=canary, now=1)
    database.close()


def make(config: Config, target: Path, **more) -> backup.Made:
    return backup.make(config, Wanted(target=target, **more), CLOCK, quiet)


def put(config: Config, source: Path, *, force: bool = False) -> restore.Restored:
    return restore.restore(config, source, CLOCK, quiet, force=force)


def add_job(config: Config, name: str) -> None:
    database = open_database(config.db)
    with writing(database.main) as tx:
        make_job(tx, name)
    database.close()


def names_in(config: Config) -> list[str]:
    database = open_database(config.db)
    with reading(database.main) as tx:
        found = [row.name for row in jobs.list_jobs(tx, ADMIN, page=PageRequest(size=9)).items]
    database.close()
    return sorted(found)


def test_what_was_backed_up_is_there_again_elsewhere_and_begins_a_history(
    config, elsewhere, tmp_path
):
    add_secret(config)
    made = make(config, tmp_path / "b.tar.gz", thorough=True)
    add_job(config, "forgotten")

    done = put(elsewhere, made.path)

    assert names_in(elsewhere) == ["kept"]
    assert made.keys == done.keys == KEYS
    assert (done.troubles, done.aside) == ((), ())
    for name in KEYS:
        path = elsewhere.data_dir / name
        assert path.read_bytes() == (config.data_dir / name).read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    database = open_database(elsewhere.db)
    settle(database)
    with reading(database.main) as tx:
        found, _ = events.events_after(tx, ADMIN, (0, 0))
        checked = verify(tx, Signer(audit_key(elsewhere)))
        entry = audit.list_audit(tx, page=PageRequest(size=1)).items[0]
    with reading(database.output) as tx:
        # Its execution is not in the main file: on SQLite it would never be found again.
        assert tx.conn.scalar(sa.select(sa.func.count()).select_from(tables.output_chunks)) == (
            0 if elsewhere.sqlite else 1
        )
    with writing(database.main) as tx:
        assert take_counter(tx, FENCE, 1) == done.fence + 1 > 1 << 32
    migrate(database)
    database.close()
    assert found[-1].kind == "store.restored"
    assert checked.faults == []
    assert (entry.operation, entry.actor) == ("store.restored", "host")
    assert not (elsewhere.data_dir / data_dir.RESTORING).exists()
    assert not list(elsewhere.data_dir.glob(".kronforce*"))


def test_a_restored_place_can_be_backed_up_and_restored_again(config, elsewhere, tmp_path):
    put(elsewhere, make(config, tmp_path / "1.tar").path)
    first = put(elsewhere, make(elsewhere, tmp_path / "2.tar").path, force=True)
    second = put(elsewhere, tmp_path / "2.tar", force=True)

    assert names_in(elsewhere) == ["kept"]
    assert second.fence >= first.fence
    assert second.aside != first.aside


def test_what_is_there_is_refused_or_moved_aside_whole(config, tmp_path):
    made = make(config, tmp_path / "b.tar")
    add_job(config, "later")

    with pytest.raises(HostError, match="--force"):
        put(config, made.path)
    assert names_in(config) == ["kept", "later"]

    done = put(config, made.path, force=True)

    assert names_in(config) == ["kept"]
    (aside, *_) = done.aside
    if config.sqlite:
        folder = Path(aside)
        name = Path(config.db).name
        assert sorted(path.name for path in folder.iterdir() if path.suffix == ".key") == [*KEYS]
        with closing(sqlite3.connect(folder / name)) as file:
            assert file.execute("SELECT count(*) FROM jobs").fetchone() == (2,)
    else:
        database = open_database(config.db)
        where = aside.removeprefix("schema ")
        with reading(database.main) as tx:
            query = sa.text(f'SELECT count(*) FROM "{where}".jobs')
            assert tx.conn.scalar(query) == 2
        database.close()


def test_nothing_is_restored_under_a_controller_that_runs(config, tmp_path, monkeypatch):
    monkeypatch.setattr("kronforce.store.controller_lock.WAIT_MS", 50)
    made = make(config, tmp_path / "b.tar")
    add_job(config, "later")
    other = dataclasses.replace(config, data_dir=tmp_path / "other")
    with alone(other), pytest.raises(HostError, match="controller"):
        put(config, made.path, force=True)
    with alone(dataclasses.replace(config, db=str(tmp_path / "x.db")), folder=True):
        with pytest.raises(HostError, match="controller"):
            put(config, made.path, force=True)
        # It may run while a backup is made.
        make(config, tmp_path / "c.tar")

    assert names_in(config) == ["kept", "later"]


def test_a_backup_is_written_whole_or_not_at_all(config, tmp_path):
    target = tmp_path / "b.tar"
    make(config, target)
    with pytest.raises(HostError, match="there already"):
        make(config, target)
    make(config, target, overwrite=True)
    with pytest.raises(HostError, match="no folder"):
        make(config, tmp_path / "nowhere" / "b.tar")
    with pytest.raises(HostError, match=r"no database|cannot use"):
        make(dataclasses.replace(config, db=str(tmp_path / "no.db")), tmp_path / "c.tar")

    assert not (tmp_path / "c.tar").exists()
    assert not list(tmp_path.glob(".kronforce*"))


@ON_SQLITE
def test_a_damaged_database_is_not_backed_up_where_it_is_looked_at(config, tmp_path):
    with closing(sqlite3.connect(config.db)) as file:
        page = file.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'audit_at'"
        ).fetchone()[0]
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with Path(config.db).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xaa" * 4096)

    with pytest.raises(HostError, match="is damaged, so no backup was made"):
        make(config, tmp_path / "b.tar", thorough=True)
    assert not (tmp_path / "b.tar").exists()


def test_a_backup_without_the_keys_it_needs_is_refused_with_the_way_out(config, tmp_path):
    add_secret(config)
    (config.data_dir / "secrets.key").write_text(new_master_key())
    with pytest.raises(HostError, match=r"not the one that this database's secrets.*--no-keys"):
        make(config, tmp_path / "b.tar")
    (config.data_dir / "secrets.key").unlink()
    with pytest.raises(HostError, match=r"is missing.*--no-keys"):
        make(config, tmp_path / "b.tar")
    (config.data_dir / "audit.key").unlink()
    with pytest.raises(HostError, match="--data-dir, or say --no-keys"):
        make(config, tmp_path / "b.tar")

    assert make(config, tmp_path / "b.tar", with_keys=False).secrets_key_missing


def test_without_keys_in_it_a_restore_says_which_to_put_where(config, elsewhere, tmp_path):
    add_secret(config)
    made = make(config, tmp_path / "b.tar", with_keys=False)
    assert made.keys == ()

    done = put(elsewhere, made.path)

    assert len(done.troubles) == 2
    for name, trouble in zip(("secrets.key", "audit.key"), done.troubles, strict=True):
        assert str(elsewhere.data_dir / name) in trouble
        shutil.copy(config.data_dir / name, elsewhere.data_dir)
    # Nothing was signed with another key meanwhile.
    database = open_database(elsewhere.db)
    with reading(database.main) as tx:
        assert verify(tx, Signer(audit_key(elsewhere))).faults == []
    database.close()


def test_keys_that_are_kept_in_the_folder_are_used_where_the_backup_has_none(config, tmp_path):
    add_secret(config)
    made = make(config, tmp_path / "b.tar", with_keys=False)

    done = put(config, made.path, force=True)

    assert done.troubles == ()
    database = open_database(config.db)
    with reading(database.main) as tx:
        assert verify(tx, Signer(audit_key(config))).faults == []
        assert audit.list_audit(tx, page=PageRequest(size=1)).items[0].operation == "store.restored"
    database.close()


def test_a_backup_of_the_other_store_or_of_a_newer_version_changes_nothing(
    config, elsewhere, tmp_path
):
    made = make(config, tmp_path / "b.tar")
    other = "postgresql://nobody@127.0.0.1:1/x" if config.sqlite else str(tmp_path / "x.db")
    with pytest.raises(HostError, match="this is a backup of"):
        put(dataclasses.replace(config, db=other), made.path, force=True)

    newer = reforged(made.path, tmp_path, schema={"main": "9999", "output": "0001"})
    with pytest.raises(HostError, match="restore it with that version"):
        put(elsewhere, newer)

    strange = reforged(made.path, tmp_path, store="oracle")
    with pytest.raises(HostError, match="does not hold a database"):
        restore.check(strange, quiet)
    assert restore.check(made.path, quiet).store in ("sqlite", "postgresql")


def reforged(source: Path, tmp_path: Path, **changed: object) -> Path:
    """Make the same backup, that says something else of itself."""
    folder = tmp_path / "reforged"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    manifest = archive.extract(source, folder, quiet)
    files = [folder / part.name for part in manifest.parts]
    target = tmp_path / "reforged.tar"
    target.unlink(missing_ok=True)
    archive.write(target, dataclasses.replace(manifest, **changed), files, folder, quiet)
    return target


def test_a_part_that_is_no_database_is_found_before_anything_is_moved(config, tmp_path):
    made = make(config, tmp_path / "b.tar")
    folder = tmp_path / "forged"
    folder.mkdir()
    manifest = archive.extract(made.path, folder, quiet)
    first = manifest.parts[0]
    (folder / first.name).write_bytes(b"something else" * 1_000)
    parts = [archive.part_of(folder / part.name, part.kind) for part in manifest.parts]
    files = [folder / part.name for part in parts]
    forged = tmp_path / "forged.tar"
    archive.write(forged, dataclasses.replace(manifest, parts=tuple(parts)), files, folder, quiet)

    with pytest.raises(HostError, match=r"damaged|pg_restore failed"):
        put(config, forged, force=True)

    assert names_in(config) == ["kept"]
    assert not any(state.pending or state.restoring for state in schema.current(config))
    data_dir.prepare(config.data_dir)


@ON_SQLITE
def test_a_log_that_lies_beside_the_old_database_is_not_read_into_the_new_one(config, tmp_path):
    made = make(config, tmp_path / "b.tar")
    database = open_database(config.db)
    with writing(database.main) as tx:
        make_job(tx, "later")
    # As a controller that was killed leaves it: the change is in the log alone.
    log = Path(config.db + "-wal").read_bytes()
    database.close()
    Path(config.db + "-wal").write_bytes(log)

    (aside,) = put(config, made.path, force=True).aside

    assert names_in(config) == ["kept"]
    assert (Path(aside) / (Path(config.db).name + "-wal")).read_bytes() == log


@ON_SQLITE
def test_a_folder_where_a_restore_was_cut_off_is_no_controllers(config, tmp_path):
    made = make(config, tmp_path / "b.tar")
    (config.data_dir / data_dir.RESTORING).touch()
    left = Path(config.db).parent / ".kronforce-restore-x"
    left.mkdir()
    (left / ".lock").touch()

    with pytest.raises(CannotStart, match="repeat it with kronforce restore FILE --force"):
        data_dir.prepare(config.data_dir)
    for refused in (lambda: make(config, tmp_path / "c.tar"), lambda: schema.upgrade(config)):
        with pytest.raises(HostError, match="was not finished: repeat it"):
            refused()
    put(config, made.path, force=True)

    data_dir.prepare(config.data_dir)
    assert not left.exists()


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_server_where_a_restore_was_cut_off_is_no_controllers(config, tmp_path):
    made = make(config, tmp_path / "b.tar")
    database = open_database(config.db)
    with writing(database.main) as tx:
        own_tables.set_aside(tx, "aside")
        mark_restoring(tx)
    with pytest.raises(SchemaError, match="repeat it with kronforce restore FILE --force"):
        migrate(database, force=True)
    database.close()
    assert schema.current(config)[0].restoring
    with pytest.raises(HostError, match="repeat it with"):
        make(config, tmp_path / "c.tar")

    put(config, made.path)

    assert names_in(config) == ["kept"]


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_other_peoples_tables_are_neither_backed_up_nor_moved(config, tmp_path):
    database = open_database(config.db)
    with writing(database.main) as tx:
        tx.conn.exec_driver_sql("CREATE TABLE theirs (n int)")
        tx.conn.exec_driver_sql("INSERT INTO theirs VALUES (1)")
    made = make(config, tmp_path / "b.tar")
    with writing(database.main) as tx:
        tx.conn.exec_driver_sql("UPDATE theirs SET n = 2")

    put(config, made.path, force=True)

    with reading(database.main) as tx:
        assert tx.conn.scalar(sa.text("SELECT n FROM theirs")) == 2
    database.close()


def test_the_archive_of_a_server_is_what_its_own_tools_read(config, tmp_path):
    made = make(config, tmp_path / "b.tar")
    with tarfile.open(made.path) as tar:
        names = tar.getnames()
    wanted = ["kronforce.db", "kronforce-output.db"] if config.sqlite else ["postgresql.dump"]
    assert names == ["manifest.json", *wanted, *KEYS]
