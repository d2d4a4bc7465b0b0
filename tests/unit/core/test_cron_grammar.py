import pytest

from kronforce.core.schedules.cron import parse_cron
from kronforce.core.schedules.cron_grammar import MACROS, CronError, parse_fields


def bits(mask: int) -> list[int]:
    return [place for place in range(64) if mask >> place & 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", [7]),
        ("1,3,5", [1, 3, 5]),
        ("1-5", [1, 2, 3, 4, 5]),
        ("*/15", [0, 15, 30, 45]),
        ("1-30/10", [1, 11, 21]),
        ("5/20", [5, 25, 45]),
        ("50/5,1", [1, 50, 55]),
        ("59", [59]),
        ("*", list(range(60))),
        ("*/1", list(range(60))),
    ],
)
def test_numbers_ranges_lists_and_steps_are_read(text: str, expected: list[int]) -> None:
    assert bits(parse_fields(f"{text} * * * * *").seconds) == expected
    assert bits(parse_fields(f"* {text} * * * *").minutes) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", [0]),
        ("7", [0]),
        ("sun", [0]),
        ("MON-FRI", [1, 2, 3, 4, 5]),
        ("5-7", [0, 5, 6]),
        ("FRI-SUN", [0, 5, 6]),
        ("0-7", [0, 1, 2, 3, 4, 5, 6]),
        ("mon,Wed,6", [1, 3, 6]),
        ("MON-FRI/2", [1, 3, 5]),
        ("*/2", [0, 2, 4, 6]),
        ("1/2", [1, 3, 5]),
        ("7/3", [0]),
    ],
)
def test_weekdays_have_names_and_two_sundays(text: str, expected: list[int]) -> None:
    assert bits(parse_fields(f"0 0 0 * * {text}").weekdays) == expected


def test_months_have_names() -> None:
    assert bits(parse_fields("0 0 0 1 jan-MAR,12 *").months) == [1, 2, 3, 12]


def test_last_days_and_nth_weekdays_are_read_beside_plain_ones() -> None:
    fields = parse_fields("0 0 0 15,L * MON#1,5L,L6,WED")

    assert (bits(fields.days), fields.last_day) == ([15], True)
    assert fields.weekday_nth == {(1, 1)}
    assert bits(fields.weekday_last) == [5, 6]
    assert bits(fields.weekdays) == [3]


@pytest.mark.parametrize("macro", sorted(MACROS))
def test_macros_stand_for_their_line(macro: str) -> None:
    assert parse_fields(macro.upper()) == parse_fields(MACROS[macro])


@pytest.mark.parametrize(
    ("expression", "field", "hint"),
    [
        ("0 9 * * 1", None, "0 0 9 * * 1"),
        ("* * * * *", None, 'did you mean "0 * * * * *"?'),
        ("0 25 * * *", None, "field 3 (hour): 25 is not allowed"),
        ("", None, "second minute hour"),
        ("0 0 0 1 1 * 2026", None, "second minute hour"),
        ("@reboot", None, "@hourly"),
        ("0 " * 300, None, "ranges or steps"),
        ("60 * * * * *", 0, "0-59"),
        ("* 60 * * * *", 1, "0-59"),
        ("* * 24 * * *", 2, "0-23"),
        ("* * * 0 * *", 3, "1-31"),
        ("* * * 32 * *", 3, "1-31"),
        ("* * * * 13 *", 4, "JAN-DEC"),
        ("* * * * 0 *", 4, "1-12"),
        ("* * * * * 8", 5, "SUN-SAT"),
        ("* * * * * FOO", 5, "SUN-SAT"),
        ("JAN * * * * *", 0, "0-59"),
        ("5-1 * * * * *", 0, "5-59,0-1"),
        ("* * * * * 5-1", 5, "5-6,0-1"),
        ("* * * * * FRI-MON", 5, "FRI-SAT,SUN-MON"),
        ("* * * * * FRI-1", 5, "FRI-SAT,SUN-1"),
        ("* * * * * SAT-MON", 5, "write SAT,SUN-MON"),
        ("* * * * NOV-FEB *", 4, "NOV-DEC,JAN-FEB"),
        ("* * * * DEC-JAN *", 4, "write DEC,JAN if"),
        ("*/0 * * * * *", 0, "1 to 59"),
        ("*/90 * * * * *", 0, "1 to 59"),
        ("* * */24 * * *", 2, "1 to 23"),
        ("*,5 * * * * *", 0, "drop it"),
        ("1,,2 * * * * *", 0, "comma"),
        ("1, * * * * *", 0, "comma"),
        ("-5 * * * * *", 0, "write"),
        ("R * * * * *", 0, "write"),
        ("*/ * * * * *", 0, "write"),
        ("1.5 * * * * *", 0, "write"),
        ("٣ * * * * *", 0, "write"),
        ("L * * * * *", 0, "day of month"),
        ("* * * 1#2 * *", 3, "day of week"),
        ("* * * 15W * *", 3, "nearest weekdays"),
        ("* * * LW * *", 3, "nearest weekdays"),
        ("* * * ? * *", 3, "write *"),
        ("* * * * * L", 5, "SAT"),
        ("* * * * * 1#6", 5, "5#2"),
        ("* * * * * 9L", 5, "SUN-SAT"),
        ("0 0 0 30 2 *", 3, "L for the last day"),
        ("0 0 0 31 2,4,6,9,11 *", 3, "L for the last day"),
    ],
)
def test_anything_else_is_refused_with_its_field_and_a_way_out(
    expression: str, field: int | None, hint: str
) -> None:
    with pytest.raises(CronError) as caught:
        parse_cron(expression)

    assert caught.value.field == field
    assert hint in caught.value.hint
    assert caught.value.hint in str(caught.value)


@pytest.mark.parametrize(
    "expression", ["0 0 0 29 2 *", "0 0 0 30 2 MON", "0 0 0 31 1,2 *", "0 0 0 * 2 MON#5"]
)
def test_what_fires_rarely_is_accepted(expression: str) -> None:
    assert parse_cron(expression)


def test_an_expression_is_parsed_once() -> None:
    assert parse_cron("0 0 1 * * *") is parse_cron("0 0 1 * * *")


def test_a_fixed_time_is_one_whose_hour_does_not_begin_with_a_star() -> None:
    assert parse_cron("0 30 2 * * *").fixed_time
    assert not parse_cron("0 30 * * * *").fixed_time
    assert not parse_cron("0 30 */2 * * *").fixed_time


@pytest.mark.parametrize("line", ["* * * * * FRI-MON", "* * * * DEC-FEB *"])
def test_a_backward_range_is_named_and_mended_in_its_own_words(line: str) -> None:
    text = next(part for part in line.split() if part != "*")

    with pytest.raises(CronError, match=f"the range {text} runs backwards") as caught:
        parse_fields(line)

    instead = caught.value.hint.removeprefix("write ").partition(" if")[0]
    parse_fields(line.replace(text, instead))
