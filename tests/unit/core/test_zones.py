"""Zones against a walk through every second of the hours around a change."""

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.core.schedules.cron import Cron, parse_cron
from kronforce.core.schedules.zones import (
    DstFold,
    DstGap,
    DstRule,
    Due,
    count_fires,
    left_out_between,
    next_due,
)

BERLIN = ZoneInfo("Europe/Berlin")
# A gap and a fold of half an hour, and one that leaves out a whole day.
LORD_HOWE, APIA = ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Pacific/Apia")

SPRING, AUTUMN = datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)


def next_instant(cron: Cron, after: datetime, zone: tzinfo = UTC) -> datetime | None:
    due = next_due(cron, after, zone)
    return None if due is None else due.at


def fires(expression: str, after: datetime, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    found: list[str] = []
    at: datetime | None = after
    while len(found) < count:
        assert at is not None
        at = next_instant(parse_cron(expression), at, zone)
        assert at is not None
        found.append(at.astimezone(zone).isoformat())
    return found


def test_in_utc_the_wall_clock_is_the_instant() -> None:
    cron = parse_cron("0 30 2 * * *")

    assert next_instant(cron, SPRING) == SPRING + timedelta(hours=2, minutes=30)
    assert next_instant(cron, SPRING.astimezone(BERLIN)) == SPRING + timedelta(hours=2, minutes=30)
    assert next_instant(parse_cron("* * * * * *"), datetime(9999, 6, 1, tzinfo=UTC)) is None


def test_a_fixed_time_in_a_gap_fires_at_the_first_valid_instant_once() -> None:
    assert fires("0 30 2 * * *", SPRING, 3) == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]
    assert fires("0 */20 2 * * *", SPRING + timedelta(hours=2), 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:00:00+02:00",
    ]


def test_a_fixed_time_that_comes_twice_fires_the_first_time() -> None:
    assert fires("0 30 2 * * *", AUTUMN + timedelta(hours=12), 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_every_half_hour_follows_elapsed_time_through_gap_and_fold() -> None:
    assert fires("0 */30 * * * *", datetime(2026, 3, 29, 0, 15, tzinfo=UTC), 3) == [
        "2026-03-29T01:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-29T03:30:00+02:00",
    ]
    assert fires("0 */30 * * * *", datetime(2026, 10, 24, 23, 45, tzinfo=UTC), 6) == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:00:00+01:00",
        "2026-10-25T03:30:00+01:00",
    ]


def walk_elapsed(expression: str, after: datetime, seconds: int, zone: ZoneInfo) -> list[datetime]:
    """Each second whose reading on the wall matches, by asking what follows the one before."""
    cron = parse_cron(expression)
    found = []
    for n in range(1, seconds + 1):
        at = after + timedelta(seconds=n)
        local = at.astimezone(zone).replace(tzinfo=None)
        if cron.next_local(local - timedelta(seconds=1)) == local:
            found.append(at)
    return found


@given(
    st.sampled_from(["0 */7 * * * *", "30 15,45 */2 * * *", "0 59 * * * *", "0 0 * * * *"]),
    st.sampled_from(
        [
            (BERLIN, datetime(2026, 3, 28, 23, tzinfo=UTC)),
            (BERLIN, datetime(2026, 10, 24, 23, tzinfo=UTC)),
            (LORD_HOWE, datetime(2026, 4, 4, 13, 30, tzinfo=UTC)),
            (LORD_HOWE, datetime(2026, 10, 3, 14, tzinfo=UTC)),
            (APIA, datetime(2011, 12, 30, 8, tzinfo=UTC)),
        ]
    ),
    st.integers(0, 7200),
)
def test_elapsed_lines_fire_whenever_the_wall_clock_reads_so(
    expression: str, place: tuple[ZoneInfo, datetime], offset: int
) -> None:
    zone, start = place
    after = start + timedelta(seconds=offset)
    walked = walk_elapsed(expression, after, 7200, zone)

    at, found = next_instant(parse_cron(expression), after, zone), list[datetime]()
    while at is not None and at <= after + timedelta(seconds=7200):
        found.append(at)
        at = next_instant(parse_cron(expression), at, zone)

    assert found == walked


