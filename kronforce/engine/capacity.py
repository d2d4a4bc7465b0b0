"""What the controller refuses so that it can keep what it has promised.

Two limits: `max_pending` waiting runs in the store, and free disk. Reads and
finishes go on whatever they say.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from kronforce.errors import DiskFull, QueueFull

MIB = 1 << 20


class Capacity:
    """Asked before each trigger; `measure` is called by a loop."""

    def __init__(self, *, folder: Path, disk_reserve: int, max_pending: int,
                 pending: Callable[[], int]):  # fmt: skip
        self._folder = folder
        self._reserve = disk_reserve
        self._max_pending = max_pending
        self._pending = pending
        self._free = disk_free(folder)

    @property
    def disk_short(self) -> bool:
        """Whether output is refused too."""
        return self._free < self._reserve

    def measure(self) -> None:
        """Look how much disk is free."""
        self._free = disk_free(self._folder)

    def admit_trigger(self) -> None:
        """Raise ResourceExhausted if another run must not be taken."""
        if self._free < self._reserve:
            raise DiskFull(
                f"only {self._free // MIB} MiB are free in {self._folder}, below the reserve of "
                f"{self._reserve // MIB} MiB: free some space, then trigger again",
            )
        if self._pending() >= self._max_pending:
            raise QueueFull(
                f"{self._max_pending} executions are waiting already: add agents or slots, or "
                "cancel what is not needed",
            )


def disk_free(folder: Path) -> int:
    """Bytes that may still be written below a folder."""
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize
