"""A folder to work in, beside what comes of it; whatever a kill leaves of one, the next removes.

Each is locked by whoever works in it, so that what is removed is nobody's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kronforce.host.opening import HostError

# No part of a backup is called so.
_LOCK = ".lock"


@contextmanager
def workplace(parent: Path, prefix: str) -> Iterator[Path]:
    """A private folder of this prefix, gone at the end. Raises HostError."""
    try:
        _remove_abandoned(parent, prefix)
        made, handle = _make(parent, prefix)
    except OSError as error:
        raise HostError(f"cannot write to the folder {parent}: {error.strerror}") from error
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


def _make(parent: Path, prefix: str) -> tuple[Path, int]:
    """The folder and its lock, which is held."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        handle = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if (made / _LOCK).exists():
            return made, handle
        # Somebody took it for abandoned before it was locked.
        os.close(handle)


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        if folder.is_dir() and not folder.is_symlink() and _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # Not ours to open, or somebody is just making it.
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
