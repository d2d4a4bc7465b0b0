"""One session with the controller: Connect and StreamOutput, from hello until either side is deaf.

Two loops per stream: a writer that sends whatever is queued as one frame, with no timer, and a
reader. Silence for a lease ends the session. Whatever ends it ends all of it; the caller then
drops what was not recorded and begins again with an inventory. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio

from kronforce.v1 import agent_pb2
from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent.channel import cancelling
from kronforce_agent.clock import Clock, timestamp
from kronforce_agent.failpoints import failpoint
from kronforce_agent.outbox import Outbox, frame_of
from kronforce_agent.output import OutputRouter
from kronforce_agent.supervisor import Supervisor

log = logging.getLogger(__name__)

PROTOCOL_VERSION = 1
WELCOME_TIMEOUT_SECS = 60.0
"""Another boot id waits until the older session's lease (30 s) has ended."""
DEFAULT_HEARTBEAT_SECS = 10
DEFAULT_LEASE_SECS = 30
LONGEST_BEAT = 1.5
"""Of the heartbeat's interval, after which this agent beats by itself. Before that it answers the
controller's: thousands of agents that each beat when they will wake the controller thousands of
times, where those that answer wake it once. Twice this is within the lease."""
BACKLOG_SECS = 0.25
"""After this process stood still: time to read what has arrived, before calling the other deaf."""
OUTPUT_RETRY_SECS = (0.1, 1.0)
"""Before an output stream is opened again while the session lives."""

_CONNECT = "/kronforce.v1.AgentService/Connect"
_STREAM_OUTPUT = "/kronforce.v1.AgentService/StreamOutput"

_before_hello = failpoint("agent.before_hello")
_before_output = failpoint("agent.before_output")

if TYPE_CHECKING:  # generic in the stubs alone
    StreamCall = grpc.aio.StreamStreamCall[Any, Any]
    Opens = grpc.aio.StreamStreamMultiCallable[Any, Any]


class SessionEnded(Exception):
    """The session is over for a reason that is no error of the call."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a hello says besides the inventory."""

    agent_id: str
    metadata: tuple[tuple[str, str], ...]
    slots: int
    task_types: tuple[str, ...]
    features: tuple[pb.AgentFeature.ValueType, ...]
    facts: agent_pb2.AgentFacts


