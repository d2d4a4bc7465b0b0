"""The launcher's seam to time: everything that waits or stamps asks this object."""

from __future__ import annotations

import os
import time
from typing import Protocol

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float: ...
    def micros(self) -> int: ...
    def boot_ticks(self) -> int: ...


class SystemClock:
    """The real one; tests hand in their own with the same three methods."""

    def monotonic(self) -> float:
        """Seconds for timeouts and waits; never jumps."""
        return time.monotonic()

    def micros(self) -> int:
        """Wall clock in microseconds UTC, for people and for ordering output."""
        return time.time_ns() // 1000

    def boot_ticks(self) -> int:
        """Now in the unit of /proc/<pid>/stat's start time (clock ticks since boot)."""
        return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND)
