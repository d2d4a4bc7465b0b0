"""Microseconds since the epoch, as the store has them, to and from `Timestamp`."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

_US_PER_S = 1_000_000

# Years 1 to 9999 and less than a second more, which is all that a Timestamp may say.
_MIN_S, _MAX_S = -62_135_596_800, 253_402_300_799
_MAX_NANOS = 999_999_999


def stamp(microseconds: int) -> Timestamp:
    """The message of an instant."""
    seconds, rest = divmod(microseconds, _US_PER_S)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def stamp_or_none(microseconds: int | None) -> Timestamp | None:
    """The same for an instant that may be missing: an unset field takes None."""
    return None if microseconds is None else stamp(microseconds)


def instant_us(message: Timestamp) -> int:
    """The store's form; what lies outside the calendar counts as its nearest end."""
    seconds = min(max(message.seconds, _MIN_S), _MAX_S)
    nanos = min(max(message.nanos, 0), _MAX_NANOS)
    return seconds * _US_PER_S + nanos // 1000
