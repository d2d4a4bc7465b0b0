"""Output that rides in a result, held to a limit: head and tail stay, the middle is a gap.

Pure. Offsets stay contiguous for each stream; what is dropped is told of by chunks without data.
Must not decide what the limit is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kronforce.v1.execution_pb2 import OutputChunk


def within_limit(chunks: Sequence[OutputChunk], limit: int) -> list[OutputChunk]:
    """The chunks with at most `limit` bytes of data among them."""
    total = sum(len(chunk.data) for chunk in chunks)
    if total <= limit:
        return list(chunks)
    head = limit // 2
    tail = total - (limit - head)
    kept: list[OutputChunk] = []
    at = 0
    for chunk in chunks:
        kept += _parts(chunk, head - at, tail - at)
        at += len(chunk.data)
    return kept


def _parts(chunk: OutputChunk, head: int, tail: int) -> Iterator[OutputChunk]:
    """The chunk without its bytes from `head` to `tail`, both counted from its first byte."""
    size = len(chunk.data)
    first, last = min(max(head, 0), size), min(max(tail, 0), size)
    if first >= last:
        yield chunk
        return
    if first > 0:
        yield _part(chunk, 0, chunk.data[:first], 0)
    yield _part(chunk, first, b"", last - first)
    if last < size:
        yield _part(chunk, last, chunk.data[last:], 0)


def _part(chunk: OutputChunk, start: int, data: bytes, gap: int) -> OutputChunk:
    return OutputChunk(
        stream=chunk.stream,
        offset=chunk.offset + start,
        data=data,
        gap_bytes=gap,
        at=chunk.at if chunk.HasField("at") else None,
        sequence=chunk.sequence,
    )
