"""The engine against three oracles: croniter, cronsim, and a walk through every second."""

# ruff: noqa: DTZ001 - cron lines speak of naive local time

import re
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from croniter import croniter  # type: ignore[import-untyped] # it ships no types
from cronsim import CronSim
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kronforce.core.schedules.cron import Cron, parse_cron
from kronforce.core.schedules.cron_grammar import FIELDS, CronError, CronFields

INSTANTS = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2090, 1, 1))
FAR = timedelta(days=366 * 9)


def fires(cron: Cron, after: datetime, count: int) -> list[datetime]:
    found: list[datetime] = []
    while len(found) < count and (at := cron.next_local(after)) is not None:
        found.append(at)
        after = at
    return found


@st.composite
def parts(draw: st.DrawFn, index: int) -> str:
    field = FIELDS[index]
    low = draw(st.integers(field.low, field.high))
    step = draw(st.integers(1, field.high))
    forms = [f"{low}", f"*/{step}"]
    if low < field.high:
        # A range of one value is legal here; croniter and cronsim take it for the whole field.
        high = draw(st.integers(low + 1, field.high))
        forms += [f"{low}-{high}", f"{low}-{high}/{step}"]
    if index == 3:
        forms.append("L")
    if index == 5:
        forms += [f"{low}#{draw(st.integers(1, 5))}", f"{low}L"]
    return draw(st.sampled_from(forms))


@st.composite
def expressions(draw: st.DrawFn) -> str:
    texts = []
    for index in range(6):
        listed = st.lists(parts(index), min_size=1, max_size=3).map(",".join)
        texts.append(draw(st.one_of(st.just("*"), listed)))
    return " ".join(texts)


def accepted(expression: str) -> Cron:
    try:
        return parse_cron(expression)
    except CronError:
        assume(False)
        raise


def restricts_days_by_step(expression: str) -> bool:
    """Where libraries differ with reason: is `*/n`, or a list of all, a restriction of days?"""
    _, _, _, dom, _, dow = expression.split()
    everything = re.compile(r"(^|,)(\*/|1-31|0-6)")
    return "*" not in (dom, dow) and any(everything.search(text) for text in (dom, dow))


def croniter_reads_nth_otherwise(expression: str) -> bool:
    """It does not offer `MON#1,FRI`, and a day of month beside `#` or `5L` must hold too."""
    _, _, _, dom, _, dow = expression.split()
    special = [part for part in dow.split(",") if "#" in part or "L" in part]
    return bool(special) and (dom != "*" or len(special) < len(dow.split(",")))


def for_croniter(expression: str) -> str:
    """It writes the last Friday as `L5`."""
    return re.sub(r"([0-6])L", r"L\1", expression)


