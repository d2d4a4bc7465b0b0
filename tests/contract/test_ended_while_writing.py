"""Streams that are ended from this side while a reply is on its way out: the caller is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kronforce.api.call import Call
from kronforce.api.in_flight import UNREAD_SECS
from kronforce.api.transport import CallFailed
from kronforce.clock import ManualClock
from kronforce.errors import Code
from kronforce.store import keys as stored_keys
from kronforce.v1 import api_key_pb2, execution_service_pb2, run_pb2
from tests.contract.harness import METHODS, Served, serve, stand_ins, until

WATCH = METHODS["ExecutionService.WatchRuns"]
LIMIT_SECS = 20
# Longer than a stream's window is left open by a reader that does not read.
STILL_SECS = 0.3
LARGE = run_pb2.RunUpdates(updates=[{"cursor": "x" * 1_000_000}])


class Flood:
    """A watch that always has something to send, so that it is always found writing."""

    def __init__(self) -> None:
        self.sent = 0
        self.closed = asyncio.Event()

    async def replies(self, _request: Any, _call: Call) -> AsyncIterator[run_pb2.RunUpdates]:
        try:
            while True:
                self.sent += 1
                yield LARGE
        finally:
            self.closed.set()

    async def stalled(self) -> None:
        """Return when its reader holds it up."""
        before = -1
        while before != self.sent:
            before = self.sent
            await asyncio.sleep(STILL_SECS)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def flood() -> Flood:
    return Flood()


@pytest.fixture
async def served(tmp_path: Path, clock: ManualClock, flood: Flood) -> AsyncIterator[Served]:
    async with serve(tmp_path, stand_ins(WatchRuns=flood.replies), clock=clock) as served:
        yield served


@pytest.fixture(params=["grpc", "local"])
def surface(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def unread(served: Served, surface: str, flood: Flood) -> AsyncIterator[Any]:
    """A watch whose reader took one reply and stopped; its key is `doomed`."""
    metadata = await served.key(api_key_pb2.ROLE_VIEWER, name="doomed")
    request = execution_service_pb2.WatchRunsRequest()
    transport = served.transports[surface]
    async with (
        asyncio.timeout(LIMIT_SECS),
        transport.server_stream(WATCH, request, metadata=metadata) as replies,
    ):
        await anext(replies)
        await flood.stalled()
        yield replies


async def revoke(served: Served) -> None:
    await served.store.write(stored_keys.revoke_key, "doomed", served.clock.now_us())
    await served.keeper.recheck()


async def code_of(replies: Any) -> Code | None:
    """How it ends, for a reader that reads on."""
    with pytest.raises(CallFailed) as ended:
        async for _reply in replies:
            pass
    return ended.value.code


async def test_a_reader_that_was_slow_is_told_that_its_key_was_revoked(
    served: Served, surface: str, flood: Flood
) -> None:
    async with unread(served, surface, flood) as replies:
        await revoke(served)
        assert await code_of(replies) is Code.UNAUTHENTICATED
        assert flood.closed.is_set()


async def test_a_reader_that_stalls_holds_nothing_of_ours_and_is_told_when_it_reads_again(
    served: Served, clock: ManualClock, surface: str, flood: Flood
) -> None:
    async with unread(served, surface, flood) as replies:
        await revoke(served)
        clock.advance(UNREAD_SECS)
        served.in_flight.end_overdue()
        await flood.closed.wait()
        await until(lambda: served.in_flight.streams == 0)
        assert await code_of(replies) is Code.UNAUTHENTICATED


async def test_a_reader_that_leaves_after_its_end_leaves_nothing(
    served: Served, surface: str, flood: Flood
) -> None:
    async with unread(served, surface, flood):
        await revoke(served)
    async with asyncio.timeout(LIMIT_SECS):
        await until(lambda: served.in_flight.streams == 0)
    assert flood.closed.is_set()


async def test_a_server_that_stops_tells_a_slow_reader(served: Served, flood: Flood) -> None:
    async with unread(served, "grpc", flood) as replies:
        stopping = asyncio.create_task(served.server.stop(grace=LIMIT_SECS * 10))
        assert await code_of(replies) is Code.UNAVAILABLE
        await stopping
