"""The agent as a whole: wires the rooms, recovers, connects for ever, and stops in order."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
import uuid
from collections.abc import Mapping
from pathlib import Path

import grpc
import grpc.aio

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent import enrolment, facts
from kronforce_agent.channel import open_channel
from kronforce_agent.clock import Clock, SystemClock
from kronforce_agent.config import AgentConfig
from kronforce_agent.durable import make_folder
from kronforce_agent.enrolment import Credential, EnrolmentError
from kronforce_agent.held import Held
from kronforce_agent.journal import Entry, Journal
from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.client import LauncherClient
from kronforce_agent.outbox import Outbox
from kronforce_agent.output import OutputRouter
from kronforce_agent.processes import Processes
from kronforce_agent.records import Key
from kronforce_agent.session import Identity, Session, SessionEnded
from kronforce_agent.supervisor import Parts, Supervisor
from kronforce_agent.table import Limits
from kronforce_agent.tasks import REGISTRY
from kronforce_agent.tasks.kinds import Host, ProcessTask
from kronforce_agent.unreachable import NO_CREDENTIAL, explain

log = logging.getLogger(__name__)

FIRST_RETRY_SECS = (0.05, 1.0)
"""After a session that worked: a restarted controller is back soon."""
RETRY_SECS = (0.5, 5.0)
"""Full jitter, for ever."""
STOP_SECS = 5.0
"""For tasks inside the agent to end by themselves, and for reports to be acknowledged."""
KILL_SECS = 1.0
"""With --stop-tasks, the last of that time: what has outlived TERM is killed and reported."""

_REFUSED = (
    *NO_CREDENTIAL,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
)
"""Asking again would not help: a person must do something."""


class AlreadyRunningError(Exception):
    """Another agent has this folder."""


class Agent:
    """`run` returns when `stop` was called and everything is put away."""

    def __init__(
        self, config: AgentConfig, *, environ: Mapping[str, str], clock: Clock | None = None
    ) -> None:
        self._config = config
        self._environ = environ
        self._clock = clock or SystemClock()
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._session: Session | None = None
        self._attempts = 0
        self._facts = facts.gather()
        self._runners = {name: REGISTRY[name] for name in config.task_types}
        self._outbox = Outbox()
        self._router = OutputRouter(self._loop.call_later)
        self._journal = Journal(
            config.folder / "journal", self._clock, on_trouble=self._journal_trouble
        )
        self._processes = self._make_processes()
        parts = Parts(
            journal=self._journal,
            outbox=self._outbox,
            router=self._router,
            clock=self._clock,
            launcher=lambda: self.launcher,
            host=Host(agent_name=config.name, work_folder=config.folder / "work"),
            limits=Limits(slots=config.slots),
        )
        self.supervisor = Supervisor(parts, self._runners)
        self.supervisor.reopen = self._reopen
        self._outbox.on_overflow = lambda: self._reopen("the controller does not read")
        self.connected = asyncio.Event()
        """Set once the first welcome has come."""

    def stop(self) -> None:
        """Begin to stop; may be called from a signal handler of the loop, and twice."""
        self._stopping.set()

    async def run(self) -> None:
        """Raises AlreadyRunningError, EnrolmentError, ConfigError, LauncherError or OSError."""
        make_folder(self._config.folder)
        make_folder(self._config.folder / "work")
        lock = take_lock(self._config.folder)
        try:
            await self._run()
        finally:
            os.close(lock)

    async def _run(self) -> None:
        entries = self._journal.open()
        try:
            await self._attach(entries)
            loops = [asyncio.ensure_future(self._connect_for_ever())]
            if self._processes is not None:
                self._processes.deliver_to(self.supervisor)
                loops.append(asyncio.ensure_future(self._processes.keep(self.supervisor)))
            try:
                await self._until_stopped(loops)
            finally:
                await _cancel_all(loops)
                await self.supervisor.close()
        finally:
            if self._processes is not None:
                self._processes.close()
            await asyncio.to_thread(self._journal.close)

    async def _attach(self, entries: Mapping[Key, Entry]) -> None:
        inventory: protocol.Inventory | None = None
        self.supervisor.boot_id = uuid.uuid4().hex
        if self._processes is not None:
            client, inventory = await self._processes.attach()
            self.supervisor.boot_id = client.boot_id
            self.supervisor.spool_is(full=client.spool_full_at_start)
        self.supervisor.recover(entries, inventory)

    async def _until_stopped(self, loops: list[asyncio.Task[None]]) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([stopping, *loops], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        for loop in loops:
            if loop.done():
                loop.result()
        await self._drain()

    async def _drain(self) -> None:
        """Take nothing new; let short things end and be acknowledged; then leave the rest."""
        stop_tasks = self._config.stop_tasks
        log.info(
            "stopping; %s",
            "ending tasks" if stop_tasks else "processes go on without the agent",
            extra={"action": "stopping"},
        )
        self.supervisor.drains.set("stopping", "the agent is stopping")
        if stop_tasks:
            self.supervisor.stop_all()
        settled = await self._settle(self._patience)
        launcher = self.launcher
        if stop_tasks and not settled and launcher is not None:
            launcher.shutdown(grace_secs=0.0)
            settled = await self._settle(KILL_SECS)
        if not settled:
            log.warning("left %s executions behind", len(self.supervisor.table))
        if stop_tasks and launcher is not None:
            launcher.shutdown()

    @property
    def _patience(self) -> float:
        if not self._config.stop_tasks:
            return STOP_SECS
        return max(0.0, self._config.stop_within_secs - KILL_SECS)

    async def _settle(self, secs: float) -> bool:
        """Wait until nothing is left to be done, at most so long; whether that is so."""
        try:
            async with asyncio.timeout(secs):
                while not self._settled():
                    self.supervisor.table.changed.clear()
                    await self.supervisor.table.changed.wait()
        except TimeoutError:
            return False
        return True

    def _settled(self) -> bool:
        return not any(self._waits_for(held) for held in self.supervisor.table)

    def _waits_for(self, held: Held) -> bool:
        """Not for processes, which outlive the agent, nor for reports that nobody takes now."""
        if held.ended:
            return self._router.online and (self._config.stop_tasks or not held.is_process)
        return self._config.stop_tasks or not held.is_process

    # ---- connecting ----------------------------------------------------------------------------

    async def _connect_for_ever(self) -> None:
        while True:
            try:
                credential = await self._credential()
                await self._one_session(credential)
            except (grpc.aio.AioRpcError, SessionEnded) as error:
                await self._after(error)

    async def _one_session(self, credential: Credential) -> None:
        identity = self._identity(credential)
        async with open_channel(self._config, credential.ca_pem) as channel:
            self._session = Session(
                channel,
                identity,
                supervisor=self.supervisor,
                outbox=self._outbox,
                router=self._router,
                clock=self._clock,
                on_welcome=self._welcomed,
            )
            try:
                await self._session.run()
            finally:
                self._session = None

    def _welcomed(self) -> None:
        self._attempts = 0
        self.connected.set()

    async def _after(self, error: Exception) -> None:
        """Say what happened and wait, with full jitter."""
        low, high = RETRY_SECS if self._attempts else FIRST_RETRY_SECS
        self._attempts += 1
        pause = random.uniform(low, high)  # noqa: S311 - jitter
        log.warning(
            "not connected to %s: %s; again in %.1f s",
            self._config.address,
            explain(error, self._config.folder),
            pause,
            extra={"action": "disconnected"},
        )
        if isinstance(error, grpc.aio.AioRpcError) and error.code() in NO_CREDENTIAL:
            await self._enrol_again()
        await self._clock.sleep(pause)

    async def _credential(self) -> Credential:
        """The stored one, or a new one for the join token."""
        stored = enrolment.load(self._config.folder)
        return stored if stored is not None else await self._enrol()

    async def _enrol(self) -> Credential:
        token = self._config.join_token(self._environ)
        if not token:
            raise EnrolmentError(
                "this agent has no credential yet: give it a join token with --token-file or "
                "KRONFORCE_JOIN_TOKEN (kronforce agent token makes one)"
            )
        async with open_channel(self._config, enrolment.pinned_ca(token)) as channel:
            try:
                credential = await enrolment.register(channel, self._config, token, self._facts)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _REFUSED:
                    raise
                raise EnrolmentError(
                    f"the controller refuses to enrol {self._config.name!r}: {error.details()}"
                ) from None
        enrolment.save(self._config.folder, credential)
        log.info("enrolled as %s", self._config.name, extra={"action": "enrolled"})
        return credential

    async def _enrol_again(self) -> None:
        """The credential is refused; a join token that is at hand may give another."""
        if not self._config.join_token(self._environ):
            return
        try:
            await self._enrol()
        except (grpc.aio.AioRpcError, EnrolmentError) as error:
            log.warning("enrolling again did not help: %s", error)

    def _identity(self, credential: Credential) -> Identity:
        features = [pb.AGENT_FEATURE_REDACTION]
        if self._processes is not None:
            features.append(pb.AGENT_FEATURE_REATTACH)
        return Identity(
            agent_id=credential.agent_id,
            metadata=credential.metadata,
            slots=self._config.slots,
            task_types=tuple(self._runners),
            features=tuple(features),
            facts=self._facts,
        )

    # ---- wiring --------------------------------------------------------------------------------

    def _make_processes(self) -> Processes | None:
        """A launcher only where a task type needs one."""
        if not any(isinstance(runner, ProcessTask) for runner in self._runners.values()):
            return None
        return Processes(self._config.folder, self._clock, self._config.spool_max_bytes)

    @property
    def launcher(self) -> LauncherClient | None:
        """The connection to it, while there is one."""
        return self._processes.client if self._processes is not None else None

    def _reopen(self, reason: str) -> None:
        if self._session is not None:
            self._session.reopen(reason)

    def _journal_trouble(self, error: OSError | None) -> None:
        self.supervisor.drains.set("journal", f"the journal: {error.strerror}" if error else "")


def take_lock(folder: Path) -> int:
    """One agent per folder: two would cut each other off from the launcher."""
    fd = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise AlreadyRunningError(
            f"another agent runs with {folder}; stop it, or give this one another --name or "
            "--data-dir"
        ) from None
    return fd


async def _cancel_all(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
