"""Deadlines that are near, on the monotonic clock: one heap, one loop.

What lies further ahead stays in the store and is loaded when it comes near, so
that memory holds no more than the next minutes, and a jump of the wall clock
moves only what is loaded later.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable

from kronforce.clock import Clock

log = logging.getLogger(__name__)

# How long the loop sleeps when nothing is due; a new timer wakes it earlier.
IDLE_SECS = 60.0
# A call that comes this much late says that the loop stood still; one that gives up on somebody
# waits so much longer, for what has arrived meanwhile to be read.
STALL_SECS = 3.0
READ_SECS = 1.0


class Timers:
    """Calls functions at their time, on the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake = asyncio.Event()

    def after(self, secs: float, call: Callable[[], None]) -> None:
        """Call it in so many seconds."""
        entry = (self._clock.monotonic() + secs, next(self._order), call)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._wake.set()

    def patiently(self, secs: float, call: Callable[[], None]) -> None:
        """The same for a call that gives up on somebody who may have answered long ago."""
        due = self._clock.monotonic() + secs

        def late() -> None:
            if self._clock.monotonic() - due > STALL_SECS:
                self.after(READ_SECS, call)
            else:
                call()

        self.after(secs, late)

    def __len__(self) -> int:
        return len(self._heap)

    async def run(self) -> None:
        """The loop; ends when it is cancelled."""
        while True:
            self._call_due()
            timeout = IDLE_SECS
            if self._heap:
                timeout = min(timeout, self._heap[0][0] - self._clock.monotonic())
            await self._clock.wait(self._wake, max(0.0, timeout))
            self._wake.clear()

    def _call_due(self) -> None:
        while self._heap and self._heap[0][0] <= self._clock.monotonic():
            _, _, call = heapq.heappop(self._heap)
            try:
                call()
            except Exception:
                log.exception("a timer failed", extra={"action": "timer_failed"})
