"""A controller and agents as real processes, over one data folder and one store.

Everything can be killed and started again: the controller on the port it had, an agent with the
folder it had. Failpoints are given to one start only; where each process hit them is in one log.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from kronforce.v1.agent_pb2 import AgentState
from kronforce_client import AsyncClient, ClientError
from tests.system.rig import processes
from tests.system.rig.processes import POLL_SECS, START_LIMIT_SECS, Process

T = TypeVar("T")

PATIENCE_SECS = 60.0
# What is not there soon is asked for less often: asking costs what is asked its time.
POLL_GROWTH = 1.1
POLL_MOST_SECS = 0.15
TRACEBACK_LINES = 40
# A controller that a test ended while it started; anything else is a start that failed.
ENDED_BY_US = frozenset({0, -signal.SIGKILL, -signal.SIGTERM})
ADMIN_KEY = "kf_" + "0123456789abcdef" * 4


class Cluster:
    """The processes of one test. Use `cluster(...)`, which ends them.

    They run this checkout's code, or that of another folder (`code`), which is on their path.
    """

    def __init__(self, folder: Path, db: str, code: tuple[Path, ...] = ()) -> None:
        self.folder = folder
        self.code = code
        self.data_dir = folder / "controller"
        self.db = db or str(self.data_dir / "kronforce.db")
        self.failpoint_log = folder / "failpoints.log"
        self.controller: Process | None = None
        self.agents: dict[str, Process] = {}
        self.address = "127.0.0.1:0"
        # What the next start of a role comes with, for those that are brought back by themselves.
        self.next_failpoint: dict[str, str] = {}
        # What agents find in their environment beside what all of them do.
        self.agent_environ: dict[str, str] = {}
        self._client: AsyncClient | None = None
        self._token = ""

    @property
    def client(self) -> AsyncClient:
        assert self._client is not None, "no controller was started"
        return self._client

    # Controller.

    async def start_controller(self, *, failpoint: str = "", **environ: str) -> Process:
        """Start it, on the port it had, and wait until it serves or was killed."""
        failpoint = failpoint or self.next_failpoint.pop("controller", "")
        self.controller = await processes.start(
            "controller",
            ["controller"],
            self.environment(failpoint)
            | {
                "KRONFORCE_DATA_DIR": str(self.data_dir),
                "KRONFORCE_DB": self.db,
                "KRONFORCE_GRPC_BIND": self.address,
                "KRONFORCE_BIND": "off",
                # Tests call more often than people; what limits do has tests of its own.
                "KRONFORCE_RATE_LIMIT_ENABLED": "false",
                "KRONFORCE_BOOTSTRAP_ADMIN_KEY": ADMIN_KEY,
                "KRONFORCE_LOG_LEVEL": "info",
                **environ,
            },
            self.folder / "controller.log",
        )
        await self._until_serving(self.controller)
        if self._client is None:
            self._client = AsyncClient(self.address, ADMIN_KEY)
            # One for all agents, now: later the controller may be away.
            self._token = (await self._client.agents.create_join_token(uses=100)).token
        return self.controller

    async def _until_serving(self, controller: Process) -> None:
        path = self.data_dir / "endpoint.json"

        async def serving() -> bool:
            if not controller.running:
                return True
            try:
                endpoint = json.loads(path.read_text())
            except (OSError, ValueError):
                return False
            self.address = endpoint["address"]
            return bool(endpoint["pid"] == controller.pid)

        await until(serving, "the controller to serve", START_LIMIT_SECS)
        ended = not controller.running and controller.ended.result() in ENDED_BY_US
        assert controller.running or ended, f"the controller did not start: {controller.tail()}"

    # Agents.

    async def start_agent(
        self,
        name: str = "one",
        *,
        failpoint: str = "",
        slots: int = 16,
        wait: bool = True,
        flags: tuple[str, ...] = (),
        address: str = "",
    ) -> Process:
        """Start an agent of this name, which enrols at its first start; wait for its session."""
        failpoint = failpoint or self.next_failpoint.pop("agent", "")
        folder = self.folder / "agents"
        where = ["--address", address or self.address, "--data-dir", str(folder)]
        agent = self.agents[name] = await processes.start(
            f"agent {name}",
            ["agent", "run", *where, "--name", name, "--slots", str(slots), *flags],
            self.environment(failpoint)
            | {"KRONFORCE_JOIN_TOKEN": self._token}
            | self.agent_environ,
            self.folder / f"agent-{name}.log",
        )
        if wait:
            await self.until_online(name)
        return agent

    def complaints(self) -> list[str]:
        """What controller and agents logged as errors, and tracebacks."""
        logs = [self.folder / "controller.log", *self.folder.glob("agent-*.log")]
        logs += self.folder.glob("agents/*/launcher.log")
        return [line for log in logs if log.exists() for line in _complaints(log)]

    async def until_online(self, name: str = "one") -> None:
        async def online() -> bool:
            agent = await self.client.agents.get(name)
            return agent.state == AgentState.AGENT_STATE_ONLINE

        await until(patient(online), f"agent {name} to be online")

    def launchers(self) -> list[int]:
        return processes.launchers(self.folder / "agents")

    def strays(self) -> list[int]:
        """Processes of this folder beside controller, agents and launchers."""
        ours = {agent.pid for agent in self.agents.values()} | set(self.launchers())
        if self.controller is not None:
            ours.add(self.controller.pid)
        return [pid for pid in processes.living(self.folder) if pid not in ours]

    # Both.

    def hits(self) -> set[str]:
        """Names of the failpoints that any process of this cluster has come by."""
        try:
            lines = self.failpoint_log.read_text().splitlines()
        except FileNotFoundError:
            return set()
        return {line.split()[1] for line in lines}

    def environment(self, failpoint: str = "") -> dict[str, str]:
        environ = processes.clean_environment() | {
            "KRONFORCE_TEST_FAILPOINTS": "1",
            "KRONFORCE_FAILPOINT_LOG": str(self.failpoint_log),
        }
        if self.code:
            # Not from the working folder, which is this checkout.
            environ["PYTHONSAFEPATH"] = "1"
            environ["PYTHONPATH"] = os.pathsep.join(map(str, self.code))
        return environ | ({"FAILPOINT": failpoint} if failpoint else {})

    async def close(self) -> None:
        """End every process, by force where need be, and let go of the client."""
        if self._client is not None:
            await self._client.close()
        for process in (self.controller, *self.agents.values()):
            if process is not None:
                await process.kill()
        await processes.sweep(self.folder)


def _complaints(log: Path) -> list[str]:
    marks = ('"level": "error"', '"level": "critical"', "Traceback", " ERROR ")
    lines = log.read_text(errors="replace").splitlines()
    return [
        # A bare traceback's last lines say what it was.
        f"{log.name}: {' | '.join([line, *lines[at + 1 : at + 1 + TRACEBACK_LINES]])[:3000]}"
        if line.startswith("Traceback")
        else f"{log.name}: {line[:2000]}"
        for at, line in enumerate(lines)
        if any(mark in line for mark in marks)
    ]


@asynccontextmanager
async def cluster(folder: Path, db: str, code: tuple[Path, ...] = ()) -> AsyncIterator[Cluster]:
    """Nothing runs yet; at the end nothing is left."""
    made = Cluster(folder, db, code)
    try:
        yield made
    finally:
        await made.close()
        if not os.environ.get("KEEP_TEST_FOLDERS"):
            shutil.rmtree(folder / "agents", ignore_errors=True)


async def until(
    check: Callable[[], Awaitable[T]], what: str, limit_secs: float = PATIENCE_SECS
) -> T:
    """The first true answer. Polls: there is no signal from a process that may just have died."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_secs
    pause = POLL_SECS
    while True:
        if answer := await check():
            return answer
        if loop.time() > deadline:
            raise AssertionError(f"waited {limit_secs:g} s for {what}")
        await asyncio.sleep(pause)
        pause = min(pause * POLL_GROWTH, POLL_MOST_SECS)


def patient(check: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T | None]]:
    """The same check, which is not answered while there is no controller."""

    async def asked() -> T | None:
        try:
            return await check()
        except ClientError:
            return None

    return asked
