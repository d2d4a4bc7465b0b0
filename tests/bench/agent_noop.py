"""No-ops through the agent alone: `python -m tests.bench.agent_noop [--seconds 5] [--slots 64]`.

A real agent process with its fsynced journal, and a controller here that keeps its slots full and
acknowledges each result. Prints no-ops per second and the agent's CPU per no-op. With
`--pid-file` the agent's pid is written for a profiler.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import agent_service_pb2_grpc, job_pb2

SETTLE_SECS = 1.0
"""Imports, first pages, a warm journal: not what is measured."""


class Feeder(agent_service_pb2_grpc.AgentServiceServicer):
    """Keeps `slots` no-ops on their way; answers each frame of results with as many new ones."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.done = 0
        self.frames = 0
        self.next = 0
        self.begun = asyncio.Event()
        self.task = job_pb2.Task(noop=job_pb2.NoopTask())

    async def RegisterAgent(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.RegisterAgentResponse(agent_id="a", credential="kfa_bench")

    async def Connect(  # noqa: N802
        self, requests: AsyncIterator[pb.ConnectRequest], context: Any
    ) -> Any:
        await anext(aiter(requests))
        welcome = pb.Welcome(
            session_id="s", heartbeat_secs=10, lease_secs=600, initial_credit_bytes=1 << 20
        )
        yield pb.ConnectResponse(
            messages=[pb.ControllerMessage(welcome=welcome), *self.fresh(self.slots)]
        )
        async for frame in requests:
            self.frames += 1
            ended = [m for m in frame.messages if m.WhichOneof("message") == "result"]
            self.done += len(ended)
            self.begun.set()
            if ended:
                yield pb.ConnectResponse(
                    messages=[*map(_acknowledge, ended), *self.fresh(len(ended))]
                )

    def fresh(self, count: int) -> list[pb.ControllerMessage]:
        self.next += count
        return [
            pb.ControllerMessage(
                execution_id=f"019a0000-0000-7000-8000-{number:012d}",
                fence=number,
                assignment=pb.Assignment(
                    run_id=f"019a0001-0000-7000-8000-{number:012d}",
                    job_id="019a0002-0000-7000-8000-000000000000",
                    job_name="bench",
                    attempt_number=1,
                    task=self.task,
                ),
            )
            for number in range(self.next - count + 1, self.next + 1)
        ]


def _acknowledge(message: pb.AgentMessage) -> pb.ControllerMessage:
    return pb.ControllerMessage(
        execution_id=message.execution_id,
        fence=message.fence,
        acknowledge=pb.Acknowledge(kind=pb.ACKNOWLEDGE_KIND_RESULT),
    )


def cpu_secs(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(seconds: float, slots: int, folder: str, pid_file: str) -> dict[str, float]:
    """Run it; rates per second, CPU in microseconds."""
    feeder = Feeder(slots)
    server = grpc.aio.server()
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(feeder, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    agent = subprocess.Popen(  # noqa: ASYNC220 - started once, before anything is measured
        [
            sys.executable,
            "-m",
            "kronforce_agent",
            *("--address", f"127.0.0.1:{port}", "--name", "bench", "--data-dir", folder),
            *("--task-types", "noop", "--slots", str(slots), "--log-level", "warning"),
        ],
        env={**os.environ, "KRONFORCE_JOIN_TOKEN": "kfj_x.y", "PYTHONPATH": "agent:."},
    )
    try:
        if pid_file:
            Path(pid_file).write_text(str(agent.pid))  # noqa: ASYNC240 - before the measurement
        await feeder.begun.wait()
        await asyncio.sleep(SETTLE_SECS)
        done, frames = feeder.done, feeder.frames
        cpu, began = cpu_secs(agent.pid), time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        done, frames = feeder.done - done, feeder.frames - frames
        used = cpu_secs(agent.pid) - cpu
    finally:
        agent.kill()
        agent.wait()
        await server.stop(None)
    return {
        "noop_per_sec": done / took,
        "agent_cpu_us_per_noop": used / done * 1e6,
        "noop_per_frame": done / frames,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--folder", default="")
    parser.add_argument("--pid-file", default="")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = args.folder or folder
        result = asyncio.run(measure(args.seconds, args.slots, where, args.pid_file))
    for name, value in result.items():
        print(f"{name:24} {value:12.1f}")


if __name__ == "__main__":
    main()
