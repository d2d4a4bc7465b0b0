"""Which instants a line fires at in a zone, by walking there; and where zones change."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from tests.oracles.cron_walk import Line

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
# Offsets of our days are whole minutes, and so are the instants at which they change.
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Change:
    """The first instant of a new offset, and both offsets."""

    at: datetime
    before: timedelta
    after: timedelta


def changes(zone: tzinfo, first_year: int, last_year: int) -> list[Change]:
    """By asking every hour of it and then every minute."""
    at, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    found, offset = [], _offset(at, zone)
    while at < end:
        if _offset(at + HOUR, zone) != offset:
            exact = at
            while _offset(exact, zone) == offset:
                exact += MINUTE
            found.append(Change(exact, offset, _offset(exact, zone)))
            offset = _offset(at + HOUR, zone)
        at += HOUR
    return found


@dataclass(frozen=True)
class Minute:
    """A minute as it passes: its instant, what the clocks read, which of how many times."""

    at: datetime
    local: datetime
    turn: int = 1
    turns: int = 1


@dataclass(frozen=True)
class Clocks:
    """The minutes of a zone from one instant to another, and those that its clocks left out."""

    minutes: list[Minute]
    gaps: list[tuple[datetime, list[datetime]]]


def watch(zone: tzinfo, begin: datetime, end: datetime) -> Clocks:
    """Minute by minute through [begin, end); `begin` is a whole minute of steady clocks."""
    minutes, gaps = [], []
    at, expected = begin, _local(begin, zone)
    while at < end:
        local = _local(at, zone)
        if local > expected:
            missing = (local - expected) // MINUTE
            gaps.append((at, [expected + n * MINUTE for n in range(missing)]))
        minutes.append(Minute(at, local, *_turn(at, local, zone)))
        at, expected = at + MINUTE, local + MINUTE
    return Clocks(minutes, gaps)


def _turn(at: datetime, local: datetime, zone: tzinfo) -> tuple[int, int]:
    first, second = (local.replace(tzinfo=zone, fold=n).astimezone(UTC) for n in (0, 1))
    if first >= second:
        return 1, 1
    return (1 if at == first else 2), 2


def walk(
    line: Line, clocks: Clocks, *, gap: str, fold: str
) -> tuple[list[datetime], dict[datetime, int]]:
    """The fires, and how many times of day each skipped gap left out, at its last microsecond."""
    fits = _Fits(line)
    turns = {"first": {1}, "second": {2}, "both": {1, 2}}[fold]
    fires: set[datetime] = set()
    left_out: dict[datetime, int] = {}
    for minute in clocks.minutes:
        if not line.fixed or minute.turns == 1 or minute.turn in turns:
            fires.update(minute.at + n * SECOND for n in fits.seconds(minute.local))
    for at, missing in clocks.gaps if line.fixed else []:
        count = sum(len(fits.seconds(local)) for local in missing)
        if count and gap == "shift":
            fires.add(at)
        elif count:
            left_out[at - timedelta(microseconds=1)] = count
    return sorted(fires), left_out


class _Fits:
    """A line, with what was found out about days."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._days: dict[tuple[int, int], bool] = {}

    def seconds(self, local: datetime) -> frozenset[int]:
        """The seconds of a minute at which the line fires."""
        line, day = self._line, (local.month, local.day)
        if local.minute not in line.minutes or local.hour not in line.hours:
            return frozenset()
        if day not in self._days:
            self._days[day] = line.fits_day(local)
        return line.seconds if self._days[day] else frozenset()


def _local(at: datetime, zone: tzinfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(at: datetime, zone: tzinfo) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
