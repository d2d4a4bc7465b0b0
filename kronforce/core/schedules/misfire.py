"""What to do about instants that came due: fire, catch up, or skip and say so.

Every due instant is accounted for: it is in `fire`, or in one of the `skipped`
ranges with a reason. What is handled within `ON_TIME` is simply due; what is
older was missed (downtime, a stalled loop, a clock jump) and the job's policy
decides. Cost follows what is fired, not what was missed: skipped instants are
counted by arithmetic and only the newest are walked through.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntEnum
from itertools import takewhile

from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.on_demand import OnDemand
from kronforce.core.schedules.one_shot import OneShot
from kronforce.core.schedules.schedule import CronLine, Schedule, next_due, next_fire
from kronforce.core.schedules.window import OPEN_GATE, PAUSED, WINDOW, Gate

# Nobody was there to fire it, and the policy does not make up for it.
DOWNTIME = "downtime"
# Later than the job lets a fire start.
DEADLINE = "deadline"
# The clocks were put forward over it.
DST_GAP = "dst_gap"

# A busy second or a quick restart is not downtime: within this a fire is on time.
ON_TIME = timedelta(seconds=5)

# Newest instants are looked for in windows that grow by this factor until one holds enough,
# so that at most about five times as many are walked through as are wanted.
_WINDOW_GROWTH = 4
_FIRST_WINDOW = timedelta(minutes=1)
_TICK = timedelta(microseconds=1)


class MisfirePolicy(IntEnum):
    """What happens to missed instants; numbers are the contract's."""

    RUN_ONCE = 1
    SKIP = 2
    RUN_ALL = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class MisfireRule:
    """A job's misfire fields. `starting_deadline` None: any lateness will do."""

    policy: MisfirePolicy = MisfirePolicy.RUN_ONCE
    limit: int = 100
    starting_deadline: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DueFire:
    """An instant to fire; `caught_up` if it was missed and is made up for."""

    at: datetime
    caught_up: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedRange:
    """Instants from `first` to `last` that make no run: a row of the ledger."""

    first: datetime
    last: datetime
    count: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FirePlan:
    """What the scheduler writes: fires oldest first, ranges oldest first, what is due next.

    `next_due` None: nothing more is planned (for an interval: until its run ends). It is an
    instant that fires, or a gap that leaves some out and is to be noted.
    """

    fire: tuple[DueFire, ...] = ()
    skipped: tuple[SkippedRange, ...] = ()
    next_due: datetime | None = None


def plan_fires(
    schedule: Schedule,
    *,
    planned: datetime,
    now: datetime,
    rule: MisfireRule = MisfireRule(),
    gate: Gate = OPEN_GATE,
    zone: tzinfo = UTC,
) -> FirePlan:
    """Decide about everything due from `planned` (the stored next fire, itself due) to now.

    Given the same instants twice it answers the same, and the ledger's key
    (job, instant) lets only the first answer count. `planned` and `now` are
    nominal: for a job with jitter pass the real instant less its jitter, or
    every fire would seem late by it.
    """
    if planned > now:
        return FirePlan(next_due=planned)
    match schedule:
        case CronLine():
            return _Walk(schedule, planned, now, zone).plan(rule, gate)
        case OneShot() | Interval():
            return _plan_single(schedule, planned, now, rule, gate)
        case OnDemand():
            return FirePlan()


