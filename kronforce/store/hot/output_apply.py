"""One batch of streamed output: rows of chunks, and how far each execution is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kronforce.store import tables as t
from kronforce.store.database import Tx
from kronforce.store.dialect import Row, delete, insert, upsert
from kronforce.store.hot.commands import Call

INSERT_CHUNKS = insert(
    t.output_chunks, "execution_key", "stream", "start", "length", "sequence", "at", "data"
)
SET_PROGRESS = upsert(
    t.output_progress, ("execution_key",), "execution_key", "sequence", "stdout_bytes",
    "stderr_bytes", "stored_bytes", "dropped_bytes",
)  # fmt: skip
DROP_CHUNK = delete(
    t.output_chunks,
    ("execution_key", "sequence", "stream", "start"),
    # Pieces of what was one row share a sequence.
    where="t.execution_key = :execution_key AND t.sequence = :sequence"
    " AND t.stream = :stream AND t.start = :start",
)


class StoreOutput:
    """New rows of one execution, rows of its middle that the cap gives up, and its progress."""

    __slots__ = ("dropped", "progress", "rows", "then")

    def __init__(self, rows: list[Row], dropped: list[Row], progress: Row,
                 then: Callable[[StoreOutput, Exception | None], None]):  # fmt: skip
        # (execution_key, stream, start, length, sequence, at, data), in order of sequence.
        self.rows = rows
        # (execution_key, sequence, stream, start) of rows that are deleted.
        self.dropped = dropped
        # (execution_key, sequence, stdout_bytes, stderr_bytes, stored_bytes, dropped_bytes).
        self.progress = progress
        self.then = then

    def committed(self, error: Exception | None) -> None:
        self.then(self, error)


def apply_output(tx: Tx, batch: Sequence[Any]) -> None:
    """Write every command of the batch."""
    stored: list[StoreOutput] = []
    for command in batch:
        if type(command) is Call:
            command.run(tx)
        else:
            stored.append(command)
    assert not tx.noted, "what principals do goes through the main committer, which audits it"
    tx.run(INSERT_CHUNKS, [row for command in stored for row in command.rows])
    tx.run(DROP_CHUNK, [row for command in stored for row in command.dropped])
    # The last word about an execution counts.
    tx.run(SET_PROGRESS, list({c.progress[0]: c.progress for c in stored}.values()))
