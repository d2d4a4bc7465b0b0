"""What a figure is, and what is done to get it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. `key` is where it stands in what the scenario gives."""

    id: str
    what: str
    key: str
    unit: str
    floor: float
    reach: float | None
    higher_is_better: bool = False

    def holds(self, value: float) -> bool:
        return value >= self.floor if self.higher_is_better else value <= self.floor


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One load on a fresh product. `load` goes to the load generator as it is."""

    name: str
    rows: tuple[Row, ...]
    task: dict[str, Any]
    load: dict[str, Any]
    seconds: float
    slots: int = 64
    postgresql: bool = False
    history: int = 0
    stored_jobs: int = 0
    job: dict[str, Any] = field(default_factory=dict)
