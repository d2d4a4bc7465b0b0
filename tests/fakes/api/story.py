"""What the runs of a job do in the controller in memory, as a test tells it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from kronforce.v1 import execution_pb2

STATES = execution_pb2.ExecutionState
STDOUT = execution_pb2.OutputStream.OUTPUT_STREAM_STDOUT
STDERR = execution_pb2.OutputStream.OUTPUT_STREAM_STDERR


@dataclass(kw_only=True)
class Story:
    """What the runs of a job do."""

    output: list[tuple[int, bytes]] = field(default_factory=lambda: [(STDOUT, b"ok\n")])
    state: int = STATES.EXECUTION_STATE_SUCCEEDED
    message: str = ""
    exit_code: int | None = 0
    # Ends only when this is set; None: at once.
    until: asyncio.Event | None = None
    # Cut the first watching stream after this many chunks.
    cut_after: int | None = None