def matches(fields: CronFields, at: datetime) -> bool:
    """The semantics once more, written without the engine's shortcuts."""
    weekday = at.isoweekday() % 7
    is_last = (at + timedelta(days=1)).month != at.month
    in_last_week = (at + timedelta(days=7)).month != at.month
    by_day = bool(fields.days >> at.day & 1) or (fields.last_day and is_last)
    by_weekday = (
        bool(fields.weekdays >> weekday & 1)
        or (weekday, (at.day - 1) // 7 + 1) in fields.weekday_nth
        or (bool(fields.weekday_last >> weekday & 1) and in_last_week)
    )
    if not fields.any_day and not fields.any_weekday:
        day = by_day or by_weekday
    else:
        day = (fields.any_day or by_day) and (fields.any_weekday or by_weekday)
    time = fields.hours >> at.hour & fields.minutes >> at.minute & fields.seconds >> at.second & 1
    return day and bool(time) and bool(fields.months >> at.month & 1)


def walk(fields: CronFields, after: datetime, seconds: int) -> list[datetime]:
    start = after.replace(microsecond=0)
    instants = (start + timedelta(seconds=n) for n in range(1, seconds + 1))
    return [at for at in instants if matches(fields, at)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # Lists, ranges, steps and names, in every field.
        ("0,30 0 0 * * *", ["01-01 00:00:30", "01-02 00:00:00", "01-02 00:00:30"]),
        ("0 5/25 0 * * *", ["01-01 00:05:00", "01-01 00:30:00", "01-01 00:55:00"]),
        ("0 0-20/10 6 * * *", ["01-01 06:00:00", "01-01 06:10:00", "01-01 06:20:00"]),
        ("0 0 22/1 * * *", ["01-01 22:00:00", "01-01 23:00:00", "01-02 22:00:00"]),
        ("0 0 0 1 mar,JUN *", ["03-01 00:00:00", "06-01 00:00:00"]),
        ("0 0 0 1 */5 *", ["06-01 00:00:00", "11-01 00:00:00"]),
        # Sunday is 0 and 7, and ends a range as both.
        ("0 0 0 * * 0", ["01-04 00:00:00", "01-11 00:00:00"]),
        ("0 0 0 * * 7", ["01-04 00:00:00", "01-11 00:00:00"]),
        ("0 0 0 * * SAT-SUN", ["01-03 00:00:00", "01-04 00:00:00", "01-10 00:00:00"]),
        # Both days restricted: either fires; a step is a restriction, a bare star is none.
        ("0 0 0 15 * FRI", ["01-02 00:00:00", "01-09 00:00:00", "01-15 00:00:00"]),
        ("0 0 0 */10 * MON", ["01-05 00:00:00", "01-11 00:00:00", "01-12 00:00:00"]),
        ("0 0 0 L * MON#1", ["01-05 00:00:00", "01-31 00:00:00", "02-02 00:00:00"]),
        ("0 0 0 1-7 * *", ["01-02 00:00:00", "01-03 00:00:00"]),
        # The last and the nth.
        ("0 0 0 L 2,4 *", ["02-28 00:00:00", "04-30 00:00:00"]),
        ("0 0 0 * * FRI#5", ["01-30 00:00:00", "05-29 00:00:00"]),
        ("0 0 0 * * 0L", ["01-25 00:00:00", "02-22 00:00:00"]),
        ("@weekly", ["01-04 00:00:00", "01-11 00:00:00"]),
        ("@monthly", ["02-01 00:00:00", "03-01 00:00:00"]),
        ("@hourly", ["01-01 01:00:00", "01-01 02:00:00"]),
        ("@Midnight", ["01-02 00:00:00", "01-03 00:00:00"]),
    ],
)
def test_what_each_form_means(expression: str, expected: list[str]) -> None:
    found = fires(parse_cron(expression), datetime(2026, 1, 1), len(expected))

    assert [f"{at:%m-%d %H:%M:%S}" for at in found] == expected


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("* * * * * *", "2026-01-01 00:00:00.5", "2026-01-01 00:00:01"),
        ("0 0 9 * * 1-5", "2026-01-02 09:00:00", "2026-01-05 09:00:00"),
        ("0 0 0 15 * 5", "2026-01-09 00:00:00", "2026-01-15 00:00:00"),
        ("0 0 0 15 * 5", "2026-01-15 00:00:00", "2026-01-16 00:00:00"),
        ("0 0 0 29 2 *", "2096-02-29 00:00:00", "2104-02-29 00:00:00"),
        ("0 0 3 L * *", "2026-02-01 00:00:00", "2026-02-28 03:00:00"),
        ("0 0 3 L * *", "2028-02-01 00:00:00", "2028-02-29 03:00:00"),
        ("0 0 0 * * 2#2", "2026-01-01 00:00:00", "2026-01-13 00:00:00"),
        ("0 0 0 * * 5L", "2026-01-01 00:00:00", "2026-01-30 00:00:00"),
        ("0 0 0 * * 6L", "2026-01-20 00:00:00", "2026-01-31 00:00:00"),
        ("0 0 0 * * SUN", "2026-01-01 00:00:00", "2026-01-04 00:00:00"),
        ("@yearly", "2026-01-01 00:00:00", "2027-01-01 00:00:00"),
        ("59 59 23 31 12 *", "2026-12-31 23:59:59", "2027-12-31 23:59:59"),
        ("0 0 0 * 2 MON#5", "2072-02-29 00:00:00", "2112-02-29 00:00:00"),
    ],
)
def test_the_next_fire_is_strictly_later_and_the_first(
    expression: str, after: str, expected: str
) -> None:
    found = parse_cron(expression).next_local(datetime.fromisoformat(after))

    assert found == datetime.fromisoformat(expected)


