"""Readers that take the first of a chatty execution's output and then nothing more."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.fakes.http_reader import ask
from tests.system.rig.cluster import ADMIN_KEY, Cluster

# As little as the system gives, so that most of what is sent stays with the sender.
RECEIVE_BUFFER = 4_096


@asynccontextmanager
async def stalled_readers(made: Cluster, run_id: str, count: int) -> AsyncIterator[None]:
    """So many over gRPC and as many over HTTP, each over a stream of its own."""
    endpoint = json.loads((made.data_dir / "endpoint.json").read_text())
    port = int(endpoint["http"].rpartition(":")[2])
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    path = f"/api/runs/{run_id}/watch?include_output=true"
    async with AsyncExitStack() as stack:
        for _ in range(count):
            watch = made.client.runs.watch(runs=[run_id], include_output=True)
            await anext(await stack.enter_async_context(watch))
            reading = ask(port, path, headers=headers, receive_buffer=RECEIVE_BUFFER)
            answer = await stack.enter_async_context(reading)
            await anext(answer.events())
        yield
