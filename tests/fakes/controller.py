"""A controller for agent tests: a real grpc.aio server on a loopback port, scripted by the test.

It enrols anybody with its join token, answers each hello with a welcome and then does what the
test says; by itself it only acknowledges results and stores output, and both can be turned off.
What an agent sends is recorded in order, and a test waits for it with a deadline, never a sleep.
"""

# ruff: noqa: N802, ASYNC109 - servicer methods carry the contract's names

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import grpc.aio

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import agent_service_pb2_grpc, job_pb2

JOIN_TOKEN = "kfj_test.secret"
CREDENTIAL = "kfa_test"
AGENT_ID = "019a0000-0000-7000-8000-000000000001"
PATIENCE_SECS = 30.0


class Condition:
    """Wakes everybody who waits for a predicate over what was recorded."""

    def __init__(self) -> None:
        self._waiters: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    def changed(self) -> None:
        for check, future in list(self._waiters):
            if not future.done() and (value := check()):
                future.set_result(value)
        self._waiters = [(c, f) for c, f in self._waiters if not f.done()]

    async def until(
        self, check: Callable[[], Any], what: str, timeout: float = PATIENCE_SECS
    ) -> Any:
        if value := check():
            return value
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiters.append((check, future))
        try:
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            raise AssertionError(f"waited {timeout} s for {what}") from None


@dataclass
class StoredOutput:
    """One execution's output as a careful controller stores it."""

    streams: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(), 2: bytearray()})
    gaps: list[tuple[int, int, int]] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})
    sequence: int = 0
    order: list[int] = field(default_factory=list)
    unacked: int = 0

    def store(self, chunk: Any) -> None:
        """Trim what is stored already; anything but contiguous is an error of the agent's."""
        end = self.ends[chunk.stream]
        skip = end - chunk.offset
        assert skip >= 0, f"silent gap: {chunk.offset} after {end}"
        if chunk.gap_bytes:
            if chunk.gap_bytes > skip:
                self.gaps.append((chunk.stream, end, chunk.gap_bytes - skip))
                self.ends[chunk.stream] = chunk.offset + chunk.gap_bytes
        elif len(chunk.data) > skip:
            self.streams[chunk.stream] += chunk.data[skip:]
            self.ends[chunk.stream] = chunk.offset + len(chunk.data)
            self.order.append(chunk.stream)
        self.sequence = max(self.sequence, chunk.sequence)

    def sha256(self, stream: int = 1) -> str:
        return hashlib.sha256(self.streams[stream]).hexdigest()


class FakeSession:
    """One Connect stream; the test sends on it and waits for what comes."""

    def __init__(self, controller: FakeController, hello: pb.Hello, number: int) -> None:
        self.controller = controller
        self.hello = hello
        self.id = f"session-{number}"
        self.received: list[pb.AgentMessage] = []
        self.frames = 0
        self.open = True
        self._down: asyncio.Queue[list[pb.ControllerMessage] | None] = asyncio.Queue()
        self.condition = Condition()

    def send(self, *messages: pb.ControllerMessage) -> None:
        """One frame down."""
        self._down.put_nowait(list(messages))

    def close(self) -> None:
        """End the stream from the controller's side."""
        self._down.put_nowait(None)

    def assign(self, *tasks: job_pb2.Task, **more: Any) -> list[tuple[str, int]]:
        """Assign each task as a new execution in one frame; gives their keys."""
        messages = [self.controller.assignment(task, **more) for task in tasks]
        self.send(*messages)
        return [(m.execution_id, m.fence) for m in messages]

    def of(self, kind: str, key: tuple[str, int] | None = None) -> list[Any]:
        """What came of one kind, for one execution or all."""
        return [
            getattr(m, kind)
            for m in self.received
            if m.WhichOneof("message") == kind and key in (None, (m.execution_id, m.fence))
        ]

    async def expect(self, kind: str, key: tuple[str, int] | None = None, nth: int = 1) -> Any:
        """Wait for the nth of a kind."""

        def check() -> Any:
            found = self.of(kind, key)
            return found[nth - 1] if len(found) >= nth else None

        return await self.condition.until(check, f"{kind} no. {nth} for {key}")

    async def closed(self) -> None:
        await self.condition.until(lambda: not self.open, "the session's end")

    async def frames_down(self) -> AsyncIterator[pb.ConnectResponse]:
        while (messages := await self._down.get()) is not None:
            yield pb.ConnectResponse(messages=messages)


