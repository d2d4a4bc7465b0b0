"""The agent's seam to time: everything that waits, stamps or expires asks this object.

Durations are seconds on the monotonic clock, so that a jump of the wall clock moves no lease and
no timeout; instants are integer microseconds UTC, as the journal and the launcher keep them.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp


class Clock(Protocol):
    """What the agent may know of time."""

    def monotonic(self) -> float: ...

    def micros(self) -> int: ...

    async def sleep(self, secs: float) -> None: ...


class SystemClock:
    """The real one."""

    def monotonic(self) -> float:
        """Seconds; never jumps."""
        return time.monotonic()

    def micros(self) -> int:
        """Wall clock, microseconds UTC."""
        return time.time_ns() // 1000

    async def sleep(self, secs: float) -> None:
        await asyncio.sleep(secs)


def timestamp(micros: int) -> Timestamp:
    """Microseconds as the contract's instant."""
    seconds, rest = divmod(micros, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)
