"""What waits to go up the session's stream, as messages that are serialised already.

Each message is encoded once, for the journal and for the stream; a frame is their concatenation
as `repeated messages = 1`. Without a session nothing is queued: what matters is in the table of
held executions, from which the next session begins. A controller that does not read while it goes
on writing ends its session at QUEUE_BYTES.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

FRAME_BYTES = 1024 * 1024
"""A frame is closed at this size: far below the 4 MB that a receiver takes."""

QUEUE_BYTES = 128 * 1024 * 1024
"""Twice what unacknowledged results may hold: beyond it the other side does not read."""

_TAG = b"\x0a"  # field 1, length-delimited


class Outbox:
    """First in, first out; one writer takes frames."""

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._open = False
        self.wake = asyncio.Event()
        self.on_overflow: Callable[[], None] = lambda: None
        """Called when the queue is full; the message is dropped, and the session must end."""

    def open(self) -> None:
        """A session can take messages now."""
        self._clear()
        self._open = True

    def close(self) -> None:
        """The session is over; what it did not take is rebuilt for the next one."""
        self._open = False
        self._clear()

    def _clear(self) -> None:
        self._queue.clear()
        self._bytes = 0
        self.wake.clear()

    @property
    def empty(self) -> bool:
        return not self._queue

    def put(self, message: bytes) -> None:
        """Queue one serialised AgentMessage."""
        if not self._open:
            return
        if self._bytes > QUEUE_BYTES:
            self.on_overflow()
            return
        self._queue.append(message)
        self._bytes += len(message)
        self.wake.set()

    def take_frame(self) -> bytes:
        """Whatever is queued, as one serialised ConnectRequest; empty if nothing is."""
        queue = self._queue
        parts: list[bytes] = []
        size = 0
        while queue and size < FRAME_BYTES:
            message = queue.popleft()
            parts += (_TAG, varint(len(message)), message)
            size += len(message)
        self._bytes -= size
        if not queue:
            self.wake.clear()
        return b"".join(parts)


def frame_of(message: bytes) -> bytes:
    """One message as a frame of its own."""
    return b"".join((_TAG, varint(len(message)), message))


def varint(number: int) -> bytes:
    """A length as protobuf writes it."""
    if number < 0x80:
        return number.to_bytes(1, "little")
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
