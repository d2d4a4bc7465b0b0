"""The head of an execution's output, as GetExecution shows it.

Output lies in two places: rows that were streamed, and the last bytes that came
with the result. Together they are contiguous, unless a gap says otherwise; what
comes after the first gap is left to ReadOutput.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kronforce.store import output
from kronforce.store.database import Tx
from kronforce.store.executions import ExecutionRow
from kronforce.store.output import OutputHead
from kronforce.store.store import Store
from kronforce.v1.agent_service_pb2 import ExecutionOutput
from kronforce.v1.execution_pb2 import OUTPUT_STREAM_STDERR, OUTPUT_STREAM_STDOUT, OutputChunk

HEAD_BYTES = 256 << 10

_NOTHING = OutputHead(data=b"", truncated=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Heads:
    """The first bytes of both streams, and how many there are of each by now."""

    stdout: OutputHead
    stderr: OutputHead
    stdout_bytes: int
    stderr_bytes: int


async def read_heads(store: Store, row: ExecutionRow, inline: bytes | None) -> Heads:
    """Read what is shown of an execution; `inline` is what came with its result."""
    chunks = [] if inline is None else list(ExecutionOutput.FromString(inline).chunks)
    if row.finished_at is not None and _size(chunks) >= row.stdout_bytes + row.stderr_bytes:
        return heads_of(row, (_NOTHING, _NOTHING), chunks, 0, 0)
    stored = await store.read_output(_stored, row.key)
    return heads_of(row, stored[0], chunks, stored[1], stored[2])


def heads_of(
    row: ExecutionRow,
    stored: tuple[OutputHead, OutputHead],
    chunks: Sequence[OutputChunk],
    stdout_stored: int,
    stderr_stored: int,
) -> Heads:
    """Join both places; while it runs, what is stored is all that there is."""
    stdout_bytes = max(row.stdout_bytes, stdout_stored)
    stderr_bytes = max(row.stderr_bytes, stderr_stored)
    return Heads(
        stdout=_joined(stored[0], _of(chunks, OUTPUT_STREAM_STDOUT), stdout_bytes),
        stderr=_joined(stored[1], _of(chunks, OUTPUT_STREAM_STDERR), stderr_bytes),
        stdout_bytes=stdout_bytes,
        stderr_bytes=stderr_bytes,
    )


def _joined(stored: OutputHead, chunks: Sequence[OutputChunk], total: int) -> OutputHead:
    data = bytearray(stored.data)
    for chunk in chunks if not stored.truncated else ():
        if chunk.gap_bytes or chunk.offset > len(data):
            break
        data += chunk.data[len(data) - chunk.offset :]
    return OutputHead(data=bytes(data[:HEAD_BYTES]), truncated=min(len(data), HEAD_BYTES) < total)


def _of(chunks: Sequence[OutputChunk], stream: int) -> list[OutputChunk]:
    return [chunk for chunk in chunks if chunk.stream == stream]


def _size(chunks: Sequence[OutputChunk]) -> int:
    return sum(len(chunk.data) for chunk in chunks)


def _stored(tx: Tx, key: int) -> tuple[tuple[OutputHead, OutputHead], int, int]:
    progress = output.progress_of(tx, [key]).get(key)
    if progress is None:
        return (_NOTHING, _NOTHING), 0, 0
    heads = (
        output.head(tx, key, OUTPUT_STREAM_STDOUT, HEAD_BYTES),
        output.head(tx, key, OUTPUT_STREAM_STDERR, HEAD_BYTES),
    )
    return heads, progress.stdout_bytes, progress.stderr_bytes
