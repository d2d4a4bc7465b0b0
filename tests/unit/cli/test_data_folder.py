"""Commands at the data folder: no server is asked, and none need be there."""

import json

import pytest

from kronforce.audit_key import audit_key
from kronforce.config import Config
from kronforce.host.opening import alone
from kronforce.store.database import open_database, writing
from kronforce.store.migrate import migrate

# Never a running controller's.
NOWHERE = "grpc://127.0.0.1:1"


@pytest.fixture
def config(home) -> Config:
    folder = home / "data"
    folder.mkdir(mode=0o700)
    config = Config(data_dir=folder, db=str(folder / "kronforce.db"))
    database = open_database(config.db)
    migrate(database)
    database.close()
    audit_key(config)
    return config


def say_schema(config: Config, revision: str) -> None:
    database = open_database(config.db)
    with writing(database.main) as tx:
        tx.conn.exec_driver_sql(f"UPDATE schema_version SET version_num = '{revision}'")
    database.close()


def test_db_current_says_which_schema_and_ends_with_9_where_it_is_another(kronforce, config):
    done = kronforce("db", "current", terminal=True)
    assert done.code == 0
    assert "main" in done.out
    assert "(current)" in done.out

    say_schema(config, "9999")
    done = kronforce("db", "current", "-o", "json")
    assert done.code == 9
    main = json.loads(done.out)[0]
    assert (main["part"], main["current"], main["state"]) == ("main", "9999", "newer")


def test_db_migrate_says_what_it_did_and_nothing_twice(kronforce, config):
    done = kronforce("db", "migrate", terminal=True)
    assert (done.code, done.out.split()) == (0, ["main", "unchanged", "output", "unchanged"])

    done = kronforce("db", "migrate", "-o", "json")
    main = json.loads(done.out)[0]
    assert main["part"] == "main"
    assert main["before"] == main["after"]

    fresh = str(config.data_dir / "fresh.db")
    open_database(fresh).close()
    (config.data_dir / "fresh.db").touch()
    done = kronforce("db", "migrate", "--db", fresh, terminal=True)
    assert done.code == 0
    assert "new -> 0" in done.out


def test_what_is_missing_is_said_with_the_flag_that_names_another(kronforce, home):
    for words in (["db", "current"], ["db", "migrate"], ["key", "reset-admin"]):
        done = kronforce(*words, "--data-dir", str(home / "elsewhere"))
        assert done.code == 1
        assert "--data-dir" in done.err
    assert not (home / "elsewhere").exists()


def test_a_controller_that_runs_is_named_and_nothing_is_changed(kronforce, config):
    with alone(config):
        done = kronforce("db", "migrate")
    assert done.code == 1
    assert "is the controller of" in done.err
    assert "stop it first" in done.err


def test_reset_admin_prints_the_file_and_not_the_key(kronforce, config):
    done = kronforce("key", "reset-admin", terminal=True)

    path = config.data_dir / "admin.key"
    assert (done.code, done.out.strip()) == (0, str(path))
    assert "other admin keys still work" in done.err
    assert path.read_text().strip() not in done.out + done.err

    done = kronforce("key", "reset-admin", "--revoke-others", terminal=True)
    assert "revoked: admin" in done.err


def test_backup_prints_the_file_and_says_what_is_in_it(kronforce, config, home):
    done = kronforce("backup", terminal=True)

    (made,) = home.glob("kronforce-*.tar.gz")
    assert (done.code, done.out.strip()) == (0, made.name)
    assert "audit.key: whoever reads it owns the installation" in done.err
    assert f"to restore: kronforce restore {made.name} --data-dir FOLDER" in done.err
    assert made.stat().st_mode & 0o777 == 0o600


def test_backup_into_a_pipe_says_the_file_alone(kronforce, config, home):
    done = kronforce("--quiet", "backup", "--out", "b.tar", "--verify")
    assert (done.code, done.out) == (0, "b.tar\n")


def test_backup_names_the_flag_for_whatever_stands_in_its_way(kronforce, config, home):
    kronforce("backup", "--out", "b.tar")
    for words, way_out in (
        (["--out", "b.tar"], "--force"),
        (["--out", "nowhere/b.tar"], "there is no folder nowhere"),
        (["--data-dir", "elsewhere"], "--data-dir"),
    ):
        done = kronforce("backup", *words)
        assert (done.code, done.out) == (1, "")
        assert way_out in done.err
    (config.data_dir / "audit.key").unlink()
    done = kronforce("backup", "--out", "c.tar")
    assert (done.code, "--no-keys" in done.err) == (1, True)
    assert kronforce("backup", "--out", "c.tar", "--no-keys").code == 0


def test_restore_says_what_is_where_now(kronforce, config, home):
    kronforce("backup", "--out", "b.tar")

    done = kronforce("restore", "b.tar", "--data-dir", "new", terminal=True)
    assert (done.code, done.out.strip()) == (0, str(home / "new" / "kronforce.db"))
    assert "fences go on after" in done.err
    assert "keys: audit.key" in done.err

    done = kronforce("restore", "b.tar", "--data-dir", "new")
    assert (done.code, "--force" in done.err) == (1, True)
    done = kronforce("restore", "b.tar", "--data-dir", "new", "--force", terminal=True)
    assert done.code == 0
    assert f"what was there is now in {home / 'new' / 'before-restore-'}" in done.err


def test_restore_says_what_is_to_be_done_before_a_start(kronforce, config, home):
    kronforce("backup", "--out", "b.tar", "--no-keys")
    done = kronforce("restore", "b.tar", "--data-dir", "new", terminal=True)
    assert done.code == 0
    assert f"before you start: there is no {home / 'new' / 'audit.key'}" in done.err


def test_restore_check_reads_it_all_and_changes_nothing(kronforce, config, home):
    kronforce("backup", "--out", "b.tar")
    done = kronforce("restore", "b.tar", "--check", "--data-dir", "new")
    assert (done.code, done.out.startswith("b.tar: whole; made 20")) == (0, True)
    assert not (home / "new").exists()

    damaged = bytearray((home / "b.tar").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (home / "b.tar").write_bytes(damaged)
    done = kronforce("restore", "b.tar", "--check")
    assert (done.code, "damaged" in done.err) == (1, True)


def test_restore_of_what_is_no_backup_says_so(kronforce, home):
    (home / "b.tar").write_text("hello")
    for name in ("b.tar", "nowhere.tar"):
        done = kronforce("restore", name, "--data-dir", "new")
        assert (done.code, name in done.err) == (1, True)
    assert not (home / "new").exists()


def test_programs_get_data_of_what_was_done(kronforce, config, home):
    made = json.loads(kronforce("backup", "--out", "b.tar", "-o", "json").out)
    assert (made["path"], made["keys"], made["verified"]) == ("b.tar", ["audit.key"], False)

    done = kronforce("restore", "b.tar", "--data-dir", "new", "-o", "json")
    restored = json.loads(done.out)
    assert (restored["store"], restored["aside"], restored["troubles"]) == ("sqlite", [], [])
    assert restored["fence"] > 1 << 32
    checked = json.loads(kronforce("restore", "b.tar", "--check", "-o", "jsonl").out)
    assert checked["backup_of"] == restored["backup_of"]

    done = kronforce("key", "reset-admin", "-o", "yaml")
    assert "path: " in done.out
    assert kronforce("key", "reset-admin", "-o", "name").out == "admin-2\n"
