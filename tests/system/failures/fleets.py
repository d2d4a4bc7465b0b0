"""Failures 17 and 30, at any size: many agents lose their controller at once and all come back."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kronforce.v1.run_pb2 import Run
from tests.system.failures.jobs import ended
from tests.system.rig.cluster import Cluster

CHECKOUT = Path(__file__).resolve().parents[3]
# Of each step, however many they are: far above what it takes, and an end to what hangs.
LIMIT_SECS = 600.0


class Fleet:
    """Simulated agents in a process of their own, each with a real stream."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def until(self, event: str) -> dict[str, Any]:
        """The next such line of it."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT_SECS):
            async for line in self._process.stdout:
                told: dict[str, Any] = json.loads(line)
                if told["event"] == event:
                    return told
        raise AssertionError(f"the fleet ended before {event}")


@asynccontextmanager
async def fleet(made: Cluster, count: int) -> AsyncIterator[Fleet]:
    """So many agents, which hold what they are given until they have come back once."""
    token = await made.client.agents.create_join_token(uses=count)
    spec = json.dumps({"address": made.address, "count": count, "works": True})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.scale.fleet", spec, cwd=CHECKOUT,
        env=made.environment() | {"KRONFORCE_JOIN_TOKEN": token.token},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Fleet(process)
    finally:
        process.kill()
        await process.wait()


async def come_back(made: Cluster, count: int) -> None:
    """A run on each of so many agents outlives the controller: adopted everywhere, once each."""
    controller = await made.start_controller()
    async with fleet(made, count) as agents:
        await agents.until("ready")
        await made.client.jobs.create(
            {"name": "everywhere", "target": {"type": "all"}, "task": {"type": "noop"}}
        )
        run_id = (await made.client.jobs.trigger("everywhere")).run.id
        await agents.until("holding")
        await controller.kill()
        await made.start_controller()
        await agents.until("ready")
        done = await agents.until("done")
        run = await ended(made, run_id, LIMIT_SECS)
    # As often as there are agents: nobody was given anything a second time.
    assert done["given"] == count
    assert _states(run) == {"succeeded": count}
    assert run.target_count == count


def _states(run: Run) -> dict[str, int]:
    return dict(run.targets_by_state)
