"""Bytes of output as text: UTF-8, also where a chunk ends inside a character.

The beginning of a character at a chunk's end is held back until the rest comes; whatever is no
UTF-8 becomes U+FFFD. Offsets go on counting bytes, so that a place in the text is a place in the
output.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that stands for the bytes from `start` to `end`."""

    start: int
    end: int
    text: str


# An execution and its stream.
Key = tuple[str, int]


class Texts:
    """What was held back of streams of bytes."""

    def __init__(self) -> None:
        self._held: dict[Key, tuple[int, bytes]] = {}

    def take(self, key: Key, offset: int, data: bytes) -> Piece:
        """The text of a chunk that goes on where the one before it ended."""
        held = self._held.pop(key, None)
        if held is not None:
            offset, data = held[0], held[1] + data
        whole = whole_bytes(data)
        if whole < len(data):
            self._held[key] = offset + whole, data[whole:]
            data = data[:whole]
        return Piece(offset, offset + whole, data.decode(errors="replace"))

    def rest(self, key: Key) -> Piece | None:
        """What is still held back: nothing follows it."""
        held = self._held.pop(key, None)
        if held is None:
            return None
        start, data = held
        return Piece(start, start + len(data), data.decode(errors="replace"))

    def holds(self, key: Key) -> bool:
        """Whether something of this stream is held back."""
        return key in self._held

    def held(self) -> list[Key]:
        """Of what something is held back."""
        return list(self._held)


def whole_bytes(data: bytes) -> int:
    """How many bytes there are before a character that begins at the end and is not whole."""
    return len(data) - _begun(data)


def _begun(data: bytes) -> int:
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte < 0x80:
            return 0
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < length and byte < 0xF5 else 0
    return 0
