"""Short ways to define and run shell jobs."""

from __future__ import annotations

import hashlib
from typing import Any

from kronforce.v1.execution_pb2 import Execution, OutputStream
from kronforce.v1.run_pb2 import Run
from tests.system.rig.cluster import Cluster, patient, until
from tests.system.rig.recording import word

RUN_LIMIT_SECS = 90.0


def shell(name: str, command: str, **settings: Any) -> dict[str, Any]:
    """A job for any agent."""
    return {
        "name": name,
        "target": {"type": "any"},
        "task": {"type": "shell", "command": command},
        **settings,
    }


async def fire(cluster: Cluster, name: str, command: str, **settings: Any) -> str:
    """Define a job and trigger it; the run's id."""
    await cluster.client.jobs.create(shell(name, command, **settings))
    return (await cluster.client.jobs.trigger(name)).run.id


async def ended(cluster: Cluster, run_id: str, limit_secs: float = RUN_LIMIT_SECS) -> Run:
    """The run, once it has ended; the controller may go and come back meanwhile."""

    async def over() -> Run | None:
        run = await cluster.client.runs.get(run_id)
        return run if run.HasField("finished_at") else None

    run = await until(patient(over), f"run {run_id} to end", limit_secs)
    assert run is not None
    return run


async def wrote(cluster: Cluster, run_id: str, size: int) -> Execution:
    """The run's newest execution, once so many bytes of its output are stored."""

    async def enough() -> Execution | None:
        run = await cluster.client.runs.get(run_id)
        last = await cluster.client.executions.get(run.executions[-1].id)
        return last if last.stdout_bytes >= size else None

    execution = await until(patient(enough), f"{size} bytes of run {run_id}")
    assert execution is not None
    return execution


class Read:
    """What was read of one stream: how much, its hash, and its gaps."""

    def __init__(self) -> None:
        self.size = 0
        self.gaps = 0
        self.head = b""
        self.tail = b""
        self._hash = hashlib.sha256()

    def add(self, offset: int, data: bytes, gap: int) -> None:
        assert offset == self.size, f"a silent gap: {offset} after {self.size}"
        self.size += len(data) + (0 if data else gap)
        self.gaps += 0 if data else gap
        self._hash.update(data)
        self.head = (self.head + data)[:64] if len(self.head) < 64 else self.head
        self.tail = (self.tail + data)[-64:]

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


async def read(cluster: Cluster, execution_id: str) -> Read:
    """All of standard output, which must be contiguous."""
    found = Read()
    stream = OutputStream.OUTPUT_STREAM_STDOUT
    async with cluster.client.executions.output(execution_id, stream=stream) as chunks:
        async for chunk in chunks:
            found.add(chunk.offset, chunk.data, chunk.gap_bytes)
    return found


def outcome(run: Run) -> tuple[str, str]:
    """Its state and reason, as words."""
    return word(run.state), run.executions[-1].state_reason
