"""From a cron line's local times to instants, across the changes of a zone's offset.

The job's choices apply to fixed times (the hour field does not begin with
`*`): one that a gap leaves out fires at the first valid instant after it, or
is left out and accounted for; one that comes twice fires the first time, the
second, or both. All other lines follow elapsed time: they fire whenever the
wall clock reads so, in both passes of a repeated hour and not in a gap. UTC
takes the short way. Cost follows the number of changes of offset, never the
number of fires.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntEnum
from typing import NamedTuple

from kronforce.core.schedules.cron import Cron
from kronforce.core.schedules.offsets import LAST_YEAR, Stretch, stretch_at

_TICK = timedelta(microseconds=1)

# A line that fires this much later than the stretch ends is looked for from so long before it;
# no clock was ever put forward or back by more than a day.
_JUMP = timedelta(days=3)


class DstGap(IntEnum):
    """What happens to a fixed time that does not exist; numbers are the contract's."""

    SHIFT = 1
    SKIP = 2


class DstFold(IntEnum):
    """What happens to a fixed time that comes twice; numbers are the contract's."""

    FIRST = 1
    SECOND = 2
    BOTH = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class DstRule:
    """A job's choices for changes of its clocks."""

    gap: DstGap = DstGap.SHIFT
    fold: DstFold = DstFold.FIRST


DEFAULT_RULE = DstRule()


class Due(NamedTuple):
    """An instant, in UTC, at which a line fires; or, with `left_out`, a gap that swallows so many.

    A gap stands at its last microsecond before the change, where no line can fire.
    """

    at: datetime
    left_out: int = 0


def next_due(
    cron: Cron, after: datetime, zone: tzinfo = UTC, dst: DstRule = DEFAULT_RULE
) -> Due | None:
    """The first fire or left-out gap strictly after an aware instant."""
    if zone is UTC:
        local = cron.next_local(after.astimezone(UTC).replace(tzinfo=None))
        return None if local is None else Due(local.replace(tzinfo=UTC))
    start = _naive(after) + _TICK
    while start.year <= LAST_YEAR:
        piece = _Piece(cron, stretch_at(zone, start), dst)
        if piece.shifts_to(start):
            return Due(start.replace(tzinfo=UTC))
        local = cron.next_local(piece.first_local(start) - _TICK)
        if local is not None and local < piece.end_local:
            return Due((local - piece.offset).replace(tzinfo=UTC))
        if left_out := piece.left_out():
            return Due((piece.end - _TICK).replace(tzinfo=UTC), left_out)
        if local is None and not piece.ends_in_fold:
            return None
        far = None if local is None or piece.ends_in_fold else local - piece.offset - _JUMP
        start = piece.end if far is None else max(piece.end, far)
    return None


def count_fires(
    cron: Cron, after: datetime, until: datetime, zone: tzinfo = UTC, dst: DstRule = DEFAULT_RULE
) -> int:
    """How many fires lie in (after, until]: exact, and by arithmetic."""
    if zone is UTC:
        return cron.count_local(_naive(after), _naive(until))
    start, stop, count = _naive(after) + _TICK, _naive(until), 0
    while start <= stop and start.year <= LAST_YEAR:
        piece = _Piece(cron, stretch_at(zone, start), dst)
        count += piece.count(start, stop)
        start = piece.end
    return count


def left_out_between(
    cron: Cron, after: datetime, until: datetime, zone: tzinfo = UTC, dst: DstRule = DEFAULT_RULE
) -> Iterator[Due]:
    """The gaps in (after, until] that swallow fires, oldest first."""
    if zone is UTC or dst.gap is not DstGap.SKIP or not cron.fixed_time:
        return
    start, stop = _naive(after) + _TICK, _naive(until)
    while start <= stop and start.year <= LAST_YEAR:
        piece = _Piece(cron, stretch_at(zone, start), dst)
        if piece.end - _TICK <= stop and (left_out := piece.left_out()):
            yield Due((piece.end - _TICK).replace(tzinfo=UTC), left_out)
        start = piece.end


class _Piece:
    """What a line does in one stretch of a zone; local times are naive."""

    __slots__ = ("_cron", "_dst", "_stretch", "end", "end_local", "offset")

    def __init__(self, cron: Cron, stretch: Stretch, dst: DstRule) -> None:
        self._cron = cron
        self._dst = dst
        self._stretch = stretch
        self.offset = stretch.offset
        self.end = stretch.end
        # What is left to the second pass ends the first earlier.
        second = cron.fixed_time and dst.fold is DstFold.SECOND
        self.end_local = stretch.end + (
            min(stretch.offset, stretch.after) if second else stretch.offset
        )

    @property
    def ends_in_fold(self) -> bool:
        return self._stretch.after < self.offset

    def first_local(self, start: datetime) -> datetime:
        """From where local times count for an instant in the stretch."""
        stretch, local = self._stretch, start + self.offset
        if stretch.before > stretch.offset and self._is_fixed(DstFold.FIRST):
            return max(local, stretch.begin + stretch.before)
        return local

    def shifts_to(self, start: datetime) -> bool:
        """Whether a time that the gap before this stretch leaves out fires at its start."""
        stretch = self._stretch
        if start != stretch.begin or stretch.before >= stretch.offset:
            return False
        if not self._cron.fixed_time or self._dst.gap is not DstGap.SHIFT:
            return False
        return self._matches(stretch.begin + stretch.before, stretch.begin + stretch.offset) > 0

    def left_out(self) -> int:
        """How many fires the gap after this stretch swallows."""
        stretch = self._stretch
        if stretch.after <= stretch.offset or self._dst.gap is not DstGap.SKIP:
            return 0
        if not self._cron.fixed_time:
            return 0
        return self._matches(stretch.end + stretch.offset, stretch.end + stretch.after)

    def count(self, start: datetime, stop: datetime) -> int:
        """The fires from `start` to `stop`, both included, as far as the stretch goes."""
        first = self.first_local(start)
        end = min(self.end_local, stop + self.offset + _TICK)
        found = self._matches(first, end)
        if self.shifts_to(start) and not self._matches(first, first + _TICK):
            found += 1
        return found

    def _is_fixed(self, fold: DstFold) -> bool:
        return self._cron.fixed_time and self._dst.fold is fold

    def _matches(self, first: datetime, end: datetime) -> int:
        """The line's local times in [first, end)."""
        return self._cron.count_local(first - _TICK, end - _TICK)


def _naive(instant: datetime) -> datetime:
    """UTC without saying so."""
    return instant.astimezone(UTC).replace(tzinfo=None)
