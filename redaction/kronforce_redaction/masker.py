"""One stream that is masked as it comes: the result does not depend on where it was cut.

Overlapping matches become one MASK. The longest suffix that begins a pattern is held back until
more bytes, or the end, decide: at most the longest pattern less one byte waits.
"""

from __future__ import annotations

from kronforce_redaction.matching import MaskSet

MASK = b"********"


class Masker:
    """What is held back, and how much of it a MASK that has left covers already."""

    __slots__ = ("_covered", "_held", "_masks")

    def __init__(self, masks: MaskSet) -> None:
        self._masks = masks
        self._held = b""
        self._covered = 0

    def feed(self, data: bytes) -> bytes:
        """What may leave now; possibly empty."""
        buffer = self._held + data if self._held else data
        return self._emit(buffer, self._masks.pending(buffer))

    def flush(self) -> bytes:
        """The rest, at the end of the stream."""
        if not self._held:
            return b""
        return self._emit(self._held, len(self._held))

    def _emit(self, buffer: bytes, cut: int) -> bytes:
        pieces: list[bytes] = []
        done = self._covered
        spans = self._masks.spans(buffer)
        if not spans and not done and cut == len(buffer):
            self._held = b""
            return buffer
        for start, end in spans:
            if start >= cut:
                break
            if start >= done:
                pieces += (buffer[done:start], MASK)
            done = max(done, end)
        pieces.append(buffer[done:cut])
        self._held = buffer[cut:]
        self._covered = max(0, done - cut)
        return b"".join(pieces)


def mask_bytes(masks: MaskSet, data: bytes) -> bytes:
    """All of it at once."""
    masker = Masker(masks)
    return masker.feed(data) + masker.flush()


def mask_text(masks: MaskSet, text: str) -> str:
    """A message for people that may quote what is secret."""
    return mask_bytes(masks, text.encode(errors="surrogateescape")).decode(errors="replace")
