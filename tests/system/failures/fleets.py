"""Failures 17 and 30, at any size: many agents lose their controller at once and all come back."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.bench.scale import process
from tests.system.failures.jobs import ended
from tests.system.rig.cluster import Cluster

# Of each step, however many they are: far above what it takes, and an end to what hangs.
LIMIT_SECS = 600.0


async def come_back(made: Cluster, count: int) -> None:
    """A run on each of so many agents outlives the controller: adopted everywhere, once each."""
    controller = await made.start_controller()
    token = await made.client.agents.create_join_token(uses=count)
    environ = made.environment() | {"KRONFORCE_JOIN_TOKEN": token.token}
    with process.fleet_at(made.address, count, environ, works=True) as agents:
        await _until(agents, "ready")
        await made.client.jobs.create(
            {"name": "everywhere", "target": {"type": "all"}, "task": {"type": "noop"}}
        )
        run_id = (await made.client.jobs.trigger("everywhere")).run.id
        await _until(agents, "holding")
        await controller.kill()
        await made.start_controller()
        await _until(agents, "ready")
        done = await _until(agents, "done")
        run = await ended(made, run_id, LIMIT_SECS)
    # As often as there are agents: nobody was given anything a second time.
    assert done["given"] == count
    assert dict(run.targets_by_state) == {"succeeded": count}
    assert run.target_count == count


async def _until(agents: process.Fleet, event: str) -> dict[str, Any]:
    """The fleet's next line of it; the end of the fleet ends the thread too."""
    async with asyncio.timeout(LIMIT_SECS):
        return await asyncio.to_thread(agents.until, event)
