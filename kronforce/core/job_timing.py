"""When a job fires next, as the store keeps it: computed from now on, never for the past."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from kronforce.core.job_settings import JobSettings
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.schedule import next_fire
from kronforce.core.schedules.window import JobStatus, derive_status

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """A job's status, the instant its schedule names next, and when that fires (with jitter)."""

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
    job_id: bytes,
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
    nominal = (
        None
        if waits
        else next_fire(
            settings.schedule, after=now, gate=gate, zone=settings.zone, last_completed=last.at
        )
    )
    return Timing(
        status=derive_status(gate, now=now, will_fire=waits or nominal is not None),
        next_fire_at=None if nominal is None else nominal + settings.jitter(job_id),
        next_nominal_at=nominal,
        paused_until=paused_until if paused else None,
    )


def shown_next_fire(
    settings: JobSettings,
    job_id: bytes,
    *,
    status: int,
    paused_until: datetime | None,
    next_fire_at: datetime | None,
) -> datetime | None:
    """What people are told: the stored instant, but none that a pause will swallow."""
    if status != JobStatus.PAUSED or next_fire_at is None:
        return next_fire_at
    if paused_until is None:
        return None
    if next_fire_at >= paused_until:
        return next_fire_at
    found = next_fire(settings.schedule, after=paused_until - _TICK, zone=settings.zone)
    return None if found is None else found + settings.jitter(job_id)
