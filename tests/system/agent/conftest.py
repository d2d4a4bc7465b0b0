"""An agent in the test's own loop, against a controller that the test scripts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from kronforce_agent import config
from kronforce_agent.agent import Agent
from tests.fakes.controller import JOIN_TOKEN, FakeController

StartAgent = Callable[..., AbstractAsyncContextManager[Agent]]


@pytest.fixture
async def controller() -> AsyncIterator[FakeController]:
    async with FakeController() as fake:
        yield fake


@pytest.fixture
def start_agent(controller: FakeController, tmp_path: Path) -> StartAgent:
    """Give a context manager that runs an agent until its end."""

    @asynccontextmanager
    async def start(*flags: str, **environ: str) -> AsyncIterator[Agent]:
        settings = config.parse(
            [
                "--address",
                controller.address,
                "--name",
                "tester",
                "--data-dir",
                str(tmp_path),
                *flags,
            ],
            {},
        )
        agent = Agent(settings, environ={"KRONFORCE_JOIN_TOKEN": JOIN_TOKEN, **environ})
        running = asyncio.ensure_future(agent.run())
        try:
            yield agent
        finally:
            agent.stop()
            await running

    return start
