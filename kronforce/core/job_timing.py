"""When a job fires next, as the store keeps it: computed from now on, never for the past."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kronforce.core.job_settings import JobSettings
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.misfire import MisfirePolicy, MisfireRule, SkippedRange, plan_fires
from kronforce.core.schedules.schedule import CronLine, Schedule, next_due, next_fire
from kronforce.core.schedules.window import Gate, JobStatus, derive_status

# Due, and not fired before somebody changed the job.
EDITED = "edited"

_TICK = timedelta(microseconds=1)
# Fires nothing that is late: what was due is to be accounted for, not made up for.
_ACCOUNT = MisfireRule(policy=MisfirePolicy.SKIP)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """A job's status, and what its schedule does next.

    Everything before `next_nominal_at` is accounted for; `next_fire_at` is when to look at the
    job again, which is that instant with the jitter on it, unless its window opens only later.
    """

    status: JobStatus
    next_fire_at: datetime | None
    next_nominal_at: datetime | None
    paused_until: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LastEnd:
    """What an interval counts from: whether a run is open, and when the newest one ended."""

    open: bool = False
    at: datetime | None = None


NEVER_RAN = LastEnd()


def plan_timing(
    settings: JobSettings,
    *,
    now: datetime,
    last: LastEnd = NEVER_RAN,
    paused: bool = False,
    paused_until: datetime | None = None,
) -> Timing:
    """The timing of a job that is created, changed, paused or resumed now.

    A pause keeps the schedule going: what comes due meanwhile is recorded as
    skipped. An interval whose run is open has no next fire until that run ends.
    """
    status = JobStatus.PAUSED if paused else JobStatus.SCHEDULED
    gate = settings.gate(status=status, paused_until=paused_until)
    waits = isinstance(settings.schedule, Interval) and last.open
    due = (
        None
        if waits
        else next_due(
            settings.schedule, after=now, gate=gate, zone=settings.zone, last_completed=last.at
        )
    )
    return Timing(
        status=derive_status(gate, now=now, will_fire=waits or due is not None),
        next_fire_at=None if due is None else due.at + settings.jitter,
        next_nominal_at=None if due is None else _accounted_from(settings, gate, now, due.at),
        paused_until=paused_until if paused else None,
    )


def _accounted_from(settings: JobSettings, gate: Gate, now: datetime, due: datetime) -> datetime:
    """The first instant to account for: before the window opens there are some that it refuses."""
    if gate.starts_at is None or gate.starts_at <= now:
        return due
    if not isinstance(settings.schedule, CronLine):
        return due
    first = settings.schedule.next_due(now, settings.zone)
    return due if first is None else first.at


def settle(
    settings: JobSettings, *, planned: datetime, now: datetime, gate: Gate
) -> tuple[SkippedRange, ...]:
    """What was due before a change made at `now` and was not fired: rows for the ledger.

    A change plans from now on, so these would vanish without a word.
    """
    nominal = now - settings.jitter
    if planned > nominal or not isinstance(settings.schedule, CronLine):
        return ()
    plan = plan_fires(
        settings.schedule, planned=planned, now=nominal, rule=_ACCOUNT, gate=gate,
        zone=settings.zone,
    )  # fmt: skip
    edited = tuple(
        SkippedRange(first=fire.at, last=fire.at, count=1, reason=EDITED) for fire in plan.fire
    )
    return (*plan.skipped, *edited)


def follows_zone(settings: JobSettings) -> bool:
    """Whether new rules for a zone's clocks may move its instants."""
    return settings.zone is not UTC and isinstance(settings.schedule, CronLine)


def shown_next_fire(
    settings: JobSettings,
    *,
    status: int,
    paused_until: datetime | None,
    next_fire_at: datetime | None,
) -> datetime | None:
    """What people are told: when it fires, and not what a pause or a gap will swallow."""
    paused = status == JobStatus.PAUSED
    if next_fire_at is None or (paused and paused_until is None):
        return None
    after = next_fire_at - settings.jitter
    if paused and paused_until is not None and next_fire_at < paused_until:
        after = paused_until
    elif not _may_be_a_gap(settings.schedule):
        return next_fire_at
    gate = Gate(expires_at=settings.expires_at)
    found = next_fire(settings.schedule, after=after - _TICK, gate=gate, zone=settings.zone)
    return None if found is None else found + settings.jitter


def _may_be_a_gap(schedule: Schedule) -> bool:
    """Whether the stored next instant may be one that does not fire: a gap to be noted."""
    return isinstance(schedule, CronLine) and schedule.may_leave_out