def test_the_calendar_has_an_end() -> None:
    assert parse_cron("* * * * * *").next_local(datetime(9999, 12, 31)) is None
    assert parse_cron("0 0 0 29 2 *").next_local(datetime(9998, 1, 1)) is None


@given(expressions(), INSTANTS)
@example("0 0 0 29 2 *", datetime(2096, 2, 29))
def test_it_agrees_with_croniter(expression: str, after: datetime) -> None:
    cron = accepted(expression)
    assume(not restricts_days_by_step(expression))
    assume(not croniter_reads_nth_otherwise(expression))
    ours = cron.next_local(after)
    assert ours is not None
    assume(ours - after < FAR)

    theirs = croniter(for_croniter(expression), after, second_at_beginning=True).get_next(datetime)

    assert ours == theirs


@given(expressions(), INSTANTS)
def test_it_agrees_with_cronsim(expression: str, after: datetime) -> None:
    cron = accepted(expression)
    assume(not restricts_days_by_step(expression))
    ours = fires(cron, after, 3)
    assume(ours[-1] - after < FAR)

    # cronsim begins after the second that contains the instant.
    theirs = CronSim(expression, after.replace(microsecond=0))

    assert ours == [next(theirs) for _ in ours]


@given(expressions(), INSTANTS)
def test_it_agrees_with_a_walk_through_every_second(expression: str, after: datetime) -> None:
    cron = accepted(expression)
    seconds = 2000

    walked = walk(cron.fields, after, seconds)

    end = after.replace(microsecond=0) + timedelta(seconds=seconds)
    ours = [at for at in fires(cron, after, len(walked) + 1) if at <= end]
    assert ours == walked


@given(expressions(), INSTANTS)
def test_every_fire_matches_and_no_day_is_left_out(expression: str, after: datetime) -> None:
    """The walk in days: sample fires are legal, and days between them hold none."""
    cron = accepted(expression)
    for earlier, later in pairwise([after, *fires(cron, after, 3)]):
        assert matches(cron.fields, later)
        for days in range(1, min((later.date() - earlier.date()).days, 800)):
            noon = earlier + timedelta(days=days)
            first = later.replace(year=noon.year, month=noon.month, day=1) + timedelta(
                days=noon.day - 1
            )
            assert not matches(cron.fields, first)


@given(expressions(), INSTANTS, st.timedeltas(timedelta(0), timedelta(hours=3)))
def test_counting_agrees_with_walking(expression: str, after: datetime, span: timedelta) -> None:
    cron = accepted(expression)
    until = after + span

    counted = cron.count_local(after, until)

    walked = [at for at in walk(cron.fields, after, int(span.total_seconds()) + 1) if at <= until]
    assert counted == len(walked)


@given(expressions(), INSTANTS, st.integers(1, 200))
def test_counting_agrees_with_firing_over_any_span(
    expression: str, after: datetime, count: int
) -> None:
    found = fires(accepted(expression), after, count)

    assert parse_cron(expression).count_local(after, found[-1]) == len(found)
    assert parse_cron(expression).count_local(found[-1], after) == 0


def test_a_year_of_seconds_is_counted_without_being_walked_through() -> None:
    cron = parse_cron("* * * * * *")

    assert cron.count_local(datetime(2026, 1, 1), datetime(2027, 1, 1)) == 365 * 86_400
