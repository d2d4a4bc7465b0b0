"""Fires once, at an instant; afterwards the job is unscheduled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class OneShot:
    """The instant, aware."""

    at: datetime

    def next_after(self, after: datetime) -> datetime | None:
        """The instant, unless it has passed: writing a job never fires the past."""
        return self.at if self.at > after else None
