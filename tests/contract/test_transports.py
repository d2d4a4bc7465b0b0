"""A call means the same over gRPC and in process: replies, errors, streams, deadlines, the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from kronforce.api.call import Call
from kronforce.api.chain import MAX_MESSAGE_BYTES
from kronforce.api.local import BUFFERED_REPLIES, LocalTransport
from kronforce.api.services import endpoints_of
from kronforce.api.transport import CallFailed
from kronforce.errors import Aborted, Code, InvalidArgument, JobNotFound, Unauthenticated
from kronforce.v1 import (
    execution_service_pb2,
    job_pb2,
    job_service_pb2,
    options_pb2,
    run_pb2,
)
from tests.contract.harness import METHODS, Served, first, serve, stand_ins, until

GET = METHODS["JobService.GetJob"]
WATCH = METHODS["ExecutionService.WatchRuns"]
TRIGGER = METHODS["JobService.TriggerJobsStream"]

BOTH = pytest.mark.parametrize("way", ["grpc", "local"])

# A test waits for a signal; this only bounds a broken one.
LIMIT_SECS = 10


class Probe:
    """Handlers that do what a test asks for, and tell what they see."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.started = asyncio.Event()
        self.ended = asyncio.Event()

    async def get_job(self, request: job_service_pb2.GetJobRequest, call: Call) -> job_pb2.Job:
        self.calls.append(call)
        match request.job_id:
            case "missing":
                raise JobNotFound("no job 'missing'", job="missing")
            case "wrong":
                raise InvalidArgument.of(("job_id", "is wrong"), ("etag", "is too"))
            case "changed":
                raise Aborted("somebody changed it", etag="2")
            case "broken":
                raise RuntimeError("a secret of the server")
            case "cancels itself":
                raise asyncio.CancelledError
            case "slow":
                await self._wait(call)
        call.trailing_metadata.append(("seen-by", "probe"))
        return job_pb2.Job(name=request.job_id)

    async def watch_runs(
        self, request: execution_service_pb2.WatchRunsRequest, call: Call
    ) -> AsyncIterator[run_pb2.RunUpdates]:
        self.calls.append(call)
        for run_id in request.run_ids:
            yield run_pb2.RunUpdates(updates=[run_pb2.RunUpdate(run_id=run_id)])
        if request.group == "broken":
            raise JobNotFound("gone half way")
        if request.group == "for ever":
            await self._wait(call)

    async def trigger_stream(
        self, requests: AsyncIterator[job_service_pb2.TriggerJobsRequest], call: Call
    ) -> AsyncIterator[job_service_pb2.TriggerJobsResponse]:
        async for request in requests:
            reply = job_service_pb2.TriggerJobsResponse()
            for _ in request.requests:
                reply.results.add()
            yield reply

    async def _wait(self, call: Call) -> None:
        call.on_cancel(self.ended.set)
        self.started.set()
        await asyncio.get_running_loop().create_future()


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.fixture
async def served(tmp_path: Path, probe: Probe) -> AsyncIterator[Served]:
    services = stand_ins(
        GetJob=probe.get_job, WatchRuns=probe.watch_runs, TriggerJobsStream=probe.trigger_stream
    )
    async with serve(tmp_path, services) as served:
        yield served


async def get(served: Served, way: str, job: str, **options: Any) -> job_pb2.Job:
    metadata = options.pop("metadata", None) or await served.key()
    request = job_service_pb2.GetJobRequest(job_id=job)
    reply = await served.transports[way].unary(GET, request, metadata=metadata, **options)
    assert isinstance(reply, job_pb2.Job)
    return reply


async def failure(served: Served, way: str, job: str, **options: Any) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        await get(served, way, job, **options)
    return failed.value


def watch(served: Served, way: str, metadata: dict[str, str], **fields: Any) -> Any:
    request = execution_service_pb2.WatchRunsRequest(**fields)
    return served.transports[way].server_stream(WATCH, request, metadata=metadata)


