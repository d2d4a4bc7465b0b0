"""Which buckets of the statistics a span of time is made of.

Buckets are minutes, hours and days in UTC, each kept for a time of its own. A
span is whole buckets: from the one that holds its beginning to the one that
holds its end. Levels are the contract's numbers (`StatsBucket`).
"""

from __future__ import annotations

from dataclasses import dataclass

from kronforce.errors import InvalidArgument

MINUTE, HOUR, DAY = 1, 2, 3

MINUTE_US = 60 * 1_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

# How long each bucket is, and for how long it is kept: minutes for "what happens now", hours for a
# week and today, days for more than a year.
LENGTH_US = {MINUTE: MINUTE_US, HOUR: HOUR_US, DAY: DAY_US}
KEPT_US = {MINUTE: 3 * HOUR_US, HOUR: 8 * DAY_US, DAY: 400 * DAY_US}

# Buckets that a timeline is made of where nobody says how long they are, and the most of any: each
# is one look into the store.
SHOWN = 400
BUCKETS_MAX = 1_500

# How far a timeline goes back where nobody says; lists always a week.
_BACK_US = {0: DAY_US, MINUTE: HOUR_US, HOUR: DAY_US, DAY: 30 * DAY_US}
_LIST_BACK_US = 7 * DAY_US
# Lists look at hours for the last two days, where whole days would say little.
_LIST_HOURS_US = 2 * DAY_US

_KEPT_FOR = {MINUTE: "minutes are kept for 3 hours", HOUR: "hours are kept for 8 days"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A number of buckets of one level, one after another; instants in microseconds."""

    level: int
    since: int
    count: int

    @property
    def until(self) -> int:
        """When the last of them ends."""
        return self.since + self.count * LENGTH_US[self.level]

    @property
    def starts(self) -> list[int]:
        """When each of them begins."""
        return list(range(self.since, self.until, LENGTH_US[self.level]))


def bucket_start(level: int, at: int) -> int:
    """When the bucket begins that holds an instant."""
    return at - at % LENGTH_US[level]


def kept_from(level: int, now: int) -> int:
    """When the oldest bucket begins that is kept."""
    return bucket_start(level, now - KEPT_US[level])


def days_until(now: int, days: int) -> Window:
    """Today and the days before it, so many together."""
    return Window(level=DAY, since=bucket_start(DAY, now) - (days - 1) * DAY_US, count=days)


def all_days(now: int) -> Window:
    """Every day that is kept."""
    return _window(DAY, kept_from(DAY, now), now + 1)


def timeline_window(level: int, since: int | None, until: int | None, now: int) -> Window:
    """The buckets of a timeline; level 0 chooses. Raises InvalidArgument."""
    since, until = _span(since, until, now, _BACK_US[level])
    if level == 0:
        level = next(
            each
            for each in LENGTH_US
            if each == DAY
            or (since >= kept_from(each, now) and _window(each, since, until).count <= SHOWN)
        )
    if level in _KEPT_FOR and since < kept_from(level, now):
        longer = "hour or day" if level == MINUTE else "day"
        raise InvalidArgument.of(
            ("bucket", f"{_KEPT_FOR[level]}: ask for a later since, or for bucket {longer}")
        )
    window = _window(level, max(since, kept_from(level, now)), until)
    if window.count > BUCKETS_MAX:
        raise InvalidArgument.of(
            ("bucket", f"makes {window.count:,} buckets of this span; at most {BUCKETS_MAX:,}")
        )
    return window


def list_window(since: int | None, until: int | None, now: int) -> Window:
    """The hours or days that a list adds up. Raises InvalidArgument."""
    since, until = _span(since, until, now, _LIST_BACK_US)
    level = HOUR if since >= now - _LIST_HOURS_US else DAY
    return _window(level, max(since, kept_from(level, now)), until)


def _span(since: int | None, until: int | None, now: int, back: int) -> tuple[int, int]:
    """Nothing lies ahead, and nothing before what is kept."""
    # What ended at this very instant counts too.
    end = now + 1 if until is None else min(until, now + 1)
    begin = end - back if since is None else since
    if begin >= end:
        raise InvalidArgument.of(("since", "is not before until, or lies ahead"))
    if end <= kept_from(DAY, now):
        raise InvalidArgument.of(("until", "is longer ago than numbers are kept: 400 days"))
    return begin, end


def _window(level: int, since: int, until: int) -> Window:
    first = bucket_start(level, since)
    return Window(level=level, since=first, count=-(-(until - first) // LENGTH_US[level]))
