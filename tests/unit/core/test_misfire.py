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

RUN_ONCE, SKIP, RUN_ALL = MisfirePolicy.RUN_ONCE, MisfirePolicy.SKIP, MisfirePolicy.RUN_ALL
MINUTELY = CronLine(expression="0 * * * * *")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PLANNED = datetime(2026, 5, 1, 12, tzinfo=UTC)
# Down from just before PLANNED until ten minutes later: 11 instants are due, all of them late.
BACK = PLANNED + 10 * MINUTE + timedelta(seconds=30)


def at(minutes: int) -> datetime:
    return PLANNED + minutes * MINUTE


def skipped(first: int, last: int, reason: str = "misfire") -> SkippedRange:
    return SkippedRange(first=at(first), last=at(last), count=last - first + 1, reason=reason)


def late(*minutes: int) -> tuple[DueFire, ...]:
    return tuple(DueFire(at=at(n), caught_up=True) for n in minutes)


def test_nothing_is_due_before_its_instant() -> None:
    plan = plan_fires(MINUTELY, planned=PLANNED, now=PLANNED - timedelta(microseconds=1))

    assert plan == FirePlan(next_fire_at=PLANNED)


@pytest.mark.parametrize("policy", list(MisfirePolicy))
def test_what_is_handled_in_time_is_fired_by_every_policy(policy: MisfirePolicy) -> None:
    plan = plan_fires(
        MINUTELY, planned=PLANNED, now=PLANNED + ON_TIME, rule=MisfireRule(policy=policy)
    )

    assert plan == FirePlan(fire=(DueFire(at=PLANNED, caught_up=False),), next_fire_at=at(1))


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
            (skipped(0, 8),),
        ),
        (MisfireRule(starting_deadline=timedelta(seconds=10)), (), (skipped(0, 10),)),
    ],
)
def test_missed_instants_follow_the_policy(
    rule: MisfireRule, fire: tuple[DueFire, ...], ranges: tuple[SkippedRange, ...]
) -> None:
    plan = plan_fires(MINUTELY, planned=PLANNED, now=BACK, rule=rule)

    assert plan == FirePlan(fire=fire, skipped=ranges, next_fire_at=at(11))


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
            first=PLANNED, last=now - timedelta(seconds=6), count=365 * 86_400 - 5, reason="misfire"
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

    assert plan == FirePlan(skipped=(skipped(0, 10, "paused"),), next_fire_at=at(11))


def test_instants_before_the_window_are_skipped_and_after_it_there_are_none() -> None:
    gate = Gate(starts_at=at(3), expires_at=at(6))

    plan = plan_fires(
        MINUTELY, planned=PLANNED, now=BACK, gate=gate, rule=MisfireRule(policy=RUN_ALL)
    )

    assert plan == FirePlan(fire=late(3, 4, 5), skipped=(skipped(0, 2, "window"),))


def test_across_a_change_of_offset_the_count_is_flagged_as_inexact() -> None:
    planned = datetime(2026, 3, 28, 12, tzinfo=UTC)

    plan = plan_fires(
        CronLine(expression="0 0 * * * *"),
        planned=planned,
        now=planned + timedelta(days=1),
        zone=ZoneInfo("Europe/Berlin"),
    )

    assert [(r.count, r.exact) for r in plan.skipped] == [(25, False)]


@pytest.mark.parametrize("lateness", [timedelta(0), HOUR])
def test_a_one_shot_fires_late_and_then_never_again(lateness: timedelta) -> None:
    plan = plan_fires(OneShot(at=PLANNED), planned=PLANNED, now=PLANNED + lateness)

    assert plan == FirePlan(fire=(DueFire(at=PLANNED, caught_up=bool(lateness)),))


@pytest.mark.parametrize(
    "rule", [MisfireRule(policy=SKIP), MisfireRule(starting_deadline=timedelta(seconds=20))]
)
def test_a_late_one_shot_is_skipped_where_the_job_says_so(rule: MisfireRule) -> None:
    plan = plan_fires(OneShot(at=PLANNED), planned=PLANNED, now=PLANNED + HOUR, rule=rule)

    assert plan == FirePlan(skipped=(skipped(0, 0),))


def test_an_interval_waits_for_its_run_and_if_skipped_counts_from_now() -> None:
    schedule = Interval(delay=HOUR)
    now = PLANNED + 5 * HOUR

    fired = plan_fires(schedule, planned=PLANNED, now=now)
    missed = plan_fires(schedule, planned=PLANNED, now=now, rule=MisfireRule(policy=SKIP))
    paused = plan_fires(schedule, planned=PLANNED, now=now, gate=Gate(paused=True))

    assert fired == FirePlan(fire=late(0))
    assert missed == FirePlan(skipped=(skipped(0, 0),), next_fire_at=now + HOUR)
    assert paused == FirePlan(skipped=(skipped(0, 0, "paused"),), next_fire_at=now + HOUR)


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
    due, exact = line.count_between(just_before, now, UTC)
    edges = [edge for r in plan.skipped for edge in (r.first, r.last)]
    edges += [fire.at for fire in plan.fire]
    assert exact
    assert len(plan.fire) + sum(r.count for r in plan.skipped) == due
    assert edges == sorted(edges)
    assert plan.next_fire_at == line.next_after(now, UTC)
    assert all(not gate.is_paused(fire.at) for fire in plan.fire)
