"""Many agents in one process, each a real stream: `python -m tests.bench.scale.fleet SPEC` (JSON).

Every agent has an enrolment, a connection, a hello, heartbeats and the real agent's pauses before
it comes back (`simulated.py`). Prints a JSON object per line: `enrolled`; each time that all are in
session, `ready` with the instant when the last one was welcomed; of those that work, `holding` when
each was given something, and `done` with how much they were given in all when as much is
acknowledged.
"""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import asyncio
import json
import sys
import time
from typing import Any

import grpc.aio
import uvloop

from kronforce.v1 import agent_service_pb2 as pb
from tests.bench.scale import descriptors
from tests.bench.scale.simulated import Agent, Watch

REGISTER = "/kronforce.v1.AgentService/RegisterAgent"
TOGETHER = 64
"""Enrolments, and first connections, under way at a time: not what is measured."""


class Fleet:
    """Counts, and tells when all are where they should be."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._online = self._given = self._acknowledged = 0

    def watch(self) -> Watch:
        return Watch(
            welcomed=self._welcomed, gone=self._gone,
            given=self._was_given, acknowledged=self._was_acknowledged,
        )  # fmt: skip

    def _welcomed(self) -> None:
        self._online += 1
        if self._online == self._count:
            tell("ready", at=time.monotonic())

    def _gone(self) -> None:
        self._online -= 1

    def _was_given(self) -> None:
        self._given += 1
        if self._given == self._count:
            tell("holding")

    def _was_acknowledged(self) -> None:
        self._acknowledged += 1
        if self._acknowledged == self._count:
            tell("done", given=self._given)


def tell(event: str, **more: Any) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


async def main(spec: dict[str, Any]) -> None:
    descriptors.raise_limit()
    credentials = await _enrol(spec)
    tell("enrolled")
    room = asyncio.Semaphore(TOGETHER)
    host, _, port = spec["address"].rpartition(":")
    watch = Fleet(spec["count"]).watch()
    async with asyncio.TaskGroup() as tasks:
        for number, credential in enumerate(credentials):
            agent = Agent(
                host=host, port=int(port), number=number, credential=credential,
                works=spec["works"], watch=watch,
            )  # fmt: skip
            tasks.create_task(agent.run(room))


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