@BOTH
async def test_a_reply_comes_back(served: Served, way: str) -> None:
    assert (await get(served, way, "hello")).name == "hello"


@BOTH
async def test_a_servicer_sees_who_calls_and_what_they_sent(
    served: Served, probe: Probe, way: str
) -> None:
    metadata = {**await served.key(name="ci", groups=["ops"]), "client-id": "laptop"}
    await get(served, way, "hello", metadata=metadata | {}, timeout=5)
    call = probe.calls[-1]
    # An admin key is never limited to groups, whatever its row says.
    assert (call.principal.name, call.scope.groups, call.client_id) == ("ci", None, "laptop")
    assert call.method == "/kronforce.v1.JobService/GetJob"
    assert call.deadline is not None
    assert call.peer == ("127.0.0.1" if way == "grpc" else "local")


@BOTH
async def test_an_error_is_one_status_with_one_reason(served: Served, way: str) -> None:
    error = await failure(served, way, "missing")
    assert (error.code, error.reason) == (Code.NOT_FOUND, "JOB_NOT_FOUND")
    assert (error.message, error.metadata) == ("no job 'missing'", {"job": "missing"})
    assert [detail.type_url.rpartition(".")[2] for detail in error.status.details] == ["ErrorInfo"]


@BOTH
async def test_wrong_fields_are_named_one_by_one(served: Served, way: str) -> None:
    error = await failure(served, way, "wrong")
    assert error.code is Code.INVALID_ARGUMENT
    assert [(v.field, v.description) for v in error.violations] == [
        ("job_id", "is wrong"),
        ("etag", "is too"),
    ]


@BOTH
async def test_a_fault_of_ours_is_told_by_a_correlation_id_and_nothing_else(
    served: Served, way: str
) -> None:
    error = await failure(served, way, "broken")
    assert (error.code, error.reason) == (Code.INTERNAL, "INTERNAL")
    assert "secret" not in str(error.status)
    assert error.metadata["correlation_id"] in error.message


@BOTH
async def test_a_handler_that_cancels_itself_still_answers(served: Served, way: str) -> None:
    async with asyncio.timeout(LIMIT_SECS):
        error = await failure(served, way, "cancels itself")
    assert error.code is Code.INTERNAL


@BOTH
async def test_a_caller_that_goes_away_cancels_the_handler(
    served: Served, probe: Probe, way: str
) -> None:
    task = asyncio.create_task(get(served, way, "slow"))
    async with asyncio.timeout(LIMIT_SECS):
        await probe.started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await probe.ended.wait()
    assert task.cancelled()
    assert probe.calls[-1].cancelled()


@BOTH
async def test_a_deadline_ends_the_call(served: Served, probe: Probe, way: str) -> None:
    async with asyncio.timeout(LIMIT_SECS):
        error = await failure(served, way, "slow", timeout=0.05)
        if probe.started.is_set():
            # On a busy machine the deadline may come before the handler.
            await probe.ended.wait()
    assert error.code is Code.DEADLINE_EXCEEDED


@BOTH
async def test_a_big_request_is_refused(served: Served, way: str) -> None:
    error = await failure(served, way, "x" * (MAX_MESSAGE_BYTES + 1))
    assert error.code in (Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT)


@BOTH
async def test_a_stream_gives_its_replies_in_order_and_ends(served: Served, way: str) -> None:
    wanted = [f"run-{number}" for number in range(50)]
    async with watch(served, way, await served.key(), run_ids=wanted) as replies:
        assert [reply.updates[0].run_id async for reply in replies] == wanted


@BOTH
async def test_an_error_in_a_stream_comes_after_what_was_sent(served: Served, way: str) -> None:
    seen = []
    async with watch(served, way, await served.key(), run_ids=["one"], group="broken") as replies:
        seen.append((await anext(replies)).updates[0].run_id)
        with pytest.raises(CallFailed) as failed:
            await anext(replies)
    assert (seen, failed.value.reason) == (["one"], "JOB_NOT_FOUND")


