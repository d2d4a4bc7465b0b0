"""An agent on the bare stubs that does nothing by itself: whoever holds it speaks for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import agent_service_pb2_grpc
from tests.system.rig.cluster import Cluster

PATIENCE_SECS = 20.0


class BareAgent:
    """One session; `received` is all that came down it."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.received: list[pb.ControllerMessage] = []
        self._news = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        while frame := await self._call.read():
            self.received.extend(frame.messages)
            self._news.set()

    async def send(self, *messages: pb.AgentMessage) -> None:
        await self._call.write(pb.ConnectRequest(messages=messages))

    async def expect(self, arm: str, count: int = 1) -> list[pb.ControllerMessage]:
        """The messages with this arm, once there are so many."""
        async with asyncio.timeout(PATIENCE_SECS):
            while True:
                found = [m for m in self.received if m.WhichOneof("message") == arm]
                if len(found) >= count:
                    return found
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        self._reader.cancel()
        self._call.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


@asynccontextmanager
async def bare_agent(cluster: Cluster, name: str) -> AsyncIterator[BareAgent]:
    """Enrol, connect, and get as far as the welcome."""
    token = (await cluster.client.agents.create_join_token()).token
    async with grpc.aio.insecure_channel(cluster.address) as channel:
        stub: Any = agent_service_pb2_grpc.AgentServiceStub(channel)
        me = await stub.RegisterAgent(pb.RegisterAgentRequest(name=name, join_token=token))
        call = stub.Connect(metadata=(("authorization", f"Bearer {me.credential}"),))
        agent = BareAgent(call)
        hello = pb.Hello(protocol_version=1, agent_id=me.agent_id, slots=4)
        hello.boot_id = os.urandom(16).hex()
        hello.task_types.extend(["noop", "shell"])
        await agent.send(pb.AgentMessage(hello=hello))
        await agent.expect("welcome")
        try:
            yield agent
        finally:
            await agent.close()


def about(assignment: pb.ControllerMessage, **message: Any) -> pb.AgentMessage:
    return pb.AgentMessage(execution_id=assignment.execution_id, fence=assignment.fence, **message)
