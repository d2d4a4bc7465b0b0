"""When a job will fire, told ahead: the scheduler's own answers, one after another, with reasons.

Given the job as it is (or would be) and as far as anybody can know: a pause
that is set counts, an overlap cannot be foreseen. Instants before the window
opens are not listed, as they are not planned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from kronforce.core.job_settings import JobSettings
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.misfire import DST_GAP
from kronforce.core.schedules.on_demand import OnDemand
from kronforce.core.schedules.one_shot import OneShot
from kronforce.core.schedules.reading import read_clocks
from kronforce.core.schedules.schedule import CronLine, next_due
from kronforce.core.schedules.window import PAUSED, Gate


@dataclass(frozen=True, kw_only=True, slots=True)
class Previewed:
    """One instant; `fire_at` None: it would be skipped, for `reason`. `local` is aware."""

    at: datetime
    fire_at: datetime | None
    local: datetime
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """Instants, oldest first, and why there are no more."""

    fires: tuple[Previewed, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What the ledger says of a one-shot's instant: fired, late where `fired_at` says so, as a
    run that may be named; or left out, for `reason`."""

    fired_at: datetime
    caught_up: bool = False
    run_id: str = ""
    reason: str = ""


def preview(
    settings: JobSettings,
    *,
    gate: Gate,
    after: datetime,
    count: int,
    planned: datetime | None,
    spent: Spent | None = None,
) -> Preview:
    """At most `count` instants after `after`.

    `planned` is when an interval's next run is due, `spent` what became of a one-shot's instant.
    """
    match settings.schedule:
        case CronLine():
            return _of_cron(settings, settings.schedule, gate, after, count)
        case OneShot():
            return _of_one_shot(settings, settings.schedule, gate, after, spent)
        case Interval():
            return _of_interval(settings, settings.schedule, gate, planned)
        case OnDemand():
            return Preview(note="on demand: it fires only by a call")


def _of_cron(
    settings: JobSettings, line: CronLine, gate: Gate, after: datetime, count: int
) -> Preview:
    found: list[Previewed] = []
    due = next_due(line, after=after, gate=gate, zone=settings.zone)
    while due is not None and len(found) < count:
        reading = read_clocks(line, due, settings.zone)
        reason = DST_GAP if due.left_out else PAUSED if gate.is_paused(due.at) else ""
        found.append(
            Previewed(
                at=due.at,
                fire_at=None if reason else due.at + settings.jitter,
                local=reading.local,
                reason=reason,
                note=reading.note,
            )
        )
        due = next_due(line, after=due.at, gate=gate, zone=settings.zone)
    return Preview(fires=tuple(found), note=_bounds(gate, after, ended=due is None))


def _bounds(gate: Gate, after: datetime, *, ended: bool) -> str:
    """What the window and a pause have to do with what is listed."""
    notes = []
    if gate.starts_at is not None and gate.starts_at > after:
        notes.append(f"nothing before starts_at, {_iso(gate.starts_at)}")
    if gate.paused:
        until = "" if gate.paused_until is None else f" until {_iso(gate.paused_until)}"
        notes.append(f"paused{until}: kronforce job resume lets it fire")
    if ended:
        over = gate.expires_at is not None
        notes.append(
            f"none from expires_at on, {_iso(gate.expires_at)}" if over and gate.expires_at
            else "it never fires again"
        )  # fmt: skip
    return "; ".join(notes)


def _of_one_shot(
    settings: JobSettings, schedule: OneShot, gate: Gate, after: datetime, spent: Spent | None
) -> Preview:
    at = _iso(schedule.at)
    if spent is not None:
        return Preview(note=_of_spent(at, spent))
    if schedule.at <= after:
        return Preview(note=f"its one instant is {at}; one that is past when saved never fires")
    if not gate.in_window(schedule.at):
        return Preview(note=f"its instant, {at}, is outside its window: it never fires")
    return Preview(fires=(_single(settings, gate, schedule.at),), note="it fires once")


def _of_spent(at: str, spent: Spent) -> str:
    if spent.reason:
        return f"its one instant, {at}, was skipped ({spent.reason}): none follows it"
    late = f", caught up at {_iso(spent.fired_at)}" if spent.caught_up else ""
    run = f" as run {spent.run_id}" if spent.run_id else ""
    return f"it fired once, at {at}{late}{run}: none follows it"


def _of_interval(
    settings: JobSettings, schedule: Interval, gate: Gate, planned: datetime | None
) -> Preview:
    delay = f"{schedule.delay // timedelta(seconds=1)} s after the end of each run"
    if planned is None:
        return Preview(note=f"{delay}; its run has not ended")
    return Preview(fires=(_single(settings, gate, planned),), note=f"then {delay}")


def _single(settings: JobSettings, gate: Gate, at: datetime) -> Previewed:
    reason = PAUSED if gate.is_paused(at) else ""
    fire_at = None if reason else at + settings.jitter
    return Previewed(at=at, fire_at=fire_at, local=at.astimezone(settings.zone), reason=reason)


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
