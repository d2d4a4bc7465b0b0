"""How old the oldest open transaction of a PostgreSQL cluster is, seen from outside.

Only its owner may see when a transaction began, but everybody sees two numbers
in a snapshot: the lowest transaction that is open (xmin) and one more than the
highest that has ended (xmax). Numbers are given out in order, so what is
lowest now and below what had ended when we looked before is open since then at
least. It is noticed when somebody has written after it; before that it holds
nobody back.
"""

from __future__ import annotations

# Looks that are remembered; when there are more, every second one goes.
KEPT = 512


class OldestTransaction:
    """Told of each look; the age is known to within the time between two."""

    def __init__(self) -> None:
        # (when, xmax then), oldest first: those before whose xmax something is open still.
        self._looks: list[tuple[float, int]] = []

    def seen(self, at: float, xmin: int, xmax: int) -> float:
        """The age in seconds at `at`, on any clock that does not jump."""
        self._looks = [look for look in self._looks if look[1] > xmin]
        if xmin < xmax:
            self._looks.append((at, xmax))
        if len(self._looks) > KEPT:
            del self._looks[1::2]
        return at - self._looks[0][0] if self._looks else 0.0
