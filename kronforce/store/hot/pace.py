"""When to cut a batch: at once while it is quiet, a little later while much small work comes.

A transaction costs the same however little is in it. While commands come
faster than `BUSY` a batch that is still small waits for company, at most `GAP`
after the one before; a large one, and any at a quiet time, goes at once. So a
single trigger pays nothing, and a flood of single reports shares commits.
"""

from __future__ import annotations

# Commands a second from which on waiting pays: a few hundred runs a second, reported one by one.
BUSY = 1_500.0
# A batch of this many does not wait.
ENOUGH = 48
# From one cut to the next, seconds, while it is busy: about two transactions' time.
GAP = 0.003
# How much the newest interval counts in the rate, and after how long a pause it is all that counts.
WEIGHT = 0.2
PAUSE = 0.05


class Pace:
    """The rate of arrivals and the last cut, on the loop's clock (seconds)."""

    __slots__ = ("_arrived", "_last", "rate")

    def __init__(self) -> None:
        self._arrived = 0
        self._last = 0.0
        # Commands a second, smoothed.
        self.rate = 0.0

    def arrived(self) -> None:
        """One more command was staged."""
        self._arrived += 1

    def delay(self, now: float, staged: int) -> float:
        """How long a batch of so many should still wait; 0: not at all."""
        if staged >= ENOUGH or self.rate < BUSY:
            return 0.0
        return max(0.0, self._last + GAP - now)

    def cut(self, now: float) -> None:
        """A batch is cut now."""
        elapsed = now - self._last
        newest = self._arrived / elapsed if elapsed > 0 else self.rate
        weight = 1.0 if elapsed > PAUSE else WEIGHT
        self.rate += weight * (newest - self.rate)
        self._arrived, self._last = 0, now
