"""What the journal's file holds: a pure codec, one record after the other.

A record is length and CRC-32 of what follows, one byte of kind, and a body. A record that is short
or whose CRC differs is the torn tail of a write that was never acknowledged, unless whole records
follow: then the file is damaged, which is told, and those are read all the same. A result is kept
as the very bytes that go up the stream; a task never stands here, because it may carry secrets.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from kronforce.v1 import agent_service_pb2 as pb

ACCEPT = 1
START = 2
RESULT = 3
ACKNOWLEDGED = 4
DROPPED = 5
_KINDS = frozenset({ACCEPT, START, RESULT, ACKNOWLEDGED, DROPPED})

MAX_SEARCH = 16 * 1024 * 1024
"""Damage is looked past so far, twice the longest record: some seconds."""
MAX_RECORD = 8 * 1024 * 1024
"""A length beyond this is not a record: no message up the stream may be larger than 4 MB."""

_HEAD = struct.Struct("!IIB")
_ACCEPT = struct.Struct("!QQIBBB")
_MARK = struct.Struct("!QQQB")

Key = tuple[str, int]
"""(execution id, fence)."""


@dataclass(frozen=True, kw_only=True)
class Accept:
    """An assignment that this agent took; durable before its task starts."""

    execution_id: str
    fence: int
    at_micros: int
    arm: str
    """Which arm of `Task`: says whether the task lives in the agent or in the launcher."""
    boot_id: str
    """The launcher's, then: a later one cannot know this task."""
    timeout_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something happened to an execution: START (number: process id), ACKNOWLEDGED, DROPPED."""

    kind: int
    execution_id: str
    fence: int
    at_micros: int
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class ResultRecord:
    """How an execution ended, as the message that reports it."""

    execution_id: str
    fence: int
    message: bytes


Record = Accept | Mark | ResultRecord


def encode_accept(accept: Accept) -> bytes:
    """An ACCEPT as one record."""
    name, arm, boot = accept.execution_id.encode(), accept.arm.encode(), accept.boot_id.encode()
    head = _ACCEPT.pack(
        accept.fence, accept.at_micros, accept.timeout_ms, len(name), len(arm), len(boot)
    )
    return _frame(ACCEPT, head + name + arm + boot)


def encode_mark(kind: int, key: Key, at_micros: int, number: int = 0) -> bytes:
    """A START, ACKNOWLEDGED or DROPPED as one record."""
    name = key[0].encode()
    return _frame(kind, _MARK.pack(key[1], at_micros, number, len(name)) + name)


def encode_result(message: bytes) -> bytes:
    """A RESULT as one record; `message` is a serialised AgentMessage."""
    return _frame(RESULT, message)


def _frame(kind: int, body: bytes) -> bytes:
    return _HEAD.pack(len(body), zlib.crc32(body, kind), kind) + body


@dataclass(kw_only=True)
class Reading:
    """What one segment held, and what of it could not be read."""

    records: list[Record] = field(default_factory=list)
    damaged: list[tuple[int, int]] = field(default_factory=list)
    """Bytes from … to … that are no record and have records behind them."""
    torn_at: int | None = None
    """Where the tail begins that was being written when the power went; None: there is none."""


def read(data: bytes) -> Reading:
    """Every whole record, also those behind damage."""
    found = Reading()
    position = 0
    while position < len(data):
        end = _add_record(found, data, position)
        if end < 0:
            end = _next_record(data, position + 1)
            if end < 0:
                found.torn_at = position
                return found
            found.damaged.append((position, end))
        position = end
    return found


def _add_record(found: Reading, data: bytes, position: int) -> int:
    """Where the record that begins here ends; -1: none does."""
    end = _end_of(data, position)
    if end < 0:
        return -1
    start, kind = position + _HEAD.size, data[position + _HEAD.size - 1]
    try:
        record = _decode(kind, data[start:end])
    except (struct.error, ValueError, DecodeError):
        return -1
    if record is not None:
        found.records.append(record)
    return end


def _end_of(data: bytes, position: int) -> int:
    start = position + _HEAD.size
    if start > len(data):
        return -1
    length, crc, kind = _HEAD.unpack_from(data, position)
    # Zeros, of which file systems make what was never written, are no record of kind 0.
    if not kind or length > MAX_RECORD or start + length > len(data):
        return -1
    body = memoryview(data)[start : start + length]
    return start + length if zlib.crc32(body, kind) == crc else -1


def _next_record(data: bytes, position: int) -> int:
    """Where the next whole record begins; -1: nowhere. Only after damage, so it may be slow."""
    for start in range(position, min(len(data), position + MAX_SEARCH) - _HEAD.size + 1):
        # A kind that this version knows, and a body: less would find records in chance.
        known = data[start + _HEAD.size - 1] in _KINDS
        if known and _end_of(data, start) > start + _HEAD.size:
            return start
    return -1


def _decode(kind: int, body: bytes) -> Record | None:
    if kind == ACCEPT:
        return _decode_accept(body)
    if kind == RESULT:
        message = pb.AgentMessage.FromString(body)
        execution_id = _named(message.execution_id)
        return ResultRecord(execution_id=execution_id, fence=message.fence, message=body)
    if kind in (START, ACKNOWLEDGED, DROPPED):
        return _decode_mark(kind, body)
    return None  # a newer agent wrote it; what this one must know, it can read


def _named(execution_id: str) -> str:
    """Bytes that name no execution are no record: a CRC of nothing is easily met by chance."""
    if not execution_id:
        raise ValueError("a record that names no execution")
    return execution_id


def _decode_mark(kind: int, body: bytes) -> Mark:
    fence, at, number, size = _MARK.unpack_from(body)
    name = _named(body[_MARK.size : _MARK.size + size].decode())
    if not at:
        raise ValueError("a mark of no moment")
    return Mark(kind=kind, execution_id=name, fence=fence, at_micros=at, number=number)


def _decode_accept(body: bytes) -> Accept:
    fence, at, timeout_ms, name, arm, boot = _ACCEPT.unpack_from(body)
    arm_at = _ACCEPT.size + name
    boot_at = arm_at + arm
    return Accept(
        execution_id=_named(body[_ACCEPT.size : arm_at].decode()),
        fence=fence,
        at_micros=at,
        arm=body[arm_at:boot_at].decode(),
        boot_id=body[boot_at : boot_at + boot].decode(),
        timeout_ms=timeout_ms,
    )
