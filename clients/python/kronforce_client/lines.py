"""Lines of output, found in chunks that end anywhere; and what of them matches.

Bytes stay bytes: nothing is decoded to be shown, and what is no UTF-8 can be searched all the
same. Memory is bounded: a line that is longer than `LINE_MAX_BYTES` comes in pieces.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from kronforce.v1.execution_pb2 import OutputChunk, OutputStream

# Output without newlines must not be held whole; lines that people write are far shorter.
LINE_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLine:
    """One line of one stream, without its newline; or a piece of a very long one."""

    stream: OutputStream.ValueType
    # From 1, per stream, counted from where reading began.
    number: int
    data: bytes
    # Whether a newline ended it.
    ends: bool
    # Bytes that are missing before this line; 0: none.
    missing: int = 0


class LineSplitter:
    """Puts the lines of both streams together, each stream for itself."""

    def __init__(self) -> None:
        self._open: dict[OutputStream.ValueType, bytearray] = {}
        self._numbers: dict[OutputStream.ValueType, int] = {}
        self._missing: dict[OutputStream.ValueType, int] = {}

    def add(self, chunk: OutputChunk) -> Iterator[OutputLine]:
        """The lines that this chunk completes."""
        if not chunk.data:
            yield from self._gap(chunk)
            return
        rest = self._open.setdefault(chunk.stream, bytearray())
        start = 0
        while (end := chunk.data.find(b"\n", start)) >= 0:
            yield from self._pieces(chunk.stream, rest, chunk.data[start:end])
            yield self._line(chunk.stream, rest, ends=True)
            start = end + 1
        yield from self._pieces(chunk.stream, rest, chunk.data[start:])

    def end(self) -> Iterator[OutputLine]:
        """What the output ended with, if that was no newline."""
        for stream, rest in self._open.items():
            if rest:
                yield self._line(stream, rest)

    def _gap(self, chunk: OutputChunk) -> Iterator[OutputLine]:
        rest = self._open.get(chunk.stream)
        if rest:
            yield self._line(chunk.stream, rest)
        self._missing[chunk.stream] = self._missing.get(chunk.stream, 0) + chunk.gap_bytes

    def _pieces(
        self, stream: OutputStream.ValueType, rest: bytearray, data: bytes
    ) -> Iterator[OutputLine]:
        rest += data
        while len(rest) > LINE_MAX_BYTES:
            beyond = rest[LINE_MAX_BYTES:]
            del rest[LINE_MAX_BYTES:]
            yield self._line(stream, rest)
            rest += beyond

    def _line(
        self, stream: OutputStream.ValueType, rest: bytearray, *, ends: bool = False
    ) -> OutputLine:
        number = self._numbers.get(stream, 1)
        self._numbers[stream] = number + ends
        line = OutputLine(
            stream=stream,
            number=number,
            data=bytes(rest),
            ends=ends,
            missing=self._missing.pop(stream, 0),
        )
        rest.clear()
        return line


async def lines_of(chunks: AsyncIterator[OutputChunk]) -> AsyncGenerator[OutputLine, None]:
    """Every line of an output, in the order in which they end."""
    splitter = LineSplitter()
    async for chunk in chunks:
        for line in splitter.add(chunk):
            yield line
    for line in splitter.end():
        yield line


def matcher(pattern: str, *, ignore_case: bool) -> Callable[[bytes], bool]:
    """Says whether a line has the regular expression (Python's syntax) anywhere in it.

    Bytes that are no UTF-8 match `.` and are otherwise left alone. Raises ValueError for a
    pattern that is none.
    """
    try:
        found = re.compile(pattern, re.IGNORECASE if ignore_case else 0).search
    except re.error as error:
        raise ValueError(f'"{pattern}" is not a regular expression: {error}') from None
    return lambda data: found(data.decode("utf-8", "surrogateescape")) is not None
