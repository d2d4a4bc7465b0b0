"""What an agent sends: a rogue one with a good credential, against the real engine.

A conversation is a seed: messages of any arm, in any order, about executions that it has, had and
never had, under right and wrong fences; sessions that begin and end between them. Afterwards the
engine must still give an honest agent work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from kronforce.errors import KronforceError
from kronforce.store.database import open_database
from kronforce.store.migrate import migrate
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.job_pb2 import TaggedTarget
from kronforce.v1.job_pb2 import Target as JobTarget
from kronforce.v1.job_service_pb2 import TriggerJobRequest
from tests.fuzz.growing import grown
from tests.fuzz.target import Check, Target
from tests.store.rig import FakeAgent, Rig, Someone

# Conversations with one engine.
BATCH = 300
_WAIT_SECS = 20.0
_FENCES = [0, 1, -1, 2**32, 2**53, 2**62, 2**63 - 1, -(2**63)]


class _Complaints(logging.Handler):
    """What the engine logs as an error: a fault that it caught by itself."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class _Rogue:
    """One agent, over many conversations."""

    def __init__(self, rig: Rig, row: Any, chance: random.Random) -> None:
        self._rig = rig
        self._chance = chance
        self._agent = FakeAgent(rig, row, auto=False, boot=chance.choice("bc"))
        self._caller = Someone(agent_key=row.key)

    async def talk(self) -> None:
        try:
            await self._agent.connect(*self._items())
        except TimeoutError:
            raise AssertionError("an honest hello is not answered") from None
        wanted = [TriggerJobRequest(job_id="rogue")] * self._chance.randrange(1, 5)
        await self._rig.trigger(*wanted)
        for _ in range(self._chance.randrange(1, 8)):
            self._agent._up.put_nowait(self._frame())
            await asyncio.sleep(0)
        if self._chance.random() < 0.5:
            await self._print()
        await self._agent.leave()
        await self._hostile_hello()

    def _frame(self) -> pb.ConnectRequest:
        frame = grown(self._chance, pb.ConnectRequest, self._known())
        for message in frame.messages:
            self._aim(message)
        return frame

    def _aim(self, message: Any) -> None:
        """Mostly at what it has: the rest is refused at the first look."""
        about = [each for each in self._agent.got if each.execution_id]
        if about and self._chance.random() < 0.8:
            target = self._chance.choice(about)
            message.execution_id, message.fence = target.execution_id, target.fence
            if self._chance.random() < 0.2:
                message.fence = self._chance.choice(_FENCES)

    def _known(self) -> list[str]:
        return [each.execution_id for each in self._agent.got[:20] if each.execution_id]

    def _items(self) -> list[pb.InventoryItem]:
        items = list(grown(self._chance, pb.Inventory).items)
        for item in items:
            item.fence = self._chance.choice([0, 1, 7, 2**32])
        return items

    async def _print(self) -> None:
        """An output stream of its own session, with whatever on it."""
        welcome = await self._agent.message("welcome")
        frames = [grown(self._chance, pb.StreamOutputRequest) for _ in range(3)]
        frames[0].session_id = welcome.welcome.session_id
        for frame in frames:
            for output in frame.outputs:
                self._aim(output)

        async def up() -> AsyncIterator[pb.StreamOutputRequest]:
            for frame in frames:
                yield frame

        await self._to_its_end(self._rig.engine.sessions.stream_output(self._caller, up()))

    async def _hostile_hello(self) -> None:
        first = grown(self._chance, pb.ConnectRequest, ["b" * 16])
        if self._chance.random() < 0.7:
            hello = pb.AgentMessage(hello=grown(self._chance, pb.Hello))
            hello.hello.protocol_version, hello.hello.boot_id = 1, self._agent.boot_id
            hello.hello.slots, hello.hello.agent_id = self._chance.choice([1, 10_000]), ""
            for item in hello.hello.inventory.items:
                item.fence = self._chance.choice(_FENCES)
            del first.messages[:]
            first.messages.append(hello)

        async def up() -> AsyncIterator[pb.ConnectRequest]:
            yield first

        await self._to_its_end(self._rig.engine.sessions.connect(self._caller, up()))

    async def _to_its_end(self, replies: Any) -> None:
        with contextlib.suppress(KronforceError):
            async with asyncio.timeout(_WAIT_SECS), contextlib.aclosing(replies):
                async for _ in replies:
                    pass


@asynccontextmanager
async def _engine(folder: Path) -> AsyncIterator[Check]:
    url = str(folder / "k.db")
    database = open_database(url)
    migrate(database)
    database.close()
    rig = Rig(url, folder)
    heard = _Complaints()
    await rig.start()
    await rig.job("rogue", target=_tagged("rogue"))
    await rig.job("honest", target=_tagged("honest"))
    rogue = await rig.enrol("rogue", tags=("rogue",))
    honest = FakeAgent(rig, await rig.enrol("honest", tags=("honest",)))
    await honest.connect()

    async def check(number: int) -> None:
        await _Rogue(rig, rogue, random.Random(number)).talk()
        run = await rig.run("honest")
        assert (await rig.ended(run.run_id)).state == 4
        assert not heard.records, heard.records[0].getMessage()

    logging.getLogger("kronforce").addHandler(heard)
    try:
        yield check
    finally:
        logging.getLogger("kronforce").removeHandler(heard)
        await honest.leave()
        await rig.stop()


def _tagged(tag: str) -> Any:
    return JobTarget(tagged=TaggedTarget(tag=tag))


TARGETS = [
    Target(
        name="agent_channel",
        inputs=st.integers(0, 2**64 - 1),
        opened=_engine,
        batch=BATCH,
        short=60,
    ),
]
