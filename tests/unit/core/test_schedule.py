from datetime import UTC, datetime, timedelta

import pytest

from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.on_demand import OnDemand
from kronforce.core.schedules.one_shot import OneShot
from kronforce.core.schedules.schedule import CronLine, next_fire
from kronforce.core.schedules.window import Gate, JobStatus, derive_status, refusal

NOW = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MINUTELY = CronLine(expression="0 * * * * *")


def test_a_cron_job_fires_next_after_now_so_that_editing_never_fires_the_past() -> None:
    assert next_fire(MINUTELY, after=NOW) == NOW + timedelta(seconds=30)
    assert next_fire(CronLine(expression="0 0 9 * * *"), after=NOW) == datetime(
        2026, 5, 2, 9, tzinfo=UTC
    )


def test_a_one_shot_fires_once_and_not_when_its_instant_has_passed() -> None:
    assert next_fire(OneShot(at=NOW + HOUR), after=NOW) == NOW + HOUR
    assert next_fire(OneShot(at=NOW), after=NOW) is None


def test_an_interval_counts_from_completion_and_starts_at_once_if_it_never_ran() -> None:
    schedule = Interval(delay=HOUR)

    assert next_fire(schedule, after=NOW) == NOW
    assert next_fire(schedule, after=NOW, last_completed=NOW - MINUTE) == NOW - MINUTE + HOUR
    assert next_fire(schedule, after=NOW, last_completed=NOW - 5 * HOUR) == NOW


def test_on_demand_never_fires_by_itself() -> None:
    assert next_fire(OnDemand(), after=NOW) is None


def test_nothing_fires_before_the_window_opens_and_its_first_instant_is_inside() -> None:
    opens = datetime(2026, 6, 1, tzinfo=UTC)
    gate = Gate(starts_at=opens)

    assert next_fire(MINUTELY, after=NOW, gate=gate) == opens
    assert next_fire(Interval(delay=HOUR), after=NOW, gate=gate) == opens
    assert next_fire(OneShot(at=opens + HOUR), after=NOW, gate=gate) == opens + HOUR


def test_nothing_fires_from_the_instant_on_at_which_the_window_closes() -> None:
    at = NOW + timedelta(seconds=30)

    assert next_fire(MINUTELY, after=NOW, gate=Gate(expires_at=at)) is None
    assert next_fire(MINUTELY, after=NOW, gate=Gate(expires_at=at + MINUTE)) == at


@pytest.mark.parametrize(
    ("gate", "manual", "force", "refused"),
    [
        (Gate(), False, False, None),
        (Gate(starts_at=NOW), False, False, None),
        (Gate(starts_at=NOW + HOUR), False, False, "window"),
        (Gate(starts_at=NOW + HOUR), True, False, "window"),
        (Gate(starts_at=NOW + HOUR), True, True, None),
        (Gate(starts_at=NOW + HOUR), False, True, "window"),
        (Gate(expires_at=NOW), False, False, "window"),
        (Gate(paused=True), False, False, "paused"),
        (Gate(paused=True), True, False, None),
        (Gate(paused=True, paused_until=NOW), False, False, None),
        (Gate(paused=True, paused_until=NOW + HOUR), False, False, "paused"),
    ],
)
def test_what_window_and_pause_refuse(
    gate: Gate, manual: bool, force: bool, refused: str | None
) -> None:
    assert refusal(gate, now=NOW, manual=manual, force=force) == refused


@pytest.mark.parametrize(
    ("gate", "will_fire", "status"),
    [
        (Gate(), True, JobStatus.SCHEDULED),
        (Gate(), False, JobStatus.UNSCHEDULED),
        (Gate(paused=True), True, JobStatus.PAUSED),
        (Gate(paused=True), False, JobStatus.PAUSED),
        (Gate(paused=True, paused_until=NOW), True, JobStatus.SCHEDULED),
        (Gate(paused=True, expires_at=NOW), True, JobStatus.UNSCHEDULED),
    ],
)
def test_the_status_that_lists_show(gate: Gate, will_fire: bool, status: JobStatus) -> None:
    assert derive_status(gate, now=NOW, will_fire=will_fire) is status
