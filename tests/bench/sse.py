"""Events a second in all to 200 watchers of one chatty execution, over HTTP.

The task writes a short line at each beat, to its two streams in turn, so that nothing merges them
on their way. All watchers read with one key from the first byte to the end. What came is kept as
it came and judged afterwards: each watcher must have got every byte of both streams, in order and
once, and the end. Events are counted in a window while the task writes.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from tests.bench.books import DRAIN_SECS, Client, Tell, Void, one
from tests.bench.http_client import request

_WRITER = """
import os, sys, time
gate, lines, beat = sys.argv[1], int(sys.argv[2]), 1 / float(sys.argv[3])
while not os.path.exists(gate): time.sleep(0.02)
at = time.monotonic()
for number in range(lines):
    os.write(1 + number % 2, b"line %d of a task that talks a lot\\n" % number)
    at += beat
    time.sleep(max(0.0, at - time.monotonic()))
"""
_EVENT = b"event: output\n"
_OUTPUT = re.compile(
    rb'id: (\d+)-(\d+)\nevent: output\ndata: \{"stream":"std(out|err)","offset":(\d+),'
    rb'"text":"((?:[^"\\]|\\.)*)"'
)


async def measure(client: Client, job_id: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    del job_id
    seconds = spec["warm_secs"] + spec["seconds"] + 1
    lines = round(spec["beats"] * seconds)
    gate = Path(tempfile.gettempdir(), f"kronforce-{os.getpid()}.gate")
    words = [sys.executable, "-c", f"'{_WRITER}'", str(gate), str(lines), str(spec["beats"])]
    shell = {"shell": {"command": "exec " + " ".join(words)}}
    talker = await client.create_job({**spec["job"], "name": "talker", "task": shell})
    run_id = await client.trigger(one(talker))
    execution = (await client.execution_of(run_id)).id
    watchers = await _watch(spec, f"/api/executions/{execution}/watch")
    try:
        gate.touch()  # noqa: ASYNC240 - a moment
        await asyncio.sleep(spec["warm_secs"])
        tell("begin")
        before, began = sum(w.events for w in watchers), time.perf_counter()
        await asyncio.sleep(spec["seconds"])
        count, took = sum(w.events for w in watchers) - before, time.perf_counter() - began
        tell("end", n=count)
        async with asyncio.timeout(DRAIN_SECS):
            await asyncio.gather(*(watcher.ended for watcher in watchers))
    finally:
        gate.unlink()  # noqa: ASYNC240 - the same
    expected = [_written(lines, stream) for stream in (0, 1)]
    for watcher in watchers:
        watcher.judge(expected)
    return {"n": count, "rate": count / took}


def _written(lines: int, stream: int) -> int:
    """Bytes of a stream."""
    return sum(len(b"line %d of a task that talks a lot\n" % n) for n in range(stream, lines, 2))


async def _watch(spec: dict[str, Any], path: str) -> list[Watcher]:
    host, _, port = spec["http"].removeprefix("http://").rpartition(":")
    loop = asyncio.get_running_loop()
    watchers = []
    for _ in range(spec["watchers"]):
        _, watcher = await loop.create_connection(Watcher, host, int(port))
        watcher.begin(request("GET", path, os.environ["KRONFORCE_KEY"]))
        watchers.append(watcher)
    await asyncio.gather(*(watcher.begun for watcher in watchers))
    return watchers


class Watcher(asyncio.Protocol):
    """One connection, which keeps what comes and counts events."""

    def __init__(self) -> None:
        self.events = 0
        self._parts: list[bytes] = []
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no subclass.
        self._transport = cast(asyncio.Transport, transport)

    def begin(self, head: bytes) -> None:
        assert self._transport is not None
        self._transport.write(head)

    def data_received(self, data: bytes) -> None:
        if not self.begun.done():
            self.begun.set_result(None)
        self._parts.append(data)
        self.events += data.count(_EVENT)
        if data.endswith(b"0\r\n\r\n") and not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for each in (self.begun, self.ended):
            if not each.done():
                each.set_exception(Void(f"the gateway closed a stream: {exc}"))

    def judge(self, expected: list[int]) -> None:
        """Raise Void unless everything came, in order and once."""
        if self._transport is not None:
            self._transport.close()
        body = _unchunked(b"".join(self._parts).partition(b"\r\n\r\n")[2])
        places = [0, 0]
        for found in _OUTPUT.finditer(body):
            stream = int(found[3] == b"err")
            size = len(found[5].replace(b"\\n", b"\n"))
            if int(found[4]) != places[stream]:
                raise Void(f"output goes on at {int(found[4]):,} instead of {places[stream]:,}")
            places[stream] += size
            if [int(found[1]), int(found[2])] != places:
                raise Void(f"an id says {found[1]!r}-{found[2]!r} at {places}")
        if places != expected or b"event: end\n" not in body:
            raise Void(f"a watcher got {places} of {expected}")


def _unchunked(body: bytes) -> bytes:
    parts, at = [], 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size
