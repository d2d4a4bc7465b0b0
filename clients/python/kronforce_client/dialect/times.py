"""Instants as text, quickly: most of an answer's lists are made of them.

The day is worked out once per day; everything unusual is left to protobuf's own functions.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

_DAY = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
# Days that are remembered: three years of them.
_DAYS = 1_024
_TWO = tuple(f"{number:02}" for number in range(60))
_PLAIN = re.compile(
    r"(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?Z", re.ASCII
)


@lru_cache(_DAYS)
def _day_text(days: int) -> str:
    return date.fromordinal(_EPOCH + days).isoformat()


@lru_cache(_DAYS)
def _day_number(text: str) -> int:
    return date.fromisoformat(text).toordinal() - _EPOCH


def write_timestamp(value: Timestamp) -> str:
    """RFC 3339 in UTC, with 0, 3, 6 or 9 digits of a second."""
    minutes, second = divmod(value.seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{_day_text(days)}T{_TWO[hour]}:{_TWO[minute]}:{_TWO[second]}"
    nanos = value.nanos
    if not nanos:
        return clock + "Z"
    if not 0 < nanos < 1_000_000_000:
        return value.ToJsonString()
    micros, rest = divmod(nanos, 1_000)
    if rest:
        return f"{clock}.{nanos:09}Z"
    return f"{clock}.{micros:06}Z" if micros % 1_000 else f"{clock}.{micros // 1_000:03}Z"


def fill_timestamp(message: Any, value: Any) -> None:
    """From text in the form that `write_timestamp` gives. Raises TypeError or ValueError."""
    found = _PLAIN.fullmatch(value)
    if found is None:
        raise ValueError
    day, hour, minute, second, fraction = found.groups()
    message.seconds = _day_number(day) * _DAY + int(hour) * 3_600 + int(minute) * 60 + int(second)
    if fraction:
        message.nanos = int(fraction.ljust(9, "0"))
