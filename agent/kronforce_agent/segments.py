"""The journal's thread: makes staged records durable, one write and one fdatasync for all waiting.

The loop hands over batches and is called back once they are on the disk; a batch starts at once
when the thread is idle, and gathers while it is busy. A write that fails (a full disk) is
repeated at the same offset until it succeeds, so nothing is lost, skipped or written twice; who
waits, waits, and `on_trouble` says so. A segment begins with a snapshot of everything that still
matters, under a temporary name until it is whole: the newest `.log` alone is the journal.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kronforce_agent.durable import sync_folder
from kronforce_agent.failpoints import failpoint

RETRY_SECS = 1.0
"""Between attempts on a full disk: soon after somebody made room, without a busy loop."""
FILE_MODE = 0o600

_before_sync = failpoint("agent.journal.before_sync")
_after_sync = failpoint("agent.journal.after_sync")

Callback = Callable[[], None]


@dataclass(kw_only=True)
class _Batch:
    """What the thread takes at once; a snapshot makes all earlier data superfluous."""

    snapshot: bytes | None = None
    data: list[bytes] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)


class SegmentWriter:
    """Owns the journal's folder. Call everything but `_run` from the event loop's thread."""

    def __init__(
        self,
        folder: Path,
        *,
        on_durable: Callable[[list[Callback]], None],
        on_trouble: Callable[[OSError | None], None],
    ) -> None:
        self._folder = folder
        self._on_durable = on_durable
        self._on_trouble = on_trouble
        self._wake = threading.Condition()
        self._pending = _Batch()
        self._stopping = False
        self._fd = -1
        self._offset = 0
        self._number = 0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def open(self, snapshot: bytes) -> None:
        """Begin a clean segment. Blocking; raises OSError."""
        self._number = max((number(path) for path in segments(self._folder)), default=0)
        self._new_segment(snapshot)
        self._thread.start()

    def submit(self, data: list[bytes], callback: Callback | None) -> None:
        """Write `data` behind everything before it; `callback` goes to on_durable afterwards."""
        with self._wake:
            self._pending.data += data
            if callback is not None:
                self._pending.callbacks.append(callback)
            self._wake.notify()

    def rotate(self, snapshot: bytes) -> None:
        """Begin a new segment; `snapshot` covers all that was submitted so far."""
        with self._wake:
            self._pending.snapshot = snapshot
            self._pending.data = []
            self._wake.notify()

    def close(self) -> None:
        """Write what waits (one attempt) and end the thread. Blocking."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()
        os.close(self._fd)

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if not self._write_until_safe(batch):
                return
            if batch.callbacks:
                self._on_durable(batch.callbacks)

    def _next(self) -> _Batch | None:
        with self._wake:
            while not (self._pending.data or self._pending.callbacks or self._pending.snapshot):
                if self._stopping:
                    return None
                self._wake.wait()
            batch, self._pending = self._pending, _Batch()
            return batch

    def _write_until_safe(self, batch: _Batch) -> bool:
        troubled = False
        while True:
            try:
                self._write(batch)
            except OSError as error:
                if not troubled:
                    self._on_trouble(error)
                troubled = True
            else:
                if troubled:
                    self._on_trouble(None)
                return True
            with self._wake:
                if self._stopping or self._wake.wait_for(lambda: self._stopping, RETRY_SECS):
                    return False

    def _write(self, batch: _Batch) -> None:
        if batch.snapshot is not None:
            self._new_segment(batch.snapshot)
            batch.snapshot = None
        if batch.data:
            data = b"".join(batch.data)
            _before_sync()
            _write_all(self._fd, data, self._offset)
            os.fdatasync(self._fd)
            _after_sync()
            self._offset += len(data)

    def _new_segment(self, snapshot: bytes) -> None:
        final = self._folder / f"{self._number + 1:016d}.log"
        draft = final.with_suffix(".tmp")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            _write_all(fd, snapshot, 0)
            os.fdatasync(fd)
            draft.rename(final)
            sync_folder(self._folder)
        except OSError:
            os.close(fd)
            draft.unlink(missing_ok=True)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._offset, self._number = fd, len(snapshot), self._number + 1
        for old in segments(self._folder)[:-1]:
            old.unlink(missing_ok=True)


def keep_aside(path: Path) -> Path:
    """Give a damaged segment a second name, under which nothing reads or removes it."""
    kept = path.with_suffix(".damaged")
    kept.unlink(missing_ok=True)
    kept.hardlink_to(path)
    sync_folder(path.parent)
    return kept


def segments(folder: Path) -> list[Path]:
    """Whole segments, oldest first; normally one."""
    return sorted(folder.glob("*.log"))


def number(path: Path) -> int:
    """A segment's place in the row."""
    return int(path.stem)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
