"""What becomes of a job whose instant has come: which runs it makes, and what its row says next.

Pure: nothing here reads the store or the clock. For an instant that is still ahead the answer can
be worked out beforehand, and holds for as long as the fire is on time; thousands of jobs may be due
at one instant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from kronforce.clock import from_us, to_us
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.misfire import ON_TIME, FirePlan, SkippedRange, plan_fires
from kronforce.core.schedules.window import JobStatus
from kronforce.engine.snapshots import JobSnapshot
from kronforce.store.hot.commands import Advance
from kronforce.store.jobs import JobRow


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFire:
    """A job's fires and its timing after them.

    `until`, microseconds: a plan that was made ahead is void from then on, and made anew.
    """

    row: JobRow
    snapshot: JobSnapshot
    plan: FirePlan
    advance: Advance
    until: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether one run is all there is to write."""
        return len(self.plan.fire) == 1 and not self.plan.skipped

    def without_overlap(self) -> PlannedFire:
        """A scheduled fire whose predecessor has not started is skipped, whatever the limit."""
        late = [fire for fire in self.plan.fire if fire.caught_up]
        on_time = [fire for fire in self.plan.fire if not fire.caught_up]
        if not on_time:
            return self
        overlap = SkippedRange(
            first=on_time[0].at, last=on_time[-1].at, count=len(on_time), reason="overlap"
        )
        plan = replace(self.plan, fire=tuple(late), skipped=(*self.plan.skipped, overlap))
        return replace(self, plan=plan)


def plan_fire(row: JobRow, snapshot: JobSnapshot, now: datetime) -> PlannedFire:
    """Everything of the job that is due by now."""
    settings = snapshot.settings
    pause = None if row.paused_until is None else from_us(row.paused_until)
    nominal = row.next_nominal_at if row.next_nominal_at is not None else row.next_fire_at
    assert nominal is not None
    plan = plan_fires(
        settings.schedule, planned=from_us(nominal), now=now - settings.jitter,
        rule=settings.misfire, gate=settings.gate(status=row.status, paused_until=pause),
        zone=settings.zone,
    )  # fmt: skip
    return PlannedFire(
        row=row, snapshot=snapshot, plan=plan, advance=_advance(row, snapshot, plan, now)
    )


def plan_ahead(row: JobRow, snapshot: JobSnapshot) -> PlannedFire | None:
    """The same for when its next instant comes; None: it depends on when exactly that is."""
    if row.next_fire_at is None or row.status != JobStatus.SCHEDULED:
        return None
    due = from_us(row.next_fire_at)
    planned = plan_fire(row, snapshot, due)
    if not planned.is_plain:
        return None
    until = due + min(ON_TIME, snapshot.settings.misfire.starting_deadline or ON_TIME)
    if planned.plan.next_due is not None:
        until = min(until, planned.plan.next_due + snapshot.settings.jitter)
    return replace(planned, until=to_us(until))


def _advance(row: JobRow, snapshot: JobSnapshot, plan: FirePlan, now: datetime) -> Advance:
    """What the job's row says next."""
    nominal = plan.next_due
    settings = snapshot.settings
    status = row.status
    if status == JobStatus.PAUSED and row.paused_until and row.paused_until <= to_us(now):
        status = JobStatus.SCHEDULED
    waits = isinstance(settings.schedule, Interval) and bool(plan.fire)
    if nominal is None and not waits and status == JobStatus.SCHEDULED:
        status = JobStatus.UNSCHEDULED
    assert row.next_fire_at is not None
    return Advance(
        row.key, row.next_fire_at,
        None if nominal is None else to_us(nominal + settings.jitter),
        None if nominal is None else to_us(nominal), status,
        ends=JobStatus.UNSCHEDULED == status != row.status,
    )  # fmt: skip


def moved_on(row: JobRow, advance: Advance) -> JobRow:
    """The row as it is once the advance is stored."""
    return row._replace(
        next_fire_at=advance.next_fire_at, next_nominal_at=advance.next_nominal_at,
        status=advance.status,
    )  # fmt: skip
