"""Starts again, without failpoints, whatever ends: the operator's `Restart=always`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.system.rig.cluster import Cluster
from tests.system.rig.processes import Process


class Keeper:
    """How each process ended that was replaced."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.ended: list[tuple[str, int]] = []

    async def keep_controller(self) -> None:
        while True:
            await self._note(self._cluster.controller)
            await self._cluster.start_controller()

    async def keep_agent(self, name: str) -> None:
        while True:
            await self._note(self._cluster.agents[name])
            await self._cluster.start_agent(name, wait=False)

    async def _note(self, process: Process | None) -> None:
        assert process is not None
        code = await asyncio.shield(process.ended)
        self.ended.append((process.name, code))


@asynccontextmanager
async def kept(cluster: Cluster, agent: str = "one") -> AsyncIterator[Keeper]:
    """The controller and this agent are kept running while the context is open."""
    keeper = Keeper(cluster)
    tasks = [
        asyncio.ensure_future(keeper.keep_controller()),
        asyncio.ensure_future(keeper.keep_agent(agent)),
    ]
    try:
        yield keeper
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    broken = [each for each in results if not isinstance(each, asyncio.CancelledError)]
    assert not broken, broken
