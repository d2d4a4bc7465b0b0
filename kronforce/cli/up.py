"""`kronforce up`: a controller and the agent of this host, each a process of its own.

What is printed is true when it is printed: the address once the controller
listens, the agent once its session is up. Ctrl-C stops tasks, agent and
controller in this order, and nothing else does: a controller or an agent that
dies is started again, tasks go on meanwhile. Only a controller that cannot
start in the first place ends the command.
"""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kronforce.cli import banner
from kronforce.cli.children import Child, start
from kronforce.cli.exit_codes import Exit
from kronforce.cli.kept import Kept
from kronforce.cli.server_flags import ServerFlags
from kronforce.cli.session import Session, current

if TYPE_CHECKING:
    from kronforce.config import Config
    from kronforce_client import AsyncClient

# Normally it is below 1 s. A migration and a copy of the database take as long as they take: after
# this somebody who waits is told so.
PATIENCE_SECS = 60.0
POLL_SECS = 0.02
# Then the line says that the agent is still on its way.
AGENT_LIMIT_SECS = 10.0
# Ctrl-C may take 5 s: tasks have this long to go by themselves, then the agent, then the
# controller, which has little to do but needs a moment on a busy machine.
STOP_TASKS_SECS = 2.5
STOP_AGENT_SECS = 3.0
STOP_CONTROLLER_SECS = 1.8
# The hint comes after the first result, or after this, whichever is first.
HINT_AFTER_SECS = 15.0

_FOR_CONTROLLER_ALONE = (
    "KRONFORCE_DB",
    "KRONFORCE_BOOTSTRAP_ADMIN_KEY",
    "KRONFORCE_CONFIG",
    "KRONFORCE_SECRETS_KEY",
    "KRONFORCE_SECRETS_KEY_FILE",
)


def up(
    flags: ServerFlags | None = None,
    *,
    seed: Annotated[bool, Parameter(negative=())] = False,
    slots: int | None = None,
) -> int:
    """Start a controller and an agent on this host; Ctrl-C stops everything.

    Parameters
    ----------
    flags
        Settings of the server side.
    seed
        Make two example jobs if they are not there, and show their results.
    slots
        How many executions the agent runs at a time; by default 4 per CPU, at least 16.
    """
    flags = flags or ServerFlags()
    session = current()
    environ = {**session.settings.environ, **flags.environment()}
    config = flags.load(session.settings.environ)
    # Warnings alone, unless somebody asked: the banner is for people.
    environ.setdefault("KRONFORCE_LOG_LEVEL", "warning")
    return asyncio.run(_Up(session, config, environ, seed=seed, slots=slots).run())


