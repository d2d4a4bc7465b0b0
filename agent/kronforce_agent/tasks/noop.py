"""`noop`: nothing, measurably. Message, then bytes from one reused block, then its exit code."""

from __future__ import annotations

from kronforce.v1 import execution_pb2 as ex
from kronforce.v1 import job_pb2
from kronforce_agent.outcome import INLINE_LIMIT_BYTES, Outcome, of_exit_code
from kronforce_agent.tasks.kinds import Context

_LINE = b"The quick brown fox jumps over the lazy dog, again and again...\n"
BLOCK = _LINE * 1024
"""64 KiB of 64-byte lines: what output is cut from."""


def instant(task: job_pb2.Task) -> tuple[int, bytes] | None:
    """Exit code and whole output where there is nothing to wait for and it fits in a result."""
    noop = task.noop
    if noop.sleep_ms or noop.output_bytes:
        return None
    said = _said(noop)
    return (noop.exit_code, said) if len(said) <= INLINE_LIMIT_BYTES else None


async def run(task: job_pb2.Task, context: Context) -> Outcome:
    """Say it, sleep, pour out the bytes at the speed of whoever takes them."""
    noop = task.noop
    await context.output.write(ex.OUTPUT_STREAM_STDOUT, _said(noop))
    if noop.sleep_ms:
        await context.clock.sleep(noop.sleep_ms / 1000)
    left = noop.output_bytes
    while left > 0:
        block = BLOCK if left >= len(BLOCK) else BLOCK[:left]
        await context.output.write(ex.OUTPUT_STREAM_STDOUT, block)
        left -= len(block)
    return of_exit_code(noop.exit_code)


def _said(noop: job_pb2.NoopTask) -> bytes:
    return (noop.message if noop.HasField("message") else "ok").encode() + b"\n"
