"""How a quantity is spread: counts in fixed buckets, cheap enough for a hot path.

One writer at a time: the event loop, or one committer's thread. A reader on
another thread may see the last observation in the sum and not yet in its
bucket, never less than it saw before.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

# Seconds, from what one quick commit takes to what nobody waits for: a factor of two and a half
# or less between neighbours, so that a quantile read from them is off by no more.
SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
# The same for what may wait for hours.
LONG_SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
    7200.0,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class HistogramReading:
    """Observations up to and including each bound, all of them, and what they sum up to."""

    buckets: tuple[tuple[float, int], ...]
    count: int
    sum: float


class Histogram:
    """Observations of one quantity."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self._bounds = bounds
        # One more than there are bounds: what is beyond the last.
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def read(self) -> HistogramReading:
        total, at_most = self._sum, list(accumulate(self._counts))
        return HistogramReading(
            buckets=tuple(zip(self._bounds, at_most[:-1], strict=True)),
            count=at_most[-1],
            sum=total,
        )
