"""From a cron line's local times to instants, across the changes of a zone's offset.

A fixed time (the hour field does not begin with `*`) that a gap leaves out
fires at the first valid instant after the gap, and one that comes twice fires
the first time. All other lines follow elapsed time: they fire whenever the
wall clock reads so, in both passes of a repeated hour and not in a gap. UTC
takes the short way.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from kronforce.core.schedules.cron import Cron

_TICK = timedelta(microseconds=1)

# Shorter than the shortest stretch between two changes of offset (Morocco's Ramadan): within
# it, equal offsets at both ends mean that there was no change in between.
_NO_TWO_CHANGES = timedelta(days=14)


def next_instant(cron: Cron, after: datetime, zone: tzinfo = UTC) -> datetime | None:
    """The first fire strictly after an aware instant, in UTC."""
    if zone is UTC:
        local = cron.next_local(after.astimezone(UTC).replace(tzinfo=None))
        return None if local is None else local.replace(tzinfo=UTC)
    start = after.astimezone(zone)
    found = _next_fixed if cron.fixed_time else _next_elapsed
    return found(cron, start, zone)


def count_instants(
    cron: Cron, after: datetime, until: datetime, zone: tzinfo = UTC
) -> tuple[int, bool]:
    """How many fires lie in (after, until], and whether that is exact.

    It is counted in local time; a change of offset in between may make it
    wrong by the fires of that hour, which is said rather than walked through.
    """
    start, end = after.astimezone(zone), until.astimezone(zone)
    count = cron.count_local(start.replace(tzinfo=None), end.replace(tzinfo=None))
    steady = start.utcoffset() == end.utcoffset() and until - after < _NO_TWO_CHANGES
    return count, zone is UTC or steady


def _next_fixed(cron: Cron, start: datetime, zone: tzinfo) -> datetime | None:
    cursor = start.replace(tzinfo=None)
    while (local := cron.next_local(cursor)) is not None:
        instant = _instant(local, zone, fold=0)
        if instant is None:
            instant = _end_of_gap(local, zone)
        if instant > start:
            return instant
        cursor = local
    return None


def _next_elapsed(cron: Cron, start: datetime, zone: tzinfo) -> datetime | None:
    cursor = start.replace(tzinfo=None)
    second_pass = _second_pass(start, zone)
    while (local := cron.next_local(cursor)) is not None:
        found = [_instant(local, zone, fold=fold) for fold in (0, 1)]
        later = [instant for instant in found if instant is not None and instant > start]
        if later and (second_pass is None or min(later) < second_pass):
            return min(later)
        if second_pass is not None:
            # Nothing more in the first pass: go on where the clock was put back to.
            start = (second_pass - _TICK).astimezone(zone)
            cursor = second_pass.astimezone(zone).replace(tzinfo=None) - _TICK
            second_pass = None
        else:
            cursor = local
    return None


def _instant(local: datetime, zone: tzinfo, *, fold: int) -> datetime | None:
    """The instant at which a zone's clocks read so, or None in a gap."""
    instant = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    return instant if instant.astimezone(zone).replace(tzinfo=None, fold=0) == local else None


def _end_of_gap(local: datetime, zone: tzinfo) -> datetime:
    """The first valid instant after the gap that a local time falls into."""
    before = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return _transition(before, after, zone)


def _second_pass(start: datetime, zone: tzinfo) -> datetime | None:
    """When the clock will be put back, for a time that is in the first pass of a fold."""
    if start.fold:
        return None
    first, second = start.astimezone(UTC), start.replace(fold=1).astimezone(UTC)
    return _transition(first, second, zone) if second > first else None


def _transition(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The first instant of the new offset; the offset changes once in (before, after]."""
    old = before.astimezone(zone).utcoffset()
    while after - before > _TICK:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after