class Session:
    """Runs once. Raises grpc.aio.AioRpcError or SessionEnded; never returns."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        identity: Identity,
        *,
        supervisor: Supervisor,
        outbox: Outbox,
        router: OutputRouter,
        clock: Clock,
        on_welcome: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._identity = identity
        self._supervisor = supervisor
        self._outbox = outbox
        self._router = router
        self._clock = clock
        self._on_welcome = on_welcome
        self._heard = self._beaten = clock.monotonic()
        self._reopen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def reopen(self, reason: str) -> None:
        """End it from this side."""
        if not self._reopen.done():
            self._reopen.set_result(reason)

    async def run(self) -> None:
        """From hello to the end."""
        # Bytes up: messages are serialised once, for the journal and for this.
        connect: Opens = self._channel.stream_stream(
            _CONNECT,
            request_serializer=None,
            response_deserializer=pb.ConnectResponse.FromString,
        )
        async with cancelling(connect(metadata=self._identity.metadata)) as call:
            try:
                await self._serve(call)
            finally:
                self._outbox.close()
                self._router.end_session()
                self._supervisor.session_ended()

    async def _serve(self, call: StreamCall) -> None:
        _before_hello()
        await _send(call, frame_of(self._hello()))
        welcome, rest = await self._welcome(call)
        # Not before: what ended since the inventory is among the results that follow now.
        self._outbox.open()
        self._router.start_session(welcome.initial_credit_bytes)
        self._supervisor.session_started(draining=welcome.draining)
        self._supervisor.on_messages(rest)
        log.info(
            "connected to controller %s, session epoch %s",
            welcome.controller_version,
            welcome.session_epoch,
            extra={"action": "connected", "session_id": welcome.session_id},
        )
        self._on_welcome()
        await _first_to_end(
            self._read(call),
            self._write(call),
            self._beat(welcome.heartbeat_secs or DEFAULT_HEARTBEAT_SECS),
            self._watch_lease(welcome.lease_secs or DEFAULT_LEASE_SECS),
            self._stream_output(welcome.session_id),
            self._wait_reopen(),
        )

    def _hello(self) -> bytes:
        identity = self._identity
        hello = pb.Hello(
            protocol_version=PROTOCOL_VERSION,
            features=identity.features,
            agent_id=identity.agent_id,
            boot_id=self._supervisor.boot_id,
            facts=identity.facts,
            slots=identity.slots,
            task_types=identity.task_types,
            inventory=self._supervisor.table.inventory(),
            now=timestamp(self._clock.micros()),
        )
        return pb.AgentMessage(hello=hello).SerializeToString()

    async def _welcome(self, call: StreamCall) -> tuple[pb.Welcome, list[pb.ControllerMessage]]:
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_SECS):
                frame: Any = await call.read()
        except TimeoutError:
            raise SessionEnded("the controller does not answer hello") from None
        if frame is grpc.aio.EOF:
            await _raise_status(call)
        first, *rest = _messages(frame)
        if first.WhichOneof("message") != "welcome":
            raise SessionEnded("the controller's first message is not welcome")
        return first.welcome, rest

    async def _read(self, call: StreamCall) -> None:
        while True:
            frame: Any = await call.read()
            if frame is grpc.aio.EOF:
                await _raise_status(call)
            self._heard = self._clock.monotonic()
            messages = _messages(frame)
            self._supervisor.on_messages(messages)
            if any(message.HasField("heartbeat") for message in messages):
                self._send_beat()

    async def _write(self, call: StreamCall) -> None:
        while True:
            await self._outbox.wake.wait()
            frame = self._outbox.take_frame()
            if frame:
                await _send(call, frame)

    async def _beat(self, every_secs: int) -> None:
        """Where the controller's heartbeat does not come in time to be answered."""
        longest = every_secs * LONGEST_BEAT
        self._beaten = self._clock.monotonic()
        while True:
            left = self._beaten + longest - self._clock.monotonic()
            if left > 0:
                await self._clock.sleep(left)
            else:
                self._send_beat()

    def _send_beat(self) -> None:
        self._beaten = self._clock.monotonic()
        beat = pb.AgentMessage(heartbeat=self._supervisor.table.heartbeat())
        self._outbox.put(beat.SerializeToString())

    async def _watch_lease(self, lease_secs: int) -> None:
        self._heard = self._clock.monotonic()
        while True:
            left = self._heard + lease_secs - self._clock.monotonic()
            if left > 0:
                await self._clock.sleep(left)
            elif await self._backlog_is_read() and self._silent_for(lease_secs):
                raise SessionEnded(f"nothing heard for {lease_secs} s")

    async def _backlog_is_read(self) -> bool:
        """Give what has arrived its turn; false if this process stood still meanwhile."""
        began = self._clock.monotonic()
        await self._clock.sleep(BACKLOG_SECS)
        return self._clock.monotonic() - began < 2 * BACKLOG_SECS

    def _silent_for(self, secs: int) -> bool:
        return self._heard + secs <= self._clock.monotonic()

    async def _wait_reopen(self) -> None:
        raise SessionEnded(await self._reopen)

    async def _stream_output(self, session_id: str) -> None:
        """The output stream, opened when there is something for it, and again if it breaks."""
        while True:
            await self._router.wake.wait()
            try:
                await self._output_once(session_id)
            except grpc.aio.AioRpcError as error:
                log.warning(
                    "the output stream broke (%s); opening another",
                    error.details(),
                    extra={"action": "output_broke"},
                )
                await self._clock.sleep(random.uniform(*OUTPUT_RETRY_SECS))  # noqa: S311 - jitter
                self._router.resend()

    async def _output_once(self, session_id: str) -> None:
        stream: Opens = self._channel.stream_stream(
            _STREAM_OUTPUT,
            request_serializer=pb.StreamOutputRequest.SerializeToString,
            response_deserializer=pb.StreamOutputResponse.FromString,
        )
        async with cancelling(stream(metadata=self._identity.metadata)) as call:
            await _first_to_end(self._write_output(call, session_id), self._read_output(call))

    async def _write_output(self, call: StreamCall, session_id: str) -> None:
        first = session_id
        while True:
            await self._router.wake.wait()
            outputs = self._router.next_frame()
            if outputs:
                _before_output()
                await _send(call, pb.StreamOutputRequest(session_id=first, outputs=outputs))
                first = ""

    async def _read_output(self, call: StreamCall) -> None:
        while True:
            frame: Any = await call.read()
            if frame is grpc.aio.EOF:
                await _raise_status(call)
            self._heard = self._clock.monotonic()
            for progress in frame.progress:
                self._router.progress(progress)


async def _first_to_end(*loops: Any) -> None:
    """Run them together; the first that ends ends all, and its exception is raised."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _send(call: StreamCall, frame: Any) -> None:
    """Write; where the stream has just ended, raise how it did."""
    try:
        await call.write(frame)
    except asyncio.InvalidStateError:
        # What grpc.aio says to a writer that comes a moment after the end.
        await _raise_status(call)


def _messages(frame: Any) -> Any:
    """Of a frame; grpc gives None for bytes that are none."""
    if frame is None:
        raise SessionEnded("the controller sent what this agent cannot read")
    return frame.messages


async def _raise_status(call: StreamCall) -> NoReturn:
    """The stream has ended: raise how."""
    code, details = await call.code(), await call.details()
    if code == grpc.StatusCode.OK:
        raise SessionEnded(details or "the controller closed the stream")
    raise grpc.aio.AioRpcError(
        code,
        await call.initial_metadata(),
        await call.trailing_metadata(),
        details=details,
    )
