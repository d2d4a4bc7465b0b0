"""Counts of calls by method and code, kept in memory: what `chain` measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class HttpReading(Protocol):
    """The same of HTTP requests, which a gateway counts."""

    open: int
    seconds: dict[str, float]

    def read(self) -> Mapping[tuple[str, str, str], float]:
        """Requests that ended, by (verb, route, status)."""
        ...


class UnderWay(Protocol):
    """How many calls have begun and not ended, whichever way they came in."""

    @property
    def unary(self) -> int: ...

    @property
    def streams(self) -> int: ...


@dataclass(slots=True)
class CallCounts:
    """One per process; written by the event loop alone."""

    # (method, code name or OK) -> calls ended.
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    # method -> seconds spent in calls that ended.
    seconds: Counter[str] = field(default_factory=Counter)

    def count(self, method: str, code: str, seconds: float) -> None:
        self.ended[method, code] += 1
        self.seconds[method] += seconds  # type: ignore[assignment] # a Counter adds floats as well

    @property
    def total(self) -> int:
        return self.ended.total()

    @property
    def failed(self) -> int:
        return sum(count for (_, code), count in self.ended.items() if code != "OK")
