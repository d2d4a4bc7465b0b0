"""Names that survive a power cut: a file's fsync says nothing of the folder that it stands in.

Whoever promises that a file is there makes its folder by `make_folder` and, once the file has its
name, calls `sync_folder`. Standard library only: the launcher's side needs none of it, because
what it writes is worthless after its death.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_MODE = 0o700


def make_folder(path: Path) -> None:
    """The folder with mode 0700, whatever the umask or an earlier version made of it.

    Its name is durable, and so are those of all folders above it that had to be made. Blocking.
    """
    missing = [each for each in path.parents if not each.exists()]
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    path.chmod(FOLDER_MODE)
    # Also where it was there: whoever made it may have lost its power right afterwards.
    for made in (path, *missing):
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in it durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
