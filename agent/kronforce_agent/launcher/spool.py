"""Output on disk: one launcher's budget, and the segment files that share it.

A segment holds encoded output frames of one attempt, one after the other, as they go to the agent,
each behind its CRC-32: what a disk gives back changed is refused, and moved aside for whoever wants
to know. It is written once, read from the front as often as needed, and removed whole. Files are
0600 below `spool/<boot_id>/` and worthless after the launcher's death (its attempts end `lost`).
What is written here is redacted already.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Protocol

from kronforce_agent.failpoints import failpoint
from kronforce_agent.launcher.paths import make_folder

SEGMENT_BYTES = 4 * 1024 * 1024
"""What is dropped at once when the spool is full; at least 16 segments fit into any spool."""
FULL_SHARE = 0.8
"""From here on the agent is told to take no new work."""
READ_BYTES = 256 * 1024
"""Three times the largest frame: at least one whole frame is always in it."""
CRC_BYTES = 4
"""What stands before each frame in the file."""
KEPT_DAMAGED = 4
"""Segments that are kept for examination: 16 MiB of a disk that is not to be trusted."""
_LENGTH_BYTES = 4
_HEAD_BYTES = CRC_BYTES + _LENGTH_BYTES

_before_write = failpoint("launcher.before_spool_write")


class Droppable(Protocol):
    """Something that holds segments and can do without one of them."""

    @property
    def disk_bytes(self) -> int: ...

    def drop_middle(self) -> bool:
        """Replace one unsent segment by a gap; False if there is none."""
        ...


class Spool:
    """The folder, and how much of it is used."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self.limit_bytes = limit_bytes
        self.segment_bytes = max(1, min(SEGMENT_BYTES, limit_bytes // 16))
        self.used_bytes = 0
        self.holders: set[Droppable] = set()
        self._files = 0

    @property
    def full(self) -> bool:
        return self.used_bytes >= self.limit_bytes * FULL_SHARE

    def make_room(self, size: int) -> bool:
        """Whether `size` bytes fit, after dropping from whoever holds most where they must."""
        while self.used_bytes + size > self.limit_bytes:
            by_size = sorted(self.holders, key=lambda holder: -holder.disk_bytes)
            if not any(holder.drop_middle() for holder in by_size):
                return False
        return True

    def new_segment(self) -> SegmentFile:
        """An empty segment. Raises OSError."""
        if self._files == 0:
            make_folder(self._folder)
        self._files += 1
        return SegmentFile(self, self._folder / f"{self._files}.out")

    def remove(self) -> None:
        """The folder, once every segment is gone."""
        if self._folder.exists():
            for left in self._folder.iterdir():
                left.unlink(missing_ok=True)
            self._folder.rmdir()


class SegmentFile:
    """One file of frames. It is open only while it is written or read."""

    def __init__(self, spool: Spool, path: Path) -> None:
        self._spool = spool
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = 0

    @property
    def has_room(self) -> bool:
        return self.size < self._spool.segment_bytes

    def append(self, frame: bytes) -> None:
        """Raises OSError (disk full), and then the segment is as it was before."""
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        _before_write()
        record = zlib.crc32(frame).to_bytes(CRC_BYTES) + frame
        written = 0
        try:
            while written < len(record):
                at = self.size + written
                written += os.pwrite(self._fd, memoryview(record)[written:], at)
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(record)
        self._spool.used_bytes += len(record)

    def close(self) -> None:
        """Give the descriptor back; the file stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, position: int) -> list[bytes]:
        """The whole frames from `position` on, about READ_BYTES of them; empty at the end.

        Those before damage are given; raises OSError where the first is not what was written.
        """
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        buffer = os.pread(self._fd, READ_BYTES, position)
        frames, at = [], 0
        while len(buffer) - at >= _HEAD_BYTES:
            frame_at = at + CRC_BYTES
            length = int.from_bytes(buffer[frame_at : frame_at + _LENGTH_BYTES])
            frame = buffer[frame_at : frame_at + _LENGTH_BYTES + length]
            if zlib.crc32(frame) != int.from_bytes(buffer[at:frame_at]):
                break  # cut off by the end of the buffer, or damaged
            frames.append(frame)
            at = frame_at + len(frame)
        if not frames and position < self.size:
            raise OSError(f"{self._path} is not what was written to it, at byte {position}")
        return frames

    def keep_aside(self) -> None:
        """Move the file to where it stays for examination, if there are not too many yet."""
        folder = self._path.parent.with_name("damaged")
        make_folder(folder)
        if len(list(folder.iterdir())) < KEPT_DAMAGED:
            self._path.rename(folder / f"{self._path.parent.name}-{self._path.name}")

    def delete(self) -> None:
        """Remove the file and give its bytes back to the budget."""
        self.close()
        self._path.unlink(missing_ok=True)
        self._spool.used_bytes -= self.size
        self.size = 0
