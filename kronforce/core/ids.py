"""Ids: UUIDv7 in 16 bytes inside, in the usual text form at the edges.

Ids of one source grow strictly, also within a millisecond and while the wall
clock stands still or goes back, so that sorting by id is sorting by creation.
An `IdSource` belongs to one thread. A thing may be named by id or by name, and
names shaped like ids are refused (`names.py`): text is an id exactly when
`from_text` says so.
"""

from __future__ import annotations

from typing import Protocol

_LOW_62 = (1 << 62) - 1
_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62

# Of the 74 random bits the top one starts as zero: room for 2^73 ids in one millisecond.
_FRESH_BITS = 73


class Ticks(Protocol):
    """The part of a clock that ids need."""

    def now_us(self) -> int: ...


class RandomBits(Protocol):
    """The part of `random.Random` that ids need; production passes `random.SystemRandom()`."""

    def getrandbits(self, k: int, /) -> int: ...


class IdSource:
    """Makes ids; call it."""

    __slots__ = ("_bits", "_millis", "_now_us", "_tail")

    def __init__(self, clock: Ticks, rng: RandomBits) -> None:
        self._now_us = clock.now_us
        self._bits = rng.getrandbits
        self._millis = -1
        self._tail = 0

    def __call__(self) -> bytes:
        millis = self._now_us() // 1000
        if millis > self._millis:
            self._millis = millis
            self._tail = self._bits(_FRESH_BITS)
        else:
            self._tail += 1
        tail = self._tail
        return (
            self._millis << 80 | _VERSION_7 | (tail >> 62) << 64 | _VARIANT | tail & _LOW_62
        ).to_bytes(16, "big")


def to_text(raw: bytes) -> str:
    """The canonical lower-case text of 16 bytes."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def from_text(text: str) -> bytes | None:
    """The 16 bytes that the text stands for, or None if it is not an id (but maybe a name)."""
    if len(text) != 36 or text[8] != "-" or text[13] != "-" or text[18] != "-" or text[23] != "-":
        return None
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return raw if len(raw) == 16 else None


def created_ms(raw: bytes) -> int:
    """Milliseconds since the epoch at which a UUIDv7 was made."""
    return int.from_bytes(raw[:6], "big")
