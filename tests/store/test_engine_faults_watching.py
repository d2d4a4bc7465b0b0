"""Watching over both stores: every byte once, to the end, also where the reader comes early."""

import asyncio

import pytest

from kronforce.errors import InvalidArgument
from kronforce.store import executions as execution_store
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce.v1.execution_service_pb2 import ReadOutputRequest, WatchRunsRequest
from tests.store.rig import ADMIN, FakeAgent, Someone


def say(rig, a, sent, offset: int, data: bytes, sequence: int) -> None:
    chunk = OutputChunk(stream=1, offset=offset, data=data, sequence=sequence)
    message = pb.ExecutionOutput(execution_id=sent.execution_id, fence=sent.fence, chunks=[chunk])
    rig.engine.output.receive(a.row.key, message, lambda progress: None)


async def running(rig):
    await rig.job()
    a = FakeAgent(rig, await rig.enrol(), auto=False)
    await a.connect()
    run = await rig.run()
    sent = await a.assignment()
    a.accept(sent)

    async def started():
        return (await rig.row(run.run_id)).state == 3

    await rig.until(started)
    return run, a, sent


async def output_of(frames) -> bytes:
    data = b""
    async with asyncio.timeout(10):
        async for frame in frames:
            data += b"".join(u.output.chunk.data for u in frame.updates)
    return data


async def test_output_that_came_while_the_watch_began_is_shown_once(rig, monkeypatch):
    run, a, sent = await running(rig)
    read = rig.store.read

    async def read_and_talk(query, *args, **kw):
        rows = await read(query, *args, **kw)
        if query is execution_store.executions_of_runs:
            say(rig, a, sent, 0, b"hello ", 1)
        return rows

    monkeypatch.setattr(rig.store, "read", read_and_talk)
    async with rig.engine.views.watch_run(ADMIN, run.run_id, True) as frames:
        monkeypatch.undo()
        say(rig, a, sent, 6, b"world", 2)
        a.finish(sent, stdout_bytes=11)
        assert await output_of(frames) == b"hello world"
    await a.leave()


async def test_ids_in_capitals_name_the_same_runs(rig):
    run, a, sent = await running(rig)
    request = WatchRunsRequest(run_ids=[run.run_id.upper()], include_output=True)
    async with rig.engine.views.watch(ADMIN, Someone(), request) as frames:
        say(rig, a, sent, 0, b"hello", 1)
        a.finish(sent, stdout_bytes=5)
        assert await output_of(frames) == b"hello"
    await a.leave()


async def test_following_the_output_of_what_still_waits_waits_too(rig):
    await rig.job(max_concurrent=1)
    a = FakeAgent(rig, await rig.enrol(), auto=False)
    await a.connect()
    await rig.run()
    first = await a.assignment()
    waiting = await rig.run()
    request = ReadOutputRequest(execution_id=waiting.execution_ids[0].upper(), follow=True)
    frames = rig.engine.views.read_output(ADMIN, request)

    async def read() -> bytes:
        return b"".join([c.data async for frame in frames for c in frame.chunks])

    reader = asyncio.create_task(read())
    await rig.until(lambda: _subscribed(rig))
    assert not reader.done()
    a.accept(first)
    a.finish(first)
    sent = await a.assignment(2)
    a.accept(sent)
    say(rig, a, sent, 0, b"at last", 1)
    a.finish(sent, stdout_bytes=7)
    async with asyncio.timeout(10):
        assert await reader == b"at last"
    await a.leave()


async def _subscribed(rig):
    return bool(rig.engine.hub._topics)


@pytest.mark.parametrize(
    "request_",
    [
        WatchRunsRequest(run_ids=["x"] * 1_001),
        WatchRunsRequest(job_id="job", positions=[{}] * 2_001),
    ],
)
async def test_a_watch_beyond_its_limits_is_refused(rig, request_):
    await rig.job()
    with pytest.raises(InvalidArgument):
        async with rig.engine.views.watch(ADMIN, Someone(), request_):
            pass


async def test_a_long_watch_remembers_nothing_of_runs_that_have_ended(rig):
    await rig.job()
    a = FakeAgent(rig, await rig.enrol(), auto=False)
    await a.connect()
    request = WatchRunsRequest(job_id="job", include_output=True)
    async with rig.engine.views.watch(ADMIN, Someone(), request) as frames:
        for nth in (1, 2, 3):
            await rig.run()
            sent = await a.assignment(nth)
            a.accept(sent)
            say(rig, a, sent, 0, b"hello", 1)
            a.finish(sent, stdout_bytes=5)
            await _until_end(frames)
        (watcher,) = rig.engine.hub._topics[next(iter(rig.engine.hub._topics))]
        assert watcher.followers == {}
    await a.leave()


async def _until_end(frames) -> None:
    async with asyncio.timeout(10):
        async for frame in frames:
            if any(u.state.HasField("finished_at") for u in frame.updates):
                return
