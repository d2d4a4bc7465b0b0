"""The examples of custom agents over HTTP, as real processes, killed in the middle of their work.

Every run ends once, with what its agent knows of it; nothing is done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct

from kronforce.v1.execution_pb2 import ExecutionState
from kronforce.v1.job_pb2 import AgentTarget, CustomTask, Job, Target, Task
from tests.system.rig.cluster import Cluster, cluster, until
from tests.system.rig.processes import clean_environment

EXAMPLE = Path(__file__).parents[3] / "examples" / "agents" / "custom_agent_http.py"
SUCCEEDED = ExecutionState.EXECUTION_STATE_SUCCEEDED
FAILED = ExecutionState.EXECUTION_STATE_FAILED

# Says that it began, waits until it may go on, says that it is done: each in a file of its own.
SCRIPT = """
import pathlib, sys, time
folder, name, waits = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "wait"
with (folder / f"{name}.began").open("a") as file:
    file.write("x")
while waits and not (folder / f"{name}.go").exists():
    time.sleep(0.02)
with (folder / f"{name}.done").open("a") as file:
    file.write("x")
print("did", name)
"""

pytestmark = pytest.mark.timeout(150)


class Agent:
    """The example, with all that it starts in a session of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._environ = clean_environment() | {
            "KRONFORCE_URL": url,
            "AGENT_NAME": "example",
            "AGENT_NOTES": str(folder / "notes"),
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._folder / "example.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, str(EXAMPLE), env=self._environ, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    async def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


class Scene:
    def __init__(self, folder: Path, one: Cluster, agent: Agent, url: str) -> None:
        self.folder, self.one, self.agent, self._url = folder, one, agent, url

    async def job(self) -> None:
        data = Struct()
        data.update({"script": SCRIPT, "args": f"'{self.folder}' {{{{params.what}}}}"})
        await self.one.client.jobs.create(
            Job(
                name="work",
                task=Task(custom=CustomTask(agent_task_type="python", data=data)),
                target=Target(agent=AgentTarget(agent_id="example")),
            )
        )

    async def run(self, name: str, *, waits: bool = False) -> str:
        params = {"what": f"{name} {'wait' if waits else 'now'}"}
        return str((await self.one.client.jobs.trigger("work", params=params)).run.id)

    async def began(self, name: str) -> None:
        await self._file(f"{name}.began")

    def go(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()

    async def noted_end(self) -> None:
        """The agent has the result in hand."""

        async def found() -> bool:
            notes = list((self.folder / "notes").glob("*.json"))
            return any("report" in json.loads(path.read_text()) for path in notes)

        await until(found, "the agent to note a result")

    async def _file(self, name: str) -> None:
        async def there() -> bool:
            return (self.folder / name).exists()

        await until(there, name)

    async def ended(self, run_id: str) -> int:
        async def end() -> int:
            run = await self.one.client.runs.get(run_id)
            return int(run.state) if run.HasField("finished_at") else 0

        return await until(end, "the run to end")

    async def controller_again(self) -> None:
        host = self._url.removeprefix("http://")
        await self.one.start_controller(KRONFORCE_BIND=host, KRONFORCE_OPEN_AGENTS="true")

    def times_done(self, name: str) -> int:
        path = self.folder / f"{name}.done"
        return len(path.read_text()) if path.exists() else 0


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    async with cluster(folder, "") as one:
        await one.start_controller(KRONFORCE_BIND="127.0.0.1:0", KRONFORCE_OPEN_AGENTS="true")
        url = str(json.loads((one.data_dir / "endpoint.json").read_text())["http"])
        agent = Agent(folder, url)
        await agent.start()
        try:

            async def enrolled() -> bool:
                return [a.name async for a in one.client.agents.list()] == ["example"]

            await until(enrolled, "the example to enrol")
            made = Scene(folder, one, agent, url)
            await made.job()
            yield made
            assert one.complaints() == []
        finally:
            await agent.kill()


async def test_an_agent_that_is_killed_says_so_when_it_is_back_and_does_nothing_twice(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as s:
        cut_off = await s.run("cut", waits=True)
        waiting = [await s.run(f"later{number}") for number in range(3)]
        await s.began("cut")
        await s.agent.kill()
        await s.agent.start()

        assert await s.ended(cut_off) == FAILED
        assert [await s.ended(run_id) for run_id in waiting] == [SUCCEEDED] * 3
        run = await s.one.client.runs.get(cut_off)
        assert run.message == "its agent was killed while it ran"
        s.go("cut")
        done = [s.times_done(name) for name in ("cut", "later0", "later1", "later2")]
        assert done == [0, 1, 1, 1]


async def test_what_ends_while_the_controller_is_down_is_taken_by_the_next(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        run_id = await s.run("work", waits=True)
        after = await s.run("after")
        await s.began("work")
        assert s.one.controller is not None
        await s.one.controller.kill()
        s.go("work")
        await s.noted_end()
        await s.controller_again()

        assert await s.ended(run_id) == SUCCEEDED
        assert await s.ended(after) == SUCCEEDED
        assert (s.times_done("work"), s.times_done("after")) == (1, 1)


async def test_agent_and_controller_killed_with_a_result_in_hand(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        run_id = await s.run("work", waits=True)
        await s.began("work")
        assert s.one.controller is not None
        await s.one.controller.kill()
        s.go("work")
        await s.noted_end()
        await s.agent.kill()
        await s.controller_again()
        await s.agent.start()

        assert await s.ended(run_id) == SUCCEEDED
        assert s.times_done("work") == 1
