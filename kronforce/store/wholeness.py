"""Whether a SQLite file is whole, looked at before a controller serves it.

Cheap where the last controller ended in order: then only the first bytes are read. A log beside
the file says that it did not; then its frames are counted and SQLite's quick check runs for a
bounded time. A file that was found damaged while it was served (`faults.SUSPECT`) is read whole.

The log needs a look of its own: SQLite ends it, without a word, at the first frame whose checksum
differs. That is right for a write that the power cut short, and a silent loss of what clients were
told is stored where the damage lies before it.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kronforce.store import examining, faults
from kronforce.store.copying import DamagedError

# At start, after an end without order, in each of the two files: a supervisor waits for it, and
# `kronforce doctor` takes longer.
QUICK_SECS = 1.0

_MAGIC = b"SQLite format 3\0"
_LOG_MAGICS = frozenset({0x377F0682, 0x377F0683})
# Magic, version, page size, checkpoint number, salts, checksum.
_LOG_HEAD = struct.Struct(">IIII8sII")
# Page, database pages after a commit (else 0), salts, checksum.
_FRAME_HEAD = struct.Struct(">II8sII")
# In the log's index, `mxFrame`: the last frame that SQLite will read.
_LAST_FRAME = struct.Struct("=16xI")


def look_at_start(path: Path, *, monotonic: Callable[[], float]) -> None:
    """Raises DamagedError, whose message names the file. Nothing is changed."""
    if not path.exists() or path.stat().st_size == 0:
        return
    if not _begins_well(path):
        raise DamagedError(f"{path} does not begin as a SQLite file does")
    suspect = faults.suspect(path)
    unclean = _size(_log_of(path)) > 0
    if unclean:
        _look_at_log(path)
    if unclean or suspect.exists():
        _check(path, None if suspect.exists() else QUICK_SECS, monotonic)
        suspect.unlink(missing_ok=True)


def _check(path: Path, limit: float | None, monotonic: Callable[[], float]) -> None:
    try:
        examining.check(path, limit_secs=limit, monotonic=monotonic, still=lambda: None)
    except DamagedError as error:
        raise DamagedError(f"{path} is damaged: {error}") from error


def _begins_well(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Log:
    """Frames of the log's present generation, by place from 1; True where one ends a commit."""

    frames: dict[int, bool]

    def lost_after(self, last: int) -> bool:
        """Whether what SQLite will not read behind `last` was durable.

        A frame is written only after the commit before it was, so one that stands behind a
        commit vouches for everything up to there.
        """
        behind = sorted(place for place in self.frames if place > last)
        commits = [place for place in behind if self.frames[place]]
        return bool(commits) and behind[-1] > commits[0]


def _look_at_log(path: Path) -> None:
    log = _read_log(_log_of(path))
    if log.frames and log.lost_after(_last_frame(path)):
        raise DamagedError(
            f"{_log_of(path)}, the log of what was committed last, is damaged: part of it cannot"
            " be read"
        )


def _read_log(path: Path) -> _Log:
    with path.open("rb", buffering=0) as file:
        head = file.read(_LOG_HEAD.size)
        if len(head) < _LOG_HEAD.size or not any(head):
            # Nothing of it was ever durable.
            return _Log(frames={})
        magic, _, page_size, _, salts, _, _ = _LOG_HEAD.unpack(head)
        if magic not in _LOG_MAGICS or not 512 <= page_size <= 65_536:
            raise DamagedError(f"{path} does not begin as a SQLite log does")
        return _Log(frames=dict(_frames(file.fileno(), page_size, salts)))


def _frames(fd: int, page_size: int, salts: bytes) -> list[tuple[int, bool]]:
    found = []
    step = _FRAME_HEAD.size + page_size
    for place in range(1, (os.fstat(fd).st_size - _LOG_HEAD.size) // step + 1):
        head = os.pread(fd, _FRAME_HEAD.size, _LOG_HEAD.size + (place - 1) * step)
        _, pages, own, _, _ = _FRAME_HEAD.unpack(head)
        if own == salts:
            found.append((place, pages > 0))
    return found


def _last_frame(path: Path) -> int:
    """How far SQLite reads the log. By a reader that leaves the log where it is."""
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as file:
            file.execute("PRAGMA schema_version").fetchone()
            with path.with_name(path.name + "-shm").open("rb") as index:
                return int(_LAST_FRAME.unpack(index.read(_LAST_FRAME.size))[0])
    except sqlite3.DatabaseError as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
