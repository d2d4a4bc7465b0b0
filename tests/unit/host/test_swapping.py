"""Files that take others' places."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kronforce import data_dir
from kronforce.clock import ManualClock
from kronforce.config import CannotStart
from kronforce.host import swapping

MEMORY = Path("/dev/shm")


def test_between_mark_and_unmark_no_controller_starts(tmp_path):
    swapping.mark(tmp_path)
    with pytest.raises(CannotStart, match="was not finished"):
        data_dir.prepare(tmp_path)
    swapping.unmark(tmp_path)
    data_dir.prepare(tmp_path)


def test_what_sqlite_keeps_beside_a_file_goes_with_it(tmp_path):
    clock = ManualClock(datetime(2026, 11, 21, tzinfo=UTC))
    for name in ("k.db", "k.db-wal", "k.db-shm", "k.db.lock"):
        (tmp_path / name).touch()

    found = swapping.there([tmp_path / "k.db", tmp_path / "not"])
    aside = swapping.move_aside(tmp_path, found, clock)
    (tmp_path / "k.db").touch()
    again = swapping.move_aside(tmp_path, [tmp_path / "k.db"], clock)

    assert aside.name == "before-restore-20261121T000000Z"
    assert again.name == "before-restore-20261121T000000Z-2"
    assert {path.name for path in aside.iterdir()} == {"k.db", "k.db-wal", "k.db-shm"}
    assert (tmp_path / "k.db.lock").exists()


@pytest.mark.skipif(
    not MEMORY.is_dir() or MEMORY.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev,
    reason="needs a second file system",
)
def test_a_key_is_placed_across_file_systems_too(tmp_path):
    with tempfile.TemporaryDirectory(dir=MEMORY) as other:
        staged = Path(other) / "a.key"
        staged.write_text("key")
        staged.chmod(0o600)

        swapping.place(tmp_path, {staged: tmp_path / "a.key"})

    assert (tmp_path / "a.key").read_text() == "key"
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.key"]
