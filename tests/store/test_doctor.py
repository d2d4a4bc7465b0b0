"""What `kronforce doctor` says of a database, on both stores."""

import shutil
from datetime import timedelta

import pytest

from kronforce.audit_key import FILE, audit_key
from kronforce.clock import SystemClock
from kronforce.config import Config
from kronforce.host import admin_key, checks_database
from kronforce.host.findings import Surroundings, Verdict
from kronforce.store.database import writing
from kronforce.store.events import NewEvent, insert_events
from tests.store.only_on import ON_POSTGRESQL, ON_SQLITE

CLOCK = SystemClock()


class Elsewhen(SystemClock):
    """The clock of a machine that is some time off."""

    def __init__(self, by: timedelta) -> None:
        self._by = by // timedelta(microseconds=1)

    def now_us(self) -> int:
        return super().now_us() + self._by


@pytest.fixture
def config(store_url, tmp_path, database) -> Config:
    config = Config(data_dir=tmp_path, db=store_url)
    audit_key(config)
    return config


def verdicts(config: Config, clock=CLOCK) -> dict[str, Verdict]:
    findings = list(checks_database.database(Surroundings(config=config, clock=clock)))
    assert all(bool(each.way_out) == (each.verdict != Verdict.FINE) for each in findings)
    # Whether this machine has PostgreSQL's programs is not what is tested.
    return {each.check: each.verdict for each in findings if each.check != "backup tools"}


def test_a_database_that_is_well_is_fine(config):
    assert verdicts(config) == dict.fromkeys(("database", "schema", "keys", "time"), Verdict.FINE)


def test_a_schema_of_another_version_is_wrong_and_one_to_migrate_as_the_store_has_it(
    config, database
):
    def say(revision: str) -> None:
        with writing(database.main) as tx:
            tx.conn.exec_driver_sql(f"UPDATE schema_version SET version_num = '{revision}'")

    say("9999")
    assert verdicts(config)["schema"] == Verdict.WRONG
    say("0001")
    pending = Verdict.WARNING if config.sqlite else Verdict.WRONG
    assert verdicts(config) == {"database": Verdict.FINE, "schema": pending}
    say("restoring")
    assert verdicts(config)["schema"] == Verdict.WRONG


def test_an_empty_database_waits_for_its_first_start(config, database):
    with writing(database.main) as tx:
        tx.conn.exec_driver_sql("DELETE FROM schema_version")
        tx.conn.exec_driver_sql("DROP TABLE IF EXISTS output_schema_version")
    with writing(database.output) as tx:
        tx.conn.exec_driver_sql("DROP TABLE IF EXISTS output_schema_version")
    assert verdicts(config) == {"database": Verdict.FINE, "schema": Verdict.WARNING}


def test_an_audit_key_that_is_gone_or_another_is_wrong(config):
    admin_key.reset(config, CLOCK, revoke_others=False)
    assert verdicts(config)["keys"] == Verdict.FINE
    (config.data_dir / FILE).unlink()
    assert verdicts(config)["keys"] == Verdict.WRONG
    audit_key(config)
    assert verdicts(config)["keys"] == Verdict.WRONG


def test_a_clock_that_was_set_back_is_told_by_the_events(config, database):
    def happened(by: timedelta) -> None:
        at = CLOCK.now_us() + by // timedelta(microseconds=1)
        with writing(database.main) as tx:
            insert_events(tx, [NewEvent(kind="x", severity=1, at=at, message="", actor="")])

    happened(timedelta(seconds=-5))
    assert verdicts(config)["time"] == Verdict.FINE
    happened(timedelta(seconds=30))
    assert verdicts(config)["time"] == Verdict.WARNING
    happened(timedelta(hours=1))
    assert verdicts(config)["time"] == Verdict.WRONG


@ON_POSTGRESQL
def test_a_clock_that_is_not_the_databases_is_told(config):
    for secs, verdict in ((10, Verdict.WARNING), (-10, Verdict.WARNING), (600, Verdict.WRONG)):
        assert verdicts(config, Elsewhen(timedelta(seconds=secs)))["time"] == verdict


@ON_SQLITE
def test_a_file_that_is_not_there_yet_is_a_warning_and_is_not_made(config, tmp_path):
    away = Config(data_dir=tmp_path, db=str(tmp_path / "other.db"))
    assert verdicts(away) == {"database": Verdict.WARNING}
    assert not (tmp_path / "other.db").exists()


@ON_POSTGRESQL
def test_a_server_that_is_not_there_is_wrong(config, tmp_path):
    away = Config(data_dir=tmp_path, db="postgresql://nobody@127.0.0.1:1/nothing")
    assert verdicts(away) == {"database": Verdict.WRONG}


@ON_SQLITE
def test_half_a_database_is_wrong_and_is_not_made_whole(config, tmp_path):
    shutil.copy(config.db, tmp_path / "half.db")
    half = Config(data_dir=tmp_path, db=str(tmp_path / "half.db"))
    assert verdicts(half) == {"database": Verdict.WRONG}
    assert not (tmp_path / "half-output.db").exists()


@ON_SQLITE
def test_a_file_that_is_no_database_is_wrong(config, tmp_path):
    for name in ("text.db", "text-output.db"):
        (tmp_path / name).write_text("this is not a database, whatever it is called" * 100)
    text = Config(data_dir=tmp_path, db=str(tmp_path / "text.db"))
    assert verdicts(text) == {"database": Verdict.WRONG}
