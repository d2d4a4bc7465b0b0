"""A data folder on a machine of one disk."""

from pathlib import Path

import pytest

from kronforce.store.database import open_database
from kronforce.store.migrate import migrate


@pytest.fixture
def proc(tmp_path) -> Path:
    """A machine of one disk, without cgroups."""
    own = tmp_path / "proc" / "self"
    own.mkdir(parents=True)
    (own / "mounts").write_text("/dev/sda1 / ext4 rw 0 0\n")
    (own / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    (own / "cgroup").write_text("0::/\n")
    (own / "limits").write_text("Max open files            65536      65536      files\n")
    return tmp_path / "proc"


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def database(folder) -> Path:
    made = open_database(str(folder / "kronforce.db"))
    migrate(made)
    made.close()
    return folder / "kronforce.db"
