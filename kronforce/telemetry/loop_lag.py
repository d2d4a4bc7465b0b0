"""How late the event loop is: a timer that notes by how much it was missed."""

from __future__ import annotations

from kronforce.clock import Clock
from kronforce.telemetry.histogram import Histogram

# Often enough that a stall of a second cannot hide, seldom enough to cost nothing.
TICK_SECS = 0.5


class LoopLag:
    """Runs while somebody may ask."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = Histogram()

    async def run(self) -> None:
        """The loop; ends when it is cancelled."""
        while True:
            due = self._clock.monotonic() + TICK_SECS
            await self._clock.sleep_until(due)
            self.seconds.observe(max(0.0, self._clock.monotonic() - due))