class _Up:
    """One run of the command."""

    def __init__(
        self,
        session: Session,
        config: Config,
        environ: Mapping[str, str],
        *,
        seed: bool,
        slots: int | None,
    ) -> None:
        self._session = session
        self._config = config
        self._environ = dict(environ)
        self._seed = seed
        self._slots = slots
        self._stop = asyncio.Event()
        self._agent: Kept | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        self._listen_to_signals()
        first = self._start_controller()
        controller = Kept(first, self._controller_again, self._session.warn)
        try:
            endpoint = await self._until_serving(first)
            if endpoint is None:
                # It has said itself why it does not run.
                return await first.ended if first.ended.done() else Exit.FINE
            _say(*banner.head(self._config, endpoint, self._session.settings.environ))
            self._stay_at(endpoint)
            await self._serve(controller, str(endpoint["address"]))
            return Exit.FINE
        finally:
            await self._end(controller)

    def _start_controller(self) -> Child:
        return start("controller", ["controller", "--built-in-agent"], self._environ)

    def _controller_again(self) -> Child:
        child = self._start_controller()
        self._in_background(self._tell_when_back(child))
        return child

    async def _tell_when_back(self, controller: Child) -> None:
        if await self._until_serving(controller) is not None:
            _say("the controller is back")

    def _stay_at(self, endpoint: Mapping[str, Any]) -> None:
        """Another controller listens where this one does, also where any free port would do."""
        for name, bind, taken in (
            ("KRONFORCE_GRPC_BIND", self._config.grpc_bind, endpoint["address"]),
            ("KRONFORCE_BIND", self._config.bind, endpoint.get("http")),
            ("KRONFORCE_METRICS_BIND", self._config.metrics_bind, endpoint.get("metrics")),
        ):
            if bind and taken:
                host = bind.rpartition(":")[0]
                self._environ[name] = f"{host}:{str(taken).rpartition(':')[2]}"

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if not self._stop.is_set():
            _say("", "stopping tasks, agent and controller")
        self._stop.set()

    async def _until_serving(self, controller: Child) -> dict[str, Any] | None:
        """What the controller says of itself once it listens; None if it ended or we shall."""
        loop = asyncio.get_running_loop()
        warned, deadline = False, loop.time() + PATIENCE_SECS
        while not self._stop.is_set():
            if not warned and loop.time() > deadline:
                warned = True
                self._session.warn(
                    "the controller does not listen yet: a large database may be migrating;"
                    " see its log, or stop with Ctrl-C"
                )
            found = banner.read_endpoint(self._config.data_dir)
            if found is not None and found.get("pid") == controller.pid:
                return found
            done, _ = await asyncio.wait({controller.ended}, timeout=POLL_SECS)
            if done:
                return None
        return None

    async def _serve(self, controller: Kept, address: str) -> None:
        """Until somebody stops us."""

        def start_agent() -> Child:
            return self._start_agent(address)

        self._agent = Kept(start_agent(), start_agent, self._session.warn)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._cancel_tasks)
            client = self._client(stack)
            self._in_background(controller.keep())
            self._in_background(self._agent.keep())
            if client is not None:
                self._in_background(self._greet(client))
            await self._stop.wait()

    def _client(self, stack: AsyncExitStack) -> AsyncClient | None:
        """A client with the admin key of this host, if that is still where it was put."""
        from kronforce_client import AsyncClient
        from kronforce_client.discovery import on_this_host

        found = on_this_host({"KRONFORCE_DATA_DIR": str(self._config.data_dir)})
        if found is None or not found.key:
            self._session.warn(
                f"no admin key in {self._config.data_dir}: cannot look after jobs and agents here"
            )
            return None
        client = AsyncClient(connection=found)
        stack.push_async_callback(client.close)
        return client

    def _start_agent(self, address: str) -> Child:
        config = self._config
        arguments = ["agent", "run", "--address", address, "--name", config.agent_name]
        arguments += ["--data-dir", str(config.data_dir), "--stop-tasks"]
        arguments += ["--stop-within", str(STOP_TASKS_SECS)]
        if self._slots is not None:
            arguments += ["--slots", str(self._slots)]
        hidden = {*_FOR_CONTROLLER_ALONE, "KRONFORCE_AGENT_TAGS"}
        environ = {name: value for name, value in self._environ.items() if name not in hidden}
        return start("agent", arguments, environ)

    async def _greet(self, client: AsyncClient) -> None:
        """What can be told once the agent is there; then results, if there are seeds."""
        from kronforce_client import ClientError

        try:
            await self._print_agent(client)
            if self._config.trust_operators:
                _say("  trust    operators' shell jobs run as this user (--trust-operators)")
            if self._config.open_agents:
                _say("  agents   custom agents of this machine need no key (--open-agents)")
            if self._seed:
                await self._print_seeds(client)
            else:
                _hint(f"{banner.command()} job init")
        except ClientError as error:
            self._session.warn(f"cannot ask the controller: {error}")

    async def _print_agent(self, client: AsyncClient) -> None:
        from kronforce.v1.agent_pb2 import AgentState

        loop = asyncio.get_running_loop()
        deadline = loop.time() + AGENT_LIMIT_SECS
        while loop.time() < deadline:
            agent = await client.agents.get(self._config.agent_name)
            if agent.state == AgentState.AGENT_STATE_ONLINE:
                _say(f"  agent    {agent.name}, {agent.slots} slots")
                return
            await asyncio.sleep(POLL_SECS)
        _say(f"  agent    {self._config.agent_name} is not connected yet")

    async def _print_seeds(self, client: AsyncClient) -> None:
        from kronforce.cli import seeds

        await seeds.seed(client)
        _say(f"  seeded   {seeds.SUMMARY}")
        first = asyncio.Event()

        def show(text: str) -> None:
            _say(text)
            first.set()

        for job in seeds.JOBS:
            now = self._session.clock.now
            self._in_background(seeds.print_results(client, str(job["name"]), show, now))
        await self._session.clock.wait(first, HINT_AFTER_SECS)
        _hint(f"{banner.command()} job run hello --follow")

    async def _end(self, controller: Kept) -> None:
        """Tasks (the agent's to end) and agent first, then the controller, which stores it all."""
        if self._agent is not None and not await self._agent.child.stop(STOP_AGENT_SECS):
            self._session.warn("the agent did not end in time and was killed")
        if not await controller.child.stop(STOP_CONTROLLER_SECS):
            self._session.warn("the controller did not end in time and was killed")
        if self._stop.is_set():
            _say(f"stopped; start again with: {banner.again()}")

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cancel_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def _hint(command: str) -> None:
    _say(f"Try:  {command}")