class FakeController(agent_service_pb2_grpc.AgentServiceServicer):
    """`async with FakeController() as controller:`; attributes may be changed between sessions."""

    def __init__(self) -> None:
        self.heartbeat_secs = 10
        self.lease_secs = 30
        self.initial_credit = 1024 * 1024
        self.acknowledge_results = True
        self.store_output = True
        self.heartbeats = False
        self.grant: Callable[[int], int] = lambda stored: stored
        self.sessions: list[FakeSession] = []
        self.outputs: dict[tuple[str, int], StoredOutput] = {}
        self.condition = Condition()
        self.connects = 0
        self.open_calls = 0
        self.output_streams = 0
        self.most_unacked = 0
        self.registrations: list[pb.RegisterAgentRequest] = []
        self._results: dict[tuple[str, int], pb.Result] = {}
        self._numbers = itertools.count(1)
        self._server: grpc.aio.Server | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after a stop on the same port again."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(options=options)
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Drop every stream, as a killed controller does."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def assignment(self, task: job_pb2.Task, **more: Any) -> pb.ControllerMessage:
        number = next(self._numbers)
        execution_id = more.pop("execution_id", f"execution-{number}")
        fence = more.pop("fence", number)
        assignment = pb.Assignment(
            run_id=f"run-{number}",
            job_id="job-1",
            job_name="test",
            attempt_number=1,
            task=task,
            **more,
        )
        return pb.ControllerMessage(execution_id=execution_id, fence=fence, assignment=assignment)

    async def session(self, nth: int = 1) -> FakeSession:
        """Wait for the nth session."""
        session: FakeSession = await self.condition.until(
            lambda: self.sessions[nth - 1] if len(self.sessions) >= nth else None,
            f"session no. {nth}",
        )
        return session

    def output_of(self, key: tuple[str, int]) -> StoredOutput:
        return self.outputs.setdefault(key, StoredOutput())

    async def stored(self, key: tuple[str, int], size: int, stream: int = 1) -> StoredOutput:
        """Wait until a stream is stored to `size`."""
        output = self.output_of(key)
        await self.condition.until(lambda: output.ends[stream] >= size, f"{size} bytes", 60)
        return output

    # ---- AgentService --------------------------------------------------------------------------

    async def RegisterAgent(self, request: pb.RegisterAgentRequest, context: Any) -> Any:
        self.registrations.append(request)
        if request.join_token != JOIN_TOKEN:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown join token")
        return pb.RegisterAgentResponse(
            agent_id=AGENT_ID, credential=CREDENTIAL, heartbeat_interval_secs=10
        )

    async def Connect(self, requests: AsyncIterator[pb.ConnectRequest], context: Any) -> Any:
        await _authenticate(context)
        self.connects += 1
        self.open_calls += 1
        session: FakeSession | None = None
        reader: asyncio.Task[None] | None = None
        try:
            first = await anext(aiter(requests))
            session = FakeSession(self, first.messages[0].hello, self.connects)
            self.sessions.append(session)
            yield pb.ConnectResponse(messages=[self._welcome(session)])
            reader = asyncio.ensure_future(self._read(session, requests))
            self.condition.changed()
            async for frame in session.frames_down():
                yield frame
        finally:
            self.open_calls -= 1
            if reader is not None:
                reader.cancel()
            if session is not None:
                session.open = False
                session.condition.changed()

    def _welcome(self, session: FakeSession) -> pb.ControllerMessage:
        return pb.ControllerMessage(
            welcome=pb.Welcome(
                session_id=session.id,
                session_epoch=self.connects,
                heartbeat_secs=self.heartbeat_secs,
                lease_secs=self.lease_secs,
                initial_credit_bytes=self.initial_credit,
                controller_version="fake",
            )
        )

    async def _read(self, session: FakeSession, requests: AsyncIterator[pb.ConnectRequest]) -> None:
        async for frame in requests:
            session.frames += 1
            answers: list[pb.ControllerMessage] = []
            for message in frame.messages:
                session.received.append(message)
                self._handle(message, answers)
            if answers:
                session.send(*answers)
            session.condition.changed()
            self.condition.changed()

    def _handle(self, message: pb.AgentMessage, answers: list[pb.ControllerMessage]) -> None:
        kind = message.WhichOneof("message")
        if kind == "result":
            key = (message.execution_id, message.fence)
            for chunk in message.result.output:
                self.output_of(key).store(chunk)
            self._results[key] = message.result
            self._take_results(answers)
        elif kind == "heartbeat" and self.heartbeats:
            answers.append(pb.ControllerMessage(heartbeat=pb.ControllerHeartbeat()))

    def _take_results(self, answers: list[pb.ControllerMessage]) -> None:
        """Acknowledge results whose output is stored to its end, as a real controller does."""
        if not self.acknowledge_results:
            return
        for key, result in list(self._results.items()):
            ends = self.output_of(key).ends
            if ends[1] >= result.stdout_bytes and ends[2] >= result.stderr_bytes:
                answers.append(acknowledge(key))
                del self._results[key]

    async def StreamOutput(
        self, requests: AsyncIterator[pb.StreamOutputRequest], context: Any
    ) -> Any:
        await _authenticate(context)
        self.output_streams += 1
        self.open_calls += 1
        named = ""
        try:
            async for frame in requests:
                named = named or frame.session_id
                assert named == self.sessions[-1].id
                answers: list[pb.ControllerMessage] = []
                progress = [p for output in frame.outputs if (p := self._store(output))]
                self._take_results(answers)
                if answers:
                    self.sessions[-1].send(*answers)
                self.condition.changed()
                if progress:
                    yield pb.StreamOutputResponse(progress=progress)
        finally:
            self.open_calls -= 1

    def _store(self, output: pb.ExecutionOutput) -> pb.OutputProgress | None:
        stored = self.output_of((output.execution_id, output.fence))
        size = sum(len(chunk.data) for chunk in output.chunks)
        for chunk in output.chunks:
            stored.store(chunk)
        stored.unacked += size
        self.most_unacked = max(self.most_unacked, stored.unacked)
        if not self.store_output:
            return None
        stored.unacked = 0
        return pb.OutputProgress(
            execution_id=output.execution_id,
            stored_sequence=stored.sequence,
            credit_bytes=self.grant(size),
        )


def acknowledge(key: tuple[str, int]) -> pb.ControllerMessage:
    return pb.ControllerMessage(
        execution_id=key[0],
        fence=key[1],
        acknowledge=pb.Acknowledge(kind=pb.ACKNOWLEDGE_KIND_RESULT),
    )


def cancel(key: tuple[str, int]) -> pb.ControllerMessage:
    return pb.ControllerMessage(execution_id=key[0], fence=key[1], cancel=pb.Cancel(reason="test"))


def revoke(key: tuple[str, int]) -> pb.ControllerMessage:
    return pb.ControllerMessage(execution_id=key[0], fence=key[1], revoke=pb.Revoke(reason="test"))


def noop(**fields: Any) -> job_pb2.Task:
    return job_pb2.Task(noop=job_pb2.NoopTask(**fields))


def shell(command: str, **fields: Any) -> job_pb2.Task:
    return job_pb2.Task(shell=job_pb2.ShellTask(command=command, **fields))


async def _authenticate(context: Any) -> None:
    metadata = dict(context.invocation_metadata())
    if metadata.get("authorization") != f"Bearer {CREDENTIAL}":
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown credential")
