"""Instants and durations for people: relative with the absolute one at hand, local with zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.cli.settings import UsageError

# Longer than anything is kept.
_LONGEST_SECS = 100 * 365 * 86_400
_AGO = re.compile(r"(\d{1,9})\s*([smhd])")
_SECS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))


def as_datetime(instant: Timestamp) -> datetime:
    """The instant, aware, in UTC."""
    return instant.ToDatetime(tzinfo=UTC)


def absolute(instant: Timestamp, *, utc: bool) -> str:
    """`2026-11-20 14:03:20 +01:00`, or with `Z` in UTC."""
    moment = as_datetime(instant)
    if utc:
        return moment.strftime("%Y-%m-%d %H:%M:%SZ")
    text = moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    return f"{text[:-2]}:{text[-2:]}"


def relative(instant: Timestamp, now: datetime) -> str:
    """`3 m ago`, or `in 12 s`."""
    seconds = (now - as_datetime(instant)).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{coarse(seconds)} ago" if seconds > 0 else f"in {coarse(-seconds)}"


def coarse(seconds: float) -> str:
    """The largest unit alone: `3 m`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def duration(seconds: float) -> str:
    """`12 ms`, `4.2 s`, `4 m 12 s`, `3 h 5 m`."""
    if seconds < 0.9995:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    minutes, rest = divmod(rounded, 60)
    if minutes < 60:
        return f"{minutes} m {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} m"
    return f"{hours // 24} d {hours % 24} h"


def between(start: Timestamp, end: Timestamp) -> str:
    """The duration from one instant to another."""
    return duration((as_datetime(end) - as_datetime(start)).total_seconds())


def since_text(text: str, now: datetime) -> datetime:
    """The instant that `90s`, `30m`, `1h` or `2d` ago was. Raises UsageError."""
    found = _AGO.fullmatch(text.strip())
    if found is None:
        raise UsageError(f'"{text}" is no span of time', "for example 30m, 1h or 2d")
    secs = int(found[1]) * _SECS[found[2]]
    return now - timedelta(seconds=min(secs, _LONGEST_SECS))
