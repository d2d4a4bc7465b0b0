from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.misfire import (
    ON_TIME,
    DueFire,
    FirePlan,
    MisfirePolicy,
    MisfireRule,
    SkippedRange,
    plan_fires,
)
from kronforce.core.schedules.on_demand import OnDemand
from kronforce.core.schedules.one_shot import OneShot
from kronforce.core.schedules.schedule import CronLine
from kronforce.core.schedules.window import Gate
from kronforce.core.schedules.zones import DstGap, DstRule

RUN_ONCE, SKIP, RUN_ALL = MisfirePolicy.RUN_ONCE, MisfirePolicy.SKIP, MisfirePolicy.RUN_ALL
BERLIN = ZoneInfo("Europe/Berlin")
MINUTELY = CronLine(expression="0 * * * * *")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PLANNED = datetime(2026, 5, 1, 12, tzinfo=UTC)
# Down from just before PLANNED until ten minutes later: 11 instants are due, all of them late.
BACK = PLANNED + 10 * MINUTE + timedelta(seconds=30)


def at(minutes: int) -> datetime:
    return PLANNED + minutes * MINUTE


def skipped(first: int, last: int, reason: str = "downtime") -> SkippedRange:
    return SkippedRange(first=at(first), last=at(last), count=last - first + 1, reason=reason)


def late(*minutes: int) -> tuple[DueFire, ...]:
    return tuple(DueFire(at=at(n), caught_up=True) for n in minutes)


def test_nothing_is_due_before_its_instant() -> None:
    plan = plan_fires(MINUTELY, planned=PLANNED, now=PLANNED - timedelta(microseconds=1))

    assert plan == FirePlan(next_due=PLANNED)


@pytest.mark.parametrize("policy", list(MisfirePolicy))
def test_what_is_handled_in_time_is_fired_by_every_policy(policy: MisfirePolicy) -> None:
    plan = plan_fires(
        MINUTELY, planned=PLANNED, now=PLANNED + ON_TIME, rule=MisfireRule(policy=policy)
    )

    assert plan == FirePlan(fire=(DueFire(at=PLANNED, caught_up=False),), next_due=at(1))


@pytest.mark.parametrize("policy", list(MisfirePolicy))
def test_a_loop_that_was_busy_for_a_second_loses_no_instant(policy: MisfirePolicy) -> None:
    plan = plan_fires(
        CronLine(expression="* * * * * *"),
        planned=PLANNED,
        now=PLANNED + timedelta(seconds=2.5),
        rule=MisfireRule(policy=policy),
    )

    assert [due.caught_up for due in plan.fire] == [False, False, False]
    assert plan.skipped == ()


@pytest.mark.parametrize(
    ("rule", "fire", "ranges"),
    [
        (MisfireRule(), late(10), (skipped(0, 9),)),
        (MisfireRule(policy=SKIP), (), (skipped(0, 10),)),
        (MisfireRule(policy=RUN_ALL), late(*range(11)), ()),
        (MisfireRule(policy=RUN_ALL, limit=3), late(8, 9, 10), (skipped(0, 7),)),
        (
            MisfireRule(policy=RUN_ALL, starting_deadline=2 * MINUTE),
            late(9, 10),
            (skipped(0, 8, "deadline"),),
        ),
        (
            MisfireRule(starting_deadline=timedelta(seconds=10)),
            (),
            (skipped(0, 10, "deadline"),),
        ),
        (
            MisfireRule(starting_deadline=2 * MINUTE),
            late(10),
            (skipped(0, 8, "deadline"), skipped(9, 9)),
        ),
    ],
)
def test_missed_instants_follow_the_policy(
    rule: MisfireRule, fire: tuple[DueFire, ...], ranges: tuple[SkippedRange, ...]
) -> None:
    plan = plan_fires(MINUTELY, planned=PLANNED, now=BACK, rule=rule)

    assert plan == FirePlan(fire=fire, skipped=ranges, next_due=at(11))


def test_an_instant_that_is_due_right_now_stands_for_the_missed_ones() -> None:
    plan = plan_fires(MINUTELY, planned=PLANNED, now=at(10))

    assert plan.fire == (DueFire(at=at(10), caught_up=False),)
    assert plan.skipped == (skipped(0, 9),)


