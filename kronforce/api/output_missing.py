"""How much of what executions wrote is not kept, as GetRun and GetExecution show it.

What is kept lies in two places: rows that were streamed, and the last bytes that
came with the result. The rest of what was counted is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from kronforce.store import output
from kronforce.store.database import Tx
from kronforce.store.executions import ExecutionRow
from kronforce.store.output import ProgressRow
from kronforce.store.store import Store
from kronforce.v1.agent_service_pb2 import ExecutionOutput

# Executions of one run that are looked at, newest first: fewer keys than one statement takes.
LOOKED_AT = 500


async def missing_bytes(store: Store, rows: Sequence[ExecutionRow]) -> dict[int, int]:
    """By key, for those of which something is missing."""
    talked = [row for row in islice(reversed(rows), LOOKED_AT) if _may_have_talked(row)]
    if not talked:
        return {}
    progress = await store.read_output(output.progress_of, [row.key for row in talked])
    unsure = {row.key: _not_streamed(row, progress.get(row.key)) for row in talked}
    unsure = {key: size for key, size in unsure.items() if size > 0}
    if not unsure:
        return {}
    inline = await store.read(_inline_bytes, sorted(unsure))
    missing = {key: size - inline.get(key, 0) for key, size in unsure.items()}
    return {key: size for key, size in missing.items() if size > 0}


def _may_have_talked(row: ExecutionRow) -> bool:
    if row.finished_at is None:
        return row.started_at is not None
    return row.stdout_bytes + row.stderr_bytes > 0


def _not_streamed(row: ExecutionRow, progress: ProgressRow | None) -> int:
    """Bytes that are not among the streamed ones; while it runs, those that the cap dropped."""
    if row.finished_at is None:
        return 0 if progress is None else progress.dropped_bytes
    kept = 0 if progress is None else progress.stored_bytes - progress.dropped_bytes
    return row.stdout_bytes + row.stderr_bytes - kept


def _inline_bytes(tx: Tx, keys: Sequence[int]) -> Mapping[int, int]:
    return {
        key: sum(len(chunk.data) for chunk in ExecutionOutput.FromString(data).chunks)
        for key, data in output.inline_of(tx, keys).items()
    }