class _Walk:
    """The due span (lower, upper] of a cron line, cut off from its old end piece by piece."""

    def __init__(self, line: CronLine, planned: datetime, now: datetime, zone: tzinfo) -> None:
        self._line = line
        self._zone = zone
        self._now = now
        self._lower = planned - _TICK
        self._upper = now
        self._skipped: list[SkippedRange] = []

    def plan(self, rule: MisfireRule, gate: Gate) -> FirePlan:
        if gate.expires_at is not None:
            # Past its end a job has no instants, so there is nothing to account for.
            self._upper = min(self._upper, gate.expires_at - _TICK)
        if gate.starts_at is not None:
            self._skip_before(gate.starts_at, WINDOW)
        if gate.paused:
            self._skip_before(gate.paused_until or self._now + _TICK, PAUSED)
        if rule.starting_deadline is not None:
            self._skip_before(self._now - rule.starting_deadline, DEADLINE)
        chosen = self._choose(rule)
        self._skip_before(chosen[0] if chosen else self._now + _TICK, DOWNTIME)
        self._note_left_out(self._upper)
        following = next_due(self._line, after=self._now, gate=gate, zone=self._zone)
        return FirePlan(
            fire=tuple(DueFire(at=at, caught_up=self._is_late(at)) for at in chosen),
            skipped=tuple(self._skipped),
            next_due=None if following is None else following.at,
        )

    def _choose(self, rule: MisfireRule) -> list[datetime]:
        """The instants to fire among those left: all on time, then what the policy adds."""
        on_time = self._walk(max(self._lower, self._now - ON_TIME - _TICK))
        if rule.policy is MisfirePolicy.RUN_ALL:
            return self._newest(max(rule.limit, len(on_time)))
        if rule.policy is MisfirePolicy.RUN_ONCE and not on_time:
            return self._newest(1)
        return on_time

    def _is_late(self, at: datetime) -> bool:
        return self._now - at > ON_TIME

    def _skip_before(self, edge: datetime, reason: str) -> None:
        """Give up everything before `edge`, with a row if there was anything."""
        edge = min(edge - _TICK, self._upper)
        if edge <= self._lower:
            return
        self._note_left_out(edge, reason)
        self._skip_until(edge, reason)

    def _note_left_out(self, until: datetime, reason: str | None = None) -> None:
        """A row for each gap that leaves fires out; with `reason` also for what lies before it."""
        for gap in self._line.left_out_between(self._lower, until, self._zone):
            if reason is not None:
                self._skip_until(gap.at, reason)
            self._skipped.append(
                SkippedRange(first=gap.at, last=gap.at, count=gap.left_out, reason=DST_GAP)
            )

    def _skip_until(self, edge: datetime, reason: str) -> None:
        first = self._line.next_after(self._lower, self._zone)
        if first is not None and first <= edge:
            last = self._newest(1, until=edge)[-1]
            count = self._line.count_between(self._lower, edge, self._zone)
            self._skipped.append(SkippedRange(first=first, last=last, count=count, reason=reason))
        self._lower = edge

    def _newest(self, count: int, until: datetime | None = None) -> list[datetime]:
        """At most `count` newest instants in (lower, until], oldest first."""
        until = self._upper if until is None else until
        window = _FIRST_WINDOW
        while True:
            # Compared as a span: reaching back in full could leave the calendar.
            whole = until - self._lower <= window
            found = self._walk(self._lower if whole else until - window, until)
            if whole or len(found) >= count:
                return found[-count:]
            window *= _WINDOW_GROWTH

    def _walk(self, after: datetime, until: datetime | None = None) -> list[datetime]:
        until = self._upper if until is None else until
        return list(takewhile(lambda at: at <= until, self._instants(after)))

    def _instants(self, after: datetime) -> Iterator[datetime]:
        at = self._line.next_after(after, self._zone)
        while at is not None:
            yield at
            at = self._line.next_after(at, self._zone)


def _plan_single(
    schedule: OneShot | Interval,
    planned: datetime,
    now: datetime,
    rule: MisfireRule,
    gate: Gate,
) -> FirePlan:
    """A schedule that has one instant at a time."""
    if gate.is_expired(planned):
        return FirePlan()
    reason = _why_not(planned, now, rule, gate)
    if reason is None:
        return FirePlan(fire=(DueFire(at=planned, caught_up=now - planned > ON_TIME),))
    following = None
    if isinstance(schedule, Interval):
        # Nothing ran, so nothing will complete: the delay counts from now.
        following = next_fire(schedule, after=now, gate=gate, last_completed=now)
    skipped = SkippedRange(first=planned, last=planned, count=1, reason=reason)
    return FirePlan(skipped=(skipped,), next_due=following)


def _why_not(at: datetime, now: datetime, rule: MisfireRule, gate: Gate) -> str | None:
    if not gate.in_window(at):
        return WINDOW
    if gate.is_paused(at):
        return PAUSED
    if rule.starting_deadline is not None and now - at > rule.starting_deadline:
        return DEADLINE
    if rule.policy is MisfirePolicy.SKIP and now - at > ON_TIME:
        return DOWNTIME
    return None
