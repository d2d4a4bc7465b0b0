"""Aware datetimes to the contract's instants."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(instant: datetime | None) -> Timestamp | None:
    """The instant as a message; None stays None. Raises ValueError for one without a zone."""
    if instant is None:
        return None
    if instant.tzinfo is None:
        raise ValueError("an instant needs a zone: datetime(..., tzinfo=...) or .astimezone()")
    message = Timestamp()
    message.FromDatetime(instant)
    return message
