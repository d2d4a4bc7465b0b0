"""The client that all loads share, and the books it keeps: what was triggered, what came back.

One long-lived `WatchRuns(mine)` stream tells of every run. The books balance at the end of each
load, or the figure is void: every id that a trigger gave must have been told as `succeeded`, once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

import grpc.aio
from google.protobuf.json_format import ParseDict

from kronforce.v1 import (
    execution_service_pb2,
    execution_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    variable_pb2,
    variable_service_pb2,
    variable_service_pb2_grpc,
)
from kronforce.v1.execution_pb2 import EXECUTION_STATE_SUCCEEDED

CLIENT_ID = "bench"
SETTLE_SECS = 0.5
"""A watch says nothing until something happens; this long it certainly needs to be there."""
DRAIN_SECS = 120.0
"""In the end every run must have finished within this."""
# The server's limit for messages, and room for frames of output.
OPTIONS = (("grpc.max_receive_message_length", 16 << 20),)

SUCCEEDED = int(EXECUTION_STATE_SUCCEEDED)
_JOBS = "/kronforce.v1.JobService/"

Tell = Callable[..., None]


class Void(Exception):
    """The measurement cannot be trusted; the message says why."""


class Client:
    """A channel with the admin key, and calls that send ready bytes."""

    def __init__(self, address: str, key: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._jobs = job_service_pb2_grpc.JobServiceStub(self._channel)
        self._variables = variable_service_pb2_grpc.VariableServiceStub(self._channel)
        self.executions = execution_service_pb2_grpc.ExecutionServiceStub(self._channel)
        self._trigger: Any = self._channel.unary_unary(
            _JOBS + "TriggerJob",
            response_deserializer=job_service_pb2.TriggerJobResponse.FromString,
        )
        self._trigger_many: Any = self._channel.unary_unary(
            _JOBS + "TriggerJobs",
            response_deserializer=job_service_pb2.TriggerJobsResponse.FromString,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def create_job(self, content: dict[str, Any]) -> str:
        job = ParseDict(content, job_pb2.Job())
        request = job_service_pb2.CreateJobRequest(job=job)
        return str((await self._jobs.CreateJob(request, metadata=self._metadata)).id)

    async def create_variable(self, name: str, value: str, *, secret: bool) -> None:
        variable = variable_pb2.Variable(name=name, value=value, secret=secret)
        request = variable_service_pb2.CreateVariableRequest(variable=variable)
        await self._variables.CreateVariable(request, metadata=self._metadata)

    async def preview(
        self, request: job_service_pb2.PreviewScheduleRequest
    ) -> job_service_pb2.PreviewScheduleResponse:
        return await self._jobs.PreviewSchedule(request, metadata=self._metadata)

    async def trigger(self, request: bytes) -> str:
        """One run; its id."""
        reply = await self._trigger(request, metadata=self._metadata)
        return str(reply.run.id)

    async def trigger_many(self, request: bytes) -> list[str]:
        """Many runs; their ids."""
        reply = await self._trigger_many(request, metadata=self._metadata)
        refused = [one.error.message for one in reply.results if not one.run_id]
        if refused:
            raise Void(f"{len(refused)} triggers of a batch were refused: {refused[0]}")
        return [one.run_id for one in reply.results]

    def watch(self, *, include_output: bool = False) -> Any:
        """Every run of ours from now on."""
        request = execution_service_pb2.WatchRunsRequest(
            mine=True, client_id=CLIENT_ID, include_output=include_output
        )
        return self.executions.WatchRuns(request, metadata=self._metadata)

    def run_with_output(self, trigger: bytes, *, timeout: float) -> Any:
        """RunJob: trigger and follow to the end on one stream."""
        request = job_service_pb2.RunJobRequest(
            trigger=job_service_pb2.TriggerJobRequest.FromString(trigger), include_output=True
        )
        return self._jobs.RunJob(request, metadata=self._metadata, timeout=timeout)

    async def get_run(self, request: execution_service_pb2.GetRunRequest) -> Any:
        """A run, from the store."""
        return await self.executions.GetRun(request, metadata=self._metadata)

    async def execution_of(self, run_id: str) -> Any:
        """The run's only execution, from the store."""
        request = execution_service_pb2.GetRunRequest(run_id=run_id)
        run = await self.executions.GetRun(request, metadata=self._metadata)
        return run.executions[0]


