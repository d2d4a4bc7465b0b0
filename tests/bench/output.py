"""One execution's output, live to one watcher and stored: megabytes a second.

The task is `cat` of lines of text, again and again, so that making the bytes costs next to
nothing. The clock runs from the trigger to the run's end at the watcher, which comes after its
output is stored. Every byte must have arrived in order; the store must count as many.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

from tests.bench.books import DRAIN_SECS, SUCCEEDED, Client, Tell, Void, one

LINE = b"2026-11-21T00:00:00Z INFO  worker-7 handled request 4711 of 9999 in 12.5 ms, ok\n"
FILE_BYTES = 64 << 20
WARM_BYTES = FILE_BYTES


async def measure(client: Client, job_id: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    del job_id
    with tempfile.NamedTemporaryFile() as file:
        file.write(LINE * (FILE_BYTES // len(LINE)))
        file.flush()
        size = file.tell()
        await _follow(client, await _job(client, spec, file.name, 1), size)
        times = max(1, round(spec["bytes"] / size))
        job_id = await _job(client, spec, file.name, times)
        tell("begin")
        took = await _follow(client, job_id, size * times)
        tell("end")
    return {"n": 1, "mb_per_sec": size * times / took / 1e6}


async def _job(client: Client, spec: dict[str, Any], file: str, times: int) -> str:
    command = "exec cat" + f" {file}" * times
    job = {**spec["job"], "name": f"output-{times}", "task": {"shell": {"command": command}}}
    return await client.create_job(job)


async def _follow(client: Client, job_id: str, expected: int) -> float:
    """Run it with a watcher; seconds from trigger to end. Raises Void if a byte is missing."""
    call = client.run_with_output(one(job_id), timeout=DRAIN_SECS)
    at, offset = time.perf_counter(), 0
    last = None
    async for frame in call:
        for update in frame.updates:
            if update.HasField("output"):
                chunk = update.output.chunk
                if chunk.offset != offset or chunk.gap_bytes:
                    raise Void(f"output goes on at {chunk.offset:,} instead of {offset:,}")
                offset += len(chunk.data)
            elif update.HasField("state") and update.state.state >= SUCCEEDED:
                last = update
    took = time.perf_counter() - at
    if last is None or last.state.state != SUCCEEDED or offset != expected:
        raise Void(f"{offset:,} of {expected:,} bytes came; the last state was {last}")
    stored = (await client.execution_of(last.run_id)).stdout_bytes
    if stored != expected:
        raise Void(f"the store counts {stored:,} bytes, not {expected:,}")
    return took
