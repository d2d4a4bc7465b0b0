"""The examples of custom agents over HTTP, as real processes, killed in the middle of their work.

Every run ends once, with what its agent knows of it; nothing is done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct

from kronforce.v1.execution_pb2 import ExecutionState
from kronforce.v1.job_pb2 import AgentTarget, CustomTask, Job, Target, Task
from tests.system.rig.cluster import Cluster, cluster, until
from tests.system.rig.processes import clean_environment

CHECKOUT = Path(__file__).parents[3]
EXAMPLES = CHECKOUT / "examples" / "agents"
COMPILER_LIMIT_SECS = 330
SUCCEEDED = ExecutionState.EXECUTION_STATE_SUCCEEDED
FAILED = ExecutionState.EXECUTION_STATE_FAILED

# Both say that they began, wait until they may go on, and say that they are done.
PYTHON_SCRIPT = """
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
NODE_SCRIPT = """
const [folder, name, waits] = process.argv.slice(1);
const { appendFileSync, existsSync } = require("node:fs");
const on = () => {
  if (waits === "wait" && !existsSync(`${folder}/${name}.go`)) return setTimeout(on, 20);
  appendFileSync(`${folder}/${name}.done`, "x");
  console.log("did", name);
};
appendFileSync(`${folder}/${name}.began`, "x");
on();
"""

pytestmark = pytest.mark.timeout(150 + 2 * 330)


@dataclass(frozen=True, kw_only=True)
class Program:
    """An example, and what a job gives it to do: a script and its arguments."""

    command: list[str]
    task_type: str
    script: str
    # Of the folder and what stands for the run's own.
    arguments: Callable[[str, str, str], object]


PYTHON = Program(
    command=[sys.executable, str(EXAMPLES / "custom_agent_http.py")],
    task_type="python",
    script=PYTHON_SCRIPT,
    arguments=lambda *words: " ".join(words),
)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The TypeScript example; skipped where there is no compiler, except in CI."""
    made = subprocess.run(
        [sys.executable, str(CHECKOUT / "tests" / "services" / "typescript.py")],
        check=False, capture_output=True, text=True, timeout=COMPILER_LIMIT_SECS,
    )  # fmt: skip
    if made.returncode and not os.environ.get("CI"):
        pytest.skip(f"the TypeScript example: {made.stderr.strip()}")
    compiler = Path(made.stdout.strip())
    types = compiler.parents[1] / "@types"
    out = tmp_path_factory.mktemp("typescript")
    flags = ["--module", "nodenext", "--target", "es2022", "--strict", "--types", "node"]
    subprocess.run(
        [compiler, *flags, "--typeRoots", types, "--outDir", out,
         EXAMPLES / "custom_agent_http.mts"],
        check=True, capture_output=True, timeout=COMPILER_LIMIT_SECS,
    )  # fmt: skip
    return Program(
        command=["node", str(out / "custom_agent_http.mjs")],
        task_type="node",
        script=NODE_SCRIPT,
        arguments=lambda *words: list(words),
    )


@pytest.fixture(params=["python", "typescript"])
def program(request: pytest.FixtureRequest) -> Program:
    if request.param == "python":
        return PYTHON
    found: Program = request.getfixturevalue("compiled")
    return found


class Agent:
    """The example, with all that it starts in a session of its own."""

    def __init__(self, folder: Path, url: str, program: Program) -> None:
        self._folder = folder
        self.program = program
        self._environ = clean_environment() | {
            "KRONFORCE_URL": url,
            "AGENT_NAME": "example",
            "AGENT_NOTES": str(folder / "notes"),
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._folder / "example.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.program.command, env=self._environ, stdout=log, stderr=log,
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
        program = self.agent.program
        words = (str(self.folder), "{{params.name}}", "{{params.how}}")
        data.update({"script": program.script, "args": program.arguments(*words)})
        await self.one.client.jobs.create(
            Job(
                name="work",
                task=Task(custom=CustomTask(agent_task_type=program.task_type, data=data)),
                target=Target(agent=AgentTarget(agent_id="example")),
            )
        )

    async def run(self, name: str, *, waits: bool = False) -> str:
        params = {"name": name, "how": "wait" if waits else "now"}
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
async def scene(folder: Path, program: Program) -> AsyncIterator[Scene]:
    async with cluster(folder, "") as one:
        await one.start_controller(KRONFORCE_BIND="127.0.0.1:0", KRONFORCE_OPEN_AGENTS="true")
        url = str(json.loads((one.data_dir / "endpoint.json").read_text())["http"])
        agent = Agent(folder, url, program)
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
    tmp_path: Path, program: Program
) -> None:
    async with scene(tmp_path, program) as s:
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


async def test_what_ends_while_the_controller_is_down_is_taken_by_the_next(
    tmp_path: Path, program: Program
) -> None:
    async with scene(tmp_path, program) as s:
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


async def test_agent_and_controller_killed_with_a_result_in_hand(
    tmp_path: Path, program: Program
) -> None:
    async with scene(tmp_path, program) as s:
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
