"""What the controller refuses so that it can keep what it has promised.

Two limits: `max_pending` waiting runs in the store, and free disk, of the data
folder and of the database's where that is another one. Reads and finishes go on
whatever they say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from kronforce.errors import DiskFull, QueueFull

MIB = 1 << 20


class Capacity:
    """Asked before each trigger; `measure` is called by a loop."""

    def __init__(self, *, folders: Sequence[Path], disk_reserve: int, max_pending: int,
                 pending: Callable[[], int]):  # fmt: skip
        self._folders = folders
        self.disk_reserve = disk_reserve
        self.max_pending = max_pending
        self._pending = pending
        self.measure()

    @property
    def disk_short(self) -> bool:
        """Whether output is refused too."""
        return self.disk_free < self.disk_reserve

    def measure(self) -> None:
        """Look how much disk is free, where there is least."""
        self.disk_free, self._shortest = min((free_in(each), each) for each in self._folders)

    def admit_trigger(self) -> None:
        """Raise ResourceExhausted if another run must not be taken."""
        if self.disk_free < self.disk_reserve:
            raise DiskFull(
                f"only {self.disk_free // MIB} MiB are free in {self._shortest}, below the reserve "
                f"of {self.disk_reserve // MIB} MiB: free some space, then trigger again",
            )
        if self._pending() >= self.max_pending:
            raise QueueFull(
                f"{self.max_pending} executions are waiting already: add agents or slots, or "
                "cancel what is not needed",
            )


def free_in(folder: Path) -> int:
    """Bytes that may still be written below a folder."""
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize
