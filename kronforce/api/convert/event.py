"""Events, and the cursors by which they are followed."""

from __future__ import annotations

import re

from kronforce.api.convert.execution import struct_or_none
from kronforce.api.convert.instants import stamp
from kronforce.core.ids import to_text
from kronforce.errors import InvalidPageToken
from kronforce.store.commit_order import Position
from kronforce.store.events import EventRow
from kronforce.v1.event_pb2 import Event

_CURSOR = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16})")
_INT64_MAX = 2**63 - 1


def event_message(row: EventRow) -> Event:
    """The row as a message."""
    return Event(
        cursor=cursor_text(row.cursor),
        kind=row.kind,
        severity=row.severity,  # type: ignore[arg-type]  # the enum's number, as stored
        at=stamp(row.at),
        message=row.message,
        job_id=_id(row.job_id),
        job_name=row.job_name,
        group=row.group_name,
        run_id=_id(row.run_id),
        execution_id=_id(row.execution_id),
        agent_id=_id(row.agent_id),
        actor=row.actor,
        payload=struct_or_none(row.payload),
    )


def cursor_text(position: Position) -> str:
    """A position, opaque to callers."""
    return f"{position[0]:x}-{position[1]:x}"


def cursor_position(text: str) -> Position:
    """The position of a cursor; raises InvalidPageToken for text that is none."""
    found = _CURSOR.fullmatch(text)
    place = (int(found[1], 16), int(found[2], 16)) if found else (_INT64_MAX + 1, 0)
    if max(place) > _INT64_MAX:
        raise InvalidPageToken("cursor: was not made by this server; start over without it")
    return place


def _id(raw: bytes | None) -> str:
    return "" if raw is None else to_text(raw)