def test_a_year_of_missed_seconds_is_counted_exactly_and_costs_next_to_nothing() -> None:
    now = PLANNED + timedelta(days=365)

    plan = plan_fires(CronLine(expression="* * * * * *"), planned=PLANNED, now=now)

    # The last six seconds are on time; the rest is one row.
    assert [due.at for due in plan.fire] == [now - timedelta(seconds=n) for n in range(5, -1, -1)]
    assert plan.skipped == (
        SkippedRange(
            first=PLANNED,
            last=now - timedelta(seconds=6),
            count=365 * 86_400 - 5,
            reason="downtime",
        ),
    )


def test_a_pause_is_accounted_for_and_ends_by_itself() -> None:
    gate = Gate(paused=True, paused_until=at(4))

    plan = plan_fires(
        MINUTELY, planned=PLANNED, now=BACK, gate=gate, rule=MisfireRule(policy=RUN_ALL)
    )

    assert plan.skipped == (skipped(0, 3, "paused"),)
    assert plan.fire == late(*range(4, 11))


def test_a_pause_without_end_skips_everything_and_goes_on_counting() -> None:
    plan = plan_fires(MINUTELY, planned=PLANNED, now=BACK, gate=Gate(paused=True))

    assert plan == FirePlan(skipped=(skipped(0, 10, "paused"),), next_due=at(11))


def test_instants_before_the_window_are_skipped_and_after_it_there_are_none() -> None:
    gate = Gate(starts_at=at(3), expires_at=at(6))

    plan = plan_fires(
        MINUTELY, planned=PLANNED, now=BACK, gate=gate, rule=MisfireRule(policy=RUN_ALL)
    )

    assert plan == FirePlan(fire=late(3, 4, 5), skipped=(skipped(0, 2, "window"),))


def test_across_a_change_of_offset_the_count_is_exact() -> None:
    planned = datetime(2026, 3, 28, 12, tzinfo=UTC)

    plan = plan_fires(
        CronLine(expression="0 0 * * * *"),
        planned=planned,
        now=planned + timedelta(days=1),
        zone=BERLIN,
    )

    # Midnight to midnight has 23 hours that day, and all of them are named.
    assert [r.count for r in plan.skipped] == [24]


LEFT_OUT = CronLine(expression="0 0,30 2 * * *", dst=DstRule(gap=DstGap.SKIP))
# The last microsecond before the clocks go from 02:00 to 03:00.
GAP = datetime(2026, 3, 29, 0, 59, 59, 999999, tzinfo=UTC)


def test_a_gap_that_is_left_out_is_noted_when_it_passes() -> None:
    plan = plan_fires(LEFT_OUT, planned=GAP, now=GAP + timedelta(seconds=1), zone=BERLIN)

    assert plan == FirePlan(
        skipped=(SkippedRange(first=GAP, last=GAP, count=2, reason="dst_gap"),),
        next_due=datetime(2026, 3, 30, 0, 0, tzinfo=UTC),
    )


def test_the_gap_is_what_comes_after_the_last_fire_before_it() -> None:
    planned = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)

    plan = plan_fires(LEFT_OUT, planned=planned, now=planned, zone=BERLIN)

    assert plan == FirePlan(fire=(DueFire(at=planned, caught_up=False),), next_due=GAP)


@pytest.mark.parametrize("policy", list(MisfirePolicy))
def test_a_gap_within_a_downtime_has_a_row_of_its_own(policy: MisfirePolicy) -> None:
    planned = datetime(2026, 3, 27, 1, 0, tzinfo=UTC)
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)

    plan = plan_fires(
        LEFT_OUT, planned=planned, now=now, zone=BERLIN, rule=MisfireRule(policy=policy, limit=5)
    )

    total = sum(r.count for r in plan.skipped) + len(plan.fire)
    gap = SkippedRange(first=GAP, last=GAP, count=2, reason="dst_gap")
    assert gap in plan.skipped
    # Ten local times from the 27th to the 31st.
    assert total == 10
    assert [r.first for r in plan.skipped] == sorted(r.first for r in plan.skipped)
    assert {r.reason for r in plan.skipped} <= {"downtime", "dst_gap"}
    assert all(not r.first < GAP < r.last for r in plan.skipped)


