"""Where a zone keeps one offset: the stretches of time between two changes of its clocks.

`zoneinfo` tells an offset but not when it changes next, so changes are looked
for, once per zone and year, and kept. Everything here is naive UTC: a stretch
turns it into the wall clock by adding its offset.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple

# Zones times years in use; a table is some hundred bytes. More are only looked for again.
KEPT_TABLES = 4096
# The calendar ends at 9999, and a table reaches two years on.
LAST_YEAR = 9997

# Equal offsets at both ends of a step mean no change in it: far shorter than the shortest
# stretch that any zone has (five weeks around Morocco's Ramadan).
_STEP = timedelta(days=7)
_SECOND = timedelta(seconds=1)


class Stretch(NamedTuple):
    """From `begin` to before `end`, both naive UTC, the clocks are `offset` ahead of UTC.

    `before` and `after` are the offsets around it; the same as `offset` where the stretch is cut
    without a change. `after > offset` is a gap at its end, `before > offset` a fold at its start.
    """

    begin: datetime
    end: datetime
    offset: timedelta
    before: timedelta
    after: timedelta


def stretch_at(zone: tzinfo, at: datetime) -> Stretch:
    """The stretch around an instant (naive UTC, until LAST_YEAR)."""
    begins, stretches = _table(zone, at.year)
    return stretches[bisect_right(begins, at) - 1]


@lru_cache(maxsize=KEPT_TABLES)
def _table(zone: tzinfo, year: int) -> tuple[list[datetime], list[Stretch]]:
    """The stretches that cover a year, and where each begins.

    They are looked for a year further on both sides, and cut before that, so that the change
    after each one is known.
    """
    begin, cut, end = _year(year - 1), _year(year + 1).replace(month=12), _year(year + 2)
    edges = [begin, *(at for at in _changes(zone, begin, end) if at < cut), cut]
    offsets = [_offset(zone, at) for at in edges]
    offsets[-1] = offsets[-2]
    stretches = [
        Stretch(
            begin=edges[n],
            end=edges[n + 1],
            offset=offsets[n],
            before=offsets[max(n - 1, 0)],
            after=offsets[n + 1],
        )
        for n in range(len(edges) - 1)
    ]
    return edges[:-1], stretches


def _changes(zone: tzinfo, begin: datetime, end: datetime) -> list[datetime]:
    """The first instant of each new offset in [begin, end)."""
    found = []
    offset = _offset(zone, begin)
    while begin < end:
        later = begin + _STEP
        if _offset(zone, later) != offset:
            found.append(_change(zone, begin, later))
            offset = _offset(zone, later)
        begin = later
    return found


def _change(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The first second of the new offset; it changes once in (before, after]."""
    old = _offset(zone, before)
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if _offset(zone, middle) == old:
            before = middle
        else:
            after = middle
    return after


def _offset(zone: tzinfo, at: datetime) -> timedelta:
    return at.replace(tzinfo=UTC).astimezone(zone).utcoffset() or timedelta()


def _year(year: int) -> datetime:
    return datetime(year, 1, 1)  # noqa: DTZ001 - naive UTC by design