def one(job_id: str) -> bytes:
    """A TriggerJob request, encoded."""
    return _request(job_id).SerializeToString()


def many(job_id: str, count: int) -> bytes:
    """A TriggerJobs request, encoded."""
    request = job_service_pb2.TriggerJobsRequest(requests=[_request(job_id)] * count)
    return request.SerializeToString()


def _request(job_id: str) -> job_service_pb2.TriggerJobRequest:
    return job_service_pb2.TriggerJobRequest(job_id=job_id, client_id=CLIENT_ID)


class Books:
    """Follows the watch. Instants are `perf_counter` seconds."""

    def __init__(self, client: Client, *, include_output: bool = False) -> None:
        self._client = client
        self._include_output = include_output
        self.triggered: set[str] = set()
        self.finished: dict[str, float] = {}
        self.first_output: dict[str, float] = {}
        self.on_finished: Callable[[], None] = lambda: None
        self._bad: dict[str, int] = {}
        self._dropped = 0
        self._moved = asyncio.Event()
        self._ended: str | None = None
        self._follower: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._call = self._client.watch(include_output=self._include_output)
        self._follower = asyncio.create_task(self._follow())
        await asyncio.sleep(SETTLE_SECS)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()
        assert self._follower is not None
        await asyncio.gather(self._follower, return_exceptions=True)

    async def _follow(self) -> None:
        try:
            await self._take()
            self._ended = "by the server"
        except grpc.aio.AioRpcError as error:
            self._ended = f"{error.code().name}: {error.details()}"
        finally:
            self._moved.set()

    async def _take(self) -> None:
        async for frame in self._call:
            now = time.perf_counter()
            for update in frame.updates:
                kind = update.WhichOneof("update")
                if kind == "state":
                    state = update.state
                    if state.state >= SUCCEEDED:
                        self._end(update.run_id, state, now)
                elif kind == "output":
                    self.first_output.setdefault(update.run_id, now)
                elif kind == "gap":
                    self._dropped += update.gap.dropped
            self._moved.set()

    def _end(self, run_id: str, state: Any, now: float) -> None:
        if run_id in self.finished:
            return
        self.finished[run_id] = now
        if state.state != SUCCEEDED:
            reason = f"{state.state}/{state.state_reason}"
            self._bad[reason] = self._bad.get(reason, 0) + 1
        self.on_finished()

    async def until_finished(self, run_ids: Iterable[str]) -> None:
        """Wait for them. Raises Void after DRAIN_SECS, if the watch ended or had gaps."""
        open_ids = set(run_ids)
        try:
            async with asyncio.timeout(DRAIN_SECS):
                while open_ids := open_ids - self.finished.keys():
                    if self._ended is not None:
                        raise Void(f"the watch ended: {self._ended}")
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise Void(await self._left_behind(open_ids)) from None

    async def balance(self) -> None:
        """All that was triggered has succeeded, and nothing else was told. Raises Void."""
        await self.until_finished(self.triggered)
        strangers = self.finished.keys() - self.triggered
        if self._bad or strangers or self._dropped:
            raise Void(
                f"not succeeded: {json.dumps(self._bad)}; never triggered: {len(strangers)};"
                f" dropped by the watch: {self._dropped}"
            )

    async def _left_behind(self, open_ids: set[str]) -> str:
        states: dict[str, int] = {}
        for run_id in sorted(open_ids)[:20]:
            found = await self._client.execution_of(run_id)
            word = f"{found.state}/{found.state_reason}"
            states[word] = states.get(word, 0) + 1
        return (
            f"{len(open_ids)} of {len(self.triggered)} runs left behind; the store says of the"
            f" first: {json.dumps(states)}; dropped by the watch: {self._dropped}"
        )


def percentiles(samples: list[float]) -> dict[str, float]:
    """Exact ones, in milliseconds, of seconds."""
    ordered = sorted(samples)
    return {
        name: ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1e3
        for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    }
