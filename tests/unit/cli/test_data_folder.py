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
