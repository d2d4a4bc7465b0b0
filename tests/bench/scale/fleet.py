"""Many agents in one process, each a real stream: `python -m tests.bench.scale.fleet SPEC` (JSON).

Every agent has an enrolment, a connection, a hello, heartbeats and the real agent's pauses before
it comes back; it runs nothing and rejects what it is given. Prints a JSON object per line: each
time that all are in session, `ready` with the instant when the last one was welcomed.
"""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import asyncio
import json
import random
import sys
import time
from contextlib import suppress
from typing import Any

import grpc.aio
import uvloop

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent.agent import FIRST_RETRY_SECS, RETRY_SECS
from tests.bench.scale import descriptors

CONNECT = "/kronforce.v1.AgentService/Connect"
REGISTER = "/kronforce.v1.AgentService/RegisterAgent"
TOGETHER = 64
"""Enrolments, and first connections, under way at a time: not what is measured."""
# A connection of its own for each agent, as if each had a host, which is sought again as often as
# the agent says. It is never closed: grpc.aio looks through every task to close a channel.
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)


class Fleet:
    """Counts who is in session."""

    def __init__(self, address: str, count: int) -> None:
        self.address = address
        self.count = count
        self.online = 0

    def welcomed(self) -> None:
        self.online += 1
        if self.online == self.count:
            tell("ready", at=time.monotonic())

    def gone(self) -> None:
        self.online -= 1


class Agent:
    """One of them."""

    def __init__(self, fleet: Fleet, number: int, credential: str) -> None:
        self._fleet = fleet
        self._metadata = (("authorization", f"Bearer {credential}"),)
        hello = pb.Hello(
            protocol_version=1, boot_id=f"{number:032x}", slots=16, task_types=["noop"]
        )
        self._hello = pb.ConnectRequest(messages=[pb.AgentMessage(hello=hello)])
        self._first = asyncio.Event()
        channel = grpc.aio.insecure_channel(fleet.address, options=OPTIONS)
        self._connect: Any = channel.stream_stream(
            CONNECT,
            request_serializer=pb.ConnectRequest.SerializeToString,
            response_deserializer=pb.ConnectResponse.FromString,
        )

    async def run(self, room: asyncio.Semaphore) -> None:
        """For ever; the first connection waits for its turn."""
        attempts = 0
        async with room:
            session = asyncio.create_task(self._session())
            await self._first.wait()
        while True:
            attempts = 0 if await session else attempts
            pause = RETRY_SECS if attempts else FIRST_RETRY_SECS
            attempts += 1
            await asyncio.sleep(random.uniform(*pause))
            session = asyncio.create_task(self._session())

    async def _session(self) -> bool:
        """Until it ends; whether it had begun."""
        welcomed, beat = False, None
        call = self._connect(metadata=self._metadata)
        try:
            await call.write(self._hello)
            while (frame := await call.read()) is not grpc.aio.EOF:
                if not welcomed:
                    welcomed = True
                    every = frame.messages[0].welcome.heartbeat_secs
                    beat = asyncio.create_task(_beat(call, every))
                    self._first.set()
                    self._fleet.welcomed()
                await _reject(call, frame)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        finally:
            call.cancel()
            if beat is not None:
                beat.cancel()
            if welcomed:
                self._fleet.gone()
        return welcomed


async def _beat(call: Any, every: float) -> None:
    beat = pb.ConnectRequest(messages=[pb.AgentMessage(heartbeat=pb.AgentHeartbeat())])
    # Agents of many hosts do not beat together.
    await asyncio.sleep(random.uniform(0, every))
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        while True:
            await call.write(beat)
            await asyncio.sleep(every)


async def _reject(call: Any, frame: pb.ConnectResponse) -> None:
    given = [m for m in frame.messages if m.HasField("assignment")]
    if given:
        replies = [
            pb.AgentMessage(
                execution_id=m.execution_id,
                fence=m.fence,
                reject=pb.Reject(reason=pb.REJECT_REASON_BUSY, message="this one runs nothing"),
            )
            for m in given
        ]
        await call.write(pb.ConnectRequest(messages=replies))


def tell(event: str, **more: Any) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


async def main(spec: dict[str, Any]) -> None:
    descriptors.raise_limit()
    fleet = Fleet(spec["address"], spec["count"])
    credentials = await _enrol(spec)
    tell("enrolled")
    room = asyncio.Semaphore(TOGETHER)
    async with asyncio.TaskGroup() as tasks:
        for number, credential in enumerate(credentials):
            tasks.create_task(Agent(fleet, number, credential).run(room))


async def _enrol(spec: dict[str, Any]) -> list[str]:
    room = asyncio.Semaphore(TOGETHER)
    async with grpc.aio.insecure_channel(spec["address"]) as channel:
        register: Any = channel.unary_unary(
            REGISTER,
            request_serializer=pb.RegisterAgentRequest.SerializeToString,
            response_deserializer=pb.RegisterAgentResponse.FromString,
        )

        async def one(number: int) -> str:
            async with room:
                request = pb.RegisterAgentRequest(
                    name=f"fleet-{number}", slots=16, join_token=os.environ["KRONFORCE_JOIN_TOKEN"]
                )
                return str((await register(request)).credential)

        return list(await asyncio.gather(*(one(number) for number in range(spec["count"]))))


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
