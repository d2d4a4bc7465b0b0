"""What of a run's output a command was asked for, execution by execution, chunk by chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from kronforce.cli.settings import UsageError
from kronforce.v1.execution_pb2 import Execution, OutputChunk, OutputStream
from kronforce.v1.run_pb2 import Run
from kronforce_client import Client
from kronforce_client.handle import state_word
from kronforce_client.lines import LineSplitter, OutputLine

STDOUT = OutputStream.OUTPUT_STREAM_STDOUT
STDERR = OutputStream.OUTPUT_STREAM_STDERR
STREAM_NAMES = {STDOUT: "stdout", STDERR: "stderr"}

# A screenful many times over, and still no burden on memory.
TAIL_MAX_LINES = 10_000
# How far back those lines are looked for, in each stream.
TAIL_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which streams, and from where."""

    # None: both, interleaved as they were written.
    stream: OutputStream.ValueType | None = None
    tail: int | None = None
    since_offset: int = 0

    @classmethod
    def of(cls, *, stdout: bool, stderr: bool, tail: int | None, since_offset: int | None) -> Self:
        """What the flags say; refuses what makes no sense."""
        stream = None if stdout == stderr else STDOUT if stdout else STDERR
        if tail is not None and not 1 <= tail <= TAIL_MAX_LINES:
            raise UsageError(f"--tail is {tail}", f"give 1 to {TAIL_MAX_LINES:,} lines")
        if since_offset is not None and since_offset < 0:
            raise UsageError(f"--since-offset is {since_offset}", "offsets count from 0")
        if since_offset is not None and stream is None:
            raise UsageError(
                "--since-offset needs one stream: each counts its own bytes",
                "add --stdout or --stderr",
            )
        return cls(stream=stream, tail=tail, since_offset=since_offset or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The output of one execution; the heading is empty where a run has only one."""

    execution: Execution
    heading: str
    chunks: Iterator[OutputChunk]


def parts_of(client: Client, run: Run, wanted: Wanted) -> Iterator[Part]:
    """The run's executions in order; each part's chunks are read before the next is asked for."""
    for execution in run.executions:
        chunks = _chunks(client, execution, wanted)
        heading = _heading(execution) if len(run.executions) > 1 else ""
        yield Part(execution=execution, heading=heading, chunks=chunks)


def _heading(execution: Execution) -> str:
    where = f" on {execution.agent_name}" if execution.agent_name else ""
    return f"── attempt {execution.attempt_number}{where}: {state_word(execution.state)}"


def _chunks(client: Client, execution: Execution, wanted: Wanted) -> Iterator[OutputChunk]:
    offsets = {STDOUT: wanted.since_offset, STDERR: wanted.since_offset}
    if wanted.tail is not None:
        offsets[STDOUT] = max(0, execution.stdout_bytes - TAIL_MAX_BYTES)
        offsets[STDERR] = max(0, execution.stderr_bytes - TAIL_MAX_BYTES)
    with client.executions.output(
        execution.id,
        stream=wanted.stream,
        stdout_offset=offsets[STDOUT],
        stderr_offset=offsets[STDERR],
    ) as chunks:
        if wanted.tail is None:
            yield from chunks
        else:
            yield from last_lines(iter(chunks), wanted.tail)


def last_lines(chunks: Iterator[OutputChunk], count: int) -> Iterator[OutputChunk]:
    """The last lines of both streams together, in the order in which they ended."""
    splitter = LineSplitter()
    kept: deque[OutputLine] = deque(maxlen=count)
    for chunk in chunks:
        kept.extend(splitter.add(chunk))
    kept.extend(splitter.end())
    for line in kept:
        if line.missing:
            yield OutputChunk(stream=line.stream, gap_bytes=line.missing)
        yield OutputChunk(stream=line.stream, data=line.data + b"\n" * line.ends)
