"""Callers that begin calls and leave: by a word, by a reset, by closing the socket, half-way.

Each way leaves so many calls behind on connections that it closes; nothing here waits for what
the controller makes of it.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio

from kronforce.v1.event_service_pb2 import WatchEventsRequest
from kronforce.v1.execution_service_pb2 import WatchRunsRequest
from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceStub
from kronforce.v1.job_service_pb2 import ListJobsRequest
from kronforce.v1.job_service_pb2_grpc import JobServiceStub
from tests.fakes import http2
from tests.fakes.http_reader import ask
from tests.system.rig.cluster import ADMIN_KEY, Cluster

Way = Callable[[Cluster, int], Awaitable[None]]

# Of one connection: the server allows 1,000.
STREAMS = 250
# A gateway has room for more; each is a descriptor here and there.
BROWSERS = 100
# A connection of the channel's own, which it would share with others to the same address.
OWN = (("grpc.use_local_subchannel_pool", 1),)
KEY = ("authorization", f"Bearer {ADMIN_KEY}")
WATCH_RUNS = "/kronforce.v1.ExecutionService/WatchRuns"
WATCH_EVENTS = "/kronforce.v1.EventService/WatchEvents"
LIST_JOBS = "/kronforce.v1.JobService/ListJobs"
EVENTS = "/api/events/watch"
CONNECT = "/kronforce.v1.AgentService/Connect"


async def watches_cancelled(made: Cluster, count: int) -> None:
    """As a careful client does it: each is under way and is then cancelled."""
    for _ in range(0, count, STREAMS):
        # One each: the server refuses streams for a while where so many are reset.
        async with grpc.aio.insecure_channel(made.address, options=OWN) as channel:
            watching: Any = ExecutionServiceStub(channel)
            calls = [
                watching.WatchRuns(WatchRunsRequest(group="Default"), metadata=(KEY,))
                for _ in range(min(STREAMS, count))
            ]
            # Answered behind them on the same connection.
            jobs: Any = JobServiceStub(channel)
            await jobs.ListJobs(ListJobsRequest(), metadata=(KEY,))
            for call in calls:
                call.cancel()
            # Or their tasks here outlive the channel, and with them its connection.
            await asyncio.gather(*(call.code() for call in calls))
        del calls, call, watching, jobs, channel
        # What grpc.aio left in cycles holds the connection open, too.
        gc.collect()


async def watches_cut(made: Cluster, count: int) -> None:
    """Streams that nobody reads, until the socket is closed without a word."""
    runs = _begun(WATCH_RUNS, WatchRunsRequest(group="Default").SerializeToString())
    events = _begun(WATCH_EVENTS, WatchEventsRequest().SerializeToString())
    await _on_connections(made.address, count, [runs, events])


async def calls_reset(made: Cluster, count: int) -> None:
    """Rapid reset: every call is taken back as soon as it is made."""
    whole = _begun(LIST_JOBS, ListJobsRequest().SerializeToString())

    def reset(stream: int) -> bytes:
        code = http2.CANCEL.to_bytes(4, "big")
        return whole(stream) + http2.frame(http2.RST_STREAM, 0, stream, code)

    await _on_connections(made.address, count, [reset])


async def calls_cut(made: Cluster, count: int) -> None:
    """Short calls, and some that never send their message, until the socket is closed."""
    whole = _begun(LIST_JOBS, ListJobsRequest().SerializeToString())
    await _on_connections(made.address, count, [whole, _headers(LIST_JOBS), _headers(CONNECT)])


async def browsers_closed(made: Cluster, count: int) -> None:
    """The live page's stream over HTTP, each on a connection of its own that is closed."""
    endpoint = json.loads((made.data_dir / "endpoint.json").read_text())
    port = int(endpoint["http"].rpartition(":")[2])
    headers = {KEY[0]: KEY[1]}
    for _ in range(0, count, BROWSERS):
        async with AsyncExitStack() as stack:
            answers = [
                await stack.enter_async_context(ask(port, EVENTS, headers=headers))
                for _ in range(min(BROWSERS, count))
            ]
            assert {answer.status for answer in answers} == {200}


WAYS: tuple[Way, ...] = (
    watches_cancelled,
    watches_cut,
    calls_reset,
    calls_cut,
    browsers_closed,
)


def _headers(path: str) -> Callable[[int], bytes]:
    block = http2.call_headers(path, KEY)
    return lambda stream: http2.frame(http2.HEADERS, http2.END_HEADERS, stream, block)


def _begun(path: str, request: bytes) -> Callable[[int], bytes]:
    begin, data = _headers(path), http2.message(request)
    return lambda stream: begin(stream) + http2.frame(http2.DATA, http2.END_STREAM, stream, data)


async def _on_connections(address: str, count: int, calls: list[Callable[[int], bytes]]) -> None:
    last = _begun(LIST_JOBS, ListJobsRequest().SerializeToString())
    for _ in range(0, count, STREAMS):
        async with http2.connected(address) as connection:
            for number in range(min(STREAMS, count)):
                await connection.send(calls[number % len(calls)](2 * number + 1))
            # Answered behind them: each of them was begun.
            await connection.send(last(2 * STREAMS + 1))
            assert await connection.until_ended(2 * STREAMS + 1)
