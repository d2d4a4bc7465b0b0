"""Every kind of schedule under one type, and the one answer to "when next?".

A new kind is a file of its own, an arm of `Schedule`, and an arm in `next_due`
and in `misfire.plan_fires`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from kronforce.core.schedules import zones
from kronforce.core.schedules.cron import parse_cron
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.on_demand import OnDemand
from kronforce.core.schedules.one_shot import OneShot
from kronforce.core.schedules.window import OPEN_GATE, Gate
from kronforce.core.schedules.zones import DEFAULT_RULE, DstGap, DstRule, Due

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class CronLine:
    """A cron expression, checked when it is first used: `parse_cron` checks before saving."""

    expression: str
    dst: DstRule = DEFAULT_RULE

    def next_due(self, after: datetime, zone: tzinfo) -> Due | None:
        return zones.next_due(parse_cron(self.expression), after, zone, self.dst)

    def next_after(self, after: datetime, zone: tzinfo) -> datetime | None:
        """The next fire, past gaps that are left out."""
        due = self.next_due(after, zone)
        while due is not None and due.left_out:
            due = self.next_due(due.at, zone)
        return None if due is None else due.at

    def count_between(self, after: datetime, until: datetime, zone: tzinfo) -> int:
        return zones.count_fires(parse_cron(self.expression), after, until, zone, self.dst)

    def left_out_between(self, after: datetime, until: datetime, zone: tzinfo) -> Iterator[Due]:
        return zones.left_out_between(parse_cron(self.expression), after, until, zone, self.dst)

    @property
    def may_leave_out(self) -> bool:
        return self.dst.gap is DstGap.SKIP


Schedule = CronLine | OneShot | Interval | OnDemand


def next_due(
    schedule: Schedule,
    *,
    after: datetime,
    gate: Gate = OPEN_GATE,
    zone: tzinfo = UTC,
    last_completed: datetime | None = None,
) -> Due | None:
    """What the schedule does first after `after`, inside its window: a fire or a left-out gap.

    For creating, editing and resuming a job (`after` is now, so that the past
    is never fired again) and for what follows a completed run. A pause does
    not move it: instants that come up meanwhile are recorded as skipped.
    """
    if gate.starts_at is not None and gate.starts_at > after:
        after = gate.starts_at - _TICK
    due = _next(schedule, after, zone, last_completed)
    if due is None or gate.is_expired(due.at):
        return None
    return due if gate.starts_at is None else due._replace(at=max(due.at, gate.starts_at))


def next_fire(
    schedule: Schedule,
    *,
    after: datetime,
    gate: Gate = OPEN_GATE,
    zone: tzinfo = UTC,
    last_completed: datetime | None = None,
) -> datetime | None:
    """The first instant after `after` at which the schedule fires by itself."""
    due = next_due(schedule, after=after, gate=gate, zone=zone, last_completed=last_completed)
    while due is not None and due.left_out:
        due = next_due(schedule, after=due.at, gate=gate, zone=zone)
    return None if due is None else due.at


def _next(
    schedule: Schedule, after: datetime, zone: tzinfo, last_completed: datetime | None
) -> Due | None:
    match schedule:
        case CronLine():
            return schedule.next_due(after, zone)
        case OneShot():
            at = schedule.next_after(after)
            return None if at is None else Due(at)
        case Interval():
            return Due(schedule.next_after(after, last_completed))
        case OnDemand():
            return None
