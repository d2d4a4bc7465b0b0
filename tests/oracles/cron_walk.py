"""What a cron line means, read again without the engine's grammar, masks or arithmetic."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"
_DAYS = "SUN MON TUE WED THU FRI SAT"
MONTHS = {name: n for n, name in enumerate(_MONTHS.split(), 1)}
DAYS = {name: n for n, name in enumerate(_DAYS.split())}
BOUNDS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


@dataclass(frozen=True)
class Line:
    """Sets of values for the times of day and months; days are asked one by one."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    dom: str
    dow: str
    fixed: bool

    def fits_day(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        by_dom = any(_is_day(part, day) for part in self.dom.split(","))
        by_dow = any(_is_weekday(part, day) for part in self.dow.split(","))
        if "*" in (self.dom, self.dow):
            return by_dom and by_dow
        return by_dom or by_dow


def read(expression: str) -> Line:
    """A line of six fields that is known to be right."""
    second, minute, hour, dom, month, dow = expression.upper().split()
    return Line(
        seconds=_values(second, 0),
        minutes=_values(minute, 1),
        hours=_values(hour, 2),
        months=_values(month, 4),
        dom=dom,
        dow=dow,
        fixed=hour[0] != "*",
    )


def _values(text: str, index: int) -> frozenset[int]:
    return frozenset(value for part in text.split(",") for value in _part(part, index))


def _part(text: str, index: int) -> range:
    low, high = BOUNDS[index]
    body, slash, step = text.partition("/")
    if body == "*":
        return range(low, high + 1, int(step or 1))
    first, dash, last = body.partition("-")
    start = _number(first)
    # Sunday may end a range of days as 7.
    end = _number(last) if dash else (high if slash else start)
    if index == 5 and dash and end < start:
        end = 7
    return range(start, max(start, end) + 1, int(step or 1))


def _number(text: str) -> int:
    return MONTHS.get(text, DAYS.get(text, -1)) if text.isalpha() else int(text)


def _is_day(part: str, day: datetime) -> bool:
    if part == "L":
        return (day + timedelta(days=1)).day == 1
    return day.day in _part(part, 3)


def _is_weekday(part: str, day: datetime) -> bool:
    weekday = day.isoweekday() % 7
    if "#" in part:
        name, _, nth = part.partition("#")
        return weekday == _number(name) % 7 and (day.day + 6) // 7 == int(nth)
    if part.endswith("L"):
        is_last = (day + timedelta(days=7)).month != day.month
        return weekday == _number(part[:-1]) % 7 and is_last
    return weekday in {value % 7 for value in _part(part, 5)}


HOURS = ["*", "*/2", "*/5", "0-23", "1-3", "0,2", "2", "1/2", "23", "0", "*/23", "3-4"]
MINUTES = ["*", "0", "30", "*/7", "15,45", "59", "0-29/10", "5/20", "0,1"]
SECONDS = ["0", "0", "0", "59", "*/30", "7", "0-58/29"]
SPECIAL_DAYS = ["L *", "* SUN", "* 5L", "* 0#2", "15 7", "25-31 *", "L 6#1", "L MON-FRI"]
MONTHS_OF = ["*"] * 6 + ["3,4,10,11", "MAR-NOV", "*/2"]


def random_line(rng: random.Random) -> str:
    """An expression that often has something to do around a change of clocks."""
    dom, dow = rng.choice(["* *"] * 6 + SPECIAL_DAYS).split()
    time = " ".join(rng.choice(values) for values in (SECONDS, MINUTES, HOURS))
    return f"{time} {dom} {rng.choice(MONTHS_OF)} {dow}"