@BOTH
async def test_leaving_a_stream_ends_it_at_the_server(
    served: Served, probe: Probe, way: str
) -> None:
    async with asyncio.timeout(LIMIT_SECS):
        async with watch(
            served, way, await served.key(), run_ids=["one"], group="for ever"
        ) as replies:
            await anext(replies)
            await probe.started.wait()
        await probe.ended.wait()
        await until(lambda: not served.in_flight.streams)


@BOTH
async def test_a_bidirectional_stream_answers_while_it_is_asked(served: Served, way: str) -> None:
    turn = asyncio.Event()

    async def requests() -> AsyncIterator[job_service_pb2.TriggerJobsRequest]:
        yield job_service_pb2.TriggerJobsRequest(requests=[{}])  # type: ignore[list-item]
        await turn.wait()
        yield job_service_pb2.TriggerJobsRequest(requests=[{}, {}])  # type: ignore[list-item]

    sizes = []
    async with (
        asyncio.timeout(LIMIT_SECS),
        served.transports[way].bidi(TRIGGER, requests(), metadata=await served.key()) as replies,
    ):
        async for reply in replies:
            assert isinstance(reply, job_service_pb2.TriggerJobsResponse)
            sizes.append(len(reply.results))
            turn.set()
    assert sizes == [1, 2]


@BOTH
async def test_a_call_ended_by_the_server_gets_the_reason_that_was_given(
    served: Served, probe: Probe, way: str
) -> None:
    async with asyncio.timeout(LIMIT_SECS):
        async with watch(served, way, await served.key(), group="for ever") as replies:
            waiting = asyncio.ensure_future(anext(replies))
            await probe.started.wait()
            probe.calls[-1].end(Unauthenticated("the key was revoked"))
            with pytest.raises(CallFailed) as failed:
                await waiting
    assert (failed.value.code, failed.value.reason) == (Code.UNAUTHENTICATED, "BAD_KEY")


async def test_a_frame_that_is_no_message_ends_its_stream_and_says_so(served: Served) -> None:
    stream = served.channel.stream_stream("/kronforce.v1.JobService/TriggerJobsStream")
    good = job_service_pb2.TriggerJobsRequest().SerializeToString()
    call = stream(metadata=tuple((await served.key()).items()))
    await call.write(good)
    assert await call.read() == job_service_pb2.TriggerJobsResponse().SerializeToString()
    await call.write(b"\xff")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no message of this method's type" in str(refused.value.details())


async def test_a_surface_offers_only_what_the_contract_exposes_on_it(served: Served) -> None:
    gateway = LocalTransport(
        endpoints_of(stand_ins(), loopback=True), served.chain(options_pb2.SURFACE_HTTP)
    )
    connect = METHODS["AgentService.Connect"]
    with pytest.raises(CallFailed) as refused:
        await first(gateway, connect, metadata=await served.credential())
    assert refused.value.code is Code.UNIMPLEMENTED


async def test_a_slow_reader_in_the_process_slows_its_servicer(tmp_path: Path) -> None:
    made: list[int] = []

    async def watch_runs(_request: Any, _call: Call) -> AsyncIterator[run_pb2.RunUpdates]:
        for number in range(10 * BUFFERED_REPLIES):
            made.append(number)
            yield run_pb2.RunUpdates()

    async with (
        serve(tmp_path, stand_ins(WatchRuns=watch_runs)) as served,
        asyncio.timeout(LIMIT_SECS),
        watch(served, "local", await served.key()) as replies,
    ):
        await anext(replies)
        await until(lambda: len(made) >= BUFFERED_REPLIES)
        for _ in range(100):
            await asyncio.sleep(0)
        # One read, a full queue, and one in the servicer's hand.
        assert len(made) <= BUFFERED_REPLIES + 2
        assert len([reply async for reply in replies]) == 10 * BUFFERED_REPLIES - 1
