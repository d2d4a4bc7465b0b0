"""Instants and spans as people type them: `7d`, `2026-11-15`, `2026-11-15 02:30`, RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from kronforce.cli.settings import UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(\d{1,6})([smhdw])")


def moment(text: str, *, now: datetime, zone: tzinfo | None, flag: str) -> datetime:
    """An instant, or so long ago; a time without an offset is read in `zone`, None: this host's."""
    try:
        if found := _SPAN.fullmatch(text.strip()):
            return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        local = _parse(text, flag)
        if local.tzinfo is None and zone is not None:
            local = local.replace(tzinfo=zone)
        return local.astimezone(UTC)
    except (OverflowError, ValueError):
        raise _beyond(text, flag) from None


def span_of(text: str, *, zone: tzinfo, flag: str) -> tuple[datetime, datetime]:
    """From when to when a moment lasts: a minute, or a second where seconds are given.

    A local time that comes twice lasts from the first time to the second; one that does not exist
    covers the change of clocks that left it out.
    """
    local = _parse(text, flag)
    length = timedelta(minutes=1) if local.second == 0 else timedelta(seconds=1)
    last = length - timedelta(microseconds=1)
    if local.tzinfo is not None:
        return local, local + last
    try:
        both = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
        return min(both), max(both) + last
    except (OverflowError, ValueError):
        raise _beyond(text, flag) from None


def _beyond(text: str, flag: str) -> UsageError:
    return UsageError(f'{flag}: "{text}" is beyond the calendar', "such as 7d or 2026-11-15")


def _parse(text: str, flag: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f'{flag}: "{text}" is not a time',
            'such as 7d, 2026-11-15, "2026-11-15 02:30" or 2026-11-15T02:30:00+01:00',
        ) from None
