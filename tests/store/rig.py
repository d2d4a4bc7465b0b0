"""An engine over a real store, with agents that are plain frames: no process, no socket."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from kronforce.clock import ManualClock, SystemClock, to_us
from kronforce.core.access import Role, Scope
from kronforce.core.ids import IdSource, from_text
from kronforce.core.job_settings import effective
from kronforce.core.job_timing import plan_timing
from kronforce.engine.engine import Engine, Limits
from kronforce.engine.triggering import Triggered
from kronforce.security.envelope import Keyring, MasterKey
from kronforce.store import agents, executions, jobs, runs
from kronforce.store.database import open_database
from kronforce.store.store import Store
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.agent_pb2 import AGENT_TYPE_STANDARD
from kronforce.v1.job_pb2 import Job
from kronforce.v1.job_service_pb2 import TriggerJobRequest
from tests.store import counted

ADMIN = Scope(principal_id="admin", role=Role.ADMIN)
WAIT_SECS = 10.0


@dataclass(frozen=True)
class Someone:
    key: int = 1
    name: str = "ci"
    agent_key: int | None = None
    id: str = "key-1"
    peer: str = "127.0.0.1"
    surface: str = "grpc"


class Rig:
    """A started engine and what a test does with it."""

    def __init__(self, url: str, folder, clock=None, retention=timedelta(days=7)) -> None:
        self._stopped = False
        self.clock = clock or SystemClock()
        self.new_id = IdSource(self.clock, random.Random(7))
        self.store = Store(open_database(url), self.clock)
        self.engine = Engine(
            store=self.store,
            clock=self.clock,
            new_id=self.new_id,
            limits=Limits(folders=[folder], disk_reserve=0, max_pending=1_000, retention=retention),
            keyring=Keyring(MasterKey(b"m" * 32)),
            controller="test",
            version="test",
        )

    async def start(self) -> None:
        await self.store.start()
        await self.engine.start()

    async def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            await self.engine.stop()
            # Whatever a test was about: what ended is in the statistics, once.
            expected, found = await self.store.write(counted.both)
            await self.store.stop()
            assert found == expected

    async def job(self, name: str = "job", *, trusted: bool = True, **fields) -> Job:
        """Save a job as the use case would, without its checks."""
        spec = Job(name=name, **fields)
        if spec.task.WhichOneof("kind") is None:
            spec.task.noop.SetInParent()
        if spec.target.WhichOneof("kind") is None:
            spec.target.any.SetInParent()
        id_ = self.new_id()
        timing = plan_timing(effective(spec), now=self.clock.now())
        row = await self.store.write(
            jobs.insert_job,
            id=id_,
            name=name,
            group_name=spec.group or "Default",
            tags=[],
            labels=dict(spec.labels),
            status=int(timing.status),
            spec=spec.SerializeToString(),
            trusted=trusted,
            now=self.clock.now_us(),
            actor="ci",
            paused_until=None,
            next_fire_at=None if timing.next_fire_at is None else to_us(timing.next_fire_at),
            next_nominal_at=(
                None if timing.next_nominal_at is None else to_us(timing.next_nominal_at)
            ),
        )
        self.engine.scheduler.changed(row)
        return spec

    async def trigger(self, *requests: TriggerJobRequest, scope=ADMIN, caller=None):
        return await self.engine.triggering.trigger(scope, caller or Someone(), requests)

    async def run(self, job: str = "job", **fields) -> Triggered:
        (outcome,) = await self.trigger(TriggerJobRequest(job_id=job, **fields))
        assert isinstance(outcome, Triggered), outcome
        return outcome

    async def row(self, run_id: str):
        return await self.store.read(runs.find_run, ADMIN, from_text(run_id))

    async def attempts(self, run_id: str):
        row = await self.row(run_id)
        return await self.store.read(executions.executions_of_run, ADMIN, row.key)

    async def until(self, condition):
        """Wait until the coroutine function gives something true; that."""
        async with asyncio.timeout(WAIT_SECS):
            while not (found := await condition()):
                await self.store.wait_commit(self.store.commits, 0.05)
            return found

    async def ended(self, run_id: str):
        """Wait until the run has ended; its row."""

        async def look():
            row = await self.row(run_id)
            return row if row.finished_at is not None else None

        return await self.until(look)

    async def enrol(self, name: str = "a1", **fields):
        """An agent that is known and away."""
        row = await self.store.write(
            agents.insert_agent,
            id=self.new_id(),
            name=name,
            credential_hash=name.encode(),
            registered_by="test",
            agent_type=AGENT_TYPE_STANDARD,
            built_in=fields.get("built_in", False),
            tags=fields.get("tags", ()),
            labels={},
            task_types=("noop", "shell"),
            facts=b"",
            slots=fields.get("slots", 4),
            now=self.clock.now_us(),
        )
        self.engine.directory.put(row)
        return row


class ManualRig(Rig):
    """Time stands still unless the test moves it."""

    def __init__(self, url: str, folder, clock=None, retention=timedelta(days=7)) -> None:
        super().__init__(url, folder, clock or ManualClock())

    async def until(self, condition):
        async with asyncio.timeout(WAIT_SECS):
            while not (found := await condition()):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0)
            return found


class FakeAgent:
    """An agent's side of the session. `auto` accepts and finishes everything at once."""

    def __init__(
        self, rig: Rig, row, *, slots: int = 4, auto: bool = True, boot: str = "b"
    ) -> None:
        self.rig = rig
        self.row = row
        self.slots = slots
        self.auto = auto
        self.boot_id = boot * 16
        self.got: list[pb.ControllerMessage] = []
        self.news = asyncio.Event()
        self._up: asyncio.Queue[pb.ConnectRequest | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def connect(self, *held: pb.InventoryItem) -> None:
        self._say_hello(*held)
        self._task = asyncio.create_task(self._serve())
        await self.message("welcome")

    async def serve_once(self, *held: pb.InventoryItem) -> None:
        """A session until its end, which a refusal is too."""
        self._say_hello(*held)
        await self._serve()

    def _say_hello(self, *held: pb.InventoryItem) -> None:
        hello = pb.AgentMessage()
        hello.hello.protocol_version = 1
        hello.hello.boot_id = self.boot_id
        hello.hello.slots = self.slots
        hello.hello.task_types.extend(["noop", "shell"])
        hello.hello.inventory.items.extend(held)
        self._up = asyncio.Queue()
        self._up.put_nowait(pb.ConnectRequest(messages=[hello]))
        self.got.clear()

    async def _serve(self) -> None:
        caller = Someone(agent_key=self.row.key)
        replies = self.rig.engine.sessions.connect(caller, self._frames())
        async with contextlib.aclosing(replies):
            async for frame in replies:
                for message in frame.messages:
                    self._take(message)

    async def _frames(self) -> AsyncIterator[pb.ConnectRequest]:
        while (frame := await self._up.get()) is not None:
            yield frame

    def _take(self, message: pb.ControllerMessage) -> None:
        copy = pb.ControllerMessage()
        copy.CopyFrom(message)
        self.got.append(copy)
        self.news.set()
        if self.auto and copy.HasField("assignment"):
            self.accept(copy)
            self.finish(copy)

    def send(self, message: pb.AgentMessage) -> None:
        self._up.put_nowait(pb.ConnectRequest(messages=[message]))

    def accept(self, of: pb.ControllerMessage) -> None:
        message = pb.AgentMessage(execution_id=of.execution_id, fence=of.fence)
        message.accepted.SetInParent()
        self.send(message)

    def finish(self, of: pb.ControllerMessage, state: int = 4, **fields) -> None:
        message = pb.AgentMessage(execution_id=of.execution_id, fence=of.fence)
        message.result.state = state
        if state == 4:
            message.result.exit_code = 0
        for name, value in fields.items():
            setattr(message.result, name, value)
        self.send(message)

    def reject(self, of: pb.ControllerMessage, reason: int) -> None:
        message = pb.AgentMessage(execution_id=of.execution_id, fence=of.fence)
        message.rejected.reason = reason
        self.send(message)

    async def message(self, kind: str, nth: int = 1) -> pb.ControllerMessage:
        """Wait for the nth message of a kind."""
        async with asyncio.timeout(WAIT_SECS):
            while True:
                found = [m for m in self.got if m.WhichOneof("message") == kind]
                if len(found) >= nth:
                    return found[nth - 1]
                self.news.clear()
                await self.news.wait()

    async def assignment(self, nth: int = 1) -> pb.ControllerMessage:
        return await self.message("assignment", nth)

    async def leave(self) -> None:
        """The stream ends."""
        self._up.put_nowait(None)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None


def item(of: pb.ControllerMessage, state: int) -> pb.InventoryItem:
    return pb.InventoryItem(execution_id=of.execution_id, fence=of.fence, state=state)
