"""SQLite's files: whole, damaged, too large to be read at once."""

import sqlite3
from contextlib import closing

import pytest

from kronforce.clock import ManualClock
from kronforce.host import checks_sqlite
from kronforce.host.findings import Verdict
from tests.unit.host.machine import NOW, around, found, only


def test_whole_files_are_said_to_be_whole(folder, proc, database):
    names = [message.split(" ")[0] for _, message in found(checks_sqlite.integrity,
                                                           around(folder, proc))]  # fmt: skip
    assert names == ["kronforce.db", "kronforce-output.db"]


@pytest.mark.parametrize("thorough", [False, True])
def test_a_damaged_file_is_found_out(folder, proc, database, thorough):
    with closing(sqlite3.connect(database)) as file:
        file.execute("PRAGMA journal_mode = DELETE")
        page = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs'").fetchone()[0]
        size = file.execute("PRAGMA page_size").fetchone()[0]
    with database.open("r+b") as raw:
        raw.seek((page - 1) * size)
        raw.write(b"\xff" * size)
    where = around(folder, proc, thorough=thorough)
    assert found(checks_sqlite.integrity, where)[0][0] == Verdict.WRONG


def test_a_check_that_takes_too_long_says_that_it_was_not_finished(folder, proc, database):
    class Slow(ManualClock):
        def monotonic(self):
            self.advance(60.0)
            return super().monotonic()

    with closing(sqlite3.connect(database)) as file:
        file.execute("CREATE TABLE many (a PRIMARY KEY, b)")
        file.execute(
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 50000)"
            " INSERT INTO many SELECT i, 'text ' || i FROM n"
        )
        file.commit()
    verdict, message = found(checks_sqlite.integrity, around(folder, proc, clock=Slow(NOW)))[0]
    assert (verdict, "not all" in message) == (Verdict.WARNING, True)
    whole = around(folder, proc, clock=Slow(NOW), thorough=True)
    assert found(checks_sqlite.integrity, whole)[0][0] == Verdict.FINE


def test_a_log_that_grew_without_end_is_told(folder, proc, database):
    assert found(checks_sqlite.write_ahead_log, around(folder, proc)) == []
    with (folder / "kronforce.db-wal").open("wb") as log:
        log.truncate(checks_sqlite.WAL_LARGE + 1)
    assert only(checks_sqlite.write_ahead_log, around(folder, proc))[0] == Verdict.WARNING
