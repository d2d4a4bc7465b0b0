"""When a cron line fires: a bitmask engine over naive local time.

Naive local time in, naive local time out; `zones.py` turns it into instants.
All costs are bounded: finding the next fire looks at most at the months of a
century, and counting the fires of a span is arithmetic over its months, so a
year of downtime of a per-second job costs microseconds. Parsed once per
distinct expression. croniter and a brute-force walk are the oracles in tests
(docs/adr/0002-cron-engine.md).
"""

from __future__ import annotations

from calendar import monthrange
from datetime import MAXYEAR, date, datetime, timedelta
from functools import lru_cache

from kronforce.core.schedules.cron_grammar import CronError, CronFields, parse_fields

# Distinct expressions in use; one takes a few KiB. More only parse again, 50 µs each.
CACHED_EXPRESSIONS = 4096

# A fifth Monday in February is 40 years from the next at worst, over the year 2100.
HORIZON_MONTHS = 12 * 100

_SECOND = timedelta(seconds=1)
# A leap year, for the longest form of each month.
_LEAP_YEAR = 2024


class Cron:
    """A parsed expression. Get it from `parse_cron`; it never changes."""

    __slots__ = ("_days_by_shape", "_first_time", "_per_day", "fields")

    def __init__(self, fields: CronFields) -> None:
        self.fields = fields
        self._days_by_shape: dict[tuple[int, int], int] = {}
        self._first_time = (_lowest(fields.hours), _lowest(fields.minutes), _lowest(fields.seconds))
        self._per_day = (
            fields.hours.bit_count() * fields.minutes.bit_count() * fields.seconds.bit_count()
        )

    @property
    def fixed_time(self) -> bool:
        """Whether the hour field does not begin with `*`."""
        return self.fields.fixed_time

    def next_local(self, after: datetime) -> datetime | None:
        """The first fire strictly after a naive local time; None beyond the horizon."""
        if after.year >= MAXYEAR:
            return None
        start = after.replace(microsecond=0) + _SECOND
        if self._days_of(start.year, start.month) >> start.day & 1:
            time = self._time_from(start.hour, start.minute, start.second)
            if time is not None:
                return start.replace(hour=time[0], minute=time[1], second=time[2])
        day = self._day_from(start.year, start.month, start.day + 1)
        if day is None:
            return None
        return datetime(*day, *self._first_time)  # noqa: DTZ001 - naive local time by design

    def count_local(self, after: datetime, until: datetime) -> int:
        """How many fires lie in (after, until], both naive local times."""
        if until <= after:
            return 0
        if after.date() == until.date():
            return self._fires_on(after) * (self._times_upto(until) - self._times_upto(after))
        begun = self._fires_on(after) * (self._per_day - self._times_upto(after))
        ended = self._fires_on(until) * self._times_upto(until)
        return begun + self._days_between(after.date(), until.date()) * self._per_day + ended

    def can_fire(self) -> bool:
        """Whether any month has a day for it; every weekday begins every month sometime."""
        return any(
            self._days_of_shape(weekday, length)
            for month in range(1, 13)
            if self.fields.months >> month & 1
            for length in {monthrange(_LEAP_YEAR, month)[1], monthrange(_LEAP_YEAR - 1, month)[1]}
            for weekday in range(7)
        )

    def _time_from(self, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
        """The first fitting time of day at or after the given one."""
        fields = self.fields
        _, first_minute, first_second = self._first_time
        if fields.hours >> hour & 1:
            if fields.minutes >> minute & 1 and (found := fields.seconds >> second):
                return hour, minute, second + _lowest(found)
            if found := fields.minutes >> (minute + 1):
                return hour, minute + 1 + _lowest(found), first_second
        if found := fields.hours >> (hour + 1):
            return hour + 1 + _lowest(found), first_minute, first_second
        return None

    def _day_from(self, year: int, month: int, day: int) -> tuple[int, int, int] | None:
        """The first fitting day at or after the given one, which may lie past its month."""
        for _ in range(HORIZON_MONTHS):
            days = self._days_of(year, month) >> day
            if days:
                return year, month, day + _lowest(days)
            year, month, day = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)
            if year > MAXYEAR:
                return None
        return None

    def _days_of(self, year: int, month: int) -> int:
        """The mask of a month's fitting days."""
        if not self.fields.months >> month & 1:
            return 0
        first_weekday, length = monthrange(year, month)
        return self._days_of_shape((first_weekday + 1) % 7, length)

    def _days_of_shape(self, first_weekday: int, length: int) -> int:
        """The same for a month that begins on a weekday (Sunday 0) and has so many days.

        There are only 28 shapes, so each is worked out once per expression.
        """
        shape = (first_weekday, length)
        days = self._days_by_shape.get(shape)
        if days is None:
            days = self._days_by_shape[shape] = _days_of_shape(self.fields, first_weekday, length)
        return days

    def _fires_on(self, moment: datetime) -> int:
        return self._days_of(moment.year, moment.month) >> moment.day & 1

    def _times_upto(self, moment: datetime) -> int:
        """How many fitting times of day are at or before the moment's."""
        fields, hour, minute, second = self.fields, moment.hour, moment.minute, moment.second
        in_minute = _below(fields.seconds, second + 1) if fields.minutes >> minute & 1 else 0
        in_hour = _below(fields.minutes, minute) * fields.seconds.bit_count() + in_minute
        per_hour = fields.minutes.bit_count() * fields.seconds.bit_count()
        return _below(fields.hours, hour) * per_hour + (fields.hours >> hour & 1) * in_hour

    def _days_between(self, first: date, last: date) -> int:
        """How many fitting days lie strictly between two dates."""
        count = 0
        for months in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
            year, month = divmod(months, 12)
            days = self._days_of(year, month + 1)
            if (year, month + 1) == (last.year, last.month):
                days &= (1 << last.day) - 1
            if (year, month + 1) == (first.year, first.month):
                days >>= first.day + 1
            count += days.bit_count()
        return count


@lru_cache(maxsize=CACHED_EXPRESSIONS)
def parse_cron(expression: str) -> Cron:
    """Parse and check an expression; raises CronError, also for one that can never fire."""
    cron = Cron(parse_fields(expression))
    if not cron.can_fire():
        raise CronError(
            "can never fire: no such day in the months it names",
            hint="use L for the last day of a month",
            field=3,
        )
    return cron


def _days_of_shape(fields: CronFields, first_weekday: int, length: int) -> int:
    everything = (1 << (length + 1)) - 2
    days = fields.days & everything
    if fields.last_day:
        days |= 1 << length
    if fields.any_weekday:
        return days
    by_weekday = _weekdays_of_shape(fields, first_weekday, length)
    # Both restricted: either fires, as POSIX has it.
    return by_weekday if fields.any_day else days | by_weekday


def _weekdays_of_shape(fields: CronFields, first_weekday: int, length: int) -> int:
    mask = 0
    for day in range(1, length + 1):
        weekday, nth = (first_weekday + day - 1) % 7, (day - 1) // 7 + 1
        if (
            fields.weekdays >> weekday & 1
            or (weekday, nth) in fields.weekday_nth
            or (fields.weekday_last >> weekday & 1 and day + 7 > length)
        ):
            mask |= 1 << day
    return mask


def _lowest(mask: int) -> int:
    """The place of the lowest set bit."""
    return (mask & -mask).bit_length() - 1


def _below(mask: int, limit: int) -> int:
    """How many bits are set below a place."""
    return (mask & ((1 << limit) - 1)).bit_count()
