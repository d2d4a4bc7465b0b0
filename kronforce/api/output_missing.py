"""How much of what executions wrote is not kept, as GetRun and GetExecution show it.

What is kept lies in two places: rows that were streamed, and the last bytes that
came with the result. The rest of what was counted is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kronforce.store import output
from kronforce.store.executions import ExecutionRow
from kronforce.store.output import ProgressRow
from kronforce.store.store import Store
from kronforce.v1.agent_service_pb2 import ExecutionOutput

# Executions of one run that are looked at, newest first: fewer keys than one statement takes.
LOOKED_AT = 500


def with_output(rows: Sequence[ExecutionRow]) -> list[int]:
    """The keys of those whose inline output `missing_bytes` wants to know."""
    return [row.key for row in rows[-LOOKED_AT:] if row.stdout_bytes + row.stderr_bytes > 0]


async def missing_bytes(
    store: Store, rows: Sequence[ExecutionRow], inline: Mapping[int, bytes]
) -> dict[int, int]:
    """By key, for those of which something is missing; `inline` is what came with results."""
    beyond = {row.key: _not_inline(row, inline.get(row.key)) for row in rows[-LOOKED_AT:]}
    # Of a short run all came with the result: nothing more is read.
    asked = [row for row in rows[-LOOKED_AT:] if beyond[row.key] or _runs(row)]
    if not asked:
        return {}
    progress = await store.read_output(output.progress_of, [row.key for row in asked])
    missing = {row.key: _missing(row, beyond[row.key], progress.get(row.key)) for row in asked}
    return {key: size for key, size in missing.items() if size > 0}


def _runs(row: ExecutionRow) -> bool:
    return row.started_at is not None and row.finished_at is None


def _not_inline(row: ExecutionRow, inline: bytes | None) -> int:
    total = row.stdout_bytes + row.stderr_bytes
    if inline is None:
        return total
    chunks = ExecutionOutput.FromString(inline).chunks
    return total - sum(len(chunk.data) for chunk in chunks)


def _missing(row: ExecutionRow, beyond: int, progress: ProgressRow | None) -> int:
    """Bytes that are in neither place; while it runs, those that the cap dropped."""
    if progress is None:
        return beyond
    if row.finished_at is None:
        return progress.dropped_bytes
    return beyond - (progress.stored_bytes - progress.dropped_bytes)