def test_a_month_of_paused_seconds_with_a_gap_in_it_is_three_rows() -> None:
    line = CronLine(expression="* * 0-23 * * *", dst=DstRule(gap=DstGap.SKIP))
    planned = datetime(2026, 3, 1, tzinfo=UTC)
    now = datetime(2026, 4, 1, tzinfo=UTC)

    plan = plan_fires(line, planned=planned, now=now, zone=BERLIN, gate=Gate(paused=True))

    assert [(r.count, r.reason) for r in plan.skipped] == [
        (28 * 86_400 + 3600, "paused"),
        (3600, "dst_gap"),
        (3 * 86_400 - 3600 + 1, "paused"),
    ]


@pytest.mark.parametrize("lateness", [timedelta(0), HOUR])
def test_a_one_shot_fires_late_and_then_never_again(lateness: timedelta) -> None:
    plan = plan_fires(OneShot(at=PLANNED), planned=PLANNED, now=PLANNED + lateness)

    assert plan == FirePlan(fire=(DueFire(at=PLANNED, caught_up=bool(lateness)),))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (MisfireRule(policy=SKIP), "downtime"),
        (MisfireRule(starting_deadline=timedelta(seconds=20)), "deadline"),
    ],
)
def test_a_late_one_shot_is_skipped_where_the_job_says_so(rule: MisfireRule, reason: str) -> None:
    plan = plan_fires(OneShot(at=PLANNED), planned=PLANNED, now=PLANNED + HOUR, rule=rule)

    assert plan == FirePlan(skipped=(skipped(0, 0, reason),))


def test_an_interval_waits_for_its_run_and_if_skipped_counts_from_now() -> None:
    schedule = Interval(delay=HOUR)
    now = PLANNED + 5 * HOUR

    fired = plan_fires(schedule, planned=PLANNED, now=now)
    missed = plan_fires(schedule, planned=PLANNED, now=now, rule=MisfireRule(policy=SKIP))
    paused = plan_fires(schedule, planned=PLANNED, now=now, gate=Gate(paused=True))

    assert fired == FirePlan(fire=late(0))
    assert missed == FirePlan(skipped=(skipped(0, 0),), next_due=now + HOUR)
    assert paused == FirePlan(skipped=(skipped(0, 0, "paused"),), next_due=now + HOUR)


def test_single_instants_outside_the_window_make_no_run() -> None:
    early = Gate(starts_at=PLANNED + HOUR)
    over = Gate(expires_at=PLANNED)

    assert plan_fires(OneShot(at=PLANNED), planned=PLANNED, now=PLANNED, gate=early) == FirePlan(
        skipped=(skipped(0, 0, "window"),)
    )
    assert plan_fires(OneShot(at=PLANNED), planned=PLANNED, now=PLANNED, gate=over) == FirePlan()


def test_on_demand_has_nothing_to_miss() -> None:
    assert plan_fires(OnDemand(), planned=PLANNED, now=BACK) == FirePlan()


@given(
    st.sampled_from(["0 * * * * *", "*/7 * * * * *", "0 */13 * * * 1-5", "5 5 5 * * *"]),
    st.timedeltas(timedelta(0), timedelta(days=3)),
    st.sampled_from(MisfirePolicy),
    st.integers(1, 20),
    st.none() | st.timedeltas(timedelta(0), timedelta(days=1)),
    st.none() | st.timedeltas(timedelta(0), timedelta(days=3)),
)
def test_every_due_instant_is_accounted_for_exactly_once_and_in_order(
    expression: str,
    downtime: timedelta,
    policy: MisfirePolicy,
    limit: int,
    deadline: timedelta | None,
    pause: timedelta | None,
) -> None:
    line = CronLine(expression=expression)
    planned = line.next_after(PLANNED, UTC)
    assert planned is not None
    now = planned + downtime
    gate = Gate(paused=pause is not None, paused_until=planned + (pause or timedelta(0)))

    plan = plan_fires(
        line,
        planned=planned,
        now=now,
        rule=MisfireRule(policy=policy, limit=limit, starting_deadline=deadline),
        gate=gate,
    )

    just_before = planned - timedelta(microseconds=1)
    due = line.count_between(just_before, now, UTC)
    edges = [edge for r in plan.skipped for edge in (r.first, r.last)]
    edges += [fire.at for fire in plan.fire]
    assert len(plan.fire) + sum(r.count for r in plan.skipped) == due
    assert edges == sorted(edges)
    assert plan.next_due == line.next_after(now, UTC)
    assert all(not gate.is_paused(fire.at) for fire in plan.fire)
