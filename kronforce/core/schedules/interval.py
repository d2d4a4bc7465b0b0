"""A fixed delay after the completion of the last run; a job that never ran starts at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """The delay between the end of a run and the start of the next."""

    delay: timedelta

    def next_after(self, after: datetime, last_completed: datetime | None) -> datetime:
        """When to fire, not before `after`; a run that is open now is the caller's to await."""
        return after if last_completed is None else max(after, last_completed + self.delay)
