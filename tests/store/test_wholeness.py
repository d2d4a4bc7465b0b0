"""A damaged SQLite file is told, and told from one that only lost its power."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from kronforce.errors import StoreDamaged, StoreFull
from kronforce.store import faults
from kronforce.store.copying import DamagedError
from kronforce.store.database import open_database
from kronforce.store.wholeness import look_at_start

PAGE = 4096
FRAME = 24 + PAGE
LOG_HEAD = 32


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Give a file that was closed in order."""
    path = tmp_path / "stopped.db"
    with closing(_opened(path)) as file:
        _fill(file)
    return path


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """Give a file and its log as a kill leaves them: ten commits, of which none is checkpointed."""
    path = tmp_path / "killed.db"
    with closing(_opened(tmp_path / "served.db")) as file:
        _fill(file)
        for name in ("", "-wal"):
            shutil.copy(tmp_path / f"served.db{name}", f"{path}{name}")
    return path


def _opened(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0"):
        file.execute(f"PRAGMA {pragma}")
    return file


def _fill(file: sqlite3.Connection) -> None:
    file.execute("CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY, text TEXT)")
    for number in range(10):
        file.execute("INSERT INTO things (text) VALUES (?)", (str(number) * 6000,))


def look(path: Path) -> None:
    look_at_start(path, monotonic=time.monotonic)


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        return int(file.execute("SELECT count(*) FROM things").fetchone()[0])


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def frames(path: Path) -> int:
    return (log_of(path).stat().st_size - LOG_HEAD) // FRAME


def test_whole_files_are_served(stopped: Path, killed: Path, tmp_path: Path) -> None:
    look(stopped)
    look(killed)
    look(tmp_path / "not there yet.db")
    assert (rows(stopped), rows(killed)) == (10, 10)


@pytest.mark.parametrize("content", [b"\0" * 100, b"<html>" * 20], ids=["zeros", "text"])
def test_a_file_that_begins_as_none_is_told(stopped: Path, content: bytes) -> None:
    overwrite(stopped, 0, content)
    with pytest.raises(DamagedError, match=str(stopped)):
        look(stopped)


def test_a_write_that_the_power_cut_short_is_no_damage(killed: Path) -> None:
    log = log_of(killed)
    size = log.stat().st_size
    for cut in (size - 1, size - FRAME, size - FRAME - 100):
        copy = killed.with_name(f"{cut}.db")
        shutil.copy(killed, copy)
        log_of(copy).write_bytes(log.read_bytes()[:cut])
        look(copy)
        assert rows(copy) == 9


def test_a_hole_in_the_last_commit_is_no_damage(killed: Path) -> None:
    """Its pages reach the disk in any order, and nobody was told of it."""
    overwrite(log_of(killed), LOG_HEAD + (frames(killed) - 2) * FRAME + 100, b"\xff" * 64)
    look(killed)
    assert rows(killed) == 9


def test_damage_before_what_was_committed_is_told_and_changes_nothing(killed: Path) -> None:
    overwrite(log_of(killed), LOG_HEAD + 6 * FRAME + 100, b"\xff" * 64)
    before = log_of(killed).read_bytes()
    with pytest.raises(DamagedError, match=f"{killed.name}-wal, the log of what was committed"):
        look(killed)
    assert log_of(killed).read_bytes() == before


def test_a_log_of_garbage_is_told(killed: Path) -> None:
    log_of(killed).write_bytes(b"garbage!" * 2000)
    with pytest.raises(DamagedError, match="does not begin as a SQLite log"):
        look(killed)


def test_a_log_that_was_never_written_is_none(stopped: Path) -> None:
    log_of(stopped).write_bytes(bytes(3 * FRAME))
    look(stopped)
    assert rows(stopped) == 10


def test_after_a_kill_the_file_itself_is_looked_through(killed: Path) -> None:
    with closing(_opened(killed)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.execute("INSERT INTO things (text) VALUES ('more')")
        copy = killed.with_name("copy.db")
        for name in ("", "-wal"):
            shutil.copy(f"{killed}{name}", f"{copy}{name}")
    overwrite(copy, 3 * PAGE, b"\xff" * PAGE)
    with pytest.raises(DamagedError, match=r"copy\.db is damaged"):
        look(copy)


async def test_what_was_found_while_it_was_served_is_looked_for_at_the_next_start(
    stopped: Path,
) -> None:
    overwrite(stopped, PAGE, b"\xff" * PAGE)
    # Closed in order: nothing is suspected yet.
    look(stopped)
    database = open_database(str(stopped))
    count = sa.text("SELECT sum(length(text)) FROM things")
    with pytest.raises(StoreDamaged, match="kronforce restore FILE --force"):
        await database.read(lambda tx: tx.conn.execute(count).scalar_one())
    database.close()
    with pytest.raises(DamagedError, match=r"stopped\.db is damaged"):
        look(stopped)


def test_a_suspicion_that_was_wrong_is_forgotten(stopped: Path) -> None:
    faults.suspect(stopped).touch()
    look(stopped)
    assert not faults.suspect(stopped).exists()


def test_a_full_disk_is_said_in_words_of_ours() -> None:
    engine = sa.create_engine("sqlite:////data/kronforce.db")
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    told = faults.for_callers(error, engine)
    assert isinstance(told, StoreFull)
    assert "/data/kronforce.db" in told.message
    assert not faults.is_lost(error)
