"""What the clocks of a zone read when a line fires, and what is odd about it: words for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from kronforce.core.schedules.cron import Cron, parse_cron
from kronforce.core.schedules.offsets import stretch_at
from kronforce.core.schedules.schedule import CronLine
from kronforce.core.schedules.zones import Due

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The local time, aware; one that does not exist has the offset from before the gap."""

    local: datetime
    note: str = ""


def read_clocks(line: CronLine, due: Due, zone: tzinfo) -> Reading:
    """The reading at a fire, or at a gap that leaves some out."""
    if zone is UTC:
        return Reading(local=due.at)
    cron, at = parse_cron(line.expression), due.at.replace(tzinfo=None)
    stretch = stretch_at(zone, at)
    if due.left_out:
        gone = _gone(cron, stretch.end + stretch.offset, stretch.end + stretch.after)
        return Reading(local=gone.first.replace(tzinfo=zone), note=gone.note)
    local = due.at.astimezone(zone)
    if at == stretch.begin and stretch.before < stretch.offset and cron.fixed_time:
        gone = _gone(cron, stretch.begin + stretch.before, stretch.begin + stretch.offset)
        if gone.count:
            return Reading(local=local, note=f"{gone.note}; it fires as soon as they have")
    return Reading(local=local, note=_twice(local, zone))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gone:
    first: datetime
    count: int
    note: str


def _gone(cron: Cron, begin: datetime, end: datetime) -> _Gone:
    """The line's local times in [begin, end), which the clocks leave out."""
    first = cron.next_local(begin - _TICK) or begin
    count = cron.count_local(begin - _TICK, end - _TICK)
    what = f"{_clock(first)} does" if count == 1 else f"{count:,} times from {_clock(first)} on do"
    note = f"{what} not exist: the clocks go from {_clock(begin)} to {_clock(end)}"
    return _Gone(first=first, count=count, note=note)


def _twice(local: datetime, zone: tzinfo) -> str:
    """A note where the clocks read so twice."""
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first >= second:
        return ""
    which = "first" if local.astimezone(UTC) == first else "second"
    return f"{_clock(local)} comes twice: this is the {which} time"


def _clock(local: datetime) -> str:
    return local.strftime("%H:%M:%S" if local.second else "%H:%M")
