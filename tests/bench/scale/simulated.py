"""A simulated agent: real sessions over a `Wire`, real pauses between them, and no process.

It does what the agent does on its stream: hello with what it holds, an answer to each heartbeat,
its own where none comes. `works` agents accept what they are given and hold it until they have come
back once, then report it succeeded; the others say that it is for others.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.execution_pb2 import EXECUTION_STATE_SUCCEEDED
from kronforce_agent.agent import FIRST_RETRY_SECS, RETRY_SECS
from kronforce_agent.session import LONGEST_BEAT
from kronforce_agent.table import key_hash
from tests.bench.scale.wire import Wire, data_frame

CONNECT = "/kronforce.v1.AgentService/Connect"

Key = tuple[str, int]


def frame(*messages: pb.AgentMessage) -> bytes:
    return data_frame(pb.ConnectRequest(messages=messages).SerializeToString())


IDLE_BEAT = frame(pb.AgentMessage(heartbeat=pb.AgentHeartbeat()))


@dataclass(kw_only=True)
class Watch:
    """What a fleet hears of its agents."""

    welcomed: Callable[[], None]
    gone: Callable[[], None]
    given: Callable[[], None]
    acknowledged: Callable[[], None]


@dataclass(kw_only=True)
class Agent:
    """One of them."""

    host: str
    port: int
    number: int
    credential: str
    works: bool
    watch: Watch
    held: dict[Key, None] = field(default_factory=dict)
    sessions: int = 0

    async def run(self, room: asyncio.Semaphore) -> None:
        """For ever; the first connection waits for its turn."""
        async with room:
            session = Session(self)
            running = asyncio.ensure_future(session.run())
            await session.welcomed
        attempts = 0
        while True:
            attempts = 0 if await running else attempts
            pause = RETRY_SECS if attempts else FIRST_RETRY_SECS
            attempts += 1
            await asyncio.sleep(random.uniform(*pause))
            running = asyncio.ensure_future(Session(self).run())

    def hello(self) -> pb.AgentMessage:
        hello = pb.Hello(
            protocol_version=1, boot_id=f"{self.number:032x}", slots=16, task_types=["noop"],
            inventory=self.inventory(),
        )  # fmt: skip
        return pb.AgentMessage(hello=hello)

    def inventory(self) -> pb.Inventory:
        state = pb.INVENTORY_STATE_RUNNING
        items = [pb.InventoryItem(execution_id=i, fence=f, state=state) for i, f in self.held]
        return pb.Inventory(items=items)

    def beat(self) -> bytes:
        if not self.held:
            return IDLE_BEAT
        beat = pb.AgentHeartbeat(held_count=len(self.held))
        for key in self.held:
            beat.held_hash ^= key_hash(key)
        return frame(pb.AgentMessage(heartbeat=beat))

    def answers(self, message: pb.ControllerMessage) -> list[pb.AgentMessage]:
        """What is said to one message that is no heartbeat."""
        key = (message.execution_id, message.fence)
        match message.WhichOneof("message"):
            case "assignment" if self.works:
                if key not in self.held:
                    self.held[key] = None
                    self.watch.given()
                return [_about(key, accepted=pb.Accepted())]
            case "assignment":
                busy = pb.Rejected(reason=pb.REJECT_REASON_BUSY, message="this one runs nothing")
                return [_about(key, rejected=busy)]
            case "acknowledge" if message.acknowledge.kind == pb.ACKNOWLEDGE_KIND_RESULT:
                if self.held.pop(key, key) is None:
                    self.watch.acknowledged()
            case "inventory_request":
                return [pb.AgentMessage(inventory=self.inventory())]
        return []

    def results(self) -> list[pb.AgentMessage]:
        """Of all that it holds."""
        result = pb.Result(state=EXECUTION_STATE_SUCCEEDED)
        return [_about(key, result=result) for key in self.held]


class Session:
    """One of an agent's, from its connection to its end."""

    def __init__(self, agent: Agent) -> None:
        self._loop = asyncio.get_running_loop()
        self._agent = agent
        self._longest = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.welcomed: asyncio.Future[bool] = self._loop.create_future()
        """Set when it has begun, or cannot."""
        self._ended: asyncio.Future[bool] = self._loop.create_future()
        self._wire = Wire(CONNECT, agent.credential, self._frame, self._end)

    async def run(self) -> bool:
        """Whether it had begun."""
        agent = self._agent
        try:
            await self._loop.create_connection(lambda: self._wire, agent.host, agent.port)
        except OSError:
            self._end()
        else:
            self._wire.call(frame(agent.hello()))
        return await self._ended

    def _frame(self, data: bytes) -> None:
        messages = pb.ConnectResponse.FromString(data).messages
        if not self.welcomed.done():
            self._begin(messages[0].welcome)
        if any(m.HasField("heartbeat") for m in messages):
            self._beat()
        answers = [answer for m in messages for answer in self._agent.answers(m)]
        if answers:
            self._wire.send(frame(*answers))

    def _begin(self, welcome: pb.Welcome) -> None:
        self.welcomed.set_result(True)
        self._longest = welcome.heartbeat_secs * LONGEST_BEAT
        self._timer = self._loop.call_later(self._longest, self._beat)
        self._agent.sessions += 1
        self._agent.watch.welcomed()
        if self._agent.held:
            self._wire.send(frame(*self._agent.results()))

    def _beat(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._longest, self._beat)
        self._wire.send(self._agent.beat())

    def _end(self) -> None:
        if self._ended.done():
            return
        if self._timer is not None:
            self._timer.cancel()
        begun = self.welcomed.done()
        self._ended.set_result(begun)
        if begun:
            self._agent.watch.gone()
        else:
            self.welcomed.set_result(False)


def _about(key: Key, **message: pb.Accepted | pb.Rejected | pb.Result) -> pb.AgentMessage:
    return pb.AgentMessage(execution_id=key[0], fence=key[1], **message)  # type: ignore[arg-type]
