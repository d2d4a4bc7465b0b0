"""Every kind of schedule under one type, and the one answer to "when next?".

A new kind is a file of its own, an arm of `Schedule`, and an arm in
`next_fire` and in `misfire.plan_fires`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from kronforce.core.schedules.cron import parse_cron
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.on_demand import OnDemand
from kronforce.core.schedules.one_shot import OneShot
from kronforce.core.schedules.window import OPEN_GATE, Gate
from kronforce.core.schedules.zones import count_instants, next_instant

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class CronLine:
    """A cron expression, checked when it is first used: `parse_cron` checks before saving."""

    expression: str

    def next_after(self, after: datetime, zone: tzinfo) -> datetime | None:
        return next_instant(parse_cron(self.expression), after, zone)

    def count_between(self, after: datetime, until: datetime, zone: tzinfo) -> tuple[int, bool]:
        return count_instants(parse_cron(self.expression), after, until, zone)


Schedule = CronLine | OneShot | Interval | OnDemand


def next_fire(
    schedule: Schedule,
    *,
    after: datetime,
    gate: Gate = OPEN_GATE,
    zone: tzinfo = UTC,
    last_completed: datetime | None = None,
) -> datetime | None:
    """The first instant after `after` at which the schedule fires by itself, inside its window.

    For creating, editing and resuming a job (`after` is now, so that the past
    is never fired again) and for what follows a completed run. A pause does
    not move it: instants that come up meanwhile are recorded as skipped.
    """
    if gate.starts_at is not None and gate.starts_at > after:
        after = gate.starts_at - _TICK
    found = _next(schedule, after, zone, last_completed)
    if found is None or gate.is_expired(found):
        return None
    return found if gate.starts_at is None else max(found, gate.starts_at)


def _next(
    schedule: Schedule, after: datetime, zone: tzinfo, last_completed: datetime | None
) -> datetime | None:
    match schedule:
        case CronLine():
            return schedule.next_after(after, zone)
        case OneShot():
            return schedule.next_after(after)
        case Interval():
            return schedule.next_after(after, last_completed)
        case OnDemand():
            return None