def test_a_day_that_a_zone_left_out_fires_when_the_next_begins() -> None:
    after = datetime(2011, 12, 30, 9, tzinfo=UTC)

    assert fires("0 0 12 * * *", after, 2, APIA) == [
        "2011-12-31T00:00:00+14:00",
        "2011-12-31T12:00:00+14:00",
    ]


@pytest.mark.parametrize(("days", "hours"), [(1, 24), (2, 48), (216, 216 * 24), (365, 365 * 24)])
def test_counting_is_exact_across_changes_of_offset(days: int, hours: int) -> None:
    """An hourly line fires every hour that passes, whatever the clocks do meanwhile."""
    cron = parse_cron("0 0 * * * *")

    assert count_fires(cron, SPRING, SPRING + timedelta(days=days), BERLIN) == hours


GAP_SUNDAY = datetime(2026, 3, 29, 0, 59, 59, 999999, tzinfo=UTC)


def walk(
    expression: str, after: datetime, count: int, rule: DstRule, zone: ZoneInfo = BERLIN
) -> list[str]:
    found: list[str] = []
    at = after
    while len(found) < count:
        due = next_due(parse_cron(expression), at, zone, rule)
        assert due is not None
        at = due.at
        found.append(f"{due.left_out} left out" if due.left_out else f"{at.astimezone(zone)}")
    return found


def test_a_fixed_time_in_a_gap_is_left_out_where_the_job_says_so() -> None:
    rule = DstRule(gap=DstGap.SKIP)

    assert walk("0 0/20 2,3 * * *", SPRING + timedelta(hours=2, minutes=30), 3, rule) == [
        "2026-03-28 03:40:00+01:00",
        "3 left out",
        "2026-03-29 03:00:00+02:00",
    ]
    found = left_out_between(
        parse_cron("0 30 2 * * *"), SPRING, SPRING + timedelta(days=800), BERLIN, rule
    )
    gaps = list(found)
    assert gaps[0] == Due(GAP_SUNDAY, 1)
    assert [due.at.year for due in gaps] == [2026, 2027, 2028]


def test_what_is_no_fixed_time_leaves_nothing_out() -> None:
    cron, rule = parse_cron("0 30 * * * *"), DstRule(gap=DstGap.SKIP)
    later = SPRING + timedelta(days=800)

    assert list(left_out_between(cron, SPRING, later, BERLIN, rule)) == []
    assert list(left_out_between(parse_cron("0 30 2 * * *"), SPRING, later, UTC, rule)) == []


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (DstFold.FIRST, ["2026-10-25 02:30:00+02:00", "2026-10-26 02:30:00+01:00"]),
        (DstFold.SECOND, ["2026-10-25 02:30:00+01:00", "2026-10-26 02:30:00+01:00"]),
        (DstFold.BOTH, ["2026-10-25 02:30:00+02:00", "2026-10-25 02:30:00+01:00"]),
    ],
)
def test_a_fixed_time_that_comes_twice_fires_as_the_job_chose(
    fold: DstFold, expected: list[str]
) -> None:
    after = AUTUMN + timedelta(hours=12)

    assert walk("0 30 2 * * *", after, 2, DstRule(fold=fold)) == expected


def test_a_rare_line_is_found_decades_away_without_walking_there() -> None:
    at = next_instant(
        parse_cron("0 0 0 * 2 MON#5"), datetime(2072, 3, 1, tzinfo=UTC), ZoneInfo("Asia/Tokyo")
    )

    assert at == datetime(2112, 2, 28, 15, tzinfo=UTC)


def test_a_day_of_seconds_that_a_zone_left_out_shifts_to_one_fire() -> None:
    after = datetime(2011, 12, 30, 9, 59, 58, tzinfo=UTC)

    assert fires("* * 0-23 * * *", after, 3, APIA) == [
        "2011-12-29T23:59:59-10:00",
        "2011-12-31T00:00:00+14:00",
        "2011-12-31T00:00:01+14:00",
    ]


@pytest.mark.parametrize("expression", ["0 0 0 29 2 *", "0 0 * 29 2 *"])
def test_zones_do_not_outlive_the_calendar(expression: str) -> None:
    late = datetime(9997, 1, 1, tzinfo=UTC)

    assert next_instant(parse_cron(expression), late, BERLIN) is None
