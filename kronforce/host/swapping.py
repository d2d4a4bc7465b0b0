"""Files that take the place of others, together: between the two no controller starts.

A mark in the data folder says that it is half of two histories. It is durable
before anything moves and gone after everything has; whoever is cut off between
leaves it there, and the next restore begins anew.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from kronforce import data_dir
from kronforce.clock import Clock
from kronforce.failpoints import failpoint
from kronforce.host.opening import belongs_to_owner

# What SQLite keeps beside a file; of another history they would be replayed into this one.
SIDE_FILES = ("", "-wal", "-shm", "-journal")

# What `workplace` calls the folder from which files are renamed into place.
STAGING = ".kronforce-restore-"

_marked = failpoint("host.restore.marked")
_moved_aside = failpoint("host.restore.moved_aside")
_placed_one = failpoint("host.restore.placed_one")
_placed_all = failpoint("host.restore.placed_all")


def mark(folder: Path) -> None:
    """From now on no controller starts here."""
    path = folder / data_dir.RESTORING
    path.touch(mode=0o600)
    belongs_to_owner(path, folder)
    sync(folder)
    _marked()


def unmark(folder: Path) -> None:
    """What is here is whole."""
    (folder / data_dir.RESTORING).unlink()
    sync(folder)


def there(targets: Iterable[Path]) -> list[Path]:
    """Which of them exist, with what SQLite keeps beside them."""
    beside = (target.with_name(target.name + side) for target in targets for side in SIDE_FILES)
    return [path for path in beside if path.exists()]


def move_aside(folder: Path, found: Iterable[Path], clock: Clock) -> Path:
    """Move these into a new folder below the data folder; which."""
    aside = _new_folder(folder, f"before-restore-{clock.now():%Y%m%dT%H%M%SZ}")
    for path in found:
        shutil.move(path, aside / path.name)
    sync(aside)
    sync(folder)
    _moved_aside()
    return aside


def place(folder: Path, parts: Mapping[Path, Path]) -> None:
    """Rename each file to its place, where nothing is any more."""
    for staged, target in parts.items():
        belongs_to_owner(staged, folder)
        _rename(staged, target)
        sync(target.parent)
        _placed_one()
    _placed_all()


def _rename(staged: Path, target: Path) -> None:
    try:
        staged.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A key, where database and data folder are on two file systems.
        beside = target.with_name(target.name + ".new")
        shutil.copy2(staged, beside)
        belongs_to_owner(beside, target.parent)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(target)


def _new_folder(parent: Path, name: str) -> Path:
    number = 1
    while True:
        made = parent / (name if number == 1 else f"{name}-{number}")
        try:
            made.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            belongs_to_owner(made, parent)
            return made


def sync(folder: Path) -> None:
    """Make what was renamed in it durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
