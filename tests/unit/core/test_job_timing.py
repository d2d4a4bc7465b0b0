"""When a job fires next, for every change that somebody may make to it."""

from datetime import UTC, datetime, timedelta

from google.protobuf import text_format

from kronforce.core.job_settings import JobSettings, effective
from kronforce.core.job_timing import LastEnd, plan_timing, shown_next_fire
from kronforce.core.schedules.window import JobStatus
from kronforce.v1.job_pb2 import Job

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def settings(text: str) -> JobSettings:
    return effective(text_format.Parse("task { noop {} }" + text, Job()))


EVERY_MINUTE = settings('schedule { cron: "0 * * * * *" }')
INTERVAL = settings("schedule { interval { interval_secs: 60 } }")


def test_a_cron_job_fires_at_the_next_instant_from_now() -> None:
    timing = plan_timing(EVERY_MINUTE, now=NOW)
    assert timing.status is JobStatus.SCHEDULED
    assert timing.next_fire_at == timing.next_nominal_at == NOW + timedelta(seconds=30)


def test_jitter_moves_the_fire_and_not_the_nominal_instant() -> None:
    spread = settings('jitter_secs: 3600 schedule { cron: "0 * * * * *" }')
    timing = plan_timing(spread, now=NOW)
    assert timing.next_nominal_at == NOW + timedelta(seconds=30)
    assert timing.next_fire_at == timing.next_nominal_at + spread.jitter


def test_an_on_demand_job_is_unscheduled() -> None:
    timing = plan_timing(settings(""), now=NOW)
    assert (timing.status, timing.next_fire_at) == (JobStatus.UNSCHEDULED, None)


def test_a_one_shot_in_the_past_never_fires() -> None:
    past = settings("schedule { one_shot { seconds: 5 } }")
    assert plan_timing(past, now=NOW).status is JobStatus.UNSCHEDULED


def test_an_interval_that_never_ran_fires_at_once() -> None:
    assert plan_timing(INTERVAL, now=NOW).next_fire_at == NOW


def test_an_interval_counts_from_the_end_of_its_newest_run() -> None:
    last = LastEnd(at=NOW - timedelta(seconds=10))
    assert plan_timing(INTERVAL, now=NOW, last=last).next_fire_at == NOW + timedelta(seconds=50)


def test_an_interval_whose_run_is_open_waits_for_it_and_stays_scheduled() -> None:
    timing = plan_timing(INTERVAL, now=NOW, last=LastEnd(open=True))
    assert (timing.status, timing.next_fire_at) == (JobStatus.SCHEDULED, None)


def test_a_paused_job_keeps_its_schedule_so_that_skipped_instants_are_recorded() -> None:
    timing = plan_timing(EVERY_MINUTE, now=NOW, paused=True)
    assert timing.status is JobStatus.PAUSED
    assert timing.next_fire_at is not None


def test_a_job_past_its_window_is_unscheduled() -> None:
    ended = settings('expires_at { seconds: 5 } schedule { cron: "0 * * * * *" }')
    assert plan_timing(ended, now=NOW).status is JobStatus.UNSCHEDULED


def test_people_are_not_shown_a_fire_that_the_pause_will_swallow() -> None:
    def shown(until: datetime | None) -> datetime | None:
        return shown_next_fire(
            EVERY_MINUTE,
            status=JobStatus.PAUSED,
            paused_until=until,
            next_fire_at=NOW + timedelta(seconds=30),
        )

    assert shown(None) is None
    assert shown(NOW) == NOW + timedelta(seconds=30)
    assert shown(NOW + timedelta(seconds=40)) == NOW + timedelta(seconds=90)
